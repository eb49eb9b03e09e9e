"""No command writes over a file that it did not make."""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import EyeReader, EyeWriter
from fund2oct.evaluation.report.folder import check_report_folder
from fund2oct.export import FORMATS, export_eye
from fund2oct.file_kinds import MADE_HERE
from fund2oct.outputs import OutputError, check_files, check_folder
from fund2oct.phantom import PhantomConfig, simulate_eye

pytestmark = pytest.mark.usefixtures("plain_pictures")
SIZES = ["--shape", "32", "48", "--fundus-px", "48", "--workers", "1"]


@pytest.fixture(scope="module")
def fundus():
    return simulate_eye(0, 5, PhantomConfig(fundus_px=200, n_depth=32, n_ascans=48)).fundus


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def line_of(capfd):
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fund2oct: ")]
    return line


@pytest.mark.parametrize(("ending", "format"), [("png", "hdf5"), ("gif", "gif")])
def test_predict_never_replaces_a_photo(ending, format, fundus, tiny_checkpoint, tmp_path, capfd):
    photo = tmp_path / f"eye.{ending}"
    Image.fromarray(fundus).save(photo)
    before = contents(tmp_path)
    command = ["predict", str(tiny_checkpoint), str(photo), "--out", str(tmp_path), "--format", format]
    for more in ([], ["--overwrite"]):
        assert main([*command, *more]) == 1
        assert line_of(capfd).endswith(
            f"{photo}: is read by this very command; choose another place for the results"
        )
        assert contents(tmp_path) == before


@pytest.mark.parametrize("ending", ["png", "gif"])
def test_predict_replaces_no_photo_beside_the_one_that_it_reads(
    ending, fundus, tiny_checkpoint, tmp_path, capfd
):
    for name in ("eye.tif", f"eye.{ending}"):
        Image.fromarray(fundus).save(tmp_path / name)
    before = contents(tmp_path)
    command = ["predict", str(tiny_checkpoint), str(tmp_path / "eye.tif"), "--out", str(tmp_path)]
    formats = {"png": "hdf5", "gif": "gif"}
    assert main([*command, "--overwrite", "--format", formats[ending]]) == 1
    kind = f"eye.{ending}: is a {ending.upper()} picture"
    assert line_of(capfd).endswith(f"{kind} that fund2oct did not make; choose another place")
    assert contents(tmp_path) == before


def test_predict_replaces_a_prediction_where_it_is_allowed(fundus, tiny_checkpoint, tmp_path, capfd):
    Image.fromarray(fundus).save(tmp_path / "eye.png")
    out = tmp_path / "out"
    command = ["predict", str(tiny_checkpoint), str(tmp_path / "eye.png"), "--out", str(out)]
    assert main([*command, "--seed", "1"]) == 0
    before = contents(out)
    assert main(command) == 1
    assert f"{out}/eye.h5, {out}/eye.png, {out}/eye.thickness.png and 1 more: exist; choose" in line_of(capfd)
    assert contents(out) == before
    assert main([*command, "--overwrite"]) == 0
    assert contents(out).keys() == before.keys() and contents(out)["eye.h5"] != before["eye.h5"]


def foreign_dicom(path, make_eye):
    pydicom = pytest.importorskip("pydicom")
    scan = pydicom.Dataset()
    scan.Manufacturer, scan.NumberOfFrames = "Rumpelstilz", 6
    scan.file_meta = pydicom.dataset.FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    scan.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
    scan.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    scan.save_as(path, enforce_file_format=True)


def foreign_nifti(path, make_eye):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.zeros((10, 8, 6), np.uint16), np.eye(4)), path)


def foreign_tiff(path, make_eye):
    tifffile.imwrite(path, np.zeros((6, 8, 10), np.uint16), photometric="minisblack")


def foreign_slices(path, make_eye):
    path.mkdir()
    for number in range(6):
        Image.fromarray(np.zeros((8, 10), np.uint16)).save(path / f"{path.name}_{number:03d}.png")


def file_of_two(path, make_eye):
    with EyeWriter(path) as writer:
        writer.add(make_eye(0, key="eye_OD"))
        writer.add(make_eye(1))


def file_of_a_scan(path, make_eye):
    with EyeWriter(path) as writer:
        writer.add(make_eye(0, key="eye_OD"))


FOREIGN = [
    ("dicom", "eye_OD.dcm", foreign_dicom, "is a DICOM file that fund2oct did not make"),
    ("dicom", "eye_OD.photo.dcm", foreign_dicom, "is a DICOM file that fund2oct did not make"),
    ("nifti", "eye_OD.nii.gz", foreign_nifti, "is a file compressed by gzip that fund2oct did not make"),
    ("nifti", "eye_OD.nii.gz", lambda path, _: path.write_bytes(b"\x1f\x8b cut"), "that fund2oct did not"),
    ("tiff", "eye_OD.ome.tif", foreign_tiff, "is a TIFF picture that fund2oct did not make"),
    ("png", "eye_OD", foreign_slices, "eye_OD_000.png: is a PNG picture that fund2oct did not make"),
    ("csv", "eye_OD.etdrs.csv", lambda path, _: path.write_text("eye,um\n"), "a file that fund2oct did not"),
    ("hdf5", "eye_OD.h5", file_of_two, "holds other eyes than 'eye_OD', such as 'eye01'"),
    ("hdf5", "eye_OD.h5", lambda path, _: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "an HDF5 file that"),
]


@pytest.mark.parametrize(("format", "name", "make", "message"), FOREIGN)
@pytest.mark.parametrize("command", ["predict", "export"])
def test_no_command_replaces_what_others_made(
    command, format, name, make, message, fundus, tiny_checkpoint, tiny_eyes, make_eye, tmp_path, capfd
):
    out = tmp_path / "out"
    out.mkdir()
    make(out / name, make_eye)
    if command == "predict":
        Image.fromarray(fundus).save(out / "eye_OD.jpg")
        words = ["predict", str(tiny_checkpoint), str(out / "eye_OD.jpg")]
    else:
        with EyeReader(tiny_eyes) as reader, EyeWriter(tmp_path / "clinic.h5") as writer:
            writer.add(replace(reader.read(reader.keys[0]), key="eye_OD", source="Heidelberg .vol"))
        words = ["export", str(tmp_path / "clinic.h5")]
    before = contents(out)
    assert main([*words, "--format", format, "--out", str(out), "--overwrite"]) == 1
    assert message in line_of(capfd)
    assert contents(out) == before


def test_a_prediction_replaces_no_scan_of_its_name(fundus, tiny_checkpoint, make_eye, tmp_path, capfd):
    Image.fromarray(fundus).save(tmp_path / "eye_OD.jpg")
    file_of_a_scan(tmp_path / "eye_OD.h5", make_eye)
    before = contents(tmp_path)
    command = ["predict", str(tiny_checkpoint), str(tmp_path / "eye_OD.jpg"), "--out", str(tmp_path)]
    assert main([*command, "--overwrite"]) == 1
    assert "eye_OD.h5: holds an eye that no model generated; choose another place" in line_of(capfd)
    assert contents(tmp_path) == before


def test_an_export_replaces_no_file_that_it_reads(make_eye, tmp_path, capfd):
    for number, make in enumerate((file_of_two, file_of_a_scan)):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / "eye_OD.h5", make_eye)
        before = contents(folder)
        command = ["export", str(folder / "eye_OD.h5"), "--eye", "eye_OD", "--format", "hdf5", "--overwrite"]
        assert main([*command, "--out", str(folder)]) == 1
        assert "eye_OD.h5: is read by this very command" in line_of(capfd)
        assert contents(folder) == before


@pytest.mark.parametrize("format", FORMATS)
def test_an_earlier_export_of_any_format_is_replaced(format, tiny_eyes, tmp_path):
    pytest.importorskip({"nifti": "nibabel", "dicom": "pydicom", "mp4": "av"}.get(format, "numpy"))
    with EyeReader(tiny_eyes) as reader:
        eye = reader.read(reader.keys[0])
    # A film says what made it in the same words for each source, and takes longest.
    film = format in ("gif", "mp4")
    for source in (eye.source,) if film else (eye.source, "generated from a photo", "Heidelberg .vol"):
        made = replace(eye, source=source)
        export_eye(made, tmp_path / source, "eye", format)
        written = [path for path in (tmp_path / source).rglob("*") if path.is_file()]
        for path in written:
            os.utime(path, (0, 0))
        export_eye(made, tmp_path / source, "eye", format, overwrite=True)
        assert written and all(path.stat().st_mtime > 0 for path in written)


@pytest.mark.slow
def test_pictures_of_any_format_and_intervals_are_replaced(fundus, tiny_checkpoint, tmp_path):
    Image.fromarray(fundus).save(tmp_path / "eye.png")
    command = ["predict", str(tiny_checkpoint), str(tmp_path / "eye.png"), "--out", str(tmp_path / "out")]
    formats = [word for name in ("png", "svg", "pdf") for word in ("--figure-format", name)]
    command = [*command, *formats, "--intervals"]
    assert main(command) == 0
    assert main([*command, "--seed", "1", "--overwrite"]) == 0
    for name in ("eye.svg", "eye.pdf", "eye.intervals.npz", "eye.intervals.pdf"):
        mine = tmp_path / "out" / name
        made = mine.read_bytes()
        mine.write_text("mine")
        assert main([*command, "--overwrite"]) == 1 and mine.read_text() == "mine"
        mine.write_bytes(made)


def test_two_photos_never_share_a_file(fundus, tiny_checkpoint, tmp_path):
    photos = [tmp_path / name for name in ("eye.png", "Eye.jpg", "eye.thickness.png")]
    for photo in photos:
        Image.fromarray(fundus).save(photo)
    assert main(["predict", str(tiny_checkpoint), *map(str, photos), "--out", str(tmp_path / "out")]) == 0
    made = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert {"eye.png", "Eye-2.png", "eye.thickness.png", "eye.thickness-2.png"} <= made and len(made) == 12


def write_table(folder, text="photo\neye.png\n", table="t.csv"):
    (folder / "eyes.import.csv").write_text(text)
    return ["import", "table", str(folder / table), str(folder / "eyes.h5"), "--workers", "1"]


def write_report(folder):
    report = "name,key,state,remark\neye.png,eye,imported,\n"
    return [*write_table(folder, report, "eyes.import.csv"), "--column", "photo=name"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: ["simulate", str(folder / "eye.png"), "--eyes", "1", *SIZES],
            "is a PNG picture, not an HDF5",
        ),
        (
            lambda folder: [
                "import",
                "volumes",
                str(folder / "eye.png"),
                str(folder / "eye.png"),
                "--workers",
                "1",
            ],
            "eye.png: exists, and is a PNG picture, not an HDF5 file; choose another name",
        ),
        (
            lambda folder: [
                "import",
                "table",
                str(folder / "t.csv"),
                str(folder / "t.csv"),
                "--workers",
                "1",
            ],
            "t.csv: exists, and is something else, not an HDF5 file; choose another name",
        ),
        (write_table, "eyes.import.csv: exists, and is no report of an import; choose another name"),
        (write_report, "eyes.import.csv: is read by this very command; choose another place"),
        (
            lambda folder: ["simulate", str(folder / "net.h5"), "--eyes", "1", *SIZES],
            "net.h5: is an HDF5 file that fund2oct did not make; choose another place",
        ),
        (
            lambda folder: ["import", "volumes", str(folder / "eye.png"), str(folder / "net.h5")],
            "net.h5: is an HDF5 file that fund2oct did not make; choose another place",
        ),
        (
            lambda folder: ["simulate", str(folder), "--eyes", "1", *SIZES],
            "is a folder, expected the name of a file",
        ),
    ],
)
def test_a_file_of_eyes_replaces_nothing_but_one_of_its_like(make, message, fundus, tmp_path, capfd):
    Image.fromarray(fundus).save(tmp_path / "eye.png")
    (tmp_path / "t.csv").write_text("photo\neye.png\n")
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.attrs["backend"] = "tensorflow"
    command = make(tmp_path)
    before = contents(tmp_path)
    for more in ([], ["--overwrite"]):
        assert main([*command, *more]) == 1
        assert message in line_of(capfd)
        assert contents(tmp_path) == before


@pytest.mark.parametrize("words", [["simulate", "EYES", "--photos", "EYES"], ["surfaces", "EYES", "EYES"]])
def test_a_file_of_eyes_that_is_read_is_never_replaced(words, tiny_eyes, tmp_path, capfd):
    eyes = Path(shutil.copy(tiny_eyes, tmp_path / "eyes.h5"))
    before = contents(tmp_path)
    command = [str(eyes) if word == "EYES" else word for word in words]
    for more in ([], ["--overwrite"]):
        assert main([*command, "--workers", "1", *more]) == 1
        assert f"{eyes}: is read by this very command; choose another place" in line_of(capfd)
        assert contents(tmp_path) == before


def test_a_contact_sheet_replaces_no_picture(tiny_eyes, tmp_path, capfd):
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"\x89PNG\r\n mine")
    assert main(["info", str(tiny_eyes), "--out", str(sheet)]) == 1
    assert "sheet.png: exists; choose another name" in line_of(capfd)
    assert sheet.read_bytes() == b"\x89PNG\r\n mine"


@pytest.mark.parametrize("way", ["checkpoint", "files"])
def test_a_report_has_a_folder_of_its_own(way, tiny_checkpoint, tiny_eyes, tmp_path, capfd, monkeypatch):
    command = {
        "checkpoint": ["evaluate", str(tiny_checkpoint), "--data", str(tiny_eyes)],
        "files": ["evaluate", "--real", str(tiny_eyes), "--fake", str(tiny_eyes)],
    }[way]
    (tmp_path / "scatter.png").write_text("mine")
    assert main([*command, "--out", str(tmp_path), "--overwrite"]) == 1
    assert "holds other files already, and no metrics.json; choose another folder" in line_of(capfd)
    (tmp_path / "metrics.json").write_text("an earlier one")
    assert main([*command, "--out", str(tmp_path)]) == 1
    assert "holds a metrics.json already; choose another folder, or allow it" in line_of(capfd)
    assert main([*command, "--out", str(tmp_path), "--overwrite"]) == 1
    assert "holds a metrics.json that is of no report; choose another folder" in line_of(capfd)
    for begun in ("", '{\n "protocol": {'):  # an evaluation that was stopped leaves this, and is given again
        (tmp_path / "metrics.json").write_text(begun)
        check_report_folder(tmp_path, overwrite=True)
    assert contents(tmp_path).keys() == {"scatter.png", "metrics.json"}


def test_an_input_is_known_by_any_name(tmp_path):
    photo, link, hard = (tmp_path / name for name in ("photo.png", "link.png", "hard.png"))
    photo.write_bytes(MADE_HERE.encode())
    link.symlink_to(photo)
    os.link(photo, hard)
    for name in (photo, link, hard, tmp_path / "." / "photo.png"):
        with pytest.raises(OutputError, match="is read by this very command"):
            check_files([name], overwrite=True, inputs=[photo])
    check_files([tmp_path / "new.png"], inputs=[photo])
    check_files([photo], overwrite=True)
    (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere" / "x")
    with pytest.raises(OutputError, match=r"dead.png: exists; choose another name"):
        check_files([tmp_path / "dead.png"])


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    check_folder(tmp_path, "report.md")
    check_folder(tmp_path / "new", "report.md")
