"""``fund2oct simulate``, ``info``, ``check`` and ``surfaces`` from the command line."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import Eye, EyeReader, EyeWriter
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


def test_a_reader_that_has_read_enough_is_no_error(tmp_path, tiny_eyes):
    command = f"{sys.executable} -m fund2oct info {tiny_eyes} --out {tmp_path}/sheet.png | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
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
        (["check", "data*.h5"], "data*.h5: no file matches this pattern"),
    ],
)
def test_bad_input_of_data_commands_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
