"""``fund2oct simulate``, ``info``, ``check`` and ``surfaces`` from the command line."""

import shlex
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import Eye, EyeReader, EyeWriter
from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.eye import SEARCHED
from fund2oct.geometry import RadialScan
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.run.config import load_experiment
from fund2oct.visual import draw_contact_sheet

SIZES = ("--shape", "32", "48", "--fundus-px", "48", "--workers", "1")


def test_simulate_twice_info_and_surfaces(tmp_path, capsys):
    path, new, sheet = (str(tmp_path / name) for name in ("eyes.h5", "new.h5", "sheet.png"))
    assert main(["simulate", path, "--eyes", "4", *SIZES]) == 0
    assert main(["simulate", path, "--eyes", "4", *SIZES]) == 0
    assert "holds these 4 eyes already; nothing to do" in capsys.readouterr().out
    assert main(["info", path, "--out", sheet]) == 0
    printed = capsys.readouterr().out
    assert "4 eyes of 2 patients" in printed and "6x32x48 (4)" in printed
    assert Image.open(sheet).size[0] > 600
    assert main(["surfaces", path, new, "--compression", "gzip", "--workers", "1"]) == 0
    assert main(["check", new]) == 0
    assert EyeReader(new).keys == EyeReader(path).keys
    assert main(["check", path, new]) == 1  # each key twice
    assert "4 problems" in capsys.readouterr().out


@pytest.mark.slow
def test_a_reader_that_has_read_enough_is_no_error(tmp_path, make_file):
    command = f"{sys.executable} -m fund2oct info {make_file(2)} --out {tmp_path}/sheet.png | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (141, "")  # as of any program whose reader has gone
    assert (tmp_path / "sheet.png").is_file()


def test_the_contact_sheet_of_photos_and_volumes_alone(tmp_path, tiny_eyes):
    with EyeReader(tiny_eyes) as reader:
        eye = reader.read(reader.keys[0])
    photo = Eye(key="photo", patient="a", laterality="", fundus=eye.fundus)
    values = {name: getattr(eye, name) for name in ("volume", "scan", "spacing_mm", "pose_um")}
    volume = Eye(key="volume", patient="b", laterality="OD", **values)
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        writer.add(photo)
        writer.add(volume)
    figure = draw_contact_sheet(EyeReader(tmp_path / "eyes.h5"))
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert texts[:3] == [[], ["no volume"], ["no photo"]]
    shown = [axes.images[0].get_array() for axes in figure.axes[3:]]
    assert len(shown) > 1
    np.testing.assert_allclose(shown[0], eye.volume[0] / 255)
    np.testing.assert_allclose(shown[-1], eye.volume[-1] / 255)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["info", "none.h5"], "none.h5: no such file"),
        (
            ["info", "none.h5", "--out", "sheet.jpg"],
            "sheet.jpg: expected the name of a file that ends in .png, .svg, .pdf",
        ),
        (["surfaces", "none.h5", "new.h5"], "none.h5: no such file"),
        (["import", "volumes", ".", "new.h5", "--star", "0"], "--star: expected 1 line or more, found 0"),
        (["import", "volumes", ".", "new.h5", "--star-mm", "5"], "--star-mm: expected --star LINES too"),
        (["check", "data*.h5"], "data*.h5: no file matches this pattern"),
    ],
)
def test_bad_input_of_data_commands_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def after_check(capsys, *paths):
    """What ``check`` suggests, as words."""
    assert main(["check", *map(str, paths)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Next: fund2oct ")
    return shlex.split(last.removeprefix("Next: fund2oct "))


def write_eyes(path, *eyes):
    with EyeWriter(path) as writer:
        for number, eye in enumerate(eyes):
            writer.add(replace(eye, key=f"{path.stem}-{number}", patient=f"{path.stem}-{number}"))
    return path


def test_after_a_check_comes_the_training_that_fits(tiny_eyes, tmp_path, capsys):
    with EyeReader(tiny_eyes) as reader:
        simulated = [reader.read(key) for key in reader.keys[:3]]
    scanned = [replace(eye, source="table") for eye in simulated]
    module = "data.class_path=fund2oct.data.FundusOCTDataModule"
    path, shape = f"data.init_args.path={tiny_eyes}", "model.init_args.shape=[6,32,48]"
    assert after_check(capsys, tiny_eyes) == ["train", "pix2vol", "data.init_args.n_eyes=24", path, shape]
    clinic = write_eyes(tmp_path / "my clinic.h5", *scanned)
    words = after_check(capsys, clinic)
    assert words == ["train", "pix2vol", module, f"data.init_args.path={clinic}", shape]
    config = load_experiment(words[1], words[2:])
    assert config["data"] == {
        "class_path": "fund2oct.data.FundusOCTDataModule", "init_args": {"path": str(clinic)},
    }  # fmt: skip
    assert config["model"]["init_args"]["shape"] == [6, 32, 48]
    # Two files of one set, an eye of another size among them.
    other = simulate_eye(1, 0, PhantomConfig(fundus_px=64, n_depth=40, n_ascans=56))
    fields = searched_fields(other.volume, other.spacing_mm, [])
    more = write_eyes(tmp_path / "more.h5", replace(other, source="table", **fields))
    words = after_check(capsys, clinic, more)
    assert words[3:] == [
        f"data.init_args.path=[{clinic},{more}]", "data.init_args.volume_shape=[6,32,48]",
        "data.init_args.fundus_px=48", shape,
    ]  # fmt: skip
    assert load_experiment(words[1], words[2:])["data"]["init_args"]["path"] == [str(clinic), str(more)]


def test_after_a_check_the_challenge_at_its_own_size_only(tiny_eyes, tmp_path, capsys):
    def large(n_slices):
        """The eye with ten times the rows and A-scans."""
        across = {
            name: np.repeat(getattr(eye, name)[..., :n_slices, :], 10, -1)[..., :448] for name in SEARCHED[1:]
        }
        return Eye(
            key="large", patient="a", laterality="OD", fundus=eye.fundus, source="table",
            scan=RadialScan(n_slices),
            volume=np.kron(eye.volume, np.ones((1, 10, 10), np.uint8))[:n_slices, :, :448],
            spacing_mm=(np.nan, eye.spacing_mm[1] / 10, 0.02), pose_um=eye.pose_um[:n_slices], **across,
        )  # fmt: skip

    with EyeReader(tiny_eyes) as reader:
        eye = reader.read(reader.keys[0])
    challenge = write_eyes(tmp_path / "challenge.h5", large(6))
    assert after_check(capsys, challenge) == ["train", "aptos2024", f"data.init_args.path={challenge}"]
    two = write_eyes(tmp_path / "two.h5", large(2))
    shape = "model.init_args.shape=[2,320,448]"
    assert after_check(capsys, two) == ["train", "aptos2024", f"data.init_args.path={two}", shape]


def test_after_a_check_of_what_cannot_be_trained_on(tiny_eyes, tmp_path, capsys):
    with EyeReader(tiny_eyes) as reader:
        eye = reader.read(reader.keys[0])
    empty = {"surfaces_um": None, "surface_confidence": None}
    without = write_eyes(tmp_path / "without.h5", replace(eye, source="table", **empty))
    assert after_check(capsys, without) == ["surfaces", str(without), str(tmp_path / "without-surfaces.h5")]
    drawn = write_eyes(tmp_path / "drawn.h5", replace(eye, source="generated from a.jpg", **empty))
    photo = Eye(key="photo", patient="a", laterality="", fundus=eye.fundus)
    photos = write_eyes(tmp_path / "photos.h5", photo)
    for path in (drawn, photos):
        assert after_check(capsys, path) == ["info", str(path), "--out", "sheet.png"]


@pytest.mark.parametrize(("fails", "status"), [("flush", 1), ("write", 141)])
def test_a_check_behind_a_closed_pipe_does_not_pass(fails, status, make_file, tmp_path, monkeypatch):
    path = make_file(1)
    with h5py.File(path, "r+") as file:
        file["eyes/eye00/volume"][2, 0, 0] ^= 1
    out = (tmp_path / "out").open("w")

    def closed(*_):
        raise BrokenPipeError(32, "Broken pipe")

    with out, monkeypatch.context() as patched:
        patched.setattr(out, fails, closed)
        patched.setattr("sys.stdout", out)
        assert main(["check", str(path)]) == status
