"""One bad file, or one of another kind, costs the others nothing, and is named."""

import numpy as np
import pytest
from PIL import Image
from vendor_files import S, X, Z, write_vol

from fund2oct.cli import main
from fund2oct.data import EyeReader
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.engine import Candidate, import_eyes
from fund2oct.data.importing.vendor import import_vendor
from fund2oct.data.importing.volumes import import_volumes
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.eye import DataError, Eye

SPACING = ["--spacing-mm", "0.12", "0.02", "0.1"]


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(1, 250, (4, 24, 40)).astype(np.uint8)


def keys(path):
    with EyeReader(path) as reader:
        return reader.keys


def test_a_volume_of_six_ascans_is_left_out_by_name(volume, tmp_path, capsys):
    folder = tmp_path / "volumes"
    folder.mkdir()
    np.save(folder / "good.npy", volume)
    np.save(folder / "narrow.npy", volume[..., :6])
    np.save(folder / "signed.npy", volume.astype(np.int16) - 300)
    (folder / "readme.txt").write_text("of another kind")
    out = tmp_path / "eyes.h5"
    assert (
        main(["import", "volumes", str(folder), str(out), "--no-patients", "--workers", "1", *SPACING]) == 1
    )
    said = capsys.readouterr().out
    assert "narrow.npy: expected B-scans of at least 8 rows and A-scans, found 24 x 6" in said
    assert "signed.npy: expected numbers from 0 to 1, or whole numbers of 8 to 16 bits, found int16" in said
    assert "passed over 1 file of other kinds: readme.txt" in said
    assert keys(out) == ("good",)
    again = [*SPACING, "--overwrite", "--keep-borders", "--levels", "-299", "-51"]
    assert main(["import", "volumes", str(folder / "signed.npy"), str(out), "--workers", "1", *again]) == 0
    with EyeReader(out) as reader:
        eye = reader.read("signed")
    expected = np.round((volume.astype(float) - 1) / 248 * 255)
    np.testing.assert_array_equal(eye.volume, expected)
    assert (eye.history["black_level"], eye.history["white_level"]) == (-299, -51)


def test_a_picture_beside_volumes_is_no_slice(volume, tmp_path, capsys):
    np.save(tmp_path / "a.npy", volume)
    Image.fromarray(volume[0]).save(tmp_path / "overview.png")
    out = tmp_path / "eyes.h5"
    assert main(["import", "volumes", str(tmp_path), str(out), "--workers", "1", *SPACING]) == 0
    assert keys(out) == ("a",) and "overview.png" in capsys.readouterr().out


def test_a_folder_of_single_pages_is_one_volume(volume, tmp_path):
    folder = tmp_path / "eye"
    folder.mkdir()
    for number, bscan in enumerate(volume):
        Image.fromarray(bscan).save(folder / f"{number}.tif")
    out = tmp_path / "eyes.h5"
    assert main(["import", "volumes", str(tmp_path), str(out), "--workers", "1", *SPACING]) == 0
    assert keys(out) == ("eye",)


def test_a_readme_in_a_vendors_folder_is_passed_over(tmp_path, capsys):
    folder = tmp_path / "exports"
    folder.mkdir()
    write_vol(folder / "good.vol")
    (folder / "readme.txt").write_text("exported on Monday")
    out = tmp_path / "eyes.h5"
    assert main(["import", "vendor", str(folder), str(out), "--workers", "1"]) == 0
    assert "passed over 1 file of other kinds: readme.txt" in capsys.readouterr().out
    assert main(["import", "vendor", str(folder / "readme.txt"), str(tmp_path / "b.h5")]) == 1
    assert "readme.txt: expected .vol, .e2e, .fda, .img, .dcm or DICOM, found an" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"axes": "zsx"}, {"flip": "z"}])
def test_axes_and_flips_are_not_for_a_scanners_file_and_a_note_says_so(tmp_path, options):
    source = write_vol(tmp_path / "a.vol")
    plain = import_vendor(source, tmp_path / "plain.h5")
    report = import_vendor(source, tmp_path / "eyes.h5", ImportOptions(ScanOptions(**options)))
    [(_, note)] = set(report.notes) - set(plain.notes)
    assert note == "a scanner's file tells its axes; --axes and --flip were not applied to it"


def test_a_folder_of_scans_that_cannot_be_read_is_named(tmp_path, close_folder):
    folder = tmp_path / "exports"
    (folder / "p12").mkdir(parents=True)
    write_vol(folder / "good.vol")
    close_folder("p12")
    report = import_vendor(folder, tmp_path / "eyes.h5")
    assert len(report.imported) == 1
    assert report.passed_over == [] and report.skipped == [("p12", "cannot be read: Permission denied")]
    *_, last = (tmp_path / "eyes.import.csv").read_text().splitlines()
    assert last == "p12,,left out,cannot be read: Permission denied"


def test_scans_in_a_folder_that_a_link_leads_to_are_imported(tmp_path):
    folder, disk = tmp_path / "exports", tmp_path / "disk"
    folder.mkdir()
    disk.mkdir()
    write_vol(disk / "a.vol")
    (folder / "p12").symlink_to(disk)
    report = import_vendor(folder, tmp_path / "eyes.h5")
    assert list(report.names.values()) == [str(folder / "p12/a.vol")]


def test_want_of_memory_ends_an_import_and_is_no_damage(volume, tmp_path, monkeypatch):
    def starved(*_, **__):
        raise MemoryError

    np.save(tmp_path / "a.npy", volume)
    monkeypatch.setattr("numpy.load", starved)
    options = ImportOptions(ScanOptions((0.12, 0.02, 0.1)))
    with pytest.raises(MemoryError, match=r"a\.npy: the memory is too small to read it; free some"):
        import_volumes(tmp_path / "a.npy", tmp_path / "eyes.h5", options)


def test_an_eye_that_fails_as_nobody_thought_is_left_out_by_name(tmp_path):
    photo = np.zeros((8, 8, 3), np.uint8)

    def good():
        return Eye(key="good", patient="p", laterality="", fundus=photo), []

    def bad():
        raise ZeroDivisionError("division by zero")

    report = import_eyes([Candidate("bad.xyz", bad), Candidate("good.xyz", good)], tmp_path / "eyes.h5")
    assert report.imported == ["good"]
    ((name, reason),) = report.skipped
    assert name == "bad.xyz"
    assert reason.startswith(
        "failed in a way that fund2oct does not know (ZeroDivisionError: division by zero)"
    )
    with pytest.raises(DataError, match=r"none of 1 eyes could be imported; the first, bad.xyz: failed"):
        import_eyes([Candidate("bad.xyz", bad)], tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({}, (0, 65535)),
        ({"BitsStored": 12, "HighBit": 11}, (0, 4095)),
        ({"PhotometricInterpretation": "MONOCHROME1"}, (65535, 0)),
        ({"RescaleSlope": 2, "RescaleIntercept": -100}, (-100, 130970)),
        ({"PixelRepresentation": 1}, None),
        ({"PixelRepresentation": 1, "WindowCenter": [10, 20], "WindowWidth": [100, 200]}, (-40, 60)),
    ],
)
def test_black_and_white_of_a_dicom(tmp_path, changes, levels):
    pydicom = pytest.importorskip("pydicom", reason="the reader of DICOM is not installed")
    from vendor_files import write_dicom

    from fund2oct.data.formats.scanners.dicom import read_opt

    path = write_dicom(tmp_path, localizer=False, sixteen=True)
    image = pydicom.dcmread(path)
    stored = np.full((S, Z, X), 5, np.uint16)
    image.PixelData = stored.tobytes()
    for name, value in changes.items():
        setattr(image, name, value)
    image.save_as(path)
    exam = read_opt(path)
    assert exam.levels == levels
    assert (exam.volume == 5 * changes.get("RescaleSlope", 1) + changes.get("RescaleIntercept", 0)).all()


def test_a_fault_of_our_own_is_not_called_damage(tmp_path, monkeypatch):
    pytest.importorskip("pydicom", reason="the reader of DICOM is not installed")
    from vendor_files import write_dicom

    from fund2oct.data.formats.scanners import dicom

    path = write_dicom(tmp_path, localizer=False)

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(dicom, "_spacing", broken)
    with pytest.raises(ZeroDivisionError):
        dicom.read_opt(path)
