"""A model that is told of its eyes, from the configuration to a prediction."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import TINY_PIX2VOL, quick_trainer
from torch.utils.data import DataLoader

from fund2oct.callbacks import MemoryCallback
from fund2oct.data import EyeReader, EyeWriter, FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.masks.networks import draw_mask, load_mask_network
from fund2oct.evaluation.answers.controls import surface_answers, told_otherwise
from fund2oct.evaluation.checkpoints import HeldOutEyes, evaluate_checkpoints, missing_note
from fund2oct.models import Pix2Vol, SurfaceModel, load_model
from fund2oct.models.predicting.photo_reader import PhotoReader
from fund2oct.models.published import write_published
from fund2oct.networks.known import Known
from fund2oct.networks.noise import NoiseSource
from fund2oct.run.config import ConfigError
from fund2oct.run.predicting.predict import predict
from fund2oct.run.train import build

SHAPE = (6, 32, 48)
NAMES = ["age_years", "laterality=OD"]


@pytest.fixture(scope="module")
def path(tiny_eyes, tmp_path_factory):
    """The tiny eyes with an age, which one in five has not."""
    told = tmp_path_factory.mktemp("told") / "eyes.h5"
    with EyeReader(tiny_eyes) as reader, EyeWriter(told) as writer:
        for number, key in enumerate(reader.keys):
            metadata = {"age_years": 40 + 2 * number} if number % 5 else {}
            writer.add(replace(reader.read(key), metadata=metadata))
    return told


def fit(model, data, n_steps, callbacks=(), **options):
    trainer = quick_trainer(max_steps=n_steps, limit_val_batches=0, callbacks=[*callbacks])
    trainer.fit(model, **({"datamodule": data} | options))
    return trainer


@pytest.fixture(scope="module")
def checkpoint(path):
    model = SurfaceModel(
        SHAPE, encoder="own", surface_width=8, conditions=NAMES, learning_rate=0.02, ema_decay=0.0
    )
    trainer = fit(model, FundusOCTDataModule(str(path), batch_size=4), 4)
    trainer.save_checkpoint(path.with_name("told.ckpt"))
    return path.with_name("told.ckpt")


def told(**values):
    return {"metadata": [json.dumps(values)], "laterality": [""], "diagnosis": [""]}


def test_a_checkpoint_keeps_what_it_is_told_and_its_scale(checkpoint, path):
    model = load_model(checkpoint)
    eyes = FundusOCTDataModule(str(path)).metadata()
    ages = [eye["age_years"] for eye in eyes if "age_years" in eye]
    assert model.conditions == tuple(NAMES) == model.task.conditions.names
    age, side = model.task.conditions.scalars
    assert (age.mean, age.deviation) == pytest.approx((np.mean(ages), np.std(ages)))
    assert age.seen == (min(ages), max(ages)) and side.seen == ("OD", "OS")
    given = torch.rand(1, 3, 48, 48), torch.rand(1, 6, 48, 2) - 0.5
    young, old, unknown, nothing = (
        model.surfaces(*given, **known).median_um
        for known in (
            model.known(told(age_years=45)),
            model.known(told(age_years=80)),
            model.known(told()),
            {},
        )
    )
    assert not torch.allclose(young, old) and not torch.allclose(young, unknown)
    assert torch.equal(unknown, nothing)
    folder = checkpoint.with_name("published")
    folder.mkdir()
    write_published(model, folder, {})
    assert load_model(folder).task.conditions == model.task.conditions


def test_a_prediction_takes_what_is_known(checkpoint, tmp_path):
    y, x = np.mgrid[-1:1:120j, -1:1:120j]
    photo = (np.hypot(x, y) < 0.95)[..., None] * np.array([180.0, 90, 40])
    Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "eye.png")
    maps = []
    for number, metadata in enumerate(({"age_years": 45.0}, None)):
        out = tmp_path / f"out{number}"
        (done,) = predict(checkpoint, [tmp_path / "eye.png"], out, metadata=metadata, figure_formats=[])
        assert not done.problem
        maps.append((out / "eye.thickness.tif").read_bytes())
    assert len(set(maps)) == 2
    eye = load_model(checkpoint).predict(
        tmp_path / "eye.png", metadata={"age_years": "45.0", "laterality": "left"}
    )
    assert eye.metadata == {"age_years": 45} and eye.laterality == "OS"
    with pytest.raises(ValueError, match=r"^sex: expected one of age_years, laterality$"):
        predict(checkpoint, [tmp_path / "eye.png"], tmp_path / "not", metadata={"sex": "f"})


def test_a_table_tells_each_photo_its_own(checkpoint, tmp_path, recwarn):
    y, x = np.mgrid[-1:1:120j, -1:1:120j]
    photo = (np.hypot(x, y) < 0.95)[..., None] * np.array([180.0, 90, 40])
    names = ["a_OD.png", "b_OS.png", "c_OS.png", "d.png"]
    for name in names:
        Image.fromarray(photo.astype(np.uint8)).save(tmp_path / name)
    rows = [
        "photo,age_years,laterality,smoker",
        "in/a_od.PNG,45,R,yes",
        "b_OS.png,,right,no",
        "c_OS.png,old,,",
    ]
    (tmp_path / "eyes.csv").write_text("\n".join(rows))
    done = predict(
        checkpoint, [tmp_path / name for name in names], tmp_path / "out", figure_formats=[],
        table=tmp_path / "eyes.csv", metadata={"age_years": "70"},
    )  # fmt: skip
    assert "age_years: expected a number, found 'old'" in done[2].problem
    assert "expected what is known of it in" in done[3].problem
    for number, age in enumerate((45, 70)):
        metadata = {"age_years": age, "laterality": "OD"}
        out = tmp_path / f"alone{number}"
        (alone,) = predict(checkpoint, [tmp_path / names[number]], out, metadata=metadata, figure_formats=[])
        assert (
            [file.read_bytes() for file in done[number].files] == [f.read_bytes() for f in alone.files] != []
        )
    reader = PhotoReader.of(load_model(checkpoint))
    eye = reader.read(
        tmp_path / "d.png", known={"laterality": "left", "diagnosis": "PED", "smoker": "no"}
    ).eye
    assert (eye.laterality, eye.diagnosis, eye.metadata) == ("OS", "PED", {})
    nothing = {"laterality": "NA", "diagnosis": None, "age_years": None}
    eye = reader.read(tmp_path / "d.png", known=nothing).eye
    assert (eye.laterality, eye.diagnosis, eye.metadata) == ("", "", {})
    silent = PhotoReader.of(load_model(checkpoint), metadata={"laterality": None})
    assert silent.read(tmp_path / "b_OS.png").eye.laterality == "OS"  # as its name says
    assert any("its name says OS, and it is taken for OD" in str(one.message) for one in recwarn)


def test_an_evaluation_tells_what_the_file_knows(checkpoint, path):
    model = load_model(checkpoint)
    data = FundusOCTDataModule(str(path), batch_size=3)
    data.setup()
    batch = next(iter(HeldOutEyes(data, torch.device("cpu")).batches()))
    (answer,) = surface_answers("told", model, None, seed=0)
    eyes = HeldOutEyes(data, torch.device("cpu"))
    with torch.inference_mode():
        unknown = batch | {"metadata": ["{}"] * len(batch["key"])}
        found, other = (answer.give(one).surfaces.rpe_um for one in (batch, unknown))
        rows = told_otherwise("told", model, eyes)
        shuffled, nothing = (one.give(batch).surfaces.rpe_um for one in rows)
    assert [row.name for row in rows] == [f"told, median surfaces, {w} metadata" for w in ("shuffled", "no")]
    assert torch.equal(nothing, answer.give({**unknown, "laterality": [""] * len(found)}).surfaces.rpe_um)
    assert not torch.equal(shuffled, found) and not torch.equal(shuffled, nothing)
    aged = torch.tensor(["age_years" in one for one in batch["metadata"]])
    assert [not torch.equal(*pair) for pair in zip(found, other, strict=True)] == aged.tolist()


def test_both_parts_of_the_main_model_are_told_and_withheld_the_same_in_a_step(path):
    seen = []

    class Watching(Pix2Vol):
        def known(self, batch, withhold=False):
            found = super().known(batch, withhold)
            assert withhold
            again = super().known(batch, withhold)["known"].conditions
            torch.testing.assert_close(found["known"].conditions, again, equal_nan=True)
            seen.append(found["known"].conditions)
            return found

    model = Watching(SHAPE, conditions=NAMES, adversaries_from=0.5, **TINY_PIX2VOL)
    fit(model, FundusOCTDataModule(str(path), batch_size=4, balance="diagnosis"), 2)
    assert [tuple(one.shape) for one in seen] == [(4, 2), (4, 2)]
    weights = dict(model.generator.named_parameters())
    for part in ("surfaces", "tissue"):
        assert weights[f"{part}.encoder.known.scale_and_shift.2.weight"].any()


def test_scalars_and_masks_are_withheld_together():
    """A quarter of the eyes are photos alone; were the choices apart, it would be about a tenth."""
    known = Known(torch.ones(4000, 2), torch.ones(4000, 1, 1, 1))
    conditions, masks = known.withheld(NoiseSource([torch.Generator().manual_seed(0)]))
    none, unseen = conditions.isnan().all(1), masks.flatten(1).isnan().all(1)
    assert 0.24 < float((none & unseen).float().mean()) < 0.29
    assert Known().withheld(NoiseSource()) == Known()


def test_loaders_without_a_datamodule(path):
    loader = DataLoader(FundusOCTDataset(path), batch_size=2)
    model = SurfaceModel(SHAPE, encoder="own", surface_width=8, conditions=["age_years"])
    fit(model, None, 1, train_dataloaders=loader)
    assert model.task.conditions.names == ("age_years",)


class Green(torch.nn.Module):
    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return photos[:, 1:2]


def test_masks_are_drawn_by_networks_that_no_checkpoint_names(path, tmp_path, caplog):
    torch.jit.script(Green()).save(str(tmp_path / "green.pt"))
    networks = {"vessels": str(tmp_path / "green.pt")}
    model = SurfaceModel(
        SHAPE, encoder="own", surface_width=8, conditions=NAMES, masks=["vessels", "drusen"],
        mask_networks=networks, learning_rate=0.02, ema_decay=0.0,
    )  # fmt: skip
    batch = {"key": ["a", "b"], "fundus": torch.rand(2, 3, 48, 48)}
    masks = model.known(batch)["known"].masks
    assert torch.equal(masks[:, 0], batch["fundus"][:, 1]) and masks[:, 1].isnan().all()
    drusen = torch.rand(2, 1, 48, 48)  # of a loader of one's own
    assert torch.equal(model.known({**batch, "drusen": drusen})["known"].masks[:, 1:], drusen)
    data = FundusOCTDataModule(str(path), batch_size=4)
    with pytest.raises(ValueError, match=r"^masks: drusen: neither in the batch nor drawn by a network"):
        fit(model, data, 1)
    model.draw_masks(networks | {"drusen": networks["vessels"]})
    with caplog.at_level("INFO"):
        trainer = fit(model, data, 3, [MemoryCallback()])
    model.draw_masks(networks)
    assert "memory: " in caplog.text and "not estimated" not in caplog.text
    trainer.save_checkpoint(tmp_path / "masks.ckpt")
    assert b"green.pt" not in (tmp_path / "masks.ckpt").read_bytes()
    loaded = load_model(tmp_path / "masks.ckpt")
    eye = EyeReader(path).read(loaded.task.seen.parts["test"][0].key)
    assert loaded.known_of(eye)["known"].masks is None  # nor does it, until it is told
    loaded.draw_masks(networks)
    np.testing.assert_allclose(loaded.known_of(eye)["known"].masks[0, 0] * 255, eye.fundus[..., 1], atol=1e-3)
    with pytest.raises(ValueError, match=r"^mask disc: expected one of vessels, drusen$"):
        loaded.draw_masks({"disc": str(tmp_path / "green.pt")})
    with pytest.raises(ValueError, match=r"mask drusen: expected shape \(B, 1, H, H\), found \(2, 48, 48\)"):
        model.known({**batch, "drusen": drusen[:, 0]})
    with pytest.raises(ValueError, match="masks: expected all of one size"):
        model.known({**batch, "drusen": drusen[..., :40]})
    flags = model.known({**batch, "drusen": drusen > 0.5})["known"].masks
    assert flags.is_floating_point() and torch.equal(flags[:, 1:], (drusen > 0.5).float())
    with pytest.raises(ValueError, match="masks: lesions names something else in a batch"):
        SurfaceModel(SHAPE, encoder="own", surface_width=8, masks=["lesions"])


class Scaled(torch.nn.Module):
    factor = 1.0

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return photos[:, 1:2] * self.factor


@pytest.mark.parametrize(
    ("factor", "found"), [(255.0, "0 to 255"), (-1.0, "-1 to -0"), (float("nan"), "nan")]
)
def test_a_mask_is_a_map_between_0_and_1(factor, found):
    network = Scaled()
    photos = torch.rand(1, 3, 8, 8)
    photos[..., 0, 0], photos[..., 7, 7] = 0, 1
    assert torch.equal(draw_mask(network, photos, "mask disc"), photos[:, 1:2])
    network.factor = factor
    with pytest.raises(ValueError, match=rf"^mask disc: expected maps in \[0, 1\], found {found}"):
        draw_mask(network, photos, "mask disc")


def test_a_network_that_cannot_be_made_is_named_by_its_option():
    with pytest.raises(ValueError, match=r"^mask disc: torch\.nn\.Linear: expected a class .* no arguments"):
        load_mask_network("torch.nn.Linear", "mask disc")
    with pytest.raises(
        ValueError, match=r"^mask disc: expected a TorchScript .*'./discs\.pt': no such file, and"
    ):
        load_mask_network("./discs.pt", "mask disc")


def test_a_report_draws_the_masks_of_the_training_and_says_which_are_missing(path, tmp_path, caplog):
    torch.jit.script(Green()).save(str(tmp_path / "green.pt"))
    green = str(tmp_path / "green.pt")
    data = FundusOCTDataModule(str(path), batch_size=4, vessel_network=green)
    model = SurfaceModel(
        SHAPE, encoder="own", surface_width=8, masks=["vessels"], learning_rate=0.02, ema_decay=0.0
    )
    with caplog.at_level("INFO"):
        fit(model, data, 3, [MemoryCallback()]).save_checkpoint(tmp_path / "m.ckpt")
    assert "memory: about" in caplog.text
    eyes = HeldOutEyes(data, torch.device("cpu"))
    batch = next(iter(eyes.batches()))
    assert torch.equal(batch["vessels"], batch["fundus"][:, 1:2])
    with torch.inference_mode():
        (answer,) = surface_answers("told", model.eval(), None, seed=0)
        shuffled, nothing = told_otherwise("told", model, eyes)
        found = [one.give(batch).surfaces.rpe_um for one in (answer, shuffled, nothing)]
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert shuffled.name == "told, median surfaces, shuffled masks"
    assert missing_note("m", model, {"vessels"}) == ""
    assert "`--mask vessels=NETWORK`" in missing_note("m", model)
    with pytest.raises(ValueError, match=r"^mask vesels: expected one of vessels$"):
        evaluate_checkpoints(
            [str(tmp_path / "m.ckpt")], str(path), tmp_path / "r", mask_networks={"vesels": green}
        )
    with pytest.warns(UserWarning, match="trained with masks that are missing: vessels"):
        PhotoReader.of(load_model(tmp_path / "m.ckpt"))


def test_a_line_of_configuration_each(tiny_overrides, tiny_layers, tmp_path):
    torch.jit.script(Green()).save(str(tmp_path / "green.pt"))
    lines = ["model.init_args.conditions=[age_years,laterality=OD]", "data.init_args.balance=diagnosis"]
    masks = ["model.init_args.masks=[vessels]", f"model.init_args.mask_networks.vessels={tmp_path}/green.pt"]
    _, model, data = build("pix2vol", [*tiny_overrides, *tiny_layers, *lines, *masks])
    assert model.n_known == (2, 1) and [*model.mask_networks] == ["vessels"]
    assert model.conditions == ("age_years", "laterality=OD") and data.balance == "diagnosis"
    assert model.hparams["conditions"] == ["age_years", "laterality=OD"]
    with pytest.raises(ConfigError, match="balance"):
        build("pix2vol", [*tiny_overrides, *tiny_layers, "data.init_args.balance=age"])


class Silent(FundusOCTDataset):
    """A dataset of one's own that says nothing of its eyes, or not in its batches."""

    def __getitem__(self, item):
        return {name: value for name, value in super().__getitem__(item).items() if name != "metadata"}


class Mute(Silent):
    metadata = property(lambda self: getattr(object(), "metadata"))  # noqa: B009


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Silent, "batch: metadata: expected a JSON object of each eye"),
        (Mute, r"conditions: a Mute tells nothing of its eyes; it needs metadata\(\)"),
    ],
)
def test_data_of_ones_own_that_tell_nothing(path, dataset, message):
    model = SurfaceModel(SHAPE, encoder="own", surface_width=8, conditions=["age_years"])
    with pytest.raises(ValueError, match=message):
        fit(model, None, 1, train_dataloaders=DataLoader(dataset(path), batch_size=2))


def test_a_condition_that_the_data_lack_is_named(tiny_eyes):
    model = SurfaceModel(SHAPE, encoder="own", surface_width=8, conditions=["age_years"])
    with pytest.raises(ValueError, match="no training eye has age_years; they have diagnosis, laterality"):
        fit(model, FundusOCTDataModule(str(tiny_eyes), batch_size=2), 1)
