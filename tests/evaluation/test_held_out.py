"""Numbers that belong to the right eyes: a model is judged by eyes that it has not seen."""

import json
from dataclasses import replace

import numpy as np
import pytest
from eye_files import write_eyes
from tiny_models import quick_trainer

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader, FundusOCTDataModule
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.evaluation import evaluate_checkpoints, evaluate_files
from fund2oct.evaluation.distances import Wanted
from fund2oct.evaluation.sources import PreparedEyes, open_source
from fund2oct.models import VoxelGAN, load_model
from fund2oct.phantom import PhantomConfig

pytestmark = pytest.mark.usefixtures("no_twins", "plain_pictures", "one_eye_measured")
NOTHING = Wanted((), required=True, thorough=False)
SHAPE = (6, 32, 48)


def trained(path, **options):
    """A model of one step, and the datamodule that it was trained with."""
    model = VoxelGAN(SHAPE, channels=(8, 8, 16), weights={"l1": 1.0})
    datamodule = FundusOCTDataModule(str(path), batch_size=2, **options)
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(model, datamodule=datamodule)
    return trainer, datamodule


@pytest.fixture(scope="module")
def split_otherwise(tiny_eyes, tmp_path_factory):
    """A checkpoint trained on a split of its own, and the keys of its parts."""
    trainer, data = trained(tiny_eyes, split_seed=7, val_fraction=0.2, test_fraction=0.3, seed=4)
    path = tmp_path_factory.mktemp("held") / "model.ckpt"
    trainer.save_checkpoint(path)
    return path, {part: list(getattr(data, f"{part}_dataset").keys) for part in ("train", "val", "test")}


def judged(result, name="model"):
    return [row["key"] for row in result["eyes"][name]]


def read(path, keys):
    with EyeReader(path) as reader:
        return [reader.read(key) for key in keys]


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """Eyes of other people."""
    path = tmp_path_factory.mktemp("strangers") / "strangers.h5"
    simulate_file(path, 4, seed=8, config=PhantomConfig(n_depth=32, n_ascans=48, fundus_px=48))
    return path


def test_the_split_has_a_seed_of_its_own(tiny_eyes):
    def keys_of(**options):
        data = FundusOCTDataModule(str(tiny_eyes), test_fraction=0.4, **options)
        return data.test_dataset.keys

    assert keys_of(seed=1) == keys_of(seed=2) == keys_of()
    assert keys_of(split_seed=1) != keys_of()


def test_a_checkpoint_knows_its_split_and_its_data(split_otherwise, tiny_eyes):
    path, parts = split_otherwise
    seen = load_model(path).task.seen
    assert {part: [name.key for name in names] for part, names in seen.parts.items()} == parts
    assert seen.path == str(tiny_eyes) and "split_seed 7" in seen.split
    with EyeReader(tiny_eyes) as reader:
        assert seen.digest == reader.digest()
        eye = reader.read(parts["train"][0])
    name = seen.parts["train"][0]
    assert name.patient == eye.patient and name.photo.startswith("crc32:")


def test_evaluate_judges_the_test_part_of_the_checkpoints_own_split(split_otherwise, tiny_eyes, tmp_path):
    path, parts = split_otherwise
    result = evaluate_checkpoints([str(path)], str(tiny_eyes), tmp_path, distances=NOTHING)
    assert judged(result) == parts["test"]
    assert result["protocol"]["n_train"] == len(parts["train"])
    assert "split_seed 7" in " ".join((tmp_path / "report.md").read_text().split())


def test_of_another_file_the_eyes_seen_in_training_are_left_out(
    split_otherwise, tiny_eyes, strangers, tmp_path
):
    path, parts = split_otherwise
    known = read(tiny_eyes, [*parts["train"][:3], parts["val"][0], *parts["test"][:2]])
    # One of them under another name, and another photo under the name of a training patient.
    renamed = replace(known[0], key="renamed", patient="somebody")
    new = read(strangers, ["sim8-0000000-OD", "sim8-0000002-OD"])
    namesake = replace(new[1], key="namesake", patient=known[1].patient)
    other = write_eyes(tmp_path / "other.h5", [*known, renamed, new[0], namesake])
    result = evaluate_checkpoints([str(path)], str(other), tmp_path / "out", distances=NOTHING)
    assert sorted(judged(result)) == sorted([*parts["test"][:2], "sim8-0000000-OD"])
    (how, *_) = result["protocol"]["notes"]
    assert "6 of its 9 eyes are left out" in how and "renamed" in how


def test_a_file_of_strangers_has_no_controls_from_the_training(split_otherwise, strangers, tmp_path):
    path, _ = split_otherwise
    result = evaluate_checkpoints([str(path)], str(strangers), tmp_path, distances=NOTHING)
    assert len(judged(result)) == 4 and result["protocol"]["n_train"] == 0
    assert "mean volume" not in result["summary"] and "floor: rescan" in result["summary"]
    assert "None of its 4 eyes was trained or validated on" in result["protocol"]["notes"][0]


def test_a_file_of_training_eyes_alone_is_refused(split_otherwise, tiny_eyes, tmp_path, capsys):
    path, parts = split_otherwise
    eyes = read(tiny_eyes, parts["train"][:4])
    known = str(write_eyes(tmp_path / "known.h5", eyes))
    with pytest.raises(DataError, match="found 0 of 4; give eyes that it has not seen"):
        evaluate_checkpoints([str(path)], known, tmp_path / "out", distances=NOTHING)
    command = ["evaluate", "--real", known, "--fake", str(path), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "neither trained nor validated on, found 0 of 4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_models_of_different_splits_are_judged_by_what_none_has_seen(split_otherwise, tiny_eyes, tmp_path):
    path, parts = split_otherwise
    trainer, data = trained(tiny_eyes, split_seed=0, test_fraction=0.3)
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    both = [key for key in parts["test"] if key in data.test_dataset.keys]
    result = evaluate_checkpoints(
        [str(path), str(tmp_path / "other.ckpt")], str(tiny_eyes), tmp_path / "out", distances=NOTHING
    )
    assert judged(result) == both and 0 < len(both) < len(parts["test"])


def test_real_eyes_that_a_checkpoint_was_trained_on_are_left_out(split_otherwise, tiny_eyes, tmp_path):
    path, parts = split_otherwise
    result = evaluate_files(tiny_eyes, path, tmp_path / "whole", distances=NOTHING)
    assert judged(result, "generated") == parts["test"]
    mixed = write_eyes(tmp_path / "mixed.h5", read(tiny_eyes, [*parts["train"][:2], *parts["test"]]))
    result = evaluate_files(mixed, path, tmp_path / "mixed", distances=NOTHING)
    assert judged(result, "generated") == parts["test"]
    written = json.loads((tmp_path / "mixed" / "metrics.json").read_text())
    assert "are left out: the model was trained" in written["protocol"]["notes"][0]


def test_eyes_without_a_photo_are_left_out_and_counted(split_otherwise, strangers, tmp_path):
    path, _ = split_otherwise
    with EyeReader(strangers) as reader:
        eyes = [reader.read(key) for key in reader.keys]
    bare = [replace(eye, fundus=None, lesion_fundus=None) for eye in eyes]
    mixed = write_eyes(tmp_path / "mixed.h5", [bare[0], *eyes[1:]])
    of_data = evaluate_checkpoints([str(path)], str(mixed), tmp_path / "data", distances=NOTHING)
    of_files = evaluate_files(mixed, path, tmp_path / "files", distances=NOTHING)
    for result, name in ((of_data, "model"), (of_files, "generated")):
        assert judged(result, name) == [eye.key for eye in eyes[1:]]
        note = f"{mixed}: 1 eyes without a photo or a volume are left out."
        assert note in result["protocol"]["notes"]
    none = write_eyes(tmp_path / "none.h5", bare)
    with pytest.raises(DataError, match=r"none.h5: expected eyes with a photo and a volume, found none in 4"):
        evaluate_files(none, path, tmp_path / "none", distances=NOTHING)


def test_too_few_patients_to_hold_any_back_is_said(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        keys = reader.keys[:3]
    few = write_eyes(tmp_path / "few.h5", read(tiny_eyes, keys))
    with pytest.warns(UserWarning, match="expected at least 3 patients"):
        trainer, _ = trained(few)
    trainer.save_checkpoint(tmp_path / "few.ckpt")
    result = evaluate_checkpoints([str(tmp_path / "few.ckpt")], str(few), tmp_path / "out", distances=NOTHING)
    assert "the model was trained on them" in result["protocol"]["notes"][0]


@pytest.mark.usefixtures("memory_not_estimated")
def test_the_report_of_a_training_says_how_its_eyes_were_chosen(
    tiny_overrides, tiny_voxels, tmp_path, monkeypatch
):
    from fund2oct.run.train import train

    told = []

    def evaluate(models, datamodule, out, seed, distances, notes, *others, **options):
        told.extend(notes)

    monkeypatch.setattr("fund2oct.run.train.evaluate", evaluate)
    short = ["trainer.limit_train_batches=1", "trainer.limit_val_batches=0", "report.distances=[none]"]
    train(
        "regression", [*tiny_overrides, *tiny_voxels, *short, "data.init_args.split_seed=5"], tmp_path / "run"
    )
    assert "split_seed 5" in told[0] and "to test" in told[0]


def test_a_training_goes_on_with_its_own_split_alone(split_otherwise, tiny_eyes):
    path, _ = split_otherwise
    model = VoxelGAN(SHAPE, channels=(8, 8, 16), weights={"l1": 1.0})
    trainer = quick_trainer(max_steps=2, limit_val_batches=0)
    with pytest.raises(ValueError, match=r"split_seed 7.*split_seed 0.*resume with the same data"):
        trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2), ckpt_path=path)


# --- preparation ---


def dimmed(eye):
    """The same retina under a lamp that stands at the left, scanned with less gain."""
    light = np.linspace(1.1, 0.4, eye.fundus.shape[1])[None, :, None]
    photo = (eye.fundus * light).clip(0, 255).astype(np.uint8)
    return replace(eye, fundus=photo, volume=(eye.volume * 0.6).astype(np.uint8))


@pytest.fixture(scope="module")
def evened(tiny_eyes, tmp_path_factory):
    """A checkpoint trained on prepared photos and volumes, and its file."""
    folder = tmp_path_factory.mktemp("evened")
    with EyeReader(tiny_eyes) as reader:
        eyes = write_eyes(folder / "dim.h5", [dimmed(reader.read(key)) for key in reader.keys])
    trainer, data = trained(eyes, even_light=True, even_levels=True)
    trainer.save_checkpoint(folder / "model.ckpt")
    return folder / "model.ckpt", eyes, data


def given_to(model, monkeypatch):
    """Photos that a model is asked about."""
    photos = []
    forward = type(model).forward

    def watched(self, fundus, *rest, **options):
        photos.append(fundus)
        return forward(self, fundus, *rest, **options)

    monkeypatch.setattr(type(model), "forward", watched)
    return photos


def test_predict_prepares_a_photo_as_the_training_did(evened, monkeypatch, tmp_path):
    from PIL import Image

    from fund2oct.data.preparing.circle import crop_retina, find_retina
    from fund2oct.data.preparing.light_and_levels import even_light
    from fund2oct.geometry import Placement
    from fund2oct.phantom import simulate_eye

    path, _, _ = evened
    model = load_model(path)
    photo = dimmed(simulate_eye(1, 3, PhantomConfig(fundus_px=200, n_depth=32, n_ascans=48))).fundus
    Image.fromarray(photo).save(tmp_path / "dim.png")
    photos = given_to(model, monkeypatch)
    eye = model.predict(tmp_path / "dim.png", Placement())
    expected = even_light(crop_retina(photo, find_retina(photo), 48))
    assert not np.array_equal(expected, crop_retina(photo, find_retina(photo), 48))
    assert np.array_equal((photos[0][0] * 255).round().byte().permute(1, 2, 0).numpy(), expected)
    assert np.array_equal(eye.fundus, expected) and eye.history["light"] == "evened"


@pytest.mark.parametrize("way", ["--data", "--real"])
def test_evaluate_prepares_eyes_as_the_training_did(evened, monkeypatch, tmp_path, way):
    path, eyes, data = evened
    test = data.test_dataset
    photos = given_to(load_model(path), monkeypatch)
    if way == "--data":
        result = evaluate_checkpoints([str(path)], str(eyes), tmp_path, distances=NOTHING)
    else:
        result = evaluate_files(eyes, path, tmp_path, distances=NOTHING)
    assert judged(result, "model" if way == "--data" else "generated") == list(test.keys)
    assert np.array_equal(photos[0][0].numpy(), test[0]["fundus"].numpy())
    assert sum("as in the training" in note for note in result["protocol"]["notes"]) == 2


def test_a_photo_evened_at_import_is_not_evened_again(evened, tmp_path):
    path, eyes, data = evened
    preparation = load_model(path).task.preparation
    assert preparation.even_light and preparation.even_levels
    evened = [preparation.eye(eye) for eye in read(eyes, data.test_dataset.keys)]
    imported = write_eyes(tmp_path / "evened.h5", evened)
    again = FundusOCTDataModule(
        str(imported), even_light=True, even_levels=True,
        split={"test": list(data.test_dataset.keys)},
    )  # fmt: skip
    for number in range(len(evened)):
        for name in ("fundus", "volume"):
            assert np.array_equal(again.test_dataset[number][name], data.test_dataset[number][name])
    source = open_source(imported)
    prepared = PreparedEyes(source, source.keys, preparation)
    for eye in evened:
        assert np.array_equal(prepared.read(eye.key).volume, eye.volume)


def test_what_the_importer_did_belongs_to_the_checkpoint_too(evened, tmp_path):
    path, eyes, data = evened
    preparation = load_model(path).task.preparation
    with EyeReader(eyes) as reader:
        imported = write_eyes(tmp_path / "evened.h5", [preparation.eye(reader.read(k)) for k in reader.keys])
    trainer, _ = trained(imported)
    assert trainer.lightning_module.task.preparation == preparation
    trainer.save_checkpoint(tmp_path / "imported.ckpt")
    plain = evaluate_checkpoints(
        [str(tmp_path / "imported.ckpt")], str(eyes), tmp_path / "o", distances=NOTHING
    )
    assert any("photos' light is evened" in note for note in plain["protocol"]["notes"])
    with pytest.warns(UserWarning, match="50% of the photos had their light evened at import.*even_light"):
        half = read(imported, data.test_dataset.keys)[:2] + read(eyes, data.train_dataset.keys)[:2]
        FundusOCTDataModule(
            str(write_eyes(tmp_path / "half.h5", half)), split={"train": [e.key for e in half]}
        ).setup()


def test_models_of_different_preparation_do_not_go_together(evened, split_otherwise, tmp_path):
    path, eyes, _ = evened
    with pytest.raises(ValueError, match="one preparation of photos and volumes"):
        evaluate_checkpoints([str(path), str(split_otherwise[0])], str(eyes), tmp_path, distances=NOTHING)


# --- what does not go together ---


def test_a_shape_unlike_the_datas_is_refused_before_training(tiny_overrides, tmp_path, capsys):
    overrides = [*tiny_overrides, "model.init_args.shape=[6,24,48]"]
    assert main(["train", "regression", "--out", str(tmp_path / "run"), *overrides]) == 1
    error = capsys.readouterr().err
    assert "[6, 24, 48]" in error and "[6, 32, 48]" in error
    assert "model.init_args.shape=[6, 32, 48]" in error and "volume_shape=[6, 24, 48]" in error
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_spacings_that_differ_are_said_and_their_median_taken(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        eyes = [reader.read(key) for key in reader.keys]
    fine = replace(eyes[0], spacing_mm=(float("nan"), 0.9 * eyes[0].spacing_mm[1], eyes[0].spacing_mm[2]))
    mixed = write_eyes(tmp_path / "mixed.h5", [fine, *eyes[1:]])
    options = {"split": {"train": [eye.key for eye in eyes]}}
    with pytest.warns(
        UserWarning, match=rf"distance of rows differs.*54 µm in eye '{fine.key}'.*1 of 24 eyes"
    ):
        trainer, _ = trained(mixed, **options)
    assert trainer.lightning_module.task.spacing_mm[1] == pytest.approx(eyes[1].spacing_mm[1])
