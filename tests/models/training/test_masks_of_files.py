"""A model that is told masks of its photos, from the file of eyes to the report and the prediction."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import quick_trainer

from fund2oct.data import EyeReader, EyeWriter, FundusOCTDataModule
from fund2oct.data.masks.stored import masks_of
from fund2oct.evaluation.checkpoints import HeldOutEyes, evaluate_checkpoints
from fund2oct.evaluation.distances import Wanted
from fund2oct.evaluation.generated import write_generated
from fund2oct.evaluation.sources import EyeFiles
from fund2oct.models import SurfaceModel, load_model
from fund2oct.run.predicting.predict import predict
from fund2oct.run.train import build

SHAPE = (6, 32, 48)
NOTHING = Wanted((), required=True, thorough=False)


@pytest.fixture(scope="module")
def checkpoint(tiny_eyes, tmp_path_factory):
    """Of a model that was told of the lesions in the photos of the tiny eyes."""
    data = FundusOCTDataModule(
        str(tiny_eyes), batch_size=4, masks=["lesion"], photo_maps=1.0, symmetries="all"
    )
    model = SurfaceModel(
        SHAPE, encoder="own", surface_width=8, masks=["lesion"], learning_rate=0.02, ema_decay=0.0
    )
    trainer = quick_trainer(max_steps=4, limit_val_batches=1)
    trainer.fit(model, datamodule=data)
    path = tmp_path_factory.mktemp("lesion") / "lesion.ckpt"
    trainer.save_checkpoint(path)
    return path


def test_two_lines_of_configuration(tiny_overrides, tiny_layers):
    lines = ["model.init_args.masks=[lesion]", "data.init_args.masks=[lesion]"]
    _, model, data = build("pix2vol", [*tiny_overrides, *tiny_layers, *lines])
    assert model.masks == data.masks == ("lesion",) and model.n_known == (0, 1)


def test_eyes_bring_their_masks_to_the_model(checkpoint, tiny_eyes):
    model = load_model(checkpoint)
    eye = EyeReader(tiny_eyes).read(model.task.seen.parts["test"][0].key)
    assert torch.equal(model.known_of(eye)["known"].masks, masks_of(eye)["lesion"])


@pytest.mark.usefixtures("no_twins", "plain_pictures", "one_eye_measured")
def test_a_report_reads_masks_from_the_file_of_eyes(checkpoint, tiny_eyes, tmp_path):
    evaluate_checkpoints([str(checkpoint)], str(tiny_eyes), tmp_path / "report", distances=NOTHING)
    report = (tmp_path / "report" / "report.md").read_text()
    for row in ("shuffled masks", "no masks"):
        assert f"| lesion, median surfaces, {row} |" in report
    assert "masks that are missing" not in report
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=4, masks=["lesion"])
    data.setup("test")
    eyes = HeldOutEyes(data, torch.device("cpu"))
    key = eyes.keys[0]
    assert not torch.equal(eyes.photo_of_another(key)["fundus"], eyes.batch(key)["fundus"][0])
    assert eyes.photo_of_another(key)["lesion"].shape == eyes.batch(key)["lesion"][0].shape


@pytest.fixture
def photos(tmp_path):
    """Photos that stand above the middle of their pictures, and masks of them."""
    y, x = np.mgrid[-1:1:120j, -1:1:120j]
    photo = np.zeros((160, 200, 3))
    light = (np.hypot(x, y) < 0.95) * (1 - 0.3 * x)
    photo[10:130, 50:170] = light[..., None] * np.array([180.0, 90, 40])
    mask = np.zeros((160, 200), bool)
    mask[60:90, 100:130] = True
    for name in ("a_OD.png", "b_OD.png"):
        Image.fromarray(photo.astype(np.uint8)).save(tmp_path / name)
    Image.fromarray(mask).save(tmp_path / "drawn.png")
    Image.fromarray(~mask[:100]).save(tmp_path / "short.png")
    return [tmp_path / "a_OD.png", tmp_path / "b_OD.png"]


def write(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_prediction_reads_masks_that_a_table_names(checkpoint, photos, tmp_path, recwarn):
    table = write(tmp_path / "t.csv", ("photo", "mask_lesion"), ("a_OD.png", "drawn.png"), ("b_OD.png", ""))
    told = {"figure_formats": [], "table": table}
    done = predict(checkpoint, photos, tmp_path / "told", **told)
    assert [one.problem for one in done] == ["", ""]
    said = [str(one.message) for one in recwarn if "its mask" in str(one.message)]
    assert said == [f"{photos[1]}: its mask lesion is missing"]
    maps = [(tmp_path / "told" / f"{name}_OD.thickness.tif").read_bytes() for name in "ab"]
    assert maps[0] != maps[1]
    with pytest.warns(UserWarning, match=r"trained with masks that are missing: lesion; .* mask_lesion of"):
        predict(checkpoint, photos[:1], tmp_path / "alone", figure_formats=[])
    assert (tmp_path / "alone" / "a_OD.thickness.tif").read_bytes() == maps[1]
    # A mask that is another now makes other results.
    (again, _) = predict(checkpoint, photos, tmp_path / "told", **told, skip_done=True)
    assert again.skipped
    Image.fromarray(np.zeros((160, 200), bool)).save(tmp_path / "drawn.png")
    with pytest.raises(Exception, match="its results were made from other options"):
        predict(checkpoint, photos, tmp_path / "told", **told, skip_done=True)


def test_masks_that_no_model_is_told_stop_no_prediction(tiny_checkpoint, photos, tmp_path):
    table = write(tmp_path / "t.csv", ("photo", "mask_drusen"), ("a_OD.png", "gone.png"))
    (done,) = predict(tiny_checkpoint, photos[:1], tmp_path / "out", figure_formats=[], table=table)
    assert not done.problem


def test_a_photo_whose_mask_cannot_be_used_is_named(checkpoint, photos, tmp_path):
    table = write(
        tmp_path / "t.csv", ("photo", "mask_lesion"), ("a_OD.png", "short.png"), ("b_OD.png", "gone.png")
    )
    short, gone = predict(checkpoint, photos, tmp_path / "out", figure_formats=[], table=table)
    assert "expected a picture as large as the photo, 200 x 160 pixels, found 200 x 100" in short.problem
    assert "gone.png: no such file" in gone.problem


def test_one_photo_and_its_mask(checkpoint, photos, tmp_path):
    model = load_model(checkpoint)
    eye = model.predict(photos[0], masks={"lesion": tmp_path / "drawn.png"})
    assert eye.mask_names == ("lesion",) and eye.masks.shape == (1, *eye.fundus.shape[:2])
    weights = eye.masks[0].astype(float)
    row, column = (np.arange(len(weights)) @ weights.sum(axis) / weights.sum() for axis in (1, 0))
    # The middle of the mask is 75 pixels below the picture's upper edge and 115 from its left one.
    scale, middle = len(eye.fundus) / (2 * eye.history["circle_radius"]), (len(eye.fundus) - 1) / 2
    assert row == pytest.approx(middle + scale * (75 - eye.history["circle_row"]), abs=0.1)
    assert column == pytest.approx(middle + scale * (115 - eye.history["circle_column"]), abs=0.1)
    with pytest.raises(ValueError, match=r"is told and nothing draws: lesion$"):
        model.predict(photos[0], masks={"disc": tmp_path / "drawn.png"})


def test_generated_volumes_have_photos_of_the_width_of_the_model_and_no_masks(
    tiny_checkpoint, tiny_eyes, tmp_path
):
    with EyeReader(tiny_eyes) as reader, EyeWriter(tmp_path / "wide.h5") as writer:
        eye = reader.read(reader.keys[0])
        wide = np.repeat(np.repeat(eye.fundus, 2, 0), 2, 1)
        drawn = {"masks": wide[None, ..., 1].copy(), "mask_names": ("disc",)}
        writer.add(replace(eye, fundus=wide, lesion_fundus=None, **drawn))
    real = EyeFiles([tmp_path / "wide.h5"], "wide.h5")
    write_generated(load_model(tiny_checkpoint), real, tmp_path / "made.h5")
    with EyeReader(tmp_path / "made.h5") as reader:
        made = reader.read(eye.key)
    assert made.masks is None and made.fundus.shape == eye.fundus.shape


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (torch.full((2, 1, 8, 8), 255, dtype=torch.uint8), "255"),
        (torch.full((2, 1, 8, 8), 255.0), "255"),
        (torch.full((2, 1, 8, 8), -1.0), "-1"),
    ],
)
def test_a_mask_of_a_batch_is_in_0_to_1(mask, found):
    model = SurfaceModel(SHAPE, encoder="own", surface_width=8, masks=["disc"])
    with pytest.raises(ValueError, match=rf"batch: mask disc: expected values in \[0, 1\], found {found};"):
        model.known({"disc": mask})
    for good in (mask > 0, torch.full((2, 1, 8, 8), torch.nan), torch.ones(2, 1, 8, 8, dtype=torch.uint8)):
        assert model.known({"disc": good})["known"].masks.dtype == torch.float32
