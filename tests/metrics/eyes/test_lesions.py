"""Estimated volumes of lesions, against closed forms and the phantom's labels."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fund2oct.eye import Eye
from fund2oct.geometry import CircularScan, LineScan, RadialScan, RasterScan, ScanPattern
from fund2oct.metrics.eyes.fluid import find_fluid
from fund2oct.metrics.eyes.layers import Surfaces, find_surfaces
from fund2oct.metrics.eyes.lesions import (
    ELEVATION,
    FLUID,
    ascan_area_mm2,
    elevation_um,
    label_um,
    lesion_volume_mm3,
)
from fund2oct.phantom import LESIONS, PhantomConfig, simulate_eye

Z_MM, X_MM = 0.024, 8.8 / 112
DIAGNOSES = ("normal", "SRF", "IRF", "PED", "drusen", "ERM", "GA", "haemorrhage")


def test_the_area_of_a_star_is_that_of_its_sectors() -> None:
    found = ascan_area_mm2(RadialScan(6, 8.8), 44)
    radius = (torch.arange(44) + 0.5) * 0.2 - 4.4
    sector = radius.abs() * 0.2 * math.pi / 6
    assert found.shape == (6, 44)
    torch.testing.assert_close(found[:, 3:-3].mean(0), sector[3:-3], rtol=0.03, atol=0.002)
    # The hull of six diameters is a polygon of twelve corners.
    assert found.sum().item() == pytest.approx(12 * 4.4**2 * math.sin(math.pi / 6) / 2, rel=0.01)


def test_the_area_of_a_raster_is_the_product_of_its_spacings() -> None:
    found = ascan_area_mm2(RasterScan(7, 5.0, 6.0), 10)
    torch.testing.assert_close(found[1:-1], torch.full((5, 10), 0.5), rtol=0.03, atol=0)
    torch.testing.assert_close(found[0], torch.full((10,), 0.25), rtol=0.05, atol=0)


def test_the_area_of_rings_is_that_of_their_bands() -> None:
    found = ascan_area_mm2(CircularScan((1.0, 2.0)), 24)
    # The inner ring has what is nearer to it: up to the middle between both.
    torch.testing.assert_close(
        found.sum(1), math.pi * torch.tensor([1.5**2, 2**2 - 1.5**2]), rtol=0.03, atol=0
    )


@pytest.mark.parametrize("scan", [LineScan((((-3.0, 0.0), (3.0, 0.0)),)), CircularScan((1.7,))])
def test_a_single_line_or_circle_encloses_no_volume(scan: ScanPattern) -> None:
    area = ascan_area_mm2(scan, 12)
    assert area.shape == (1, 12) and area.isnan().all()
    assert lesion_volume_mm3(torch.ones(2, 1, 12), area).isnan().all()


def test_a_volume_is_the_sum_of_heights_times_areas() -> None:
    height, area = torch.rand(3, 2, 8) * 100, torch.rand(2, 8)
    expected = (height.double() * area).sum((1, 2)) / 1000
    height[1, 0, 0] = math.nan
    expected[1] -= float(torch.nan_to_num(expected[1] - (height[1].nan_to_num() * area).sum() / 1000))
    height[2, :, 1:] = math.nan  # an eighth is left
    found = lesion_volume_mm3(height, area)
    torch.testing.assert_close(found[:2].double(), expected[:2])
    assert found[2].isnan()
    with pytest.raises(ValueError, match=r"\(B, S, X\) and \(S, X\)"):
        lesion_volume_mm3(height, area.T)


def test_labels_are_counted_by_name() -> None:
    labels = torch.zeros(2, 3, 10, 7, dtype=torch.uint8)
    labels[0, 1, 2:6, 3] = LESIONS.index("IRF") + 1
    labels[0, 1, 7, 3] = LESIONS.index("SRF") + 1
    labels[1, 2, :2, 0] = LESIONS.index("PED") + 1
    fluid = label_um(labels, FLUID, torch.tensor([0.01, 0.02]))
    assert fluid[0, 1, 3].item() == pytest.approx(50) and fluid.sum().item() == pytest.approx(50)
    assert label_um(labels, ELEVATION, torch.tensor([0.01, 0.02]))[1, 2, 0].item() == pytest.approx(40)
    with pytest.raises(ValueError, match="found \\['oedema'\\]"):
        label_um(labels, ("oedema",), 0.01)
    with pytest.raises(ValueError, match=r"\(B, S, Z, X\)"):
        label_um(labels[0], FLUID, 0.01)


@pytest.mark.parametrize(("n_depth", "n_ascans"), [(100, 60), (300, 180)])
def test_a_dark_box_has_its_height_at_any_resolution(n_depth: int, n_ascans: int) -> None:
    z_mm, x_mm = 2.4 / n_depth, 4.8 / n_ascans
    depth = (torch.arange(n_depth) + 0.5)[:, None] * z_mm * 1000
    along = (torch.arange(n_ascans) + 0.5) * x_mm
    bscan = torch.where((depth > 600) & (depth < 1200), 0.5, 0.1).expand(n_depth, n_ascans).clone()
    box = (depth > 840) & (depth < 1080) & (along > 1.6) & (along < 3.2)
    bscan[box] = 0.1
    volume = bscan.expand(1, 1, 2, -1, -1).clone()
    volume[0, 0, :, : n_depth // 10] = 1.0  # what a device fills with is no vitreous
    surfaces = Surfaces(*(torch.full((1, 2, n_ascans), um) for um in (600.0, 1200.0, 1226.0)))
    height = find_fluid(volume, surfaces, z_mm, x_mm).total_um
    inside = ((along > 1.8) & (along < 3.0)).expand(1, 2, -1)
    outside = ((along < 1.4) | (along > 3.4)).expand(1, 2, -1)
    assert height[inside].tolist() == pytest.approx([240.0] * int(inside.sum()), abs=25)
    assert (height[outside] == 0).all()


def test_a_pocket_on_the_epithelium_is_subretinal_and_one_above_it_is_not() -> None:
    z_mm, x_mm, n_ascans = 0.024, 0.08, 60
    depth = (torch.arange(90) + 0.5)[:, None] * 24
    along = torch.arange(n_ascans)
    bscan = torch.where((depth > 600) & (depth < 1200), 0.5, 0.1).expand(90, n_ascans).clone()
    bscan[(depth > 960) & (depth < 1200) & (along >= 10) & (along < 25)] = 0.1
    bscan[(depth > 840) & (depth < 1080) & (along >= 35) & (along < 50)] = 0.1
    volume = bscan.expand(1, 1, 2, -1, -1).clone()
    volume[0, 0, 1] = volume[0, 0, 1].flip(-1)
    surfaces = Surfaces(*(torch.full((1, 2, n_ascans), um) for um in (600.0, 1200.0, 1226.0)))
    under, within = find_fluid(volume, surfaces, z_mm, x_mm)
    expected = torch.zeros(2, n_ascans, dtype=torch.bool)
    expected[:, 12:23] = True
    expected[1] = expected[1].flip(-1)
    assert (under[0][expected] > 150).all() and (within[0][expected] == 0).all()
    # The other pocket is 25 A-scans further along its slice.
    other = torch.stack([expected[0].roll(25), expected[1].roll(-25)])
    assert (within[0][other] > 150).all() and (under[0][other] == 0).all()


def test_fluid_is_unknown_without_surfaces_or_vitreous() -> None:
    volume = torch.rand(2, 1, 2, 50, 40)
    surfaces = Surfaces(*(torch.full((2, 2, 40), um) for um in (500.0, 800.0, 826.0)))
    surfaces.ilm_um[0, 0, :10] = math.nan
    surfaces.ilm_um[1, 1] = 20.0  # at the frame's edge
    unknown = find_fluid(volume, surfaces, Z_MM, 0.1).total_um.isnan()
    assert unknown[0].sum() == 10 and unknown[0, 0, :10].all()
    assert unknown[1, 1].all() and not unknown[1, 0].any()


def test_an_epithelium_on_its_membrane_is_not_elevated() -> None:
    surfaces = Surfaces(
        torch.zeros(1, 1, 3), torch.tensor([[[300.0, 300.0, math.nan]]]), torch.zeros(1, 1, 3)
    )
    surfaces.bm_um[0, 0, :2] = torch.tensor([326.0, 426.0])
    assert elevation_um(surfaces)[0, 0].tolist() == pytest.approx([0.0, 100.0, math.nan], nan_ok=True)


@cache
def _simulated() -> list[Eye]:
    """Eyes of every kind."""
    kinds = [DIAGNOSES[number % len(DIAGNOSES)] for number in range(24)]
    return [simulate_eye(41, number, PhantomConfig(diagnosis=kind)) for number, kind in enumerate(kinds)]


@cache
def _estimates(name: str) -> tuple[Tensor, Tensor]:
    """Estimated and true volumes of fluid and elevation in eyes of every kind, ``(2, N)`` each."""
    eyes = _simulated()
    volume = torch.from_numpy(np.stack([getattr(eye, name) for eye in eyes]))[:, None] / 255
    labels = torch.from_numpy(np.stack([eye.lesions for eye in eyes]))
    surfaces = find_surfaces(volume, Z_MM, X_MM)
    area = ascan_area_mm2(eyes[0].scan, 112)
    found = [find_fluid(volume, surfaces, Z_MM, X_MM).total_um, elevation_um(surfaces)]
    # The labels hold the lifted epithelium too.
    truth = [label_um(labels, FLUID, Z_MM), (label_um(labels, ELEVATION, Z_MM) - 26).clamp(min=0)]
    return tuple(
        torch.stack([lesion_volume_mm3(height, area) for height in heights]) for heights in (found, truth)
    )


@pytest.mark.parametrize(("kind", "slope"), [(0, (0.55, 0.9)), (1, (0.75, 1.1))])
def test_estimates_follow_the_truth_of_simulated_eyes(kind: int, slope: tuple[float, float]) -> None:
    found, truth = (volumes[kind].numpy() for volumes in _estimates("volume"))
    ill = truth > 0.005
    assert ill.sum() >= 6
    assert np.corrcoef(found, truth)[0, 1] > 0.95
    assert slope[0] < np.polyfit(truth, found, 1)[0] < slope[1]
    assert found[~ill].mean() < 0.03 and found[~ill].max() < 0.35 * truth[ill].mean()


def test_two_scans_of_an_eye_have_one_volume() -> None:
    (first, truth), (second, _) = _estimates("volume"), _estimates("rescan")
    assert ((first - second).abs().mean(1) < 0.15 * truth.mean(1)).all()
    assert ((first - first.roll(1, 1)).abs().mean(1) > 5 * (first - second).abs().mean(1)).all()


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("SRF_input_1494_1", 30, 70),  # a broad pocket under the retina
        ("NoSRF_input_15_1", 30, 70),  # a large cyst within it
        ("NoSRF_input_1_1", 0, 3),
        ("NoSRF_input_5_1", 0, 3),
        ("NoSRF_input_8_1", 0, 3),
    ],
)
def test_real_bscans_with_large_pockets_have_fluid(
    real_data: Path, name: str, least: float, most: float
) -> None:
    bscan = np.array(Image.open(real_data / "srf_bscans" / f"Train-Data_{name}.png").convert("L"))
    volume = torch.from_numpy(bscan)[None, None, None] / 255
    # The file does not state its spacing: that usual for the device.
    surfaces = find_surfaces(volume, 0.0039, 0.0117)
    assert least <= find_fluid(volume, surfaces, 0.0039, 0.0117).total_um.nanmean() <= most
