"""Where A-scans lie: conventions pinned by points and by one bright voxel."""

import math
import pickle

import pytest
import torch

from fund2oct.geometry import LineScan, Placement, RadialScan, RasterScan, ScanPattern, grid_to_pixels
from fund2oct.networks.lift import sample_lines


def test_first_line_of_the_star_runs_from_inferior_to_superior():
    points = RadialScan(length_mm=8.0).coordinates(4)
    torch.testing.assert_close(points[0], torch.tensor([[0, 3.0], [0, 1], [0, -1], [0, -3]]))


def test_lines_turn_clockwise_as_displayed():
    points = RadialScan(6, length_mm=2.0).coordinates(1000)
    ends = points[:, -1]
    angles = torch.rad2deg(torch.atan2(ends[:, 0], -ends[:, 1]))
    torch.testing.assert_close(angles, torch.arange(6) * 30.0, atol=1e-3, rtol=0)


def test_start_and_direction_are_configurable():
    points = RadialScan(4, start_deg=90, clockwise=False, length_mm=2.0).coordinates(1)
    assert points.shape == (4, 1, 2)
    first, second = RadialScan(4, 2.0, start_deg=90, clockwise=False).lines[:2]
    assert first[1] == pytest.approx((1, 0), abs=1e-9)
    assert second[1] == pytest.approx((math.sqrt(0.5), -math.sqrt(0.5)))


@pytest.mark.parametrize("upwards, first_y", [(False, -2.0), (True, 2.0)])
def test_raster_runs_left_to_right(upwards, first_y):
    points = RasterScan(5, width_mm=6, height_mm=4, upwards=upwards).coordinates(3)
    torch.testing.assert_close(points[0], torch.tensor([[-2, first_y], [0, first_y], [2, first_y]]))
    torch.testing.assert_close(points[-1, :, 1], torch.full((3,), -first_y))


def test_ascans_are_centres_of_equal_parts():
    scan = LineScan((((0, 0), (10, 0)),))
    torch.testing.assert_close(scan.coordinates(5)[0, :, 0], torch.tensor([1.0, 3, 5, 7, 9]))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"shift": (math.nan, 0)}, "shift"), ({"rotation_deg": math.inf}, "rotation_deg"),
        ({"half_width_mm": math.inf}, "half_width_mm"), ({"half_width_mm": 0}, "half_width_mm"),
    ],
)  # fmt: skip
def test_a_placement_is_finite(values, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        Placement(**values)


def test_placement_maps_millimetres_to_pixel_centres():
    placement = Placement(shift=(0.5, -0.5), rotation_deg=90, half_width_mm=10)
    # One half width to the right, turned clockwise as displayed, points down.
    pixel = placement.to_pixels(torch.tensor([[10.0, 0.0], [0.0, 0.0]]), 100)
    torch.testing.assert_close(pixel, torch.tensor([[74.5, 74.5], [74.5, 24.5]]))
    torch.testing.assert_close(grid_to_pixels(torch.tensor(-1.0), 8), torch.tensor(-0.5))
    # Still millimetres, but to the right and down of the photo.
    turned = placement.turned(torch.tensor([[1.0, 2.0], [3.0, -4.0]]))
    torch.testing.assert_close(turned, torch.tensor([[-2.0, 1.0], [4.0, 3.0]]))


@pytest.mark.parametrize("size_px", [64, 129])
def test_a_bright_pixel_is_seen_by_the_ascan_over_it(size_px):
    scan, placement = RadialScan(6, 8.0), Placement(half_width_mm=5)
    grid = placement.to_grid(scan.coordinates(40))[None]
    where = placement.to_pixels(scan.coordinates(40), size_px)[4, 31].round().long()
    photo = torch.zeros(1, 1, size_px, size_px)
    photo[0, 0, where[1], where[0]] = 1
    seen = sample_lines(photo, grid)[0, 0]
    assert divmod(int(seen.argmax()), 40) == (4, 31)


@pytest.mark.parametrize("n_lines", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("start_deg, clockwise", [(0, True), (17, False)])
def test_a_star_has_4n_symmetries(n_lines, start_deg, clockwise):
    symmetries = RadialScan(n_lines, start_deg=start_deg, clockwise=clockwise).symmetries()
    assert len(symmetries) == 4 * n_lines
    assert len({(s.slices, s.mirrored) for s in symmetries}) == len(symmetries) or n_lines == 1
    assert sum(s.swaps_laterality for s in symmetries) == 2 * n_lines


def test_a_turn_by_one_step_wraps_the_last_slice_mirrored():
    turn = next(
        s
        for s in RadialScan(6).symmetries()
        if not s.swaps_laterality and s.slices == (5, 0, 1, 2, 3, 4) and s.mirrored[0]
    )
    assert turn.mirrored == (True, False, False, False, False, False)
    assert turn.matrix[0] == pytest.approx((math.cos(math.pi / 6), -math.sin(math.pi / 6)))


def test_a_horizontal_flip_reverses_the_order_and_mirrors_the_horizontal_slice():
    flip = next(s for s in RadialScan(6).symmetries() if s.matrix == ((-1.0, 0.0), (0.0, 1.0)))
    assert flip.swaps_laterality
    assert flip.slices == (0, 5, 4, 3, 2, 1)
    # A line that runs up and to the right becomes, read backwards, one that runs down and right.
    assert flip.mirrored == (False, True, True, True, True, True)


def test_a_raster_has_four_symmetries():
    symmetries = {s.matrix: s for s in RasterScan(5, 6, 4).symmetries()}
    assert set(symmetries) == {
        ((1.0, 0.0), (0.0, 1.0)),
        ((-1.0, 0.0), (0.0, 1.0)),
        ((1.0, 0.0), (0.0, -1.0)),
        ((-1.0, 0.0), (0.0, -1.0)),
    }
    across = symmetries[((-1.0, 0.0), (0.0, 1.0))]
    assert across.slices == (0, 1, 2, 3, 4) and all(across.mirrored)
    down = symmetries[((1.0, 0.0), (0.0, -1.0))]
    assert down.slices == (4, 3, 2, 1, 0) and not any(down.mirrored)


def test_lines_without_a_pattern_have_the_identity_alone():
    scan = LineScan((((0, 0), (1, 0)), ((0, 0), (0, 2)), ((1, 1), (3, 4))))
    (identity,) = scan.symmetries()
    assert identity.slices == (0, 1, 2) and identity.matrix == ((1.0, 0.0), (0.0, 1.0))


@pytest.mark.parametrize(
    "scan", [RadialScan(6, 8.8), RadialScan(3, 6, start_deg=20), RasterScan(5, 6, 5), RasterScan(4, 6, 3)]
)
@pytest.mark.parametrize("placement", [Placement(), Placement((0.1, -0.05), 12, 6.0)])
def test_photo_and_volume_move_together(scan, placement):
    """What an A-scan lies over stays under it: the volume is made of the photo itself."""
    n_ascans, size_px, n_depth = 33, 257, 4
    ys, xs = torch.meshgrid(*[torch.linspace(-1, 1, size_px)] * 2, indexing="ij")
    photo = (torch.sin(3 * xs + 1) * torch.cos(4 * ys - xs) + 0.4 * ys)[None, None]

    def scanned(image, where):
        lines = sample_lines(image, where.to_grid(scan.coordinates(n_ascans))[None])
        return lines[:, :, :, None].expand(-1, -1, -1, n_depth, -1)

    volume = scanned(photo, placement)
    for symmetry in scan.symmetries():
        moved_photo = symmetry.apply_to_fundus(photo)
        moved_volume = symmetry.apply_to_scan(volume)
        # Turning by the photo's own pixels resamples it, hence the tolerance.
        torch.testing.assert_close(
            scanned(moved_photo, placement.moved(symmetry)), moved_volume, atol=5e-3, rtol=0
        )


def test_a_bright_voxel_moves_as_the_symmetry_says():
    volume = torch.zeros(1, 1, 6, 5, 9)
    volume[0, 0, 5, 2, 1] = 1
    turn = RadialScan(6).symmetries()[2]
    assert turn.slices[0] == 5 and turn.mirrored[0]
    moved = turn.apply_to_scan(volume)
    assert moved[0, 0, 0, 2, 7] == 1 and moved.sum() == 1


def test_a_line_that_is_scanned_twice_keeps_both_of_its_slices():
    """The same line once more, and once backwards: another slice may hold it, and none is lost."""
    line, across = ((-3.0, 0.0), (3.0, 0.0)), ((0.0, -3.0), (0.0, 3.0))
    scan = LineScan((line, line, across, line[::-1]))
    found = scan.symmetries()
    assert found[0].slices == (0, 1, 2, 3) and not any(found[0].mirrored)
    assert len(found) == 4 and all(sorted(one.slices) == [0, 1, 2, 3] for one in found)
    places = scan.coordinates(5)
    for one in found:
        moved = places @ torch.tensor(one.matrix, dtype=places.dtype).T
        torch.testing.assert_close(one.apply_to_scan(moved, slice_dim=0, ascan_dim=1), places)


def test_symmetries_form_a_group():
    symmetries = RadialScan(6).symmetries()
    volume = torch.rand(1, 1, 6, 2, 7)
    results = {tuple(s.apply_to_scan(volume).flatten().tolist()) for s in symmetries}
    for first in symmetries[:7]:
        for second in symmetries[::5]:
            twice = second.apply_to_scan(first.apply_to_scan(volume))
            assert tuple(twice.flatten().tolist()) in results


@pytest.mark.parametrize(
    "scan", [RadialScan(4, 6.0, 15, False), RasterScan(7, 5, 3, True), LineScan((((0, 0), (1, 2)),))]
)
def test_patterns_survive_a_file_and_a_pickle(scan):
    assert ScanPattern.from_dict(scan.to_dict()) == scan
    assert pickle.loads(pickle.dumps(scan)) == scan
    placement = Placement((0.1, 0.2), 3, 5)
    assert Placement.from_dict(placement.to_dict()) == placement


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RadialScan(0), "radial scan"),
        (lambda: RadialScan(6, -1), "positive length"),
        (lambda: RasterScan(1), "at least two lines"),
        (lambda: LineScan(()), "at least one line"),
        (lambda: LineScan((((0, 0), (0, 0)),)), "line 0 has no length"),
        (lambda: LineScan((((0, 0), (math.nan, 0)),)), "finite"),
        (lambda: Placement(half_width_mm=0), "positive length"),
        (lambda: RadialScan().coordinates(0), "n_ascans"),
        (lambda: ScanPattern.from_dict({"kind": "spiral"}), "spiral"),
        (lambda: RadialScan().symmetries()[0].apply_to_fundus(torch.zeros(1, 3, 4, 5)), "square"),
        (lambda: RadialScan().symmetries()[0].apply_to_scan(torch.zeros(1, 1, 5, 2, 2)), "6 slices"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
