"""A training that begins with weights of a file."""

import argparse
import os

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from fund2oct.data import FundusOCTDataModule
from fund2oct.models import SurfaceModel, VoxelGAN
from fund2oct.models.training.init_from import init_from


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3))
        self.head = nn.Linear(5, 2)


def encoder():
    """Holds the same layers under other names, and another head."""
    holder = nn.Module()
    holder.encoder = nn.Module()
    holder.encoder.layers = Net().backbone
    holder.encoder.head = nn.Linear(5, 3)
    return holder


@pytest.fixture(params=["plain.pth", "lightning.ckpt", "mae.pth", "timm.safetensors"])
def published(request, tmp_path):
    net, path = Net(), tmp_path / request.param
    state = net.state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.name == "lightning.ckpt":
        named = {f"model.{name}": value for name, value in state.items()}
        torch.save({"epoch": 3, "state_dict": named, "hyper_parameters": {"name": "x"}}, path)
    elif path.name == "mae.pth":
        torch.save({"model": state, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}}, path)
    else:
        torch.save(state, path)
    return net, path


def test_names_that_end_alike_are_one(published):
    net, path = published
    ours = encoder()
    head = ours.encoder.head.weight.clone()
    report = init_from(path, {"generator": ours})
    taken = ours.encoder.layers.state_dict()
    assert all(torch.equal(taken[name], value) for name, value in net.backbone.state_dict().items())
    assert torch.equal(ours.encoder.head.weight, head)
    assert report.there.endswith("backbone.") and report.here == "generator.encoder.layers."
    line = str(report)
    assert "9 of 11 weights taken" in line and "generator.encoder.head.weight" in line
    assert "2 of the file not used" in line and "\n" not in line


def checkpoint(path, shape, **options):
    model = VoxelGAN(shape, **{"channels": (8, 8), "bscan_width": 8, "n_layers": 2} | options)
    model.configure_model()
    model.configure_training()
    with torch.no_grad():
        for number, weight in enumerate(model.generator_ema.module.parameters()):
            weight.fill_(number + 1)
        for weight in model.generator_ema.module.lifts[0].profile.parameters():
            weight.copy_(torch.linspace(0, 1, weight.shape[-1]).expand_as(weight))
    torch.save({"state_dict": model.state_dict()}, path)
    return model


class Started(VoxelGAN):
    """Ends its setup where a training would begin."""


def begun(path, shape=(6, 48, 40), **options):
    from types import SimpleNamespace

    model = Started(
        shape, init_from=str(path), **{"channels": (8, 8), "bscan_width": 8, "n_layers": 2} | options
    )
    model._fabric = None
    model._trainer = SimpleNamespace(datamodule=None)
    model.setup("fit")
    return model


def test_the_averaged_weights_of_a_checkpoint_begin_a_training_of_another_depth(tmp_path, caplog):
    there = checkpoint(tmp_path / "there.ckpt", (6, 32, 48))
    with caplog.at_level("INFO"):
        here = begun(tmp_path / "there.ckpt")
    averaged = there.generator_ema.module
    assert torch.equal(here.generator.encoder.stem.weight, averaged.encoder.stem.weight)
    assert torch.equal(here.generator_ema.module.encoder.stem.weight, averaged.encoder.stem.weight)
    judges = [model.discriminators["bscan"].state_dict() for model in (here, there)]
    assert all(torch.equal(judges[0][name], judges[1][name]) for name in judges[0])
    profile = here.generator.lifts[0].profile.weight
    assert profile.shape[-1] == 48
    expected = F.interpolate(averaged.lifts[0].profile.weight, 48, mode="linear")
    assert torch.equal(profile, expected)
    (line,) = [record.message for record in caplog.records if "init_from" in record.message]
    assert "resized to this depth (generator.lifts.0.profile.weight (8, 8, 32) to (8, 8, 48)" in line
    assert here.init_from is None and "init_from" not in here.hparams


def test_what_has_another_shape_is_left_and_said(tmp_path, caplog):
    checkpoint(tmp_path / "there.ckpt", (6, 32, 48))
    with caplog.at_level("INFO"):
        begun(tmp_path / "there.ckpt", (6, 32, 48), bscan_width=16)
    assert "left as they were, of another shape (discriminators.bscan" in caplog.text


def test_a_model_that_was_trained_on_the_test_eyes_begins_no_training(tiny_eyes, tmp_path):
    def fit(split_seed, **options):
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_steps=1, limit_val_batches=0, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8, **options)
        trainer.fit(
            model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2, split_seed=split_seed)
        )
        return trainer

    path = tmp_path / "first.ckpt"
    fit(0).save_checkpoint(path)
    fit(0, init_from=str(path))
    with pytest.raises(ValueError, match="init_from: its model was trained on"):
        fit(1, init_from=str(path))


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("crater",)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"no weights"), "refused|damaged"),
        (lambda path: torch.save({"a": Bomb()}, path), "could run code; refused"),
        (lambda path: torch.save([1, 2], path), "found a list"),
        (lambda path: torch.save({"epoch": 3}, path), "expected tensors by name, found epoch"),
        (lambda path: torch.save({"other.weight": torch.zeros(7)}, path), "none of its 1 weights"),
    ],
)
def test_a_file_that_does_not_help_is_refused_in_a_line(write, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pth"
    write(path)
    with pytest.raises(ValueError, match=message) as caught:
        init_from(path, {"generator": Net()})
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "crater").exists()


def test_a_weight_that_comes_from_a_package_is_kept(tmp_path):
    torch.save(
        {f"generator.{name}": torch.ones_like(v) for name, v in Net().state_dict().items()},
        tmp_path / "a.pth",
    )
    net = Net()
    before = net.backbone[0].weight.clone()
    report = init_from(tmp_path / "a.pth", {"generator": net}, kept=("generator.backbone.",))
    assert torch.equal(net.backbone[0].weight, before) and (net.head.weight == 1).all()
    assert report.n_weights == 2 and len(report.frozen) == 9
    assert "9 left as they were, for they are frozen: fine_tune takes them (generator.backbone" in str(report)


def test_nothing_is_taken_by_chance_where_all_that_fits_is_frozen(tmp_path):
    """The last layers of both are 5 x 2, and have nothing to do with each other."""
    state = {f"generator.backbone.{name}": value for name, value in Net().backbone.state_dict().items()}
    torch.save(state | {"generator.other.mix.weight": torch.ones(2, 5)}, tmp_path / "a.pth")
    net = Net()
    with pytest.raises(ValueError, match=r"none of its 10 .*; 9 belong to frozen weights .* fine_tune takes"):
        init_from(tmp_path / "a.pth", {"generator": net}, kept=("generator.backbone.",))
    assert not (net.head.weight == 1).any()
