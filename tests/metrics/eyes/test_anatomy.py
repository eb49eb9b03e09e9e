"""Anatomy, against hand-made volumes, SciPy and the phantom's truth."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from fund2oct.metrics.eyes.anatomy import layer_violations, map_correlation, vessel_shadows
from fund2oct.metrics.eyes.layers import Surfaces, find_surfaces
from fund2oct.phantom import simulate_eye

Z_MM, X_MM = 0.024, 8.8 / 112


@cache
def _eyes() -> tuple[Tensor, Tensor, Surfaces, Surfaces]:
    eyes = [simulate_eye(35, number) for number in range(4)]
    volume, second = (
        torch.from_numpy(np.stack([getattr(eye, name) for eye in eyes]))[:, None] / 255
        for name in ("volume", "rescan")
    )
    return volume, second, find_surfaces(volume, Z_MM, X_MM), find_surfaces(second, Z_MM, X_MM)


def _flat(ilm_um: float = 100.0, rpe_um: float = 400.0, shape: tuple[int, ...] = (2, 3, 40)) -> Surfaces:
    return Surfaces(*(torch.full(shape, depth) for depth in (ilm_um, rpe_um, rpe_um + 26)))


def test_correlation_is_pearsons_over_what_both_know() -> None:
    a, b = torch.rand(2, 3, 4, 10).unbind(0)
    b = b + a
    a[0, 0, :3], b[0, 1, :2] = math.nan, math.nan
    known = (a.isfinite() & b.isfinite()).numpy()
    expected = [np.corrcoef(a[i].numpy()[known[i]], b[i].numpy()[known[i]])[0, 1] for i in range(3)]
    np.testing.assert_allclose(map_correlation(a, b).numpy(), expected, rtol=1e-5)
    torch.testing.assert_close(map_correlation(a, 3 - 2 * a), -torch.ones(3))


def test_correlation_is_nan_where_little_is_known_or_nothing_varies() -> None:
    a = torch.rand(3, 4, 10)
    b = a.clone()
    b[0, :, 2:] = math.nan  # a fifth is left
    b[1] = 0.5
    assert map_correlation(a, b).isnan().tolist() == [True, True, False]
    with pytest.raises(ValueError, match=r"two maps \(B, S, X\)"):
        map_correlation(a, b[:1])


def test_thickness_maps_of_a_rescan_agree_and_those_of_another_eye_do_not() -> None:
    _, _, real, second = _eyes()
    rescan = map_correlation(second.thickness_um, real.thickness_um)
    other = map_correlation(real.thickness_um.roll(1, 0), real.thickness_um)
    assert (rescan > 0.75).all()
    assert rescan.mean() > other.mean() + 0.2


def test_a_shadow_has_its_depth_wherever_the_retina_lies() -> None:
    volume = torch.full((1, 1, 2, 50, 60), 0.1)
    surfaces = _flat(shape=(1, 2, 60))
    slope = torch.arange(60) * 4.0
    surfaces = Surfaces(surfaces.ilm_um, surfaces.rpe_um + slope, surfaces.bm_um + slope)
    depth = (torch.arange(50)[:, None] + 0.5) * 1000 * Z_MM
    volume[0, 0, :, (depth > surfaces.rpe_um[0, 0])] = 0.6
    volume[..., 30] *= 0.5
    found = vessel_shadows(volume, surfaces, Z_MM, X_MM)[0]
    # The window holds 7 A-scans: 6 bright ones and the shadow; the top row of the slab is half bright.
    assert found[:, 30].tolist() == pytest.approx([0.5 / (6.5 / 7) - 1] * 2, abs=0.03)
    assert found[:, :20].abs().max() < 0.06
    shifted = vessel_shadows(
        volume.roll(3, 3), Surfaces(surfaces.ilm_um, surfaces.rpe_um + 72, surfaces.bm_um), Z_MM, X_MM
    )[0]
    torch.testing.assert_close(shifted[:, :40], found[:, :40], atol=1e-4, rtol=0)


def test_shadows_of_a_rescan_agree_and_those_of_another_eye_do_not() -> None:
    volume, second, real, rescanned = _eyes()
    shadows = vessel_shadows(volume, real, Z_MM, X_MM)
    rescan = map_correlation(vessel_shadows(second, rescanned, Z_MM, X_MM), shadows)
    other = map_correlation(shadows.roll(1, 0), shadows)
    assert (rescan > 0.55).all()
    assert (other.abs() < 0.25).all()


def test_shadows_come_from_below_the_retina_and_do_not_see_the_pose() -> None:
    volume, _, surfaces, _ = _eyes()
    depth = (torch.arange(80).view(1, 1, -1, 1) + 0.5) * 1000 * Z_MM
    above = (depth < surfaces.rpe_um[:, :, None] - 1000 * Z_MM)[:, None]
    torch.testing.assert_close(
        vessel_shadows(torch.where(above, 0.3, volume), surfaces, Z_MM, X_MM),
        vessel_shadows(volume, surfaces, Z_MM, X_MM),
        equal_nan=True,
    )


def test_where_nothing_was_found_there_is_no_agreement() -> None:
    volume, _, real, _ = _eyes()
    dark = torch.zeros_like(volume)
    nothing = find_surfaces(dark, Z_MM, X_MM)
    none, shadows = vessel_shadows(dark, nothing, Z_MM, X_MM), vessel_shadows(volume, real, Z_MM, X_MM)
    assert map_correlation(none, shadows).isnan().all()
    assert layer_violations(nothing, X_MM).isnan().all()


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("thin", {"ilm_um": 330.0}, 2 / 120),
        ("thick", {"ilm_um": -700.0}, 2 / 120),
        ("sunk", {"rpe_um": 470.0}, 2 / 120),
        ("lifted", {"rpe_um": 340.0}, 0.0),
        ("thinned", {"ilm_um": 300.0}, 0.0),
    ],
)
def test_violations_are_counted(name: str, change: dict[str, float], expected: float) -> None:
    surfaces = _flat()
    for which, value in change.items():
        getattr(surfaces, which)[1, 2, 20:22] = value
    # Steps of 1 mm between A-scans: only the depths can be wrong.
    assert layer_violations(surfaces, 1.2).tolist() == pytest.approx([0.0, expected])


def test_jumps_are_steeper_than_45_degrees() -> None:
    surfaces = _flat()
    surfaces.ilm_um[0, 1, 25:] += 85
    surfaces.rpe_um[0, 0, 30:] -= 85
    surfaces.ilm_um[1, 1, 25:] += 70
    surfaces.ilm_um[0, 2, 25:] += 85
    surfaces.ilm_um[0, 2, 24] = math.nan  # next to the unknown there is no step
    spacing = torch.tensor([0.08, 0.08])
    assert layer_violations(surfaces, spacing).tolist() == pytest.approx([2 / 119, 0.0])


def test_shuffled_ascans_are_less_plausible_than_the_eyes_they_come_from() -> None:
    volume, _, real, _ = _eyes()
    plausible = layer_violations(real, X_MM)
    assert (plausible < 0.03).all()
    shuffled = find_surfaces(volume[..., torch.randperm(112)], Z_MM, X_MM)
    assert (layer_violations(shuffled, X_MM) > plausible + 0.05).all()


def test_surfaces_of_another_volume_are_refused() -> None:
    volume, _, real, _ = _eyes()
    with pytest.raises(ValueError, match="surfaces: expected those of the volume"):
        vessel_shadows(volume[..., 1:], real, Z_MM, X_MM)
