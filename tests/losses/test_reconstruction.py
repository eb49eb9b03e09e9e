import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from fund2oct.losses.masking import masked_mean
from fund2oct.losses.reconstruction import (
    charbonnier_loss,
    l1_loss,
    local_mean_loss,
    local_square_loss,
    ssim_loss,
    ssim_map,
    whole_windows,
)

LOSSES = [l1_loss, charbonnier_loss, local_mean_loss, local_square_loss, ssim_loss]


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    real = torch.rand(2, 1, 3, 20, 31)
    return (real + 0.2 * torch.randn_like(real)).clamp(0, 1), real


def _mask(volume: Tensor) -> Tensor:
    mask = torch.ones_like(volume, dtype=torch.bool)
    mask[0, :, 1] = False
    mask[:, :, :, :4] = False
    mask[:, :, 2, :, 25:] = False
    return mask


def _skimage_ssim(fake: Tensor, real: Tensor) -> tuple[float, np.ndarray]:
    return structural_similarity(
        fake.double().numpy(),
        real.double().numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )


def test_l1_and_charbonnier_values() -> None:
    real = torch.full((1, 1, 2, 3, 4), 0.5)
    assert l1_loss(real + 0.25, real).item() == pytest.approx(0.25)
    assert charbonnier_loss(real + 0.3, real, eps=0.4).item() == pytest.approx(0.5)
    assert charbonnier_loss(real, real).item() == pytest.approx(1e-3)


def test_ssim_agrees_with_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    fake, real = pair
    found = ssim_map(fake, real)
    assert found.shape == (2, 1, 3, 10, 21)
    means = []
    for volume in range(2):
        for bscan in range(3):
            mean, full = _skimage_ssim(fake[volume, 0, bscan], real[volume, 0, bscan])
            means.append(mean)
            expected = torch.tensor(full[5:-5, 5:-5]).float()
            torch.testing.assert_close(found[volume, 0, bscan], expected, rtol=1e-4, atol=1e-5)
    assert ssim_loss(fake, real).item() == pytest.approx(1 - np.mean(means), abs=1e-5)


def test_ssim_of_equal_and_of_black_volumes() -> None:
    real = torch.rand(1, 1, 2, 12, 15)
    assert ssim_loss(real, real).item() == pytest.approx(0, abs=1e-6)
    assert ssim_loss(real * 0, real * 0).item() == pytest.approx(0, abs=1e-7)


def test_ssim_under_autocast_keeps_its_precision(pair: tuple[Tensor, Tensor]) -> None:
    expected = ssim_loss(*pair)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ssim_loss(*pair), expected)


def test_whole_windows() -> None:
    mask = torch.ones(1, 1, 2, 14, 19, dtype=torch.bool)
    mask[0, 0, 1, 12, 3] = False
    expected = torch.ones(1, 1, 2, 4, 9, dtype=torch.bool)
    expected[0, 0, 1, 2:, :4] = False
    assert torch.equal(whole_windows(mask), expected)


def test_local_mean_is_a_sliding_average() -> None:
    fake, real = torch.rand(1, 1, 2, 6, 9), torch.rand(1, 1, 2, 6, 9)
    windows = np.lib.stride_tricks.sliding_window_view((fake - real).numpy(), (3, 5), axis=(-2, -1))
    expected = np.abs(windows.mean((-2, -1))).mean()
    assert local_mean_loss(fake, real, window=(3, 5)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("window", [(3, 5), (1, 1)])
def test_local_mean_with_a_mask_weighs_windows_by_what_they_hold(window: tuple[int, int]) -> None:
    fake, real = torch.rand(1, 1, 2, 6, 9), torch.rand(1, 1, 2, 6, 9)
    mask = torch.rand(1, 1, 2, 6, 9) > 0.4
    view = np.lib.stride_tricks.sliding_window_view
    total = np.abs(view(((fake - real) * mask).numpy(), window, axis=(-2, -1)).sum((-2, -1))).sum()
    count = view(mask.numpy(), window, axis=(-2, -1)).sum()
    found = local_mean_loss(fake, real, mask, window).item()
    assert found == pytest.approx(total / count, rel=1e-5)
    if window == (1, 1):
        assert found == pytest.approx(l1_loss(fake, real, mask).item(), rel=1e-5)
    everything = torch.ones_like(mask)
    torch.testing.assert_close(
        local_mean_loss(fake, real, everything, window), local_mean_loss(fake, real, window=window)
    )


def test_local_square_is_the_square_of_a_sliding_average() -> None:
    fake, real = torch.rand(1, 1, 2, 6, 9), torch.rand(1, 1, 2, 6, 9)
    mask = torch.rand(1, 1, 2, 6, 9) > 0.4
    view = np.lib.stride_tricks.sliding_window_view
    expected = np.square(view(((fake - real) * mask).numpy(), (3, 5), axis=(-2, -1)).mean((-2, -1))).mean()
    assert local_square_loss(fake, real, mask, (3, 5)).item() == pytest.approx(expected, rel=1e-5)


def test_local_square_minds_a_lesion_more_than_a_shade() -> None:
    real = torch.full((1, 1, 2, 40, 60), 0.4)
    shade, lesion = real + 0.01, real.clone()
    lesion[..., 10:16, 20:30] = 0.7
    assert l1_loss(lesion, real) < l1_loss(shade, real)
    assert local_square_loss(lesion, real) > 10 * local_square_loss(shade, real)


def test_local_mean_forgives_speckle_and_not_anatomy() -> None:
    anatomy = torch.zeros(1, 1, 3, 40, 60)
    anatomy[..., 15:25, :] = 0.6
    first, second = (anatomy + 0.2 * torch.rand_like(anatomy) for _ in range(2))
    shifted = first.roll(5, -2)
    speckle, wrong = local_mean_loss(first, second), local_mean_loss(first, shifted)
    assert speckle < 0.3 * l1_loss(first, second)
    assert wrong > 0.7 * l1_loss(first, shifted)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_window_crosses_slices(loss) -> None:
    fake, real = torch.rand(2, 1, 3, 20, 31), torch.rand(2, 1, 3, 20, 31)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(loss(fake[:, :, order], real[:, :, order]), loss(fake, real))
    single = [loss(fake[:, :, [s]], real[:, :, [s]]) for s in range(3)]
    torch.testing.assert_close(torch.stack(single).mean(), loss(fake, real))


@pytest.mark.parametrize("loss", LOSSES)
def test_grows_with_the_error(loss) -> None:
    real, noise = torch.rand(1, 1, 3, 20, 31), torch.randn(1, 1, 3, 20, 31)
    losses = [loss(real + scale * noise, real).item() for scale in (0.0, 0.05, 0.1, 0.3)]
    assert losses == sorted(losses)
    assert losses[0] < losses[1]


@pytest.mark.parametrize("loss", LOSSES)
def test_mask_hides_voxels_and_their_gradient(loss, pair: tuple[Tensor, Tensor]) -> None:
    fake, real = pair
    mask = _mask(real)
    fake.requires_grad_()
    value = loss(fake, real, mask)
    torch.testing.assert_close(loss(fake, torch.where(mask, real, 0.9), mask), value)
    value.backward()
    assert fake.grad is not None
    assert fake.grad[~mask].abs().sum() == 0
    assert fake.grad[mask].abs().sum() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_full_mask_is_no_mask_and_an_empty_one_trains_nothing(loss, pair: tuple[Tensor, Tensor]) -> None:
    fake, real = pair
    fake.requires_grad_()
    everything = torch.ones_like(real, dtype=torch.bool)
    torch.testing.assert_close(loss(fake, real, everything), loss(fake, real))
    nothing = loss(fake, real, ~everything)
    nothing.backward()
    assert nothing == 0
    assert fake.grad is not None and fake.grad.abs().sum() == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_the_formula(loss) -> None:
    fake = torch.rand(1, 1, 2, 12, 13, dtype=torch.float64, requires_grad=True)
    real = torch.rand(1, 1, 2, 12, 13, dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, (fake, real), fast_mode=True)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("fake", "real", "mask", "message"),
    [
        ((2, 1, 3, 20, 31), (1, 1, 3, 20, 31), None, "volumes .* of one shape"),
        ((1, 1, 3, 20, 31), (1, 1, 3, 20, 30), None, "volumes .* of one shape"),
        ((3, 20, 31), (3, 20, 31), None, r"found \(3, 20, 31\)"),
        ((2, 1, 3, 20, 31), (2, 1, 3, 20, 31), (2, 3, 20, 31), "mask: expected"),
        ((2, 1, 3, 20, 31), (2, 1, 3, 20, 31), (1, 1, 3, 20, 31), "mask: expected"),
    ],
)
def test_bad_shapes(loss, fake, real, mask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(torch.rand(fake), torch.rand(real), None if mask is None else torch.ones(mask))


def test_bad_sizes() -> None:
    small = torch.rand(1, 1, 3, 10, 31)
    with pytest.raises(ValueError, match=r"at least 11, found \(10, 31\)"):
        ssim_loss(small, small)
    with pytest.raises(ValueError, match=r"within \(10, 31\), found \(12, 3\)"):
        local_mean_loss(small, small, window=(12, 3))


def test_masked_mean_of_half_precision_counts_in_full() -> None:
    values = torch.ones(1000, dtype=torch.bfloat16)
    mask = torch.arange(1000) < 777
    assert masked_mean(values, mask).dtype == torch.float32
    assert masked_mean(values, mask) == 1
