"""No command writes over a file that it did not make."""

import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from fund2oct.cli import main
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
    command = [
        "predict",
        str(tiny_checkpoint),
        str(tmp_path / "eye.tif"),
        "--out",
        str(tmp_path),
        "--overwrite",
    ]
    assert main([*command, "--format", {"png": "hdf5", "gif": "gif"}[ending]]) == 1
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


def test_two_photos_never_share_a_file(fundus, tiny_checkpoint, tmp_path):
    photos = [tmp_path / name for name in ("eye.png", "Eye.jpg", "eye.thickness.png")]
    for photo in photos:
        Image.fromarray(fundus).save(photo)
    assert main(["predict", str(tiny_checkpoint), *map(str, photos), "--out", str(tmp_path / "out")]) == 0
    made = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert {"eye.png", "Eye-2.png", "eye.thickness.png", "eye.thickness-2.png"} <= made and len(made) == 12


def write_table(folder):
    (folder / "eyes.import.csv").write_text("photo\neye.png\n")
    return ["import", "table", str(folder / "eyes.import.csv"), str(folder / "eyes.h5"), "--workers", "1"]


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
        (
            lambda folder: ["simulate", str(folder), "--eyes", "1", *SIZES],
            "is a folder, expected the name of a file",
        ),
    ],
)
def test_a_file_of_eyes_replaces_nothing_but_one_of_its_like(make, message, fundus, tmp_path, capfd):
    Image.fromarray(fundus).save(tmp_path / "eye.png")
    (tmp_path / "t.csv").write_text("photo\neye.png\n")
    command = make(tmp_path)
    before = contents(tmp_path)
    for more in ([], ["--overwrite"]):
        assert main([*command, *more]) == 1
        assert message in line_of(capfd)
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
    assert "holds other files already, and no report.md; choose another folder" in line_of(capfd)
    (tmp_path / "report.md").write_text("an earlier one")
    assert main([*command, "--out", str(tmp_path)]) == 1
    assert "holds a report.md already; choose another folder, or allow it" in line_of(capfd)
    assert contents(tmp_path).keys() == {"scatter.png", "report.md"}


def test_an_input_is_known_by_any_name(tmp_path):
    photo, link, hard = (tmp_path / name for name in ("photo.png", "link.png", "hard.png"))
    photo.write_bytes(np.zeros(9, np.uint8).tobytes())
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
