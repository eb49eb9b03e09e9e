"""Whatever is wrong with what is to be evaluated is said in one line, and nothing is written."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from eye_files import write_eyes
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import EyeReader
from fund2oct.models import SurfaceModel

FIRST, SECOND, THIRD = (f"sim3-000000{n}-{side}" for n, side in ((0, "OD"), (1, "OS"), (2, "OD")))


@pytest.fixture
def eyes(tiny_eyes):
    with EyeReader(tiny_eyes) as reader:
        return [reader.read(key) for key in reader.keys[:3]]


@pytest.fixture
def place(tmp_path, monkeypatch, eyes, tiny_checkpoint):
    """A folder with a real file, a right answer and a checkpoint, in which the command is run."""
    monkeypatch.chdir(tmp_path)
    write_eyes("real.h5", eyes)
    for eye in eyes:
        folder = tmp_path / "fake" / eye.key
        folder.mkdir(parents=True)
        for number, bscan in enumerate(eye.rescan):
            Image.fromarray(bscan).save(folder / f"{eye.key}_{number}.png")
    shutil.copy(tiny_checkpoint, "model.ckpt")
    return tmp_path


def picture(values, path="fake/{0}/{0}_3.png"):
    Image.fromarray(np.asarray(values, np.uint8)).save(path.format(SECOND))


def one_eye(place, eyes):
    write_eyes("real.h5", eyes[:1])


def eyes_missing(place, eyes):
    shutil.rmtree(f"fake/{FIRST}")
    shutil.rmtree(f"fake/{THIRD}")


def slice_constant(place, eyes):
    picture(np.full((32, 48), 7))


def slice_of_more_bits(place, eyes):
    path = place / "fake" / SECOND / f"{SECOND}_3.png"
    Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 257).save(path)


def eye_of_another_size(place, eyes):
    for number in range(6):
        picture(np.random.default_rng(number).integers(0, 255, (30, 48)), f"fake/{{0}}/{{0}}_{number}.png")


def real_constant(place, eyes):
    volume = eyes[1].volume.copy()
    volume[[2, 4]] = 0
    write_eyes("real.h5", [eyes[0], replace(eyes[1], volume=volume), eyes[2]])


def real_not_a_number(place, eyes):
    with h5py.File("real.h5", "a") as file:
        volume = file["eyes"][SECOND]["volume"][...].astype(np.float32)
        volume[0, 0, 0] = np.nan
        del file["eyes"][SECOND]["volume"]
        file["eyes"][SECOND]["volume"] = volume


def real_without_volumes(place, eyes):
    bare = {"volume": None, "scan": None, "rescan": None, "boundaries_um": None, "lesions": None}
    write_eyes("real.h5", [replace(eye, **bare, pose_um=None, surfaces_um=None) for eye in eyes])


def real_truncated(place, eyes):
    path = place / "real.h5"
    path.write_bytes(path.read_bytes()[:9000])


def fake_of_another_depth(place, eyes):
    deeper = [replace(eye, spacing_mm=(np.nan, 0.05, eye.spacing_mm[2])) for eye in eyes]
    write_eyes("fake.h5", deeper)


def real_as_pictures(place, eyes):
    shutil.copytree("fake", "pictures")


def nothing(place, eyes):
    pass


FILES = ["--real", "real.h5", "--fake"]

TABLE = [
    (one_eye, [*FILES, "fake"], "real.h5: expected at least two eyes to compare, found 1"),
    (
        eyes_missing,
        [*FILES, "fake"],
        f"fake: expected a volume for each of the 3 eyes of real.h5, missing 2: {FIRST}, {THIRD}",
    ),
    (
        slice_constant,
        [*FILES, "fake"],
        f"fake: eye '{SECOND}': expected B-scans, found slices of one grey value: 3",
    ),
    (
        slice_of_more_bits,
        [*FILES, "fake"],
        f"fake/{SECOND}/{SECOND}_3.png: expected uint8 as in {SECOND}_0.png, found uint16, or black and "
        "white the other way round; save all slices alike",
    ),
    (
        eye_of_another_size,
        [*FILES, "fake"],
        f"fake: eye '{SECOND}': expected 6 slices of 48 x 32 (width x height), found 6 slices of 48 x 30 "
        "(width x height)",
    ),
    (
        real_constant,
        [*FILES, "fake"],
        f"real.h5: eye '{SECOND}': expected B-scans, found slices of one grey value: 2, 4",
    ),
    (
        real_not_a_number,
        [*FILES, "fake"],
        f"real.h5: eye '{SECOND}': volume: expected uint8",
    ),
    (real_without_volumes, [*FILES, "fake"], "real.h5: expected eyes with a volume, found none"),
    (real_truncated, [*FILES, "fake"], "real.h5: cannot be read as HDF5, it is damaged or something else ("),
    (
        fake_of_another_depth,
        [*FILES, "fake.h5"],
        f"fake.h5: eye '{FIRST}': found 1.6 mm deep, expected 1.92 mm, as the real volume is",
    ),
    (nothing, [*FILES, "absent"], "absent: no such file or folder"),
    (nothing, [*FILES, "absent.ckpt"], "absent.ckpt: no such file"),
    (nothing, [*FILES, "absent.safetensors"], "absent.safetensors: no such file"),
    (
        real_as_pictures,
        ["--real", "pictures", "--fake", "model.ckpt"],
        "pictures: holds no photos to translate; give --real a file of eyes (.h5)",
    ),
    (nothing, [*FILES, "fake", "--protocol", "aptos"], "protocol 'aptos': expected one of aptos2024"),
    (
        nothing,
        [*FILES, "fake", "--protocol", "aptos2024"],
        f"real.h5: eye '{FIRST}': expected 6 slices of 448 x 320 (width x height), found 6 slices of 48 x 32 "
        "(width x height); submissions hold that size; import real eyes with --shape 320 448",
    ),
    (
        nothing,
        [*FILES, "fake", "--distances", "fvd"],
        "distance 'fvd': expected image, video, image/kernel or video/kernel, and perhaps a network, as in "
        "video:oct3d; the import path of one of your own; or none",
    ),
    (nothing, [*FILES, "fake", "--distances", "image:inception"], "feature network: expected "),
    (
        nothing,
        [*FILES, "fake", "--distances", "image", "video"],
        "weights i3d: ",
    ),
    (nothing, [*FILES, "fake", "--device", "gpu"], "device 'gpu': cannot be used: "),
    (
        nothing,
        ["model.ckpt", "--real", "real.h5"],
        "evaluate: expected checkpoints and --data FILE.h5, whose test eyes judge them, or --real and "
        "--fake; see fund2oct evaluate --help",
    ),
    (
        nothing,
        [],
        "evaluate: expected checkpoints and --data FILE.h5, whose test eyes judge them, or --real and "
        "--fake; see fund2oct evaluate --help",
    ),
    (
        nothing,
        ["model.ckpt", "--data", "real.h5", "--protocol", "aptos2024"],
        "evaluate: --protocol is for --real and --fake; checkpoints have one of their own",
    ),
    (nothing, ["model.ckpt", "--data", "absent.h5"], "absent.h5: no such file; "),
]


@pytest.mark.parametrize("spoil, arguments, message", TABLE, ids=lambda part: getattr(part, "__name__", None))
def test_bad_input_is_one_line(place, eyes, monkeypatch, capfd, spoil, arguments, message):
    monkeypatch.setenv("FUND2OCT_WEIGHTS", str(place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    spoil(place, eyes)
    assert main(["evaluate", *arguments, "--out", "out"]) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("checking")]
    assert line.startswith(f"fund2oct: {message}")
    assert not (place / "out").exists()


@pytest.mark.usefixtures("plain_pictures", "one_eye_measured")
def test_what_is_left_out_says_how_to_get_it(place, monkeypatch):
    monkeypatch.setenv("FUND2OCT_WEIGHTS", str(place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    monkeypatch.setattr("fund2oct.networks.features.weights.importlib.util.find_spec", lambda name: None)
    assert main(["evaluate", *FILES, "fake", "--out", "out"]) == 0
    report = (place / "out" / "report.md").read_text()
    notes = [line for line in report.splitlines() if line.startswith("* The ")]
    for note, name, weights in zip(notes[:2], ("image", "video"), ("efficientnet_lite0", "i3d"), strict=True):
        assert note.startswith(f"* The {name} distance is left out: weights {weights}: ")
        assert f"run: fund2oct weights fetch {weights}" in note
    assert "The perceptual distance is left out: " in report and "## Distances" not in report


@pytest.mark.usefixtures("plain_pictures", "one_eye_measured")
def test_volumes_without_a_real_one_are_left_out_and_named(place, eyes):
    write_eyes("real.h5", eyes[:2])
    assert main(["evaluate", *FILES, "fake", "--out", "out", "--distances", "none"]) == 0
    assert f"* fake has 1 volumes more, left out: {THIRD}." in (place / "out" / "report.md").read_text()


def test_a_model_of_surfaces_answers_no_volumes(place, tiny_checkpoint, monkeypatch, capsys):
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)
    monkeypatch.setattr("fund2oct.evaluation.files.load_model", lambda *_: model)
    assert main(["evaluate", "--real", "real.h5", "--fake", "model.ckpt", "--out", "out"]) == 1
    printed = capsys.readouterr().err
    assert "found a SurfaceModel, which draws none; judge its surfaces by fund2oct evaluate" in printed
    assert not (place / "out").exists()
