"""Thickness error, against the phantom's truth and against shifts of known size."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from fund2oct.eye import Eye
from fund2oct.metrics.eyes.layers import Surfaces, failed_share, find_surfaces, surface_error_um
from fund2oct.phantom.simulate import simulate_eye
from fund2oct.retina import align, boundary_index

X_MM = 8.8 / 112


@cache
def _eye(number: int) -> Eye:
    return simulate_eye(21, number)


def _eyes(n: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    eyes = [_eye(number) for number in range(n)]
    volume, rescan = (
        torch.from_numpy(np.stack([getattr(eye, name) for eye in eyes]))[:, None] / 255
        for name in ("volume", "rescan")
    )
    truth = [eye.boundaries_um[boundary_index("IZ_RPE")] - eye.boundaries_um[0] for eye in eyes]
    poses = torch.from_numpy(np.stack([eye.pose_um for eye in eyes]))
    return volume, rescan, torch.from_numpy(np.stack(truth)), poses


def _thickness(volume: Tensor) -> Tensor:
    return find_surfaces(volume, 0.024, X_MM).thickness_um


def _error_um(fake: Tensor, real: Tensor) -> float:
    return surface_error_um(_thickness(fake), _thickness(real)).mean().item()


def _thicker(volume: Tensor, rows: int) -> Tensor:
    """Move everything below row 44, mid-retina nowhere: the outer part of a flattened eye sinks."""
    row = torch.arange(volume.shape[3])
    index = torch.where(row < 44, row, (row - rows).clamp(min=44))
    return volume[:, :, :, index]


def test_rescans_are_near_and_the_truth_not_far_and_other_eyes_differ_more():
    volume, rescan, truth, _ = _eyes()
    assert _error_um(volume, volume) == 0
    assert _thickness(volume).isfinite().float().mean() > 0.95
    assert _error_um(rescan, volume) < 10
    assert surface_error_um(_thickness(rescan), truth).mean() < 25
    assert _error_um(volume.roll(1, 0), volume) > 2 * _error_um(rescan, volume)


def test_two_rows_of_thickness_are_48_micrometres():
    volume, _, _, pose = _eyes(2)
    flat = align(volume, pose, 0.024)
    assert _error_um(_thicker(flat, 2), flat) == pytest.approx(48, abs=10)


def test_the_aligned_frame_has_the_same_thickness():
    volume, _, _, pose = _eyes(2)
    posed, flat = _thickness(volume), _thickness(align(volume, pose, 0.024))
    assert (posed - flat).abs().nanmedian() < 5
    assert posed.shape == (2, 6, 112)


@pytest.mark.parametrize("nothing", [0.0, math.nan])
def test_what_has_no_retina_fails_and_is_not_averaged(nothing):
    volume, *_ = _eyes(2)
    fake = torch.stack([torch.full_like(volume[0], nothing), volume[1]])
    drawn, real = find_surfaces(fake, 0.024, X_MM), find_surfaces(volume, 0.024, X_MM)
    assert failed_share(drawn, real).tolist() == pytest.approx([1, 0], abs=0.06)
    error_um = surface_error_um(drawn.thickness_um, real.thickness_um)
    assert error_um[0].isnan() and error_um[1] == 0


def test_wrong_shapes_are_refused():
    volume = torch.rand(2, 1, 3, 40, 30)
    with pytest.raises(ValueError, match=r"\(B, 1, S, Z, X\)"):
        find_surfaces(volume[0], 0.02, 0.1)


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
