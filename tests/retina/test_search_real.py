"""The search on real eyes: contact sheets of every slice were looked at; these guard what was seen."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fund2oct.retina import estimate_pose, retinal_boundaries

NAN = float("nan")
DUKE_SPACING = (0.12, 0.00387, 0.0116)


def _read(paths) -> np.ndarray:
    paths = list(paths)
    if not paths or not paths[0].exists():
        pytest.skip(f"no real slices at {paths[0].parent if paths else 'the folder of real eyes'}")
    return np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])


def _duke(real_data: Path, *numbers: int) -> np.ndarray:
    return _read(real_data / "duke_dme" / f"Subject_01_{number + 1}.png" for number in numbers)


@pytest.mark.parametrize("eye", ["011574-64L", "016035-63R"])
def test_challenge_eyes(real_data, eye):
    folder = real_data / "aptos_mini/train/OCT" / eye
    volume = _read(folder / f"{eye}_{number}.jpg" for number in range(6))
    spacing = (NAN, 1.92 / volume.shape[1], 8.8 / volume.shape[2])
    found, estimate = retinal_boundaries(volume, spacing), estimate_pose(volume, spacing)
    assert estimate.ok.all()
    assert found.ok.mean() > 0.95
    for thickness in found.thickness_um:
        assert 180 < np.nanmedian(thickness) < 420
    # A bowl in every slice, as these frames show it, whatever the detachments do.
    assert (estimate.pose_um[:, 2] < 0).all() and (np.abs(estimate.pose_um[:, 2]) < 400).all()


def test_challenge_depths_read_by_eye(real_data):
    """Rows of the outer retina where it is plain to see, and of Bruch's membrane under a detachment."""
    folder = real_data / "aptos_mini/train/OCT/011574-64L"
    volume = _read(folder / f"011574-64L_{number}.jpg" for number in range(6))
    found = retinal_boundaries(volume, (NAN, 1.92 / 100, 8.8 / 100))
    for slice_number, column, row in ((0, 50, 50.5), (1, 20, 41), (2, 50, 51), (3, 50, 50.5), (4, 50, 51)):
        assert found.bm_um[slice_number, column] / 19.2 == pytest.approx(row, abs=2.5)
    assert found.rpe_um[1, 86] / 19.2 == pytest.approx(12, abs=3)


def test_oedema_depths_read_by_eye(real_data):
    """Rows read off enlarged slices (0-based slice and column), to within three rows of 3.9 um."""
    read = {
        (10, 200): (203, 267),
        (10, 500): (212, 292),
        (30, 150): (196, 266),
        (50, 300): (217, 290),
        (50, 600): (216, 293),
    }
    found = retinal_boundaries(_duke(real_data, 10, 30, 50), DUKE_SPACING)
    for (number, column), (ilm, bm) in read.items():
        row = (10, 30, 50).index(number)
        assert found.ilm_um[row, column] / 3.87 == pytest.approx(ilm, abs=4)
        assert found.bm_um[row, column] / 3.87 == pytest.approx(bm, abs=4)


def test_oedema_is_thickness_and_the_outer_retina_stays_smooth(real_data):
    volume = _duke(real_data, 0, 10, 20, 27, 31, 40, 52, 60)
    found, estimate = retinal_boundaries(volume, DUKE_SPACING), estimate_pose(volume, DUKE_SPACING)
    assert estimate.ok.all() and estimate.confidence.min() > 0.85
    assert found.ok.mean() > 0.93
    assert 240 < np.nanmedian(found.thickness_um) < 420
    assert 600 < np.nanmax(found.thickness_um[4]) < 850
    assert np.abs(np.diff(found.rpe_um, axis=-1))[:, 20:-80].max() < 30


def test_macular_hole(real_data):
    tifffile = pytest.importorskip("tifffile")
    path = real_data / "macular_hole" / "mh.tif"
    if not path.exists():
        pytest.skip(f"no volume at {path}")
    volume = tifffile.imread(path)
    found = retinal_boundaries(volume, (0.12, 0.01, 0.03))
    estimate = estimate_pose(volume, (0.12, 0.01, 0.03))
    assert estimate.ok.all() and estimate.confidence.min() > 0.75
    # The volume was flattened on the outer retina before it was published.
    assert np.abs(found.bm_um - np.median(found.bm_um)).max() < 100
    assert np.nanmin(found.thickness_um[24]) < 50 and np.nanmedian(found.thickness_um[0]) > 250


@pytest.mark.slow
def test_single_bscans(real_data):
    folder = real_data / "srf_bscans"
    paths = sorted(folder.glob("*.png"))
    spacing = (NAN, 1.92 / 512, 6 / 512)
    volumes = _read(paths)[:, None]
    estimates = [estimate_pose(volume, spacing) for volume in volumes]
    assert np.mean([estimate.ok.all() for estimate in estimates]) > 0.95
    for volume in volumes[::5]:
        found = retinal_boundaries(volume, spacing)
        assert found.ok.mean() > 0.7
        assert 100 < np.nanmedian(found.thickness_um) < 500
