"""Scanners' files on their way into a file of eyes: who the patient is stays outside, bad files are named."""

import csv
import hashlib
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from vendor_files import (
    FIRST,
    PATIENT,
    SURNAME,
    S,
    X,
    Z,
    raster_ends,
    write_dicom,
    write_fda,
    write_img,
    write_vol,
)

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader
from fund2oct.data.formats.scanners.topcon import read_fda
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.vendor import import_vendor
from fund2oct.data.preparing.scans import ScanOptions, prepare_scan
from fund2oct.data.store.check import check_file
from fund2oct.export import export_eye
from fund2oct.geometry import CircularScan, Placement, RadialScan, RasterScan
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.retina.layers import boundary_index

VOL = "heidelberg/octolyzer_Linescan_1.vol"


def read_one(out):
    with EyeReader(out) as reader:
        (key,) = reader.keys
        return reader.read(key)


def test_the_photo_in_a_fda_is_kept_in_its_colours(tmp_path):
    photo = simulate_eye(2, 0, PhantomConfig(fundus_px=128, n_depth=40, n_ascans=56)).fundus
    assert np.array_equal(read_fda(write_fda(tmp_path / "a.fda", photo=photo)).photo, photo)
    out = tmp_path / "eyes.h5"
    report = import_vendor(tmp_path / "a.fda", out, ImportOptions(fundus_px=64))
    assert any(
        "where the scan lies on its photo is not read from the file" in note for _, note in report.notes
    )
    eye = read_one(out)
    assert eye.fundus.shape == (64, 64, 3) and eye.fundus[..., 0].mean() > eye.fundus[..., 2].mean()


def test_nothing_that_names_the_patient_is_kept(tmp_path):
    pytest.importorskip("pydicom")
    source = tmp_path / "Rumpelstilz"
    source.mkdir()
    write_vol(source / f"{SURNAME}_{PATIENT}.vol")
    write_fda(source / f"{SURNAME}.fda")
    write_dicom(source)
    out = tmp_path / "eyes.h5"
    assert main(["import", "vendor", str(source), str(out), "--salt", "pepper", "--workers", "1"]) == 0
    raw = out.read_bytes()
    for secret in (PATIENT, SURNAME, FIRST, "1952", "19520102", "20190601", "opt.dcm"):
        assert secret.encode() not in raw, secret
    with EyeReader(out) as reader:
        eyes = [reader.read(key) for key in reader.keys]
    # One patient in three formats is one patient, whom another salt calls otherwise.
    assert len(eyes) == 3 and len({eye.patient for eye in eyes}) == 1
    other = tmp_path / "other.h5"
    import_vendor(source, other, ImportOptions(salt="sugar"))
    with EyeReader(other) as reader:
        others = [reader.read(key) for key in reader.keys]
    assert {eye.patient for eye in others}.isdisjoint({eye.patient for eye in eyes})
    assert {eye.key for eye in others}.isdisjoint({eye.key for eye in eyes})
    # Who may see the sources can tell which is which.
    rows = list(csv.DictReader(out.with_suffix(".import.csv").open()))
    assert sum(str(source) in " ".join(row.values()) for row in rows) == 3


def test_slices_are_chosen_together_with_their_boundaries(tmp_path):
    write_vol(tmp_path / "a.vol")
    out = tmp_path / "eyes.h5"
    import_vendor(tmp_path / "a.vol", out, ImportOptions(ScanOptions(n_slices=3)))
    eye = read_one(out)
    assert eye.volume.shape == (3, Z, X) and eye.boundaries_um.shape[1:] == (3, X)
    np.testing.assert_allclose(eye.scan.lines[1], ((-3, 0), (3, 0)), atol=1e-6)
    # Slices without the voxel are blank, which `check` says and nothing else.
    assert check_file(out) == [f"{out}: eye '{eye.key}': volume: blank slices 0, 1, 2"]


@pytest.mark.parametrize(
    "scan",
    [RadialScan(S, 6.0, start_deg=30), CircularScan((1.7,) * S), RasterScan(S, 6.0, 4.0, upwards=True)],
)
def test_a_spacing_of_ones_own_leaves_the_files_lines_where_they_are(scan):
    volume = np.random.default_rng(0).integers(0, 250, (S, Z, X), np.uint8)
    x_mm = scan.length_mm[0] / X
    told = (1.0 if isinstance(scan, RasterScan) else math.nan, 0.004, x_mm)
    found = prepare_scan(volume, told, ScanOptions((math.nan, 0.005, math.nan)), scan)
    assert found.scan == scan and found.spacing_mm == pytest.approx((told[0], 0.005, x_mm), nan_ok=True)
    found = prepare_scan(volume, told, ScanOptions((0.3, 0.005, x_mm)), scan)
    if isinstance(scan, RasterScan):
        assert found.scan == RasterScan(S, 6.0, 1.2, upwards=True)
        assert found.spacing_mm == pytest.approx((0.3, 0.005, x_mm))
        with pytest.raises(DataError, match=r"5 slices 120 mm apart are 600 mm, .*is it in micrometres"):
            prepare_scan(volume, told, ScanOptions((120.0, 0.005, x_mm)), scan)
    else:
        assert found.scan == scan and found.spacing_mm == pytest.approx((math.nan, 0.005, x_mm), nan_ok=True)
    radial = prepare_scan(volume, told, ScanOptions((0.3, 0.005, 0.1), radial=True), scan)
    assert radial.scan == RadialScan(S, 0.1 * X)


@pytest.mark.parametrize("shape", [None, (2 * Z, X)])
@pytest.mark.parametrize("ending", ["vol", "fda"])
def test_a_spacing_of_ones_own_leaves_the_boundaries_on_their_voxels(tmp_path, ending, shape):
    source = {"vol": write_vol, "fda": write_fda}[ending](tmp_path / f"a.{ending}")
    options = ImportOptions(ScanOptions((math.nan, 0.005, math.nan), shape=shape))
    import_vendor(source, tmp_path / "eyes.h5", options)
    ilm = read_one(tmp_path / "eyes.h5").boundaries_um[boundary_index("ILM")]
    # Row 5, counted from the middle of the first one, of 5 um each.
    np.testing.assert_allclose(ilm[0, 1:], 5.5 * 5.0, rtol=1e-5)


@pytest.mark.parametrize(
    "spacing, said", [((math.nan, 0.005, 6 / X), False), ((math.nan, math.nan, 0.2), True)]
)
@pytest.mark.parametrize("ending", ["vol", "fda"])
def test_a_raster_that_left_its_localizers_scale_is_noted(tmp_path, ending, spacing, said):
    source = {"vol": write_vol, "fda": write_fda}[ending](tmp_path / f"a.{ending}")
    report = import_vendor(source, tmp_path / "eyes.h5", ImportOptions(ScanOptions(spacing)))
    assert any("the scale of its localizer is the file's" in note for _, note in report.notes) == said


def test_a_spacing_that_contradicts_a_files_star_is_refused(tmp_path):
    star = np.array(RadialScan(S, 6.0).lines) + np.array([4.4, 4.6])
    source, out = write_vol(tmp_path / "a.vol", ends=star), tmp_path / "eyes.h5"
    import_vendor(source, out, ImportOptions(ScanOptions((1.0, 0.005, 6 / X))))
    eye = read_one(out)
    assert isinstance(eye.scan, RadialScan) and eye.spacing_mm[1] == 0.005
    with pytest.raises(DataError, match=r"32 A-scans 0.3 mm apart are 9.6 mm, but the scan's lines are 6 mm"):
        import_vendor(source, out, ImportOptions(ScanOptions((1.0, 0.005, 0.3))), overwrite=True)


def test_a_real_scan_from_the_command_line(real_data, tmp_path, capsys):
    path = real_data / VOL
    if not path.exists():
        pytest.skip(f"no {VOL} here")
    out = tmp_path / "eyes.h5"
    assert main(["import", "vendor", str(path), str(out), "--salt", "pepper"]) == 0
    assert main(["check", str(out)]) == 0
    eye = read_one(out)
    assert eye.localizer is not None and eye.boundaries_um is not None and eye.pose_um is not None
    assert b"octolyzer" not in out.read_bytes()
    assert main(["info", str(out), "--out", str(tmp_path / "sheet.png")]) == 0


BAD = {
    "not a .vol": (lambda f: (f / "a.vol").write_bytes(b"GIF89a" * 999), "begins with HSF-OCT-"),
    "half a .vol": (lambda f: cut(write_vol(f / "a.vol"), 9000), "is truncated"),
    "a .vol of a header": (lambda f: cut(write_vol(f / "a.vol"), 100), "is truncated"),
    "circles around several centres": (
        lambda f: write_vol(f / "a.vol", pattern=2),
        "a circular scan: expected circles around one centre, found several",
    ),
    "no B-scans": (lambda f: write_vol(f / "a.vol", size=(0, Z, X)), "expected B-scans, found none"),
    "pixels of a metre": (lambda f: write_vol(f / "a.vol", z_mm=1000.0), "less than a millimetre"),
    "positions of NaN": (lambda f: write_vol(f / "a.vol", ends=raster_ends() * np.nan), "finite positions"),
    "more boundaries than room": (lambda f: write_vol(f / "a.vol", layers=(1.0,) * 7), "boundaries within"),
    "not a .fda": (lambda f: (f / "a.fda").write_bytes(b"x" * 999), "begins with FOCT"),
    "half a .fda": (lambda f: cut(write_fda(f / "a.fda"), 300), "is truncated"),
    "a .fda of a header": (lambda f: cut(write_fda(f / "a.fda"), 15), "found none"),
    "a cube of another size": (lambda f: cut(write_img(f), 999), "expected a cube of"),
    "a raw cube": (lambda f: write_img(f, "P1_OD_cube_raw.img"), "a raw cube"),
    "not DICOM": (lambda f: (f / "a.dcm").write_bytes(b"x" * 999), "cannot be read as DICOM"),
    "DICOM of another class": (lambda f: another_class(f), "expected DICOM of the class"),
    "a DICOM without pixels": (
        lambda f: cut(write_dicom(f, localizer=False), 600),
        "opt.dcm: expected pixels, found none; it is truncated or holds only a description",
    ),
    "half of a DICOM": (
        lambda f: cut(write_dicom(f, localizer=False), -S * Z * X // 2),
        "opt.dcm: cannot be read as pixels of DICOM, it is damaged or none",
    ),
    "not an .e2e": (
        lambda f: (f / "a.e2e").write_bytes(b"x" * 9999),
        "a Heidelberg .e2e|needs? eyepy|expected B-scans, found none",
    ),
    "another kind of file": (
        lambda f: (f / "a.xyz").write_bytes(b"x" * 999),
        "found none; passed over a.xyz",
    ),
    "nothing": (lambda f: None, "found none"),
}


def cut(path, n_bytes):
    path.write_bytes(path.read_bytes()[:n_bytes])


def another_class(folder):
    import pydicom

    path = write_dicom(folder, localizer=False)
    image = pydicom.dcmread(path)
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    image.save_as(path)


@pytest.mark.parametrize("case", BAD)
def test_a_broken_file_is_named(tmp_path, capsys, case):
    if "DICOM" in case:
        pytest.importorskip("pydicom")
    make, expected = BAD[case]
    source = tmp_path / "source"
    source.mkdir()
    make(source)
    out = tmp_path / "eyes.h5"
    assert main(["import", "vendor", str(source), str(out)]) == 1
    error = capsys.readouterr().err
    assert re.search(expected, error), error
    assert "Traceback" not in error and not out.exists()


def test_a_broken_file_does_not_stop_the_others(tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    write_vol(source / "good.vol")
    cut(write_vol(source / "bad.vol"), 9000)
    out = tmp_path / "eyes.h5"
    assert main(["import", "vendor", str(source), str(out), "--workers", "1"]) == 1
    assert "bad.vol" in capsys.readouterr().out
    assert read_one(out).volume.shape == (S, Z, X)


@pytest.mark.parametrize("package", ["eyepy", "pydicom"])
def test_a_missing_package_is_named_with_how_to_get_it(tmp_path, monkeypatch, capsys, package):
    pytest.importorskip("pydicom")
    path = write_dicom(tmp_path, localizer=False) if package == "pydicom" else tmp_path / "a.e2e"
    if package == "eyepy":
        path.write_bytes(b"x")
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.io.he.e2e_reader", None)
    assert main(["import", "vendor", str(path), str(tmp_path / "eyes.h5")]) == 1
    assert 'pip install "fund2oct[vendor]"' in capsys.readouterr().err


def test_a_photo_in_colours_is_the_photo_with_the_lines_where_they_lay(tmp_path):
    pytest.importorskip("pydicom")
    config = PhantomConfig(fundus_px=128, n_depth=40, n_ascans=56)
    eye = replace(simulate_eye(2, 0, config), placement=Placement((0.1, -0.05), 0.0, 6.0))
    (tmp_path / "in").mkdir()
    for name in ("eye", "other"):
        export_eye(eye, tmp_path / "in", name, "dicom")
    (tmp_path / "in/other.dcm").unlink()
    report = import_vendor(tmp_path / "in", tmp_path / "eyes.h5", ImportOptions(fundus_px=128))
    back = read_one(tmp_path / "eyes.h5")
    assert back.fundus is not None and back.localizer is None and back.volume is not None
    assert np.abs(back.fundus[32:96, 32:96].astype(int) - eye.fundus[32:96, 32:96]).mean() < 12
    ends = [one.placement.to_grid(one.scan.points(torch.tensor([0.0, 1.0]))) for one in (eye, back)]
    assert torch.abs(ends[1] - ends[0]).max() < 0.05
    assert back.placement.half_width_mm == pytest.approx(6.0, rel=0.03)
    photograph = tmp_path / "in/eye.photo.dcm"
    assert back.sha256 == hashlib.sha256(photograph.read_bytes()).hexdigest()
    # A photograph that no scan refers to is named.
    assert [name.split()[0] for name in report.passed_over] == ["other.photo.dcm"]
    import_vendor(tmp_path / "in/eye.dcm", tmp_path / "star.h5", ImportOptions(ScanOptions(radial=True)))
    assert read_one(tmp_path / "star.h5").placement == Placement(), "other lines than the file's"


def test_a_coloured_picture_that_shows_no_retina_stays_a_localizer(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    write_dicom(tmp_path)
    photograph = pydicom.dcmread(tmp_path / "slo.dcm")
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[..., 1] = np.random.default_rng(0).integers(0, 250, (60, 60))
    photograph.SamplesPerPixel, photograph.PhotometricInterpretation = 3, "RGB"
    photograph.PlanarConfiguration, photograph.PixelData = 0, picture.tobytes()
    photograph.save_as(tmp_path / "slo.dcm")
    report = import_vendor(tmp_path / "opt.dcm", tmp_path / "eyes.h5")
    eye = read_one(tmp_path / "eyes.h5")
    assert eye.fundus is None and eye.localizer is not None
    (said,) = (note for _, note in report.notes if "its photo was left out" in note)
    assert "slo.dcm" not in said, "notes are stored, names of files are not"


def test_a_photo_on_which_the_frames_have_no_place_is_kept(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    eye = simulate_eye(2, 0, PhantomConfig(fundus_px=128, n_depth=40, n_ascans=56))
    path = export_eye(eye, tmp_path, "eye", "dicom")
    image = pydicom.dcmread(path)
    del image.PerFrameFunctionalGroupsSequence[-1].OphthalmicFrameLocationSequence
    image.save_as(path)
    report = import_vendor(path, tmp_path / "eyes.h5", ImportOptions(ScanOptions(radial=True)))
    assert read_one(tmp_path / "eyes.h5").fundus is not None
    assert any("where the scan lies on its photo is not read" in note for _, note in report.notes)


def test_a_photograph_that_was_added_or_changed_is_read_anew(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    write_dicom(tmp_path)
    photograph, out = tmp_path / "slo.dcm", tmp_path / "eyes.h5"
    (tmp_path / "elsewhere").mkdir()
    kept = photograph.rename(tmp_path / "elsewhere/slo.dcm")
    report = import_vendor(tmp_path / "opt.dcm", out)
    assert any("the photograph that it refers to is not beside it" in note for _, note in report.notes)
    assert read_one(out).localizer is None
    kept.rename(photograph)
    with pytest.raises(DataError, match="made from something else"):
        import_vendor(tmp_path / "opt.dcm", out)
    assert import_vendor(tmp_path / "opt.dcm", out, overwrite=True).reused == 0
    before = read_one(out).localizer
    image = pydicom.dcmread(photograph)
    image.PixelData = bytes(255 - byte for byte in image.PixelData)
    image.save_as(photograph)
    assert import_vendor(tmp_path / "opt.dcm", out, overwrite=True).reused == 0
    np.testing.assert_array_equal(read_one(out).localizer, 255 - before)
    assert import_vendor(tmp_path / "opt.dcm", out).unchanged


def test_eyes_without_patients_are_counted(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for number, layers in enumerate(((5.0, 15.5), (6.0, 15.5))):
        path = write_vol(scans / f"p12_{number}.vol", layers=layers)
        path.write_bytes(path.read_bytes().replace(PATIENT.encode(), bytes(len(PATIENT))))
    report = import_vendor(scans, tmp_path / "eyes.h5")
    assert any(
        one.startswith("2 eyes name no patient, and each counts as one of its own") for one in report.remarks
    )
