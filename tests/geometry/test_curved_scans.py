"""Circles and patterns of one's own: places, symmetries, and how they are stored."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fund2oct.geometry import (
    CircularScan,
    CurveScan,
    LineScan,
    Placement,
    RadialScan,
    RasterScan,
    ScanPattern,
)
from fund2oct.geometry.triangles import inside_a_ring
from fund2oct.networks.lift import sample_lines


@dataclass(frozen=True)
class Spiral(ScanPattern):
    """A turn outwards each slice."""

    n_turns: int = 3
    pitch_mm: float = 0.8

    def points(self, along):
        turns = torch.arange(self.n_turns, device=along.device, dtype=along.dtype)[:, None] + along
        angle = 2 * math.pi * turns
        return self.pitch_mm * turns[..., None] * torch.stack([angle.cos(), angle.sin()], -1)


def test_a_ring_of_a_right_eye_runs_temporal_superior_nasal_inferior():
    # A right eye's temporal side is to the left as displayed; superior is up, so y is negative.
    points = CircularScan((2.0,), start_deg=-90).coordinates(4)[0]
    quarter = 2 * math.sqrt(0.5)
    expected = [[-quarter, -quarter], [quarter, -quarter], [quarter, quarter], [-quarter, quarter]]
    torch.testing.assert_close(points, torch.tensor(expected))
    other = CircularScan((2.0,), start_deg=90, clockwise=False).coordinates(4)[0]
    torch.testing.assert_close(other, points * torch.tensor([-1.0, 1.0]))  # the left eye is its mirror image


def test_a_bright_pixel_is_seen_by_the_ascan_over_it():
    scan, placement = CircularScan((1.5, 2.5), 20.0), Placement((0.2, -0.1), 10.0, 5.0)
    column, row = placement.to_pixels(scan.coordinates(50), 96)[1, 33].round().long()
    photo = torch.zeros(1, 1, 96, 96)
    photo[0, 0, row, column] = 1
    seen = sample_lines(photo, placement.to_grid(scan.coordinates(50))[None])[0, 0]
    assert divmod(int(seen.argmax()), 50) == (1, 33)


def test_lengths_are_those_of_the_circles_and_do_not_depend_on_the_form():
    ring = CircularScan((1.5, 2.5))
    assert ring.length_mm == pytest.approx((3 * math.pi, 5 * math.pi)) and ring.reach_mm == pytest.approx(2.5)
    assert CurveScan.of(ring).length_mm == pytest.approx(ring.length_mm, rel=1e-3)
    assert ScanPattern.length_mm.fget(ring) == pytest.approx(ring.length_mm, rel=1e-4)
    assert RadialScan(5, 6.0).reach_mm == pytest.approx(3.0)


@pytest.mark.parametrize("start_deg", [0.0, -90.0, 37.0])
def test_circles_have_one_reflection_and_no_other_symmetry(start_deg):
    scan = CircularScan((1.0, 1.7), start_deg)
    identity, mirror = scan.symmetries()
    assert identity.matrix == ((1, 0), (0, 1)) and not any(identity.mirrored)
    assert mirror.slices == (0, 1) and mirror.mirrored == (True, True) and mirror.swaps_laterality
    # It holds the diameter on which the circles begin.
    start = scan.points(torch.zeros(1, dtype=torch.float64))[1, 0]
    torch.testing.assert_close(torch.tensor(mirror.matrix, dtype=torch.float64) @ start, start)
    # Content at p moves to matrix @ p: the moved volume's A-scans lie where the pattern has them.
    moved = scan.coordinates(9, dtype=torch.float64) @ torch.tensor(mirror.matrix, dtype=torch.float64).T
    torch.testing.assert_close(
        mirror.apply_to_scan(moved, slice_dim=0, ascan_dim=1), scan.coordinates(9, dtype=torch.float64)
    )


def test_lines_that_are_a_little_irregular_have_no_symmetry_but_the_identity():
    lines = np.array(RadialScan(6, 6.0).lines)
    lines[2, 1] += 0.004
    scan = LineScan(tuple(map(tuple, lines.tolist())))
    assert [one.matrix for one in scan.symmetries()] == [((1, 0), (0, 1))]
    assert len(Spiral().symmetries()) == 1


@pytest.mark.parametrize(
    "scan",
    [CircularScan((1.0, 1.7), 12.5, False), CurveScan((((0, 0), (1, 0), (1, 2)), ((3, 1), (2, 2), (0, 1))))],
)
def test_it_is_stored_as_plain_values(scan):
    assert ScanPattern.from_dict(json.loads(json.dumps(scan.to_dict()))) == scan
    assert scan.chosen((1,)).n_slices == 1
    torch.testing.assert_close(scan.chosen((1, 0)).coordinates(7), scan.coordinates(7)[[1, 0]])


def test_a_pattern_of_ones_own_is_read_without_its_code():
    scan = Spiral()
    stored = ScanPattern.from_dict(json.loads(json.dumps(scan.to_dict())))
    assert type(stored) is CurveScan and stored.n_slices == scan.n_slices == 3
    torch.testing.assert_close(stored.coordinates(101), scan.coordinates(101), atol=1.1e-3, rtol=0)
    assert stored.length_mm == pytest.approx(scan.length_mm, rel=1e-3)
    assert len(json.dumps(scan.to_dict())) < 10_000
    assert CurveScan.of(RasterScan(4, 6.0, 5.0)).curves[3] == ((-3.0, 2.5), (3.0, 2.5))


def test_a_subclass_of_a_star_that_bends_it_is_not_stored_as_a_star():
    class Bent(RadialScan):
        def points(self, along):
            return super().points(along) + torch.stack([0.1 * (along - 0.5) ** 2, 0 * along], -1)

    stored = ScanPattern.from_dict(Bent(4, 6.0).to_dict())
    assert type(stored) is CurveScan
    torch.testing.assert_close(stored.coordinates(9), Bent(4, 6.0).coordinates(9), atol=1.1e-3, rtol=0)


class Wild(Spiral):
    def points(self, along):
        return torch.stack([(900 * along).sin(), (900 * along).cos()], -1).expand(3, -1, -1)


class Flat(Spiral):
    def points(self, along):
        return super().points(along)[0]


class Lost(Spiral):
    def points(self, along):
        return super().points(along) / 0


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: CircularScan(()), "expected positive lengths"),
        (lambda: CircularScan((1.0, -1.0)), "expected positive lengths"),
        (lambda: CircularScan((1.0,), math.nan), "finite degrees"),
        (lambda: CurveScan((((0, 0),),)), "two points or more"),
        (lambda: CurveScan((((0, 0), (1, 1)), ((0, 0), (1, 1), (2, 2)))), r"found \[2, 3\]"),
        (lambda: CurveScan((((0, 0), (1, math.inf)),)), "finite"),
        (lambda: Wild().to_dict(), "Wild: expected at most 2500 points"),
        (lambda: Flat().coordinates(5), r"Flat.points: .* \(S, 5, 2\) .* found \(5, 2\)"),
        (lambda: Lost().coordinates(5), "with NaN or infinity"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_a_triangle_of_one_circle_lies_inside_it():
    # Eight points a slice: two triangles of the first slice or the second, one of both, one of neither.
    corners = np.array([[0, 3, 6], [8, 10, 12], [0, 1, 9], [16, 17, 18]])
    turn = 2 * np.pi * np.arange(24) / 24
    polygon = tuple(zip(np.sin(turn), np.cos(turn), strict=True))  # its first point does not come again
    for scan, wanted in (
        (CircularScan((1.0, 2.0)), [True, True, False, False]),
        (CircularScan((1.0, 1.0)), [True, True, True, False]),
        (CurveScan((polygon, polygon[::-1])), [True, True, False, False]),
        (CurveScan((polygon[:12], polygon[12:])), [False] * 4),
        (RadialScan(2, 6.0), [False] * 4),
    ):
        assert inside_a_ring(scan, corners, 8).tolist() == wanted, scan
