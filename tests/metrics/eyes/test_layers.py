"""Thickness error, against the phantom's truth and against shifts of known size."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fund2oct.metrics.eyes.layers import (
    Surfaces,
    ThicknessError,
    failed_share,
    find_surfaces,
    retinal_thickness_um,
    surface_error_um,
)
from fund2oct.phantom.simulate import simulate_eye
from fund2oct.retina import align, boundary_index

X_MM = 8.8 / 112


def _eyes(n: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    eyes = [simulate_eye(21, number) for number in range(n)]
    volume, second = (
        torch.from_numpy(np.stack([getattr(eye, name) for eye in eyes]))[:, None] / 255
        for name in ("volume", "second")
    )
    truth = [eye.boundaries_um[boundary_index("IZ_RPE")] - eye.boundaries_um[0] for eye in eyes]
    poses = torch.from_numpy(np.stack([eye.pose_um for eye in eyes]))
    return volume, second, torch.from_numpy(np.stack(truth)), poses


def _update(metric: ThicknessError, fake: Tensor, real: Tensor, truth: Tensor | None = None) -> dict:
    metric.update(fake, real, 0.024, X_MM, truth)
    return {name: value.item() for name, value in metric.compute().items()}


def _thicker(volume: Tensor, rows: int) -> Tensor:
    """Move everything below row 44, mid-retina nowhere: the outer part of a flattened eye sinks."""
    row = torch.arange(volume.shape[3])
    index = torch.where(row < 44, row, (row - rows).clamp(min=44))
    return volume[:, :, :, index]


def test_a_volume_equals_itself():
    volume, *_ = _eyes(1)
    values = _update(ThicknessError(), volume, volume)
    assert values["error_um"] == 0 and values["failed_fake"] == 0 and values["failed_real"] < 0.05


def test_the_floor_is_small_and_the_truth_near():
    volume, second, truth, _ = _eyes()
    values = _update(ThicknessError(), second, volume, truth)
    assert values["error_um"] < 10
    assert values["truth_error_um"] < 25
    assert values["failed_fake"] < 0.05


def test_other_eyes_differ_more_than_rescans():
    volume, second, *_ = _eyes()
    assert (
        _update(ThicknessError(), volume.roll(1, 0), volume)["error_um"]
        > 2 * _update(ThicknessError(), second, volume)["error_um"]
    )


def test_two_rows_of_thickness_are_48_micrometres():
    volume, _, _, pose = _eyes(2)
    flat = align(volume, pose, 0.024)
    values = _update(ThicknessError(), _thicker(flat, 2), flat)
    assert values["error_um"] == pytest.approx(48, abs=10)


def test_the_aligned_frame_has_the_same_thickness():
    volume, _, _, pose = _eyes(2)
    lying, flat = (retinal_thickness_um(v, 0.024, X_MM) for v in (volume, align(volume, pose, 0.024)))
    assert (lying - flat).abs().nanmedian() < 5
    assert lying.shape == (2, 6, 112)


def test_what_has_no_retina_fails_and_is_not_averaged():
    volume, *_ = _eyes(2)
    empty = torch.stack([torch.zeros_like(volume[0]), volume[1]])
    values = _update(ThicknessError(), empty, volume)
    assert values["error_um"] == 0
    assert values["failed_fake"] == pytest.approx(0.5, abs=0.03)
    diverged = torch.stack([torch.full_like(volume[0], math.nan), volume[1]])
    assert _update(ThicknessError(), diverged, volume)["failed_fake"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_any_batch_size_gives_the_same_and_nothing_seen_gives_nan():
    volume, second, truth, _ = _eyes()
    whole, parts = ThicknessError(), ThicknessError()
    expected = _update(whole, second, volume, truth)
    for eye in range(3):
        found = _update(parts, second[[eye]], volume[[eye]], truth[[eye]])
    assert found == pytest.approx(expected, rel=1e-6)
    assert all(math.isnan(value) for value in ThicknessError().compute().values())


def test_wrong_shapes_are_refused():
    volume = torch.rand(2, 1, 3, 40, 30)
    with pytest.raises(ValueError, match=r"\(B, 1, S, Z, X\)"):
        retinal_thickness_um(volume[0], 0.02, 0.1)
    with pytest.raises(ValueError, match="of one shape"):
        ThicknessError().update(volume, volume[:1], 0.02, 0.1)
    with pytest.raises(ValueError, match=r"truth: expected \(B, S, X\)"):
        ThicknessError().update(volume, volume, 0.02, 0.1, torch.zeros(2, 3, 31))


def _layered(ilm_um: Tensor, rpe_um: Tensor, n_depth: int = 100) -> Tensor:
    """Volumes with a dark vitreous, grey retina, bright epithelium and fading choroid, 20 um a row."""
    depth = (torch.arange(n_depth)[:, None] + 0.5) * 20.0
    ilm, rpe = ilm_um[:, :, None], rpe_um[:, :, None]
    choroid = 0.55 * torch.exp(-(depth - rpe).clamp(min=0) / 200)
    volume = torch.where(depth < ilm, 0.05, torch.where(depth < rpe, 0.45, choroid))
    volume = torch.where((depth >= rpe) & (depth < rpe + 26), 0.9, volume)
    return (volume + 0.03 * torch.randn(volume.shape))[:, None].clamp(0, 1)


def test_known_surfaces_are_found() -> None:
    x = torch.linspace(-1, 1, 90)
    rpe = 1100 + 60 * x + 40 * x**2 + torch.tensor([0.0, 30.0, -50.0])[None, :, None]
    ilm = rpe - 300 + 120 * torch.exp(-((x / 0.2) ** 2))
    found = find_surfaces(_layered(ilm, rpe), 0.02, 0.08)
    assert found.ok.float().mean() > 0.98
    assert surface_error_um(found.ilm_um, ilm).item() < 15
    assert surface_error_um(found.rpe_um, rpe).item() < 15
    assert surface_error_um(found.thickness_um, rpe - ilm).item() < 20
    assert (found.bm_um - found.rpe_um)[found.ok].median().item() == pytest.approx(26)


def test_a_lowered_surface_is_off_by_what_it_was_lowered() -> None:
    x = torch.linspace(-1, 1, 90).expand(2, 3, -1)
    rpe, ilm = 1200 + 60 * x, 900 + 60 * x
    lower = ilm + torch.tensor([0.0, 60.0])[:, None, None]
    real, fake = (find_surfaces(_layered(inner, rpe), 0.02, 0.08) for inner in (ilm, lower))
    assert surface_error_um(fake.ilm_um, real.ilm_um).tolist() == pytest.approx([0, 60], abs=6)
    assert surface_error_um(fake.thickness_um, real.thickness_um).tolist() == pytest.approx([0, 60], abs=6)
    assert (surface_error_um(fake.rpe_um, real.rpe_um) < 6).all()


def test_the_error_is_the_mean_over_what_both_know_if_that_is_enough() -> None:
    found, expected = torch.rand(2, 3, 4, 10).unbind(0)
    found[0, 0], expected[0, 1] = math.nan, math.nan
    found[1, :, 2:] = math.nan  # a fifth is left
    error = surface_error_um(found, expected)
    assert error[0].item() == pytest.approx((found[0, 2:] - expected[0, 2:]).abs().mean().item())
    assert error[1].isnan() and error[2] > 0
    with pytest.raises(ValueError, match=r"two maps \(B, S, X\)"):
        surface_error_um(found, expected[:1])


def test_failures_are_a_share_of_what_is_in_the_real_volume() -> None:
    real, fake = (Surfaces(*torch.zeros(3, 2, 4, 10)) for _ in range(2))
    real.ilm_um[0, 0] = math.nan
    fake.ilm_um[0, :2] = math.nan
    real.ilm_um[1] = math.nan
    found = failed_share(fake, real)
    assert found[0].item() == pytest.approx(1 / 3) and found[1].isnan()


def test_eyes_may_have_spacings_of_their_own() -> None:
    volume, *_ = _eyes(2)
    both = find_surfaces(volume, torch.tensor([0.024, 0.012]), torch.tensor([X_MM, X_MM / 2]))
    for eye, (z_mm, x_mm) in enumerate([(0.024, X_MM), (0.012, X_MM / 2)]):
        one = find_surfaces(volume[[eye]], z_mm, x_mm)
        torch.testing.assert_close(both.rpe_um[[eye]], one.rpe_um, equal_nan=True)


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    volume, second, truth, _ = _eyes()
    mine = slice(0, 1) if rank == 0 else slice(1, 3)
    torch.save(_update(ThicknessError(), second[mine], volume[mine], truth[mine]), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(os.name == "nt", reason="starts processes as Linux does")
def test_two_unequal_processes_give_what_one_gives(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_worker, (str(tmp_path),), nprocs=2, start_method="spawn")
    volume, second, truth, _ = _eyes()
    expected = _update(ThicknessError(), second, volume, truth)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(expected)
