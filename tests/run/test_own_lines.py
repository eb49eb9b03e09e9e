"""Eyes with lines of their own, and eyes of rings: trained on, predicted, drawn and exported."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from tiny_models import TINY_PIX2VOL, quick_trainer

from fund2oct.cli import main
from fund2oct.data import EyeReader, EyeWriter, FundusOCTDataModule
from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.export import export_eye
from fund2oct.geometry import CircularScan, LineScan, RadialScan
from fund2oct.models import Pix2Vol
from fund2oct.phantom import PhantomConfig, simulate_eye

S, Z, X = 3, 32, 48


def own_lines(number):
    ends = np.array(RadialScan(S, 6.0).lines) + np.random.default_rng(number).normal(0, 0.2, (S, 2, 2))
    return LineScan(tuple(map(tuple, ends.tolist())))


def rings(number):
    return CircularScan((1.2, 1.9, 2.6))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(own_lines, id="lines of its own"),
        pytest.param(rings, id="rings", marks=pytest.mark.slow),
    ],
)
def trained(request, tmp_path_factory):
    """Eight eyes, and a model of one step on them."""
    folder = tmp_path_factory.mktemp("own")
    with EyeWriter(folder / "eyes.h5") as writer:
        for number in range(8):
            config = PhantomConfig(scan=request.param(number), n_depth=Z, n_ascans=X, fundus_px=48)
            eye = simulate_eye(7, number, config)
            writer.add(replace(eye, **searched_fields(eye.volume, eye.spacing_mm, [])))
    data = FundusOCTDataModule(str(folder / "eyes.h5"), batch_size=2, symmetries="all", test_fraction=0.4)
    trainer = quick_trainer(max_steps=1, limit_val_batches=1)
    trainer.fit(Pix2Vol((S, Z, X), **TINY_PIX2VOL), datamodule=data)
    trainer.save_checkpoint(folder / "one.ckpt")
    return folder, data


def test_a_batch_has_the_grid_of_each_eye(trained):
    _, data = trained
    with EyeReader(data.path) as reader:
        eyes = {key: reader.read(key) for key in reader.keys}
    for batch in data.test_dataloader():
        for key, grid in zip(batch["key"], batch["grid"], strict=True):
            torch.testing.assert_close(grid, eyes[key].placement.to_grid(eyes[key].scan.coordinates(X)))
    assert data.scan in {eye.scan for eye in eyes.values()}


def test_it_is_drawn_and_exported(trained, tmp_path):
    _, data = trained
    assert main(["check", data.path]) == 0
    assert main(["info", data.path, "--out", str(tmp_path / "sheet.png")]) == 0
    with EyeReader(data.path) as reader:
        eye = reader.read(reader.keys[0])
    for format in ("hdf5", "tiff", "gif", "nifti"):
        export_eye(eye, tmp_path, "one", format)
    with EyeReader(tmp_path / "one.h5") as reader:
        assert reader.read(eye.key).scan == eye.scan


def predict_along(lines, unit, folder, data, tmp_path, *more):
    """The status of a prediction of one photo along lines of its own."""
    with EyeReader(data.path) as reader:
        photo = reader.read(reader.keys[0]).fundus
    Image.fromarray(photo).resize((96, 96)).save(tmp_path / "New.png")
    with (tmp_path / "lines.csv").open("w", newline="") as file:
        header = [f"{end}_{unit}" for end in ("x0", "y0", "x1", "y1")]
        csv.writer(file).writerows([["photo", *header], *(("New.png", *line) for line in lines)])
    command = ["predict", str(folder / "one.ckpt"), str(tmp_path / "New.png"), "--out", str(tmp_path / "p")]
    return main([*command, "--lines", str(tmp_path / "lines.csv"), *more])


@pytest.mark.usefixtures("plain_pictures")
def test_lines_in_millimetres_tell_how_far_ascans_are_apart(trained, tmp_path):
    lines = [(-1.5, 0, 1.5, 0), (0, -1.5, 0, 1.5), (-1.2, -0.9, 1.2, 0.9)]  # of 3 mm, and the training's of 6
    assert predict_along(lines, "mm", *trained, tmp_path, "--format", "hdf5", "--format", "tiff") == 0
    with EyeReader(tmp_path / "p" / "New.h5") as reader:
        eye = reader.read("New")
    assert eye.scan.length_mm == pytest.approx([3, 3, 3]) and eye.spacing_mm[2] == pytest.approx(3 / X)
    with tifffile.TiffFile(tmp_path / "p" / "New.ome.tif") as file:
        stated = re.search(r'PhysicalSizeX="([^"]+)"', file.ome_metadata)
    assert float(stated[1]) == pytest.approx(3 / X)


PIXELS = [(20, 48, 76, 48), (48, 20, 48, 76), (28, 28, 68, 68)]


@pytest.mark.usefixtures("plain_pictures")
def test_the_scale_that_is_told_goes_before_that_of_the_training(trained, tmp_path):
    assert predict_along(PIXELS, "px", *trained, tmp_path, "--half-width-mm", "5") == 0
    with EyeReader(tmp_path / "p" / "New.h5") as reader:
        eye = reader.read("New")
    assert eye.placement.half_width_mm == 5
    radius = eye.history["circle_radius"]
    lengths = np.array([56, 56, 40 * 2**0.5]) / radius * 5
    np.testing.assert_allclose(eye.scan.length_mm, lengths, rtol=0.01)
    assert eye.spacing_mm[2] == pytest.approx(lengths.mean() / X, rel=0.01)


@pytest.mark.parametrize("place", [["--fovea", "0.1", "0"], ["--placement", "photo"]])
def test_lines_in_pixels_and_another_place_are_refused(place, trained, tmp_path, capsys):
    assert predict_along(PIXELS, "px", *trained, tmp_path, *place) == 1
    message = "New.png: expected lines in pixels of the photo, or the place of the scan (--fovea, --placement"
    assert message in capsys.readouterr().err and not list((tmp_path / "p").glob("*.h5"))


@pytest.mark.usefixtures("plain_pictures")
def test_a_new_photo_is_predicted_along_its_own_lines(trained, tmp_path, capsys):
    folder, data = trained
    with EyeReader(data.path) as reader:
        photo = reader.read(reader.keys[0]).fundus
    Image.fromarray(photo).resize((96, 96)).save(tmp_path / "New.png")
    ends = [(20, 48, 76, 48), (48, 20, 48, 76), (30, 30, 66, 66)]
    rows = [("photo", "x0_px", "y0_px", "x1_px", "y1_px"), *(("new.PNG", *line) for line in ends)]
    for name, kept in (("lines.csv", rows), ("two.csv", rows[:3])):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows(kept)
    command = ["predict", str(folder / "one.ckpt"), str(tmp_path / "New.png"), "--out"]
    assert main([*command, str(tmp_path / "p"), "--lines", str(tmp_path / "lines.csv")]) == 0
    with EyeReader(tmp_path / "p" / "New.h5") as reader:
        eye = reader.read("New")
    pixels = eye.placement.to_pixels(eye.scan.points(torch.tensor([0.0, 1.0])), 96).flatten(1)
    np.testing.assert_allclose(pixels, ends, atol=1.5)  # the circle of retina is found to about a pixel
    assert eye.volume.shape == (S, Z, X) and (tmp_path / "p" / "New.png").is_file()
    named = (tmp_path / "lines.csv").read_text().replace("photo,", "CF,")
    (tmp_path / "named.csv").write_text(named)
    theirs = ["--lines", str(tmp_path / "named.csv"), "--column", "photo=CF"]
    assert main([*command, str(tmp_path / "r"), *theirs]) == 0
    with EyeReader(tmp_path / "r" / "New.h5") as reader:
        assert reader.read("New").scan == eye.scan
    assert main([*command, str(tmp_path / "q"), "--lines", str(tmp_path / "two.csv")]) == 1
    (tmp_path / "Other.png").write_bytes((tmp_path / "New.png").read_bytes())
    (tmp_path / "bad.csv").write_text((tmp_path / "lines.csv").read_text() + "other.png,left,48,76,48\n")
    both = [command[0], command[1], str(tmp_path / "Other.png"), *command[2:]]
    assert main([*both, str(tmp_path / "s"), "--lines", str(tmp_path / "bad.csv")]) == 1
    assert "bad.csv: row 5: x0_px: expected a number, found 'left'" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "s").glob("*.h5")] == ["New.h5"]
