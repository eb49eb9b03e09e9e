"""The command line: what it makes, and one line for whatever is wrong."""

import sys
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from fund2oct import __version__
from fund2oct.cli import main
from fund2oct.data import EyeReader
from fund2oct.geometry import Placement
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.visual.style import new_figure

WITHOUT_PICTURES = ["--figure-format", "none"]


@pytest.fixture(scope="module")
def fundus():
    return simulate_eye(0, 5, PhantomConfig(fundus_px=200, n_depth=32, n_ascans=48)).fundus


def save_photo(path, fundus, **options):
    Image.fromarray(fundus).save(path, **options)
    return str(path)


def test_simulate_then_check(tmp_path, capsys):
    path = str(tmp_path / "eyes.h5")
    sizes = ["--shape", "32", "48", "--fundus-px", "48", "--workers", "1"]
    assert main(["simulate", path, "--eyes", "4", "--seed", "7", *sizes]) == 0
    assert main(["check", path]) == 0
    printed = capsys.readouterr().out
    assert "4 eyes of 2 patients" in printed and "0 problems" in printed
    assert main(["simulate", path, "--eyes", "4", *sizes]) == 1
    assert "exists" in capsys.readouterr().err


def test_simulate_long_eyes(tmp_path):
    path = str(tmp_path / "long.h5")
    sizes = ["--shape", "48", "40", "--fundus-px", "48", "--workers", "1"]
    assert main(["simulate", path, "--eyes", "2", "--population", "long", *sizes]) == 0
    assert main(["check", path]) == 0
    with EyeReader(path) as reader:
        eye = reader.read(reader.keys[0])
    assert eye.history["population"] == "long" and eye.scan.length_mm[0] == 12


@pytest.mark.usefixtures("plain_pictures")
def test_predict_for_photos_of_any_size_and_shape(tiny_checkpoint, fundus, tmp_path, capsys):
    wide = np.zeros((220, 330, 3), np.uint8)
    wide[10:210, 60:260] = fundus
    photos = [
        save_photo(tmp_path / "square.png", fundus),
        save_photo(tmp_path / "wide.jpg", wide, quality=95),
        save_photo(tmp_path / "tall.tif", wide.transpose(1, 0, 2).copy()),
    ]
    out = tmp_path / "out"
    formats = ["--format", "hdf5", "--format", "tiff", "--format", "nifti"]
    assert main(["predict", str(tiny_checkpoint), *photos, "--out", str(out), *formats]) == 0
    assert "3 of 3 photos" in capsys.readouterr().out
    for name in ("square", "wide", "tall"):
        with EyeReader(out / f"{name}.h5") as reader:
            eye = reader.read(name)
        assert eye.volume.shape == (6, 32, 48) and eye.fundus.shape == (48, 48, 3)
        assert np.array_equal(tifffile.imread(out / f"{name}.ome.tif"), eye.volume)
        nifti = pytest.importorskip("nibabel").load(out / f"{name}.nii.gz")
        assert np.array_equal(np.asarray(nifti.dataobj), eye.volume.transpose(2, 1, 0))
        assert nifti.header.get_zooms() == pytest.approx((8.8 / 48, 1.92 / 32, 1.0), rel=1e-5)
        assert (out / f"{name}.png").is_file()
        assert main(["check", str(out / f"{name}.h5")]) == 0


def show_warning(message, category, filename, lineno, file=None, line=None):
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


@pytest.mark.usefixtures("plain_pictures")
def test_a_warning_is_a_line(tiny_checkpoint, tmp_path, monkeypatch, capfd):
    rng = np.random.default_rng(0)
    noise = rng.integers(90, 200, (64, 64, 3)).astype(np.uint8) // np.array([1, 2, 3], np.uint8)
    photo = save_photo(tmp_path / "noise.png", noise)
    command = ["fund2oct", "predict", str(tiny_checkpoint), photo, "--out", str(tmp_path / "out")]
    # As the shell calls it; pytest would keep the warnings, and here they are shown as Python shows them.
    monkeypatch.setattr(sys, "argv", [*command, "--placement", "photo"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(warnings, "showwarning", show_warning)
    assert main() == 0
    told = capfd.readouterr().err
    assert f"fund2oct: {photo}: the fovea is uncertain" in told
    assert "UserWarning" not in told


def test_predict_around_the_fovea_as_given_or_found(tiny_checkpoint, fundus, tmp_path, capsys):
    photo = save_photo(tmp_path / "eye_OD.png", fundus)
    predict = ["predict", str(tiny_checkpoint), photo, *WITHOUT_PICTURES, "--out"]
    shifts = {}
    for name, more in (
        ("centre", []),
        ("given", ["--fovea", "0.2", "-0.1", "--half-width-mm", "7"]),
        ("found", ["--placement", "photo", "--half-width-mm", "6"]),
    ):
        assert main([*predict, str(tmp_path / name), *more]) == 0
        with EyeReader(tmp_path / name / "eye_OD.h5") as reader:
            shifts[name] = reader.read("eye_OD")
    assert shifts["centre"].placement == Placement()
    assert shifts["given"].placement == Placement((0.2, -0.1), 0.0, 7.0)
    assert shifts["found"].placement.half_width_mm == 6.0
    assert shifts["found"].history["placement"] in ("photo", "centre")
    capsys.readouterr()
    assert main([*predict, str(tmp_path / "both"), "--placement", "photo", "--fovea", "0", "0"]) != 0
    assert "--fovea or --placement photo, found both" in capsys.readouterr().err


def test_a_scan_that_leaves_the_photo_has_a_picture_of_the_usual_size(
    tiny_checkpoint, fundus, tmp_path, monkeypatch
):
    map_of = "fund2oct.run.predicting.results.draw_thickness"  # of the two pictures the panel is looked at
    monkeypatch.setattr(map_of, lambda *_, **__: new_figure(1, 1))
    predict = ["predict", str(tiny_checkpoint), save_photo(tmp_path / "eye_OD.png", fundus), "--out"]
    assert main([*predict, str(tmp_path / "centre")]) == 0
    with pytest.warns(UserWarning, match=r"eye_OD\.png: \d\d% of the scan lies outside the circle"):
        assert main([*predict, str(tmp_path / "outside"), "--fovea", "0.9", "0"]) == 0
    pictures = [np.asarray(Image.open(tmp_path / n / "eye_OD.png"), int) for n in ("centre", "outside")]
    assert pictures[0].shape == pictures[1].shape and pictures[0].shape[1] > 500


def test_a_photo_gives_the_same_volume_whatever_the_others(tiny_checkpoint, fundus, tmp_path):
    first, second = (save_photo(tmp_path / f"{name}.png", fundus) for name in ("first", "second"))

    def volume(photos, out):
        command = ["predict", str(tiny_checkpoint), *photos, *WITHOUT_PICTURES]
        assert main([*command, "--out", str(tmp_path / out)]) == 0
        with EyeReader(tmp_path / out / "second.h5") as reader:
            return reader.read("second").volume

    assert np.array_equal(volume([first, second], "both"), volume([second], "alone"))


def test_photos_of_one_name_do_not_overwrite_each_other(tiny_checkpoint, fundus, tmp_path):
    photos = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        photos.append(save_photo(tmp_path / folder / "eye.png", fundus))
    command = ["predict", str(tiny_checkpoint), *photos, *WITHOUT_PICTURES]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert {"a-eye.h5", "b-eye.h5"} <= {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.usefixtures("plain_pictures")
def test_a_photo_that_cannot_be_used_is_named_and_the_others_are_done(
    tiny_checkpoint, fundus, tmp_path, capsys
):
    good = save_photo(tmp_path / "good.png", fundus)
    bad = [str(tmp_path / name) for name in ("absent.jpg", "text.jpg", "cut.jpg", "grey.png", "empty.png")]
    (tmp_path / "text.jpg").write_text("no picture")
    save_photo(tmp_path / "whole.jpg", fundus)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    save_photo(tmp_path / "grey.png", np.full((90, 90, 3), 128, np.uint8))
    (tmp_path / "empty.png").write_bytes(b"")
    assert main(["predict", str(tiny_checkpoint), *bad, good, "--out", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(bad)
    assert all(name in line for name, line in zip(bad, lines, strict=True))
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {
        "good.h5", "good.png", "good.thickness.png", "good.thickness.tif",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "pix2vo"], "did you mean pix2vol?"),
        (["train", "pix2vol", "trainer.max_epoch=1"], "max_epoch"),
        (["train", "pix2vol", "max_epochs=1"], "unknown section 'max_epochs'"),
        (["train", "aptos2024", "data.init_args.path=absent.h5"], "absent.h5"),
        (["train", "pix2vol", "--resume", "absent.ckpt"], "absent.ckpt: no such file"),
        (["train", "pix2vol", "--overwrite"], "--overwrite is for --out DIR"),
        (["predict", "absent.ckpt", "photo.jpg", "--out", "out"], "absent.ckpt: no such file"),
        (["predict", "absent.ckpt", "7.jpg", "--out", "out", "--column", "photo=CF"], "--column: expected a"),
        (["submit", "--check", "a.zip", ".", "--overwrite"], "expected no --overwrite with --check"),
        (["submit", "--check", "a.zip", ".", "--seed", "1"], "expected no --seed with --check"),
        (["submit", "--check", "a.zip", ".", "--placement", "photo"], "expected no --placement with --check"),
        (["submit", "--check", "a.zip", ".", "--half-width-mm", "6"], "expected no --half-width-mm with"),
        (["submit", "--check", "a.zip", ".", "--set", "age_years=63"], "expected no --set with --check"),
        (["submit", "--check", "a.zip", ".", "--mask", "drusen=a.pt"], "expected no --mask with --check"),
        (["check", "absent.h5"], "absent.h5: no such file"),
        (["import", "aptos", "absent", "out.h5"], "absent"),
        (["simulate", "eyes.h5", "--eyes", "0"], "n_eyes"),
        (["simulate", "taken/eyes.h5", "--eyes", "1"], "taken"),
        (["simulate", "eyes.h5", "--eyes", "1", "--diagnosis", "flu"], "flu"),
        (["evaluate", "absent.ckpt", "--data", "eyes.h5", "--out", "out"], "absent.ckpt"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()  # a file where a folder would have to be
    assert main(arguments) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fund2oct: ")]
    assert message in line


def test_borders_of_scanners_files_are_no_option(capsys):
    with pytest.raises(SystemExit):
        main(["import", "vendor", "exports", "new.h5", "--keep-borders"])
    assert "unrecognized arguments: --keep-borders" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "usage: fund2oct "),
        (["--version"], 0, f"fund2oct {__version__}\n"),
        (["train", "--help"], 0, "usage: fund2oct train "),
        (["predict", "--help"], 0, "usage: fund2oct predict "),
    ],
)
def test_help_is_at_hand(arguments, status, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == status
    printed = capsys.readouterr()
    assert (printed.err if status else printed.out).startswith(said)
