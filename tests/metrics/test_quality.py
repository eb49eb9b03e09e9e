import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics import Metric

from fund2oct.metrics.quality import VolumeL1, VolumePSNR, VolumeSSIM, volume_l1, volume_psnr, volume_ssim
from fund2oct.metrics.sharpness import SharpnessRatio

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
