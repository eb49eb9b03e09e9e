"""Circular scans of scanners' files: where they lie, and what becomes of them."""

import copy
import math

import numpy as np
import pytest
import torch
from vendor_files import S, X, play_e2e, volume_with_one_bright_voxel, write_dicom, write_vol

from fund2oct.data.formats.scanners.curved import heidelberg_circles, scan_of_curves
from fund2oct.data.formats.scanners.e2e import MM_A_DEGREE, read_scan
from fund2oct.data.formats.scanners.heyex import read_vol
from fund2oct.eye import DataError
from fund2oct.geometry import CircularScan, CurveScan, RadialScan

CENTRE, RADII = (4.0, 5.0), np.linspace(1.5, 2.3, S)


def circle_ends(start_deg):
    """As the vendor has them: a point of the circle, and its centre."""
    turn = math.radians(start_deg)
    starts = np.array(CENTRE) + RADII[:, None] * np.array([math.sin(turn), -math.cos(turn)])
    return np.stack([starts, np.broadcast_to(CENTRE, starts.shape)], 1)


@pytest.mark.parametrize("start_deg, taken_deg", [(90.0, 90.0), (96.0, 96.0), (-90.0, 90.0)])
def test_vol_has_circles_from_temporal_over_superior(tmp_path, start_deg, taken_deg):
    exam = read_vol(write_vol(tmp_path / "a.vol", ends=circle_ends(start_deg), pattern=2))
    np.testing.assert_array_equal(exam.volume, volume_with_one_bright_voxel())
    # A left eye, temporal to the right: upwards is anticlockwise.
    assert isinstance(exam.lines, CircularScan) and not exam.lines.clockwise
    assert exam.lines.start_deg == pytest.approx(taken_deg)
    assert exam.lines.radius_mm == pytest.approx(RADII.tolist()) and np.isnan(exam.spacing_mm[0])
    size_mm = 8.8
    np.testing.assert_allclose(
        exam.localizer_placement.shift, (np.array(CENTRE) - size_mm / 2) / (size_mm / 2), atol=1e-6
    )
    assert any("off temporal" in note for note in exam.notes) == (start_deg == -90)


def test_the_circles_around_a_star_are_left_out_and_said(tmp_path):
    ends = np.concatenate([np.array(RadialScan(S - 3, 6.0).lines) + CENTRE, circle_ends(90.0)[:3]])
    exam = read_vol(write_vol(tmp_path / "a.vol", ends=ends, pattern=6))
    assert isinstance(exam.lines, RadialScan) and len(exam.volume) == S - 3
    assert any("circles around its star" in note for note in exam.notes)


def test_dicom_has_circles_of_many_points(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from fund2oct.data.formats.scanners.dicom import read_opt

    path = write_dicom(tmp_path)
    image = pydicom.dcmread(path)
    angle = np.radians(-90 + 360 * np.arange(41) / 40)
    for frame in image.PerFrameFunctionalGroupsSequence:
        ring = np.array([4.4, 4.6]) + 6 / (2 * math.pi) * np.stack([np.sin(angle), -np.cos(angle)], 1)
        place = frame.OphthalmicFrameLocationSequence[0]
        place.ReferenceCoordinates = [float(v) for v in (ring / 0.15)[:, ::-1].ravel()]
    image.save_as(path, enforce_file_format=True)
    exam = read_opt(path)
    assert isinstance(exam.lines, CircularScan) and exam.lines.clockwise
    assert exam.lines.start_deg == pytest.approx(-90, abs=0.01)
    np.testing.assert_allclose(exam.lines.length_mm, 6.0, rtol=2e-3)  # a polygon is shorter than its circle
    assert exam.spacing_mm[2] == pytest.approx(6 / X)


def test_dicom_has_circles_whose_ascans_are_each_as_far_apart_as_it_says(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from fund2oct.data.formats.scanners.dicom import read_opt

    path = write_dicom(tmp_path)
    image = pydicom.dcmread(path)
    shared = image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    angle = np.radians(-90 + 360 * np.arange(41) / 40)
    for frame, radius in zip(image.PerFrameFunctionalGroupsSequence, RADII, strict=True):
        ring = np.array([4.4, 4.6]) + radius * np.stack([np.sin(angle), -np.cos(angle)], 1)
        place = frame.OphthalmicFrameLocationSequence[0]
        place.ReferenceCoordinates = [float(v) for v in (ring / 0.15)[:, ::-1].ravel()]
        measures = copy.deepcopy(shared)
        measures.PixelSpacing = [0.0039, round(2 * math.pi * radius / X, 9)]
        frame.PixelMeasuresSequence = pydicom.Sequence([measures])
    del image.SharedFunctionalGroupsSequence
    image.save_as(path, enforce_file_format=True)
    exam = read_opt(path)
    assert isinstance(exam.lines, CircularScan)
    assert exam.lines.radius_mm == pytest.approx(RADII.tolist(), rel=2e-3)
    assert exam.spacing_mm[1:] == pytest.approx((0.0039, 2 * math.pi * RADII.mean() / X))
    measures.PixelSpacing = [0.0042, 0.4]
    image.save_as(path, enforce_file_format=True)
    with pytest.raises(DataError, match=r"expected one height of rows, found 0\.0039 to 0\.0042 mm"):
        read_opt(path)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("clockwise", [True, False])
def test_rings_are_known_and_other_curves_kept(closed, clockwise):
    ring = CircularScan((1.0, 1.6), 30.0, clockwise)
    shares = torch.linspace(0, 1, 49, dtype=torch.float64)[: None if closed else -1]
    scan, centre = scan_of_curves(ring.points(shares).numpy() + np.array([3, 4]))
    assert isinstance(scan, CircularScan) and centre == pytest.approx((3, 4), abs=1e-3)
    np.testing.assert_allclose(scan.coordinates(20), ring.coordinates(20), atol=0.01)
    half, _ = scan_of_curves(ring.points(shares / 2).numpy())
    assert isinstance(half, CurveScan) and half.length_mm[0] == pytest.approx(math.pi, rel=0.03)


def test_a_curve_of_uneven_pieces_has_its_ascans_evenly():
    scan, _ = scan_of_curves(np.array([[(-4, 0), (-3, 0), (-2, 0), (-1, 0), (4, 0)]]))
    np.testing.assert_allclose(scan.coordinates(4).diff(dim=1)[..., 0], 2, atol=1e-5)


@pytest.mark.parametrize(
    "ends, side, message",
    [
        (circle_ends(90), "", "whose side the file does not tell"),
        (np.zeros((2, 2, 2)), "OD", "expected positive radii"),
    ],
)
def test_circles_that_cannot_be_placed(ends, side, message):
    with pytest.raises(DataError, match=message):
        heidelberg_circles(ends[:, 0], ends[:, 1], side)


def test_e2e_has_circles_of_a_point_and_the_centre(tmp_path, monkeypatch):
    ends = (circle_ends(90.0) / MM_A_DEGREE).tolist()
    x, y = ends[0][1]
    circle = {"scan_pattern": 2, "end_pos": (0, 0), "center_x": x, "center_y": y, "scale_y": 0.0039}
    metas = [circle | {"start_pos": start} for start, _ in ends]
    play_e2e(monkeypatch, metas)
    exam = read_scan(tmp_path / "a.e2e", 0)
    assert isinstance(exam.lines, CircularScan) and not exam.lines.clockwise
    assert exam.lines.radius_mm == pytest.approx(RADII.tolist())
    assert exam.spacing_mm[2] == pytest.approx(2 * math.pi * RADII.mean() / X)
    play_e2e(monkeypatch, [metas[0], *(meta | {"scan_pattern": 3} for meta in metas[1:])])
    with pytest.raises(DataError, match=f"expected B-scans of one kind, found 1 circles among {S}"):
        read_scan(tmp_path / "a.e2e", 0)
