import pytest
import torch
from scipy import ndimage
from torch import Tensor

from fund2oct.metrics.eyes.sharpness import SharpnessRatio, high_frequency_energy


def _sinusoid(cycles_z: float, cycles_x: float, amplitude: float = 0.3) -> Tensor:
    z, x = torch.arange(40.0)[:, None], torch.arange(60.0)
    wave = 0.5 + amplitude * torch.sin(2 * torch.pi * (cycles_z * z + cycles_x * x) + 0.4)
    return wave.expand(1, 1, 3, 40, 60).clone()


@pytest.mark.parametrize(
    ("cycles", "expected"),
    [
        ((0.0, 0.4), 0.3**2 / 2),
        ((0.4, 0.0), 0.3**2 / 2),
        ((0.3, 0.3), 0.3**2 / 2),
        ((0.2, 0.2), 0.3**2 / 2),  # a radius of 0.28
        ((0.0, 0.1), 0.0),
        ((0.15, 0.1), 0.0),
        ((0.0, 0.0), 0.0),
    ],
)
def test_sinusoids(cycles: tuple[float, float], expected: float) -> None:
    energy = high_frequency_energy(_sinusoid(*cycles))
    assert energy.shape == (1,)
    assert energy.item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_white_noise_has_its_variance_times_the_share_of_frequencies() -> None:
    noise = 0.1 * torch.randn(8, 1, 6, 80, 112)
    f_z, f_x = torch.fft.fftfreq(80)[:, None], torch.fft.fftfreq(112)
    share = (torch.hypot(f_z, f_x) > 0.25).float().mean()
    assert high_frequency_energy(noise).mean().item() == pytest.approx(0.01 * share.item(), rel=0.02)
    assert 0.01 * share.item() == pytest.approx(0.01 * (1 - torch.pi / 16), rel=0.01)


def test_a_ramp_has_no_detail_for_the_frame_is_windowed() -> None:
    ramp = torch.linspace(0, 1, 60).expand(1, 1, 3, 40, 60)
    assert high_frequency_energy(ramp).item() < 1e-6


def test_each_volume_by_itself() -> None:
    volume = torch.cat([_sinusoid(0.0, 0.4, amplitude) for amplitude in (0.1, 0.2)])
    volume[1, :, 1:] = 0.5
    torch.testing.assert_close(
        high_frequency_energy(volume), torch.tensor([0.1**2 / 2, 0.2**2 / 2 / 3]), rtol=1e-4, atol=0
    )


def test_ratio_is_one_for_fresh_speckle_and_falls_with_blur() -> None:
    real, other = torch.rand(4, 1, 6, 80, 112), torch.rand(4, 1, 6, 80, 112)
    ratios = []
    for sigma in (0.0, 0.5, 1.0, 2.0):
        blurred = torch.tensor(ndimage.gaussian_filter(other.numpy(), (0, 0, 0, sigma, sigma)))
        ratios.append(SharpnessRatio()(blurred, real).item())
    assert ratios[0] == pytest.approx(1, abs=0.02)
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] < 0.01


def test_the_mean_of_two_renderings_has_half_the_energy() -> None:
    first, second, real = torch.rand(3, 4, 1, 6, 80, 112)
    assert SharpnessRatio()((first + second) / 2, real).item() == pytest.approx(0.5, abs=0.02)


def test_sums_over_the_set_whatever_the_batches() -> None:
    fake, real = torch.rand(5, 1, 3, 20, 31), torch.rand(5, 1, 3, 20, 31)
    fake *= torch.linspace(0.1, 1, 5).view(-1, 1, 1, 1, 1)
    expected = high_frequency_energy(fake).sum() / high_frequency_energy(real).sum()
    for size in (1, 2, 5):
        metric = SharpnessRatio()
        for a, b in zip(fake.split(size), real.split(size), strict=True):
            metric.update(a, b)
        torch.testing.assert_close(metric.compute(), expected)


def test_flat_reals_have_no_ratio() -> None:
    assert SharpnessRatio()(torch.rand(1, 1, 3, 20, 31), torch.zeros(1, 1, 3, 20, 31)).isnan()


def test_bad_input() -> None:
    volume = torch.rand(1, 1, 3, 20, 31)
    with pytest.raises(ValueError, match=r"found \(1, 3, 20, 31\)"):
        high_frequency_energy(volume[0])
    with pytest.raises(ValueError, match="one shape"):
        SharpnessRatio().update(volume, volume[..., 1:])
