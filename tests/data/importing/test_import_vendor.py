"""Scanners' files: values against eyepy and OCT-Converter, conventions by one bright voxel."""

import csv
import re
import sys

import numpy as np
import pytest
from vendor_files import (
    BRIGHT,
    FIRST,
    PATIENT,
    SURNAME,
    S,
    X,
    Z,
    raster_ends,
    volume_with_one_bright_voxel,
    write_dicom,
    write_fda,
    write_img,
    write_vol,
)

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader
from fund2oct.data.formats.exam import Exam, age_years, centred_scan
from fund2oct.data.formats.scanners.dicom import read_opt
from fund2oct.data.formats.scanners.e2e import MM_A_DEGREE, read_scan
from fund2oct.data.formats.scanners.heyex import LAYERS, read_vol
from fund2oct.data.formats.scanners.topcon import read_fda
from fund2oct.data.formats.scanners.zeiss import read_img
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.vendor import import_vendor
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.data.store.check import check_file
from fund2oct.geometry import RadialScan, RasterScan
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.retina.layers import boundary_index

BRIGHTNESS = {False: (np.uint8, 255), True: (np.uint16, 65535)}
VOL = "heidelberg/octolyzer_Linescan_1.vol"


def localizer_point(exam: Exam, row: int, column: int):
    """Where a pixel of the localizer lies in the scan's own millimetres."""
    assert exam.localizer is not None
    size = exam.localizer.shape[0]
    placement = exam.localizer_placement
    half = placement.half_width_mm
    x, y = ((column + 0.5) / size * 2 - 1) * half, ((row + 0.5) / size * 2 - 1) * half
    return x - placement.shift[0] * half, y - placement.shift[1] * half


def read_one(out):
    with EyeReader(out) as reader:
        (key,) = reader.keys
        return reader.read(key)


def test_vol_has_voxel_boundaries_lines_and_localizer_in_place(tmp_path):
    exam = read_vol(write_vol(tmp_path / "a.vol"))
    assert np.array_equal(exam.volume, volume_with_one_bright_voxel())
    assert isinstance(exam.lines, RasterScan)
    np.testing.assert_allclose(exam.spacing_mm, (1.0, 0.0039, 6 / X))
    np.testing.assert_allclose(exam.lines.lines[0], ((-3, -2), (3, -2)), atol=1e-9)
    assert (exam.laterality, exam.patient) == ("OS", PATIENT)
    assert exam.metadata == {"age_years": 67, "scan_focus_d": -1.25, "quality_db": 30.5}
    ilm, bm = exam.boundaries_um[boundary_index("ILM")], exam.boundaries_um[boundary_index("BM")]
    np.testing.assert_allclose(ilm[:, 1:], 5.5 * 3.9, rtol=1e-6)
    np.testing.assert_allclose(bm[:, 1:], 16 * 3.9, rtol=1e-6)
    assert np.isnan(exam.boundaries_um[:, :, 0]).all()
    # The bright pixel, column 30 of 40 over 8.8 mm; the scan's centre lies at (4.4, 4.6).
    row, column = np.argwhere(exam.localizer == 200)[0]
    np.testing.assert_allclose(
        localizer_point(exam, row, column), (30.5 * 0.22 - 4.4, 10.5 * 0.22 - 4.6), atol=1e-6
    )


def test_vol_agrees_with_eyepy_on_a_real_scan(real_data):
    eyepy = pytest.importorskip("eyepy", reason="the independent reader of .vol is not installed")
    from eyepy.io.he.vol_reader import HeVolReader

    path = real_data / VOL
    if not path.exists():
        pytest.skip(f"no {VOL} here")
    exam, theirs = read_vol(path), eyepy.import_heyex_vol(path)
    assert exam.volume.shape == theirs.shape
    # eyepy shows levels through another curve; its raw reflectance is the same.
    reflectance = HeVolReader(path).parsed_file.bscans[0].data
    expected = np.where(reflectance < 1.1, reflectance.clip(0, 1), 0) ** 0.25 * 255
    assert np.abs(exam.volume[0] - expected).max() <= 0.51
    np.testing.assert_allclose(exam.spacing_mm[1:], (theirs.scale_y, theirs.scale_x), rtol=1e-6)
    compared = 0
    for name, layer in theirs.layers.items():
        ours = {"RPE": "IZ_RPE", "PR1": "EZ", "RNFL": "RNFL_GCL", "GCL": "GCL_IPL"}.get(name, name)
        if ours not in LAYERS.values():
            continue
        rows = exam.boundaries_um[boundary_index(ours)] / exam.spacing_mm[1] / 1000 - 0.5
        known = np.isfinite(rows)
        np.testing.assert_allclose(rows[known], np.asarray(layer.data)[known], atol=1e-3)
        compared += int(known.sum())
    assert compared > 500


@pytest.mark.parametrize("sixteen", [False, True])
def test_fda_has_voxel_boundaries_and_localizer_in_place(tmp_path, sixteen):
    exam = read_fda(write_fda(tmp_path / "a.fda", sixteen=sixteen))
    assert np.array_equal(exam.volume, volume_with_one_bright_voxel(*BRIGHTNESS[sixteen]))
    assert exam.levels == ((0, 65535) if sixteen else None)
    np.testing.assert_allclose(exam.spacing_mm, (4 / S, 0.0039, 6 / X))
    assert (exam.laterality, exam.patient) == ("OS", PATIENT)
    assert exam.metadata == {"age_years": 67}
    ilm = exam.boundaries_um[boundary_index("ILM")] / 3.9
    np.testing.assert_allclose(np.delete(ilm, BRIGHT[0], 0), 5.5, rtol=1e-6)
    np.testing.assert_allclose(ilm[BRIGHT[0]], 6.5, rtol=1e-6)
    assert any("UNKNOWN_9" in note for note in exam.notes)
    # The scan covers columns 10 to 40 and rows 15 to 35 of the picture, 6 mm by 4 mm.
    row, column = np.argwhere(exam.localizer == 200)[0]
    expected = (5.5 * 0.2, -12.5 * 0.2)
    np.testing.assert_allclose(localizer_point(exam, row, column), expected, atol=1e-6)


def test_fda_agrees_with_oct_converter(tmp_path, monkeypatch):
    fda = pytest.importorskip("oct_converter.readers.fda", reason="OCT-Converter is not installed")
    # It calls what NumPy 2.3 has removed.
    monkeypatch.setattr(np, "fromstring", np.frombuffer)
    path = write_fda(tmp_path / "a.fda")
    exam, theirs = read_fda(path), fda.FDA(path).read_oct_volume()
    assert np.array_equal(exam.volume, np.stack(theirs.volume))
    x_mm, s_mm, z_mm = theirs.pixel_spacing
    np.testing.assert_allclose(exam.spacing_mm, (s_mm, z_mm, x_mm))
    assert (exam.laterality, exam.patient) == (
        "O" + {"L": "S", "R": "D"}[theirs.laterality],
        theirs.patient_id,
    )
    rows = exam.boundaries_um[boundary_index("ILM")] / 3.9 - 0.5
    assert np.allclose(rows, np.asarray(theirs.contours["ILM"]), atol=1e-4)


def test_the_photo_in_a_fda_is_kept_in_its_colours(tmp_path):
    photo = simulate_eye(2, 0, PhantomConfig(fundus_px=128, n_depth=40, n_ascans=56)).fundus
    assert np.array_equal(read_fda(write_fda(tmp_path / "a.fda", photo=photo)).photo, photo)
    out = tmp_path / "eyes.h5"
    import_vendor(tmp_path / "a.fda", out, ImportOptions(fundus_px=64))
    eye = read_one(out)
    assert eye.fundus.shape == (64, 64, 3) and eye.fundus[..., 0].mean() > eye.fundus[..., 2].mean()


def test_img_is_turned_upright(tmp_path):
    exam = read_img(write_img(tmp_path))
    assert exam.volume.shape == (128, 1024, 512) and exam.volume.sum() == 255
    assert exam.volume[3, 100, 40] == 255
    assert (exam.laterality, exam.patient) == ("OS", "P4711")
    np.testing.assert_allclose(exam.spacing_mm, (6 / 128, 2 / 1024, 6 / 512))


@pytest.mark.parametrize("sixteen", [False, True])
def test_dicom_has_voxel_lines_and_localizer_in_place(tmp_path, sixteen):
    pytest.importorskip("pydicom")
    exam = read_opt(write_dicom(tmp_path, sixteen=sixteen))
    assert np.array_equal(exam.volume, volume_with_one_bright_voxel(*BRIGHTNESS[sixteen]))
    assert exam.levels == ((0, 65535) if sixteen else (0, 255))
    assert isinstance(exam.lines, RasterScan)
    np.testing.assert_allclose(exam.lines.lines[-1], ((-3, 2), (3, 2)), atol=1e-6)
    np.testing.assert_allclose(exam.spacing_mm, (1.0, 0.0039, 6 / X), rtol=1e-6)
    assert (exam.laterality, exam.patient) == ("OS", PATIENT)
    assert exam.metadata == {"age_years": 67, "device": "Some Maker Scanner 2"}
    row, column = np.argwhere(exam.localizer == 200)[0]
    # A pixel's centre is half a pixel from its corner, where coordinates begin.
    expected = (30.5 * 0.15 - 4.4, 12.5 * 0.15 - 4.6)
    np.testing.assert_allclose(localizer_point(exam, row, column), expected, atol=1e-6)


def test_a_star_of_lines_is_known_as_one(tmp_path):
    star = np.array(RadialScan(S, 6.0, 90.0, False).lines)
    exam = read_vol(write_vol(tmp_path / "a.vol", ends=star + np.array([4.0, 5.0])))
    assert isinstance(exam.lines, RadialScan) and np.isnan(exam.spacing_mm[0])
    np.testing.assert_allclose(exam.lines.lines, star, atol=1e-6)


def test_lines_out_of_any_order_are_kept_as_they_are():
    ends = raster_ends()[[2, 0, 1, 4, 3]]
    scan, centre = centred_scan(ends)
    assert not isinstance(scan, RadialScan | RasterScan)
    np.testing.assert_allclose(np.array(scan.lines) + centre, ends)


def test_e2e_of_a_reader_that_gives_degrees(tmp_path, monkeypatch):
    """No real .e2e is at hand, so that eyepy's part is played; what is made of it is tested."""
    ends = (raster_ends((0, 0)) / MM_A_DEGREE).tolist()

    class Series:
        n_bscans = S

        def get_bscan_meta(self):
            return [{"scan_pattern": 3, "start_pos": a, "end_pos": b, "scale_y": 0.0039} for a, b in ends]

        def get_bscans(self):
            reflectance = volume_with_one_bright_voxel(np.float32, 1.0)
            reflectance[0, 0, 0] = 2.0  # eyepy's value for what is absent
            return reflectance

        def get_localizer(self):
            raise KeyError("no localizer")

        def get_layers(self):
            return {0: np.full((S, X), 5.0), 1: np.full((S, X), 15.5), 40: np.full((S, X), 3.0)}

        def get_heyex_metadata(self):
            return {"Patient": {"Patient ID": PATIENT, "Surname": SURNAME, "First Name": FIRST}}

        def laterality(self):
            return "Laterality.OS"

    class Reader:
        series = (Series(),)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr("fund2oct.data.formats.scanners.e2e._open", lambda path: Reader())
    exam = read_scan(tmp_path / "a.e2e", 0)
    assert np.array_equal(exam.volume, volume_with_one_bright_voxel())
    assert isinstance(exam.lines, RasterScan) and exam.localizer is None
    np.testing.assert_allclose(exam.spacing_mm, (1.0, 0.0039, 6 / X), rtol=1e-6)
    np.testing.assert_allclose(exam.boundaries_um[boundary_index("BM")], 16 * 3.9, rtol=1e-6)
    assert exam.laterality == "OS" and "40" in " ".join(exam.notes)


def test_nothing_that_names_the_patient_is_kept(tmp_path):
    pytest.importorskip("pydicom")
    source = tmp_path / "Rumpelstilz"
    source.mkdir()
    write_vol(source / f"{SURNAME}_{PATIENT}.vol")
    write_fda(source / f"{SURNAME}.fda")
    write_dicom(source)
    out = tmp_path / "eyes.h5"
    assert main(["import", "vendor", str(source), str(out), "--salt", "pepper"]) == 0
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
    "half of a DICOM": (lambda f: cut(write_dicom(f, localizer=False), 600), "a.*opt.dcm|opt.dcm"),
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
    assert main(["import", "vendor", str(source), str(out)]) == 1
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


READERS = {
    ".vol": (lambda f: write_vol(f / "a.vol"), read_vol),
    ".fda": (lambda f: write_fda(f / "a.fda", photo=np.full((20, 20, 3), 90, np.uint8)), read_fda),
    ".dcm": (lambda f: write_dicom(f, localizer=False), read_opt),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", READERS)
def test_a_damaged_file_is_read_or_named_and_never_anything_else(tmp_path, ending):
    """150 seeded bit flips, truncations and zeroed or overwritten blocks of each format."""
    if ending == ".dcm":
        pytest.importorskip("pydicom")
    make, read = READERS[ending]
    path = make(tmp_path)
    sound = path.read_bytes()
    named = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        data = bytearray(sound)
        # Headers, where damage does most, are hit as often as all the rest.
        place = int(rng.integers(0, 3000 if rng.random() < 0.5 else len(data)) % len(data))
        match seed % 4:
            case 0:
                data[place] ^= 1 << int(rng.integers(8))
            case 1:
                del data[place:]
            case 2:
                data[place : place + 64] = bytes(len(data[place : place + 64]))
            case 3:
                block = data[place : place + 8]
                data[place : place + 8] = rng.bytes(len(block))
        path.write_bytes(data)
        try:
            exam = read(path)
        except DataError as error:
            assert str(path) in str(error)
            named += 1
        else:
            assert exam.volume.dtype == np.uint8 and exam.volume.ndim == 3
    assert named > 30


def test_ages_over_90_are_not_told_apart():
    from datetime import date

    assert age_years(date(1920, 1, 1), date(2019, 1, 1)) == {"age_years": 90}
    assert age_years(date(1960, 6, 2), date(2020, 6, 1)) == {"age_years": 59}
    assert age_years(date(2021, 1, 1), date(2020, 1, 1)) == {} == age_years(None, date(2020, 1, 1))
