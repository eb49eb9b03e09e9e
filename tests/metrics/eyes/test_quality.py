import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)
from torchmetrics.functional.image import (
    peak_signal_noise_ratio as torchmetrics_psnr,
)

from fund2oct.losses import local_mean_loss
from fund2oct.metrics.eyes.quality import (
    ms_ssim_scales,
    retina_local_mean,
    volume_l1,
    volume_ms_ssim,
    volume_psnr,
    volume_ssim,
)

FUNCTIONS = [volume_l1, volume_psnr, volume_ssim]


def _pair(batch: int = 5) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    real = torch.rand(batch, 1, 3, 20, 31, generator=rng)
    noise = torch.linspace(0.05, 0.4, batch).view(-1, 1, 1, 1, 1) * torch.randn(real.shape, generator=rng)
    return (real + noise).clamp(0, 1), real


def test_values_agree_with_scikit_image() -> None:
    fake, real = _pair()
    images = list(zip(fake[:, 0].double().numpy(), real[:, 0].double().numpy(), strict=True))
    psnr = [peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in images]
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = [
        np.mean([structural_similarity(x, y, **options) for x, y in zip(a, b, strict=True)])
        for a, b in images
    ]
    l1 = [np.abs(a - b).mean() for a, b in images]
    for found, expected in [
        (volume_l1(fake, real), l1),
        (volume_psnr(fake, real), psnr),
        (volume_ssim(fake, real), ssim),
    ]:
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_closed_forms() -> None:
    real = torch.full((1, 1, 2, 12, 13), 0.5)
    assert volume_l1(real + 0.1, real).item() == pytest.approx(0.1, rel=1e-5)
    assert volume_psnr(real + 0.1, real).item() == pytest.approx(20, rel=1e-5)
    assert volume_psnr(real, real).item() == math.inf
    # Flat images differ in luminance alone.
    expected = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)
    assert volume_ssim(real + 0.1, real).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_volume_is_measured_by_itself_and_more_noise_is_worse(function) -> None:
    fake, real = _pair()
    together = function(fake, real)
    one_by_one = torch.cat([function(a, b) for a, b in zip(fake.split(1), real.split(1), strict=True)])
    torch.testing.assert_close(together, one_by_one)
    assert together.tolist() == sorted(together.tolist(), reverse=function is not volume_l1)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_mask(function) -> None:
    fake, real = _pair()
    mask = torch.ones_like(real, dtype=torch.bool)
    torch.testing.assert_close(function(fake, real, mask), function(fake, real))
    mask[..., :6, :] = False
    expected = function(fake[..., 6:, :], real[..., 6:, :])
    torch.testing.assert_close(function(torch.where(mask, fake, 1), real, mask), expected)
    mask[1] = False
    assert function(fake, real, mask).isnan().tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_diverged_generator_shows_and_other_shapes_are_refused(function) -> None:
    fake, real = _pair()
    fake[2] = math.nan
    assert function(fake, real).isnan().tolist() == [False, False, True, False, False]
    with pytest.raises(ValueError, match="of one shape"):
        function(torch.rand(2, 1, 3, 20, 31), torch.rand(1, 1, 3, 20, 31))


def _smooth_pair(n_depth: int, n_ascans: int) -> tuple[Tensor, Tensor]:
    real = F.avg_pool3d(torch.rand(2, 1, 3, n_depth, n_ascans), (1, 5, 5), 1, (0, 2, 2))
    return (real + 0.1 * torch.randn_like(real)).clamp(0, 1), real


def _folded(volume: Tensor) -> Tensor:
    return volume[0].transpose(0, 1)


def test_ms_ssim_agrees_with_torchmetrics_on_each_bscan() -> None:
    fake, real = (volume.double() for volume in _smooth_pair(190, 201))
    expected = []
    for x, y in zip(fake[:, 0, :, None], real[:, 0, :, None], strict=True):
        value = torch.ones(3, dtype=torch.float64)
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            options = {"data_range": 1.0, "reduction": "none"}
            if scale < 4:
                _, mean = structural_similarity_index_measure(
                    x, y, return_contrast_sensitivity=True, **options
                )
            else:
                # Its mean includes the windows over reflected borders; its map tells them apart.
                _, whole = structural_similarity_index_measure(x, y, return_full_image=True, **options)
                mean = whole[..., 5:-5, 5:-5].mean((-3, -2, -1))
            value *= mean**weight
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        expected.append(value.mean())
    torch.testing.assert_close(volume_ms_ssim(fake, real), torch.stack(expected))
    torch.testing.assert_close(volume_ms_ssim(fake.float(), real.float()), torch.stack(expected).float())
    plain = multiscale_structural_similarity_index_measure(_folded(fake), _folded(real), data_range=1.0)
    assert plain.item() == pytest.approx(expected[0].item(), abs=0.02)


def test_where_torchmetrics_answers_another_question_on_five_dimensions() -> None:
    fake, real = _smooth_pair(190, 201)
    torch.testing.assert_close(
        torchmetrics_psnr(fake[:1], real[:1], data_range=1.0), volume_psnr(fake[:1], real[:1])[0]
    )
    fake[1] = real[1] + 0.01
    pooled = torchmetrics_psnr(fake, real, data_range=1.0)
    assert pooled < volume_psnr(fake, real).mean() - 3
    six = [F.interpolate(volume, (6, 190, 201)) for volume in (fake[:1], real[:1])]
    across = structural_similarity_index_measure(*six, data_range=1.0)
    _, folded = structural_similarity_index_measure(
        *map(_folded, six), data_range=1.0, return_full_image=True
    )
    inside = folded[..., 5:-5, 5:-5].mean()
    torch.testing.assert_close(inside, volume_ssim(*six)[0], rtol=1e-4, atol=0)
    assert abs(across - inside) > 0.05
    with pytest.raises(RuntimeError):
        multiscale_structural_similarity_index_measure(*six, data_range=1.0)


def test_ms_ssim_takes_the_scales_that_fit() -> None:
    sizes = {10: 0, 11: 1, 21: 1, 22: 2, 44: 3, 87: 3, 88: 4, 175: 4, 176: 5, 448: 5}
    assert {size: ms_ssim_scales(size, 500) for size in sizes} == sizes
    assert ms_ssim_scales(500, 44) == 3
    fake, real = _pair()
    # At one scale there is nothing but the similarity of each B-scan, to the sum of the weights.
    for n_slices in (1, 3):
        one = [volume[:1, :, :n_slices, :, :20] for volume in (fake, real)]
        maps = [volume_ssim(*(volume[:, :, [s]] for volume in one)).clamp(min=0) for s in range(n_slices)]
        torch.testing.assert_close(volume_ms_ssim(*one), (torch.stack(maps) ** 1.0001).mean(0))
    with pytest.raises(ValueError, match="at least 11"):
        volume_ms_ssim(fake[..., :10], real[..., :10])


def test_ms_ssim_of_equal_volumes_is_one_and_falls_with_noise() -> None:
    _, real = _smooth_pair(50, 61)
    noise = torch.randn_like(real)
    values = [volume_ms_ssim((real + sigma * noise), real).mean().item() for sigma in (0, 0.05, 0.1, 0.3)]
    assert values[0] == pytest.approx(1, abs=1e-5)
    assert values == sorted(values, reverse=True) and 0 <= values[-1] < 0.5


def test_ms_ssim_counts_windows_inside_the_mask() -> None:
    fake, real = _smooth_pair(60, 71)
    mask = torch.ones_like(real, dtype=torch.bool)
    torch.testing.assert_close(volume_ms_ssim(fake, real, mask), volume_ms_ssim(fake, real))
    mask[..., :8, :] = False
    expected = volume_ms_ssim(fake[..., 8:, :], real[..., 8:, :])
    torch.testing.assert_close(volume_ms_ssim(torch.where(mask, fake, 0.7), real, mask), expected)
    mask[0, :, 1] = False
    two = [volume[:1, :, [0, 2], 8:] for volume in (fake, real)]
    mask[1] = False
    found = volume_ms_ssim(fake, real, mask)
    torch.testing.assert_close(found[0], volume_ms_ssim(*two)[0])
    assert found[1].isnan()


def test_the_retinas_local_mean_is_that_of_the_rows_around_the_pose() -> None:
    fake, real = _pair(2)
    mask = torch.ones_like(real, dtype=torch.bool)
    # 20 rows of 60 um: the pose's surface is 12 rows deep; rows 5 to 13 have their centre in the band.
    z_mm = torch.tensor([0.06, 0.06])
    outside = fake.clone()
    outside[..., :5, :] = outside[..., 14:, :] = 0.0
    band = torch.zeros_like(mask)
    band[..., 5:14, :] = True
    expected = [local_mean_loss(fake[[eye]], real[[eye]], band[[eye]]).item() for eye in range(2)]
    assert retina_local_mean(outside, real, mask, z_mm).tolist() == pytest.approx(expected)
    mask[1] = False
    assert retina_local_mean(fake, real, mask, 0.06).isnan().tolist() == [False, True]
