import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)
from torchmetrics.functional.image import (
    peak_signal_noise_ratio as torchmetrics_psnr,
)

from fund2oct.losses import local_mean_loss
from fund2oct.metrics.eyes.quality import (
    VolumeL1,
    VolumePSNR,
    VolumeSSIM,
    ms_ssim_scales,
    retina_local_mean,
    volume_l1,
    volume_ms_ssim,
    volume_psnr,
    volume_ssim,
)
from fund2oct.metrics.eyes.sharpness import SharpnessRatio

METRICS = [VolumeL1, VolumePSNR, VolumeSSIM]


def _pair(batch: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    real = torch.rand(batch, 1, 3, 20, 31, generator=generator)
    noise = torch.linspace(0.05, 0.4, batch).view(-1, 1, 1, 1, 1) * torch.randn(
        real.shape, generator=generator
    )
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


@pytest.mark.parametrize("kind", METRICS)
def test_any_batch_size_gives_the_same(kind: type[Metric]) -> None:
    fake, real = _pair()
    values = []
    for size in (1, 2, 5):
        metric = kind()
        for a, b in zip(fake.split(size), real.split(size), strict=True):
            metric.update(a, b)
        values.append(metric.compute().item())
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


@pytest.mark.parametrize("kind", METRICS)
def test_better_is_higher_or_lower_as_stated(kind: type[Metric]) -> None:
    fake, real = _pair()
    values = [kind()(fake[[number]], real[[number]]).item() for number in range(5)]
    assert values == sorted(values, reverse=bool(kind.higher_is_better))


@pytest.mark.parametrize(
    ("kind", "function"), [(VolumeL1, volume_l1), (VolumePSNR, volume_psnr), (VolumeSSIM, volume_ssim)]
)
def test_mask(kind: type[Metric], function) -> None:
    fake, real = _pair()
    mask = torch.ones_like(real, dtype=torch.bool)
    torch.testing.assert_close(function(fake, real, mask), function(fake, real))
    mask[..., :6, :] = False
    expected = function(fake[..., 6:, :], real[..., 6:, :])
    torch.testing.assert_close(function(torch.where(mask, fake, 1), real, mask), expected)
    mask[1] = False
    assert function(fake, real, mask).isnan().tolist() == [False, True, False, False, False]
    metric = kind()
    metric.update(fake, real, mask)
    torch.testing.assert_close(metric.compute(), expected[[0, 2, 3, 4]].mean())


@pytest.mark.parametrize("kind", METRICS)
def test_a_diverged_generator_shows(kind: type[Metric]) -> None:
    fake, real = _pair()
    fake[2] = math.nan
    assert kind()(fake, real).isnan()


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_seen_and_half_precision(kind: type[Metric]) -> None:
    assert kind().compute().isnan()
    fake, real = _pair()
    low = kind()(fake.bfloat16(), real.bfloat16())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, kind()(fake, real), rtol=0.02, atol=0)


@pytest.mark.parametrize("kind", METRICS)
def test_bad_shapes(kind: type[Metric]) -> None:
    with pytest.raises(ValueError, match="of one shape"):
        kind().update(torch.rand(2, 1, 3, 20, 31), torch.rand(1, 1, 3, 20, 31))


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


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    fake, real = _pair()
    mine = slice(0, 2) if rank == 0 else slice(2, 5)
    values = {}
    for kind in (*METRICS, SharpnessRatio):
        metric = kind()
        metric.update(fake[mine], real[mine])
        values[kind.__name__] = metric.compute()
    torch.save(values, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(os.name == "nt", reason="starts processes as Linux does")
def test_two_unequal_processes_give_what_one_gives(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_worker, (str(tmp_path),), nprocs=2, start_method="spawn")
    fake, real = _pair()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for kind in (*METRICS, SharpnessRatio):
            torch.testing.assert_close(found[kind.__name__], kind()(fake, real))
