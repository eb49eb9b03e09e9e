import pytest
import torch
from torch.nn import functional as F

from fund2oct.data.augmenting.symmetry import allowed_symmetries, move_sample
from fund2oct.geometry import LineScan, Placement, RadialScan, RasterScan, ScanPattern
from fund2oct.retina import pose_surface_um

Z, X, H = 7, 10, 64
PLACEMENT = Placement((0.04, -0.07), 5.0, 6.2)
SCANS = [
    RadialScan(6),
    RadialScan(5, 7.0, start_deg=11.0, clockwise=False),
    RasterScan(9, 6.0, 5.0),
    LineScan((((-3, 0), (3, 0)), ((0, -2), (0, 2)))),
]


def photo_with_a_mark_at(position: torch.Tensor) -> torch.Tensor:
    centres = (torch.arange(H) + 0.5) * 2 / H - 1
    x, y = centres[None], centres[:, None]
    mark = torch.exp(-((x - position[0]) ** 2 + (y - position[1]) ** 2) / (2 * (5 / H) ** 2))
    return mark.expand(3, H, H)


def sample_of(scan: ScanPattern, s: int, z: int, x: int) -> dict:
    """A sample with one bright voxel, and one bright spot on the photo where its A-scan lies."""
    grid = PLACEMENT.to_grid(scan.coordinates(X))
    volume = torch.zeros(1, scan.n_slices, Z, X)
    volume[0, s, z, x] = 1
    return {
        "fundus": photo_with_a_mark_at(grid[s, x]),
        "volume": volume,
        "rescan": volume * 0.5,
        "boundaries_um": torch.rand(11, scan.n_slices, X),
        "surfaces_um": torch.rand(4, scan.n_slices, X),
        "surface_confidence": torch.rand(scan.n_slices, X),
        "pose_um": torch.rand(scan.n_slices, 3) * 100,
        "spacing_z_mm": torch.tensor(0.01),
        "grid": grid,
        "key": "eye",
        "laterality": "OD",
        "diagnosis": "",
    }


@pytest.mark.parametrize("scan", SCANS, ids=lambda scan: scan.kind)
def test_the_mark_stays_under_its_ascan(scan):
    for s, z, x in ((0, 2, 1), (scan.n_slices - 1, 5, 8), (scan.n_slices // 2, 0, 3)):
        sample = sample_of(scan, s, z, x)
        for symmetry in allowed_symmetries(scan, "all"):
            moved = move_sample(sample, symmetry)
            (_, s2, z2, x2) = moved["volume"].nonzero()[0].tolist()
            assert moved["volume"].sum() == 1
            assert z2 == z
            seen = F.grid_sample(moved["fundus"][None], moved["grid"][None], align_corners=False)[0, 0]
            assert seen[s2, x2] > 0.9
            # On a star the lines meet near the fovea, where a neighbour may see the mark as well.
            assert seen[s2, x2] >= seen.max() - 0.03
            torch.testing.assert_close(moved["rescan"], moved["volume"] * 0.5)


@pytest.mark.parametrize("scan", SCANS, ids=lambda scan: scan.kind)
def test_positions_are_those_of_the_moved_placement(scan):
    sample = sample_of(scan, 1, 2, 3)
    for symmetry in allowed_symmetries(scan, "all"):
        moved = move_sample(sample, symmetry)
        wanted = PLACEMENT.moved(symmetry).to_grid(scan.coordinates(X))
        torch.testing.assert_close(moved["grid"], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scan", SCANS, ids=lambda scan: scan.kind)
def test_pose_and_boundaries_move_with_the_slices(scan):
    sample = sample_of(scan, 1, 2, 3)
    sample["boundaries_um"][4] = sample["surfaces_um"][3] = pose_surface_um(sample["pose_um"], X)
    sample["surfaces_um"][0, 1, 3], sample["surface_confidence"][1, 3] = torch.nan, 2.0
    for symmetry in allowed_symmetries(scan, "all"):
        moved = move_sample(sample, symmetry)
        for surface in (moved["boundaries_um"][4], moved["surfaces_um"][3]):
            torch.testing.assert_close(surface, pose_surface_um(moved["pose_um"], X))
        (_, s, _, x) = moved["volume"].nonzero()[0].tolist()
        assert moved["surfaces_um"].isnan().nonzero().tolist() == [[0, s, x]]
        assert (moved["surface_confidence"] == 2).nonzero().tolist() == [[s, x]]


def test_flips_do_not_resample_the_photo():
    fundus = torch.rand(3, H, H)
    flipped = {
        "identity": fundus,
        "left-right": fundus.flip(-1),
        "up-down": fundus.flip(-2),
        "both": fundus.flip(-1, -2),
    }
    sample = sample_of(RadialScan(6), 0, 2, 1) | {"fundus": fundus}
    moved = [
        move_sample(sample, symmetry)["fundus"] for symmetry in allowed_symmetries(RadialScan(6), "flips")
    ]
    assert len(moved) == 4
    for wanted in flipped.values():
        assert min((found - wanted).abs().max() for found in moved) < 1e-4


def test_a_reflection_swaps_laterality_and_a_turn_does_not():
    sample = sample_of(RadialScan(6), 0, 2, 1)
    for symmetry in allowed_symmetries(RadialScan(6), "all"):
        (a, b), (c, d) = symmetry.matrix
        assert move_sample(sample, symmetry)["laterality"] == ("OD" if a * d - b * c > 0 else "OS")
        assert move_sample(sample | {"laterality": "OS"}, symmetry)["laterality"] == (
            "OS" if a * d - b * c > 0 else "OD"
        )


@pytest.mark.parametrize(
    ("scan", "n_all", "n_flips"),
    [
        (RadialScan(6), 24, 4),
        (RadialScan(5), 20, 4),
        (RadialScan(5, start_deg=11), 20, 2),
        (RasterScan(), 4, 4),
    ],
)
def test_how_many_there_are(scan, n_all, n_flips):
    assert len(allowed_symmetries(scan, "all")) == n_all
    assert len(allowed_symmetries(scan, "flips")) == n_flips
    (only,) = allowed_symmetries(scan, "none")
    assert only.matrix == ((1, 0), (0, 1))
    assert allowed_symmetries(scan, "flips")[0] == allowed_symmetries(scan, "all")[0] == only


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="symmetries: expected 'all', 'flips' or 'none', found 'some'"):
        allowed_symmetries(RadialScan(), "some")
