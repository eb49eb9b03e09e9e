"""Models on foundation encoders: what is trained, what a checkpoint holds, and how it is used elsewhere."""

import json
import shutil

import pytest
import torch
from tiny_models import TINY_PIX2VOL, quick_trainer

from fund2oct.data import FundusOCTDataModule
from fund2oct.models import CheckpointError, Pix2Vol, SurfaceModel, VoxelGAN, load_model
from fund2oct.models.pretraining import MaskedPhotos
from fund2oct.models.published.files import write_published
from fund2oct.models.training.memory import batch_without_values, step_memory
from fund2oct.networks.foundation.encoder import FoundationEncoder
from fund2oct.networks.layered.surface_predictor import SurfacePredictor

SHAPE = (6, 32, 48)


def fit(model, eyes, steps=1, **options):
    trainer = quick_trainer(max_steps=steps, limit_val_batches=0)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(eyes), batch_size=2), **options)
    return trainer


@pytest.fixture(scope="module")
def model(dinov2, tiny_eyes):
    """A model of the surfaces with low-rank changes, trained for two steps."""
    pytest.importorskip("peft", reason='pip install "fund2oct[foundation]"')
    torch.manual_seed(5)
    model = SurfaceModel(SHAPE, encoder=str(dinov2), lora_rank=2, surface_width=8)
    fit(model, tiny_eyes, 2)
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "surfaces.ckpt"
    model.trainer.save_checkpoint(path)
    return path


@torch.no_grad()
def seen(model):
    torch.manual_seed(6)
    return model.surfaces(torch.rand(1, 3, 64, 64), 2 * torch.rand(1, 6, 48, 2) - 1).median_um


def test_a_checkpoint_holds_what_was_trained_and_no_path(checkpoint, dinov2):
    stored = torch.load(checkpoint, weights_only=True)
    name, _, digest = stored["hyper_parameters"]["encoder"].partition("@sha256:")
    assert (name, len(digest)) == ("dinov2-tiny", 64)
    assert str(dinov2.parent).encode() not in checkpoint.read_bytes()
    backbone = {one for one in stored["state_dict"] if ".backbone." in one}
    assert backbone and all("lora_" in one for one in backbone)
    assert any("encoder.pyramid." in one for one in stored["state_dict"])


def test_it_is_used_where_the_same_weights_are(checkpoint, model, dinov2, tmp_path, monkeypatch):
    monkeypatch.setenv("FUND2OCT_WEIGHTS", str(dinov2.parent))
    torch.testing.assert_close(seen(load_model(checkpoint)), seen(model))
    monkeypatch.setenv("FUND2OCT_WEIGHTS", str(tmp_path))
    with pytest.raises(
        ModuleNotFoundError,
        match=r"surfaces.ckpt: needs a network that it does not hold: encoder: the weights dinov2-tiny with "
        r"SHA-256 \w{12}\.\.\.: not found; put them as dinov2-tiny into .*",
    ):
        load_model(checkpoint)
    shutil.copytree(dinov2, tmp_path / "dinov2-tiny")
    config = tmp_path / "dinov2-tiny/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"layer_norm_eps": 0.1}))
    with pytest.raises(ModuleNotFoundError, match="dinov2-tiny holds others"):
        load_model(checkpoint)


def test_a_checkpoint_opens_nothing_that_it_names(checkpoint, dinov2, tmp_path, monkeypatch):
    monkeypatch.setenv("FUND2OCT_WEIGHTS", str(dinov2.parent))
    stored = torch.load(checkpoint, weights_only=True)
    pinned = stored["hyper_parameters"]["encoder"]
    for name in (
        str(dinov2),
        "dinov2-tiny",
        f"{dinov2.parent}/{pinned}",
        f"../{dinov2.parent.name}/{pinned}",
    ):
        stored["hyper_parameters"]["encoder"] = name
        torch.save(stored, tmp_path / "hostile.ckpt")
        with pytest.raises(CheckpointError, match=r"hostile.ckpt: .* was read from "):
            load_model(tmp_path / "hostile.ckpt")


def test_a_class_of_ones_own_may_name_the_weights(dinov2, tiny_eyes, tmp_path):
    class Fixing(SurfaceModel):
        def __init__(self, shape, **options):
            super().__init__(shape, encoder=str(dinov2), **options)

    class Building(SurfaceModel):
        def build_generator(self):
            return SurfacePredictor(FoundationEncoder(str(dinov2)), self.surface_width)

    for kind, options in ((Fixing, {}), (Building, {"encoder": "own"})):
        model, path = kind(SHAPE, surface_width=8, **options), tmp_path / "own.ckpt"
        fit(model, tiny_eyes).save_checkpoint(path)
        assert str(dinov2.parent).encode() not in path.read_bytes()
        torch.testing.assert_close(seen(load_model(path, kind)), seen(model.eval()))
    stored = torch.load(path, weights_only=True)
    stored["hyper_parameters"]["encoder"] = str(dinov2)  # the class may name it, the file may not
    torch.save(stored, path)
    with pytest.raises(CheckpointError, match=r"own.ckpt: .* was read from "):
        load_model(path, Building)


def test_a_training_goes_on_and_its_memory_is_known(checkpoint, dinov2, tiny_eyes):
    model = SurfaceModel(SHAPE, encoder=str(dinov2), lora_rank=2, surface_width=8)
    trainer = fit(model, tiny_eyes, 3, ckpt_path=checkpoint)
    assert trainer.global_step == 3
    memory = step_memory(model, batch_without_values(trainer.datamodule.train_dataset, 2))
    assert memory.step > 0


def test_other_weights_are_nothing_to_go_on_with(checkpoint, dinov2, tiny_eyes, tmp_path):
    """Of the network the checkpoint holds low-rank changes alone."""
    shutil.copytree(dinov2, tmp_path / "dinov2-tiny")
    config = tmp_path / "dinov2-tiny/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"layer_norm_eps": 0.1}))
    options = {"encoder": str(tmp_path / "dinov2-tiny"), "lora_rank": 2, "surface_width": 8}
    message = (
        r"was trained upon the encoder dinov2-tiny with SHA-256 \w{12}\.\.\., and this model is built on"
    )
    with pytest.raises(ValueError, match=f"the checkpoint: {message}"):
        fit(SurfaceModel(SHAPE, **options), tiny_eyes, 3, ckpt_path=checkpoint)
    with pytest.raises(ValueError, match=rf"init_from: .*surfaces\.ckpt: {message}"):
        fit(SurfaceModel(SHAPE, **options, init_from=str(checkpoint)), tiny_eyes)


def test_a_pretraining_trains_all_of_it_or_low_rank_changes(dinov2):
    pytest.importorskip("peft", reason='pip install "fund2oct[foundation]"')
    for options, wanted in (({}, "whole"), ({"lora_rank": 2}, "lora_"), ({"fine_tune": 1}, "layer.4.")):
        model = MaskedPhotos(encoder=str(dinov2), **options)
        model.configure_model()
        weights = model.generator.encoder.backbone.named_parameters()
        trained = {name: each.requires_grad for name, each in weights}
        assert any(trained.values())
        assert all(each == (wanted == "whole" or wanted in name) for name, each in trained.items())


def test_voxels_are_drawn_by_any_encoder_and_train_it_slowly(dinov2, tiny_eyes):
    options = {"weights": {"l1": 1.0}, "encoder_learning_rate": 1e-5}
    model = VoxelGAN(SHAPE, (8, 8, 8, 16), encoder=str(dinov2), fine_tune=1, **options)
    model.configure_model()
    before = {name: one.clone() for name, one in model.generator.named_parameters()}
    fit(model, tiny_eyes)
    after = dict(model.generator.named_parameters())
    steps = {name: float((one - before[name]).detach().abs().max()) for name, one in after.items()}
    blocks = {name: step for name, step in steps.items() if ".backbone." in name and step}
    assert {name.split("layer.")[1].split(".")[0] for name in blocks} == {"4"}
    assert max(blocks.values()) < 1.01e-5  # Adam's first step is its rate
    assert max(step for name, step in steps.items() if name.startswith("decoder.")) > 5e-4
    assert VoxelGAN(SHAPE, (8, 16)).build_generator().encoder.channels == (8, 16)
    with pytest.raises(ValueError, match="has 4 maps, the coarsest of which 3 levels would not read"):
        VoxelGAN(SHAPE, (8, 8, 16), encoder=str(dinov2)).build_generator()


def test_pix2vol_trains_the_last_block_slowly(dinov2, tiny_eyes, tmp_path, monkeypatch):
    options = TINY_PIX2VOL | {"encoder": str(dinov2), "fine_tune": 1, "encoder_learning_rate": 1e-5}
    model = Pix2Vol(SHAPE, **options)
    model.configure_model()
    before = {name: one.clone() for name, one in model.generator.named_parameters()}
    fit(model, tiny_eyes)
    moved = {name for name, one in model.generator.named_parameters() if not one.equal(before[name])}
    blocks = {name.split("layer.")[1].split(".")[0] for name in moved if ".backbone." in name}
    assert blocks == {"4"}
    after = dict(model.generator.named_parameters())
    steps = [(after[name] - before[name]).abs().max() for name in moved if ".backbone." in name]
    assert max(steps) < 1.01e-5  # Adam's first step is its rate
    with pytest.raises(
        ValueError, match="encoder dinov2-tiny: its weights come from elsewhere and are not ours"
    ):
        write_published(model, tmp_path, {}, with_encoder=True)
    write_published(model, tmp_path, {})
    monkeypatch.setenv("FUND2OCT_WEIGHTS", str(dinov2.parent))
    torch.testing.assert_close(seen(load_model(tmp_path)), seen(model.eval()))
