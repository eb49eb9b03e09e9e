"""A scanner's file beside the photo of another camera, as a row of a table pairs them."""

import csv
import hashlib
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from vendor_files import (
    PATIENT,
    S,
    X,
    play_e2e,
    raster_ends,
    volume_with_one_bright_voxel,
    write_dicom,
    write_fda,
    write_vol,
)

from fund2oct.data import DataError, EyeReader, PhotoPlacement
from fund2oct.data.formats.scanners.e2e import MM_A_DEGREE
from fund2oct.data.formats.scanners.known import SCANNER_FORMATS
from fund2oct.data.formats.stacks import SCANNERS
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.table import import_table
from fund2oct.data.importing.volumes import import_volumes
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.geometry import Placement, RasterScan
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.retina.layers import boundary_index

OPTIONS = ImportOptions(fundus_px=64)
RASTER = ((-3, -2), (3, -2)), ((-3, 2), (3, 2))
"""First and last line of the raster in the files of these tests."""


@pytest.fixture(scope="module")
def photo():
    return simulate_eye(5, 0, PhantomConfig(fundus_px=128, n_depth=40, n_ascans=56)).fundus


@pytest.fixture
def folder(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "colour.png")
    return tmp_path


def import_row(folder, options=OPTIONS, overwrite=True, **cells):
    """The eye of a table of one row, and the notes on it."""
    row = {"photo": "colour.png", "patient": "p", **cells}
    with (folder / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([list(row), list(row.values())])
    report = import_table(folder / "t.csv", folder / "eyes.h5", options, overwrite)
    with EyeReader(folder / "eyes.h5") as reader:
        (key,) = reader.keys
        return reader.read(key), [note for _, note in report.notes]


def test_a_vol_brings_lines_side_boundaries_and_localizer_to_a_photo(folder):
    write_vol(folder / "e1.vol")
    eye, notes = import_row(folder, volume="e1.vol")
    assert eye.key == "colour" and eye.patient == "p" and eye.laterality == "OS"
    np.testing.assert_array_equal(eye.volume, volume_with_one_bright_voxel())
    assert isinstance(eye.scan, RasterScan) and eye.placement == Placement()
    np.testing.assert_allclose(eye.scan.lines[:: S - 1], RASTER, atol=1e-6)
    np.testing.assert_allclose(eye.spacing_mm, (1.0, 0.0039, 6 / X))
    np.testing.assert_allclose(eye.boundaries_um[boundary_index("ILM")][:, 1:], 5.5 * 3.9, rtol=1e-5)
    assert eye.fundus.shape == (64, 64, 3) and eye.localizer is not None
    assert eye.sha256 == hashlib.sha256((folder / "colour.png").read_bytes()).hexdigest()
    assert eye.source == "Heidelberg .vol"
    assert eye.metadata == {"age_years": 67, "scan_focus_d": -1.25, "quality_db": 30.5}
    assert not any("says" in note for note in notes)
    assert PATIENT.encode() not in (folder / "eyes.h5").read_bytes()


def test_what_the_table_and_the_options_say_goes_before_the_file(folder):
    write_vol(folder / "e1.vol")
    options = ImportOptions(ScanOptions((math.nan, 0.005, math.nan)), fundus_px=64)
    eye, notes = import_row(folder, options, volume="e1.vol", laterality="R", age_years="50", key="a_OS")
    assert eye.laterality == "OD" and eye.metadata["age_years"] == 50
    assert eye.metadata["scan_focus_d"] == -1.25
    assert eye.spacing_mm == pytest.approx((1.0, 0.005, 6 / X))
    np.testing.assert_allclose(eye.boundaries_um[boundary_index("ILM")][:, 1:], 5.5 * 5.0, rtol=1e-5)
    said = "says OS, and it is taken for OD as was told"
    assert [note for note in notes if said in note] == [f"its name {said}", f"its scanner's file {said}"]


def test_the_side_of_the_file_goes_before_the_name_of_the_photo(folder):
    write_vol(folder / "e1.vol")
    (folder / "colour.png").rename(folder / "p7_OD.png")
    eye, notes = import_row(folder, photo="p7_OD.png", volume="e1.vol")
    assert eye.laterality == "OS"
    assert "its name says OD, and it is taken for OS as its scanner's file says" in notes


def test_other_formats_are_volumes_too(folder, monkeypatch):
    write_fda(folder / "e1.fda")
    ends = (raster_ends((0, 0)) / MM_A_DEGREE).tolist()
    play_e2e(
        monkeypatch,
        [{"scan_pattern": 3, "start_pos": a, "end_pos": b, "scale_y": 0.0039} for a, b in ends],
    )
    (folder / "e1.e2e").write_bytes(b"x")
    for name in ("e1.fda", "e1.e2e"):
        eye, _ = import_row(folder, volume=name)
        np.testing.assert_array_equal(eye.volume, volume_with_one_bright_voxel())
        assert eye.laterality == "OS" and eye.fundus is not None
        assert eye.spacing_mm[1:] == pytest.approx((0.0039, 6 / X))
    assert set(SCANNER_FORMATS) == set(SCANNERS)


def test_a_dicom_without_an_ending_keeps_its_white_frame(folder):
    pydicom = pytest.importorskip("pydicom")
    image = pydicom.dcmread(write_dicom(folder))
    volume = volume_with_one_bright_voxel()
    volume[..., :8] = 255  # of a TIFF it would be blackened
    image.PixelData = volume.tobytes()
    image.save_as(folder / "IM0001")
    eye, _ = import_row(folder, volume="IM0001")
    np.testing.assert_array_equal(eye.volume, volume)
    np.testing.assert_allclose(eye.scan.lines[:: S - 1], RASTER, atol=1e-5)
    os.utime(folder / "slo.dcm", (1, 1))
    with pytest.raises(DataError, match="made from something else"):
        import_row(folder, overwrite=False, volume="IM0001")


def test_the_places_of_a_dicom_without_a_spacing_are_scaled_by_the_users(folder):
    pydicom = pytest.importorskip("pydicom")
    image = pydicom.dcmread(write_dicom(folder))
    del image.SharedFunctionalGroupsSequence
    image.save_as(folder / "opt.dcm")
    options = ImportOptions(ScanOptions((math.nan, 0.0039, 6 / X)), fundus_px=64)
    eye, notes = import_row(folder, options, volume="opt.dcm")
    np.testing.assert_allclose(eye.scan.lines[:: S - 1], RASTER, atol=1e-5)
    assert eye.spacing_mm == pytest.approx((1.0, 0.0039, 6 / X), rel=1e-5) and eye.localizer is not None
    assert not any("does not tell where its slices lie" in note for note in notes)


def test_lines_of_the_table_place_the_scan_on_the_photo(folder):
    write_vol(folder / "e1.vol")
    # A raster of 6 mm by 4 mm at 10 pixels a millimetre, around the centre of pixel (64, 62).
    lines = "; ".join(f"34 {y} 94 {y}" for y in (42, 52, 62, 72, 82))
    eye, notes = import_row(folder, volume="e1.vol", lines_px=lines)
    np.testing.assert_allclose(eye.scan.lines[:: S - 1], RASTER, atol=0.02)
    column, row, radius = (eye.history[f"circle_{name}"] for name in ("column", "row", "radius"))
    assert eye.placement.half_width_mm == pytest.approx(radius / 10, rel=1e-3)
    expected = ((64.5 - column) / radius, (62.5 - row) / radius)
    assert eye.placement.shift == pytest.approx(expected, abs=1e-3)
    assert eye.localizer is None and any("its localizer was left out" in note for note in notes)


def test_a_placement_found_in_the_photo_is_that_beside_a_tiff(folder):
    write_vol(folder / "e1.vol")
    tifffile.imwrite(folder / "e1.tif", volume_with_one_bright_voxel(), photometric="minisblack")
    options = ImportOptions(ScanOptions((1.0, 0.0039, 6 / X)), 64, PhotoPlacement(half_width_mm=6.5))
    eyes = [import_row(folder, options, volume=f"e1.{end}", laterality="L")[0] for end in ("vol", "tif")]
    assert eyes[0].placement == eyes[1].placement
    np.testing.assert_allclose(eyes[0].scan.lines, eyes[1].scan.lines, atol=1e-6)


def test_the_photo_of_the_table_goes_before_that_in_the_file(folder, photo):
    write_fda(folder / "e1.fda", photo=photo)
    placed = "where the scan lies on its photo is not read from the file"
    eye, notes = import_row(folder, volume="e1.fda")
    assert eye.sha256 == hashlib.sha256((folder / "colour.png").read_bytes()).hexdigest()
    assert any("the photo in its scanner's file was left out" in note for note in notes)
    assert not any(placed in note for note in notes)
    eye, notes = import_row(folder, photo="", volume="e1.fda")
    assert eye.key == "e1" and eye.fundus is not None
    assert eye.sha256 == hashlib.sha256((folder / "e1.fda").read_bytes()).hexdigest()
    assert any(placed in note for note in notes)


def test_a_row_says_which_of_several_scans_is_its_own(folder, monkeypatch):
    (folder / "e1.e2e").write_bytes(b"x")
    ends = (raster_ends((0, 0)) / MM_A_DEGREE).tolist()
    metas = [{"scan_pattern": 3, "start_pos": a, "end_pos": b, "scale_y": 0.0039} for a, b in ends]
    play_e2e(monkeypatch, metas, n_scans=2)
    listed = r"\(1. OS, 5 B-scans; 2. OS, 5 B-scans\)"
    for said, found in (("", "none"), ("3", "3"), ("0", "0"), ("second", "second")):
        message = (
            rf"e1.e2e: scan_number: expected which of 2 scans .* {listed}, found {found}; .* import vendor"
        )
        with pytest.raises(DataError, match=message):
            import_row(folder, volume="e1.e2e", scan_number=said)
    read = []
    e2e = SCANNER_FORMATS[".e2e"]
    noted = replace(
        e2e, read=lambda path, number, *rest: read.append(number) or e2e.read(path, number, *rest)
    )
    monkeypatch.setitem(SCANNER_FORMATS, ".e2e", noted)
    for number in ("1", "2"):
        eye, _ = import_row(folder, volume="e1.e2e", scan_number=number)
        assert eye.volume is not None and eye.fundus is not None
    assert read == [0, 1]
    write_vol(folder / "e1.vol")
    with pytest.raises(DataError, match="found 2; fund2oct import vendor"):
        import_row(folder, volume="e1.vol", scan_number="2")
    tifffile.imwrite(folder / "e1.tif", np.zeros((5, 40, 56), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match="scan_number: expected a scanner's file as the volume"):
        import_row(folder, volume="e1.tif", scan_number="1")


def test_masks_lie_on_the_photo_beside_a_scanners_file(folder, photo):
    write_vol(folder / "e1.vol")
    bright = photo[..., 1] > np.quantile(photo[..., 1], 0.9)
    Image.fromarray(bright).save(folder / "bright.png")
    eye, _ = import_row(folder, volume="e1.vol", mask_bright="bright.png")
    assert eye.mask_names == ("bright",) and eye.volume is not None
    assert eye.fundus[eye.masks[0] > 200, 1].min() > eye.fundus[eye.masks[0] < 50, 1].mean()
    with pytest.raises(DataError, match=r"expected a photo, on which its masks lie \(bright\), found none"):
        import_row(folder, photo="", volume="e1.vol", mask_bright="bright.png")


def test_a_second_table_need_not_list_a_scanners_file(folder, photo):
    write_vol(folder / "e1.vol")
    tifffile.imwrite(folder / "e2.tif", np.zeros((5, 40, 56), np.uint8), photometric="minisblack")
    for name in ("a_OD.png", "b_OD.png"):
        Image.fromarray(photo).save(folder / name)
    (folder / "t.csv").write_text("key,photo,volume,patient\ne1,a_OD.png,e1.vol,p\ne2,b_OD.png,e2.tif,q\n")
    (folder / "lines.csv").write_text("key,x0_px,y0_px,x1_px,y1_px\ne3,0,0,9,9\n")
    report = import_table(folder / "t.csv", folder / "eyes.h5", OPTIONS, lines=folder / "lines.csv")
    assert report.imported == ["e1"]
    ((_, said),) = report.skipped
    assert said == f"expected its lines in {folder / 'lines.csv'}, found none for this eye"


def test_a_scanners_file_among_volumes_is_told_where_it_is_read(folder):
    write_vol(folder / "e1.vol")
    with pytest.raises(DataError, match=r"e1.vol: expected .tif, .*; fund2oct import vendor reads it"):
        import_volumes(folder / "e1.vol", folder / "eyes.h5")
