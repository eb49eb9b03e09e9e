"""Checkpoints: read without running anything, and refused where they do not fit."""

import os
import pickle

import pytest
import pytorch_lightning as pl
import torch

from fund2oct.data import FundusOCTDataModule
from fund2oct.geometry import Placement
from fund2oct.models import CheckpointError, Pix2Vol, load_model
from fund2oct.networks.noise import NoiseSource

SHAPE = (6, 32, 48)


class OtherModel(Pix2Vol):
    """A class of a user's own."""


def write_checkpoint(path, model, data):
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_steps=1, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=FundusOCTDataModule(str(data), batch_size=2))
    trainer.save_checkpoint(path)
    return path


@pytest.fixture
def checkpoint(tiny_checkpoint):
    return tiny_checkpoint


def test_a_checkpoint_gives_the_same_model(tiny_eyes, tmp_path):
    model = Pix2Vol(SHAPE, channels=(8, 8, 16), bscan_width=8, n_layers=2)
    loaded = load_model(write_checkpoint(tmp_path / "model.ckpt", model, tiny_eyes))
    assert type(loaded) is Pix2Vol and not loaded.training
    assert loaded.weights == model.weights and loaded.channels == (8, 8, 16)
    assert loaded.task.scan == model.task.scan and loaded.task.fundus_px == 48
    grid = Placement().to_grid(loaded.task.scan.coordinates(48))[None]
    photo = torch.rand(1, 3, 48, 48)
    one, other = (
        network.eval()(photo, grid, rng=NoiseSource.of_keys(["eye"])) for network in (model, loaded)
    )
    assert torch.equal(one, other)


def test_a_class_of_ones_own_has_to_be_given(tiny_eyes, tmp_path):
    own = OtherModel(SHAPE, channels=(8, 8, 16), weights={"l1": 1.0})
    path = write_checkpoint(tmp_path / "own.ckpt", own, tiny_eyes)
    with pytest.raises(CheckpointError, match="OtherModel, which is not part of fund2oct"):
        load_model(path)
    with pytest.raises(CheckpointError, match=r"holds a .*OtherModel, expected a .*Pix2Vol"):
        load_model(path, Pix2Vol)
    assert type(load_model(path, OtherModel)) is OtherModel


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_bomb_is_refused_and_does_not_go_off(checkpoint, tmp_path):
    bombed = torch.load(checkpoint, weights_only=True)
    crater = tmp_path / "crater"
    bombed["hyper_parameters"]["lift"] = Bomb(crater)
    torch.save(bombed, tmp_path / "bomb.ckpt")
    with pytest.raises(CheckpointError, match=r"bomb.ckpt: holds more than tensors.*refused"):
        load_model(tmp_path / "bomb.ckpt")
    (tmp_path / "raw.ckpt").write_bytes(pickle.dumps(Bomb(crater)))
    with pytest.raises(CheckpointError, match=r"raw.ckpt"):
        load_model(tmp_path / "raw.ckpt")
    assert not crater.exists()


def damaged(change):
    def write(checkpoint, path):
        contents = torch.load(checkpoint, weights_only=True)
        change(contents)
        torch.save(contents, path)

    return write


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda checkpoint, path: None, "no such file"),
        (lambda checkpoint, path: path.write_bytes(b""), "damaged or not a checkpoint"),
        (lambda checkpoint, path: path.write_bytes(b"hello, this is no checkpoint"), "bad.ckpt"),
        (
            lambda checkpoint, path: path.write_bytes(checkpoint.read_bytes()[:5000]),
            "damaged or not a checkpoint",
        ),
        (lambda checkpoint, path: torch.save(torch.zeros(3), path), "but a Tensor"),
        (
            lambda checkpoint, path: torch.save({"state_dict": {}}, path),
            "not a checkpoint of a fund2oct model",
        ),
        (damaged(lambda c: c["state_dict"].popitem()), "does not fit"),
        (damaged(lambda c: c["hyper_parameters"].update(lift="repeat")), "does not fit"),
        (damaged(lambda c: c["hyper_parameters"].update(colour=1)), "does not fit"),
        (damaged(lambda c: c["fund2oct"].update(task=None)), "says nothing of its data"),
        (damaged(lambda c: c["fund2oct"].update({"class": "os.system"})), "os.system, which is not part"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(checkpoint, tmp_path, write, message):
    path = tmp_path / "bad.ckpt"
    write(checkpoint, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
