"""With which arguments a class of a user's own is called for a checkpoint, and which one can hold."""

import enum
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tiny_models import quick_trainer
from torch import nn

from fund2oct.data import FundusOCTDataModule
from fund2oct.losses import l1_loss
from fund2oct.models import CheckpointError, VolumeModel, VoxelGAN, load_model
from fund2oct.models.arguments import check_plain
from fund2oct.models.published.files import write_published
from fund2oct.networks.voxels.generator import VolumeGenerator
from fund2oct.run.resuming import check_resumable
from fund2oct.run.train import build

SHAPE = (6, 32, 48)
WEIGHTS = {"l1": 1.0}


def fit(model, eyes, steps=1):
    trainer = quick_trainer(max_steps=steps, limit_val_batches=0)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(eyes), batch_size=2))
    return trainer


# --- which arguments ------------------------------------------------------------------------------


OF_ANY = {
    "shape", "learning_rate", "betas", "decay_from", "ema_decay", "gradient_clip", "seed", "recompute",
}  # fmt: skip
"""Arguments of any model that its checkpoint holds."""


class Fixing(VoxelGAN):
    """Fixes arguments of its base class, has one of its own, and hands on the rest."""

    def __init__(self, shape: tuple[int, int, int], width: int = 8, **options):
        super().__init__(shape, channels=(width, 2 * width), encoder="own", **options)


class Bare(VolumeModel):
    """Takes no arguments of its base class but the shape."""

    def __init__(self, shape: tuple[int, int, int], width: int = 8):
        super().__init__(shape, seed=3)
        self.width = width

    def build_generator(self):
        return VolumeGenerator(*self.shape[:2], channels=(self.width, 2 * self.width))

    def losses(self, batch, fake):
        return {"l1": l1_loss(fake.aligned, batch["aligned"])}


class HandingOn(VoxelGAN):
    """Hands on what it is given, and fixes one argument."""

    def __init__(self, *args, **options):
        super().__init__(*args, encoder="own", **options)


@pytest.mark.parametrize(
    ("make", "left_out"),
    [
        (lambda: Fixing(SHAPE, 16, weights=WEIGHTS), {"channels", "encoder"}),
        (lambda: Bare(SHAPE, width=16), OF_ANY - {"shape"}),
        (lambda: HandingOn(SHAPE, (8, 8, 16), weights=WEIGHTS), {"encoder"}),
    ],
)
def test_a_class_is_called_with_what_it_takes(make, left_out, tiny_eyes, tmp_path):
    model, path, folder = make(), tmp_path / "model.ckpt", tmp_path / "published"
    fit(model, tiny_eyes).save_checkpoint(path)
    folder.mkdir()
    write_published(load_model(path, type(model)), folder, {})
    for where in (path, folder):
        loaded = load_model(where, type(model))
        assert set(model.hparams) - set(loaded.arguments_read) == left_out
        assert loaded.seed == model.seed
        for name, value in model.generator_ema.state_dict().items():
            assert torch.equal(loaded.generator_ema.state_dict()[name], value), name
    stored = torch.load(path, weights_only=True)
    stored["hyper_parameters"]["colour"] = 1  # of another version of the class
    torch.save(stored, path)
    with pytest.raises(CheckpointError, match=r"model.ckpt: does not fit .*: it takes no colour"):
        load_model(path, type(model))


NARROW = """\
from fund2oct.models import VoxelGAN


class Narrow(VoxelGAN):
    def __init__(self, shape: tuple[int, int, int], width: int = 8, **options):
        super().__init__(shape, channels=(width, 2 * width), encoder="own", **options)
"""


@pytest.mark.usefixtures("memory_not_estimated")
def test_a_class_of_an_experiment_may_fix_arguments(tiny_overrides, tmp_path, monkeypatch):
    (tmp_path / "narrow_model.py").write_text(NARROW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    panels = "{class_path: fund2oct.callbacks.PanelCallback, init_args: {n_eyes: 0}}"
    trainer, model, data = build(
        "pix2vol",
        [
            "model.class_path=narrow_model.Narrow", *tiny_overrides, "model.init_args.width=16",
            "model.init_args.weights={l1: 1.0}", f"trainer.callbacks=[{panels}]", "trainer.max_steps=1",
            "trainer.limit_val_batches=0", "trainer.enable_checkpointing=false",
            "trainer.enable_model_summary=false",
        ],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt", importlib.import_module("narrow_model").Narrow)
    assert loaded.channels == (16, 32) and loaded.bscan_width == 8
    assert not {"channels", "encoder"} & set(loaded.arguments_read)


def fixing(**fixed):
    """A class that is made in a function, and fixes some arguments."""

    class Fixed(VoxelGAN):
        def __init__(self, shape, **options):
            super().__init__(shape, **fixed, **options)

    return Fixed


def test_a_class_that_fixes_something_else_by_now_is_told(tiny_eyes, tmp_path, recwarn):
    kind, path = fixing(seed=1, channels=(8, 16)), tmp_path / "model.ckpt"
    fit(kind(SHAPE, weights=WEIGHTS), tiny_eyes).save_checkpoint(path)
    assert load_model(path, kind).seed == load_model(path, [kind]).seed == 1
    check_resumable(path, kind(SHAPE, weights=WEIGHTS), quick_trainer(max_steps=2))
    assert not [one for one in recwarn if "as the class is now" in str(one.message)]
    with pytest.warns(UserWarning, match=r"its class, .*Fixed, fixed seed=1 \(here 2\); as the class is now"):
        assert load_model(path, fixing(seed=2, channels=(8, 16))).seed == 2
    message = r"does not fit .*Fixed, which in its training fixed channels=\[8, 16\] \(here \[8, 8\]\): "
    with pytest.raises(CheckpointError, match=message):
        load_model(path, fixing(seed=1, channels=(8, 8)))


# --- plain values ---------------------------------------------------------------------------------


class Kind(enum.Enum):
    ONE = 1


class Labelled(VolumeModel):
    """A model with an argument of any type."""

    def __init__(self, shape, label=None, **options):
        super().__init__(shape, **options)

    def build_generator(self):
        pytest.fail("a network was built")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"learning_rate": np.float64(0.5)},
            r"learning_rate: expected a plain .* found float64 (np\.float64\()?0\.5",
        ),
        (
            {"shape": (np.int64(6), 32, 48)},
            r"shape: expected a plain .* found tuple \((np\.int64\()?6",
        ),
        ({"label": OmegaConf.create([1])}, "label: expected a plain value .* found ListConfig"),
        (
            {"label": Path("eyes.h5")},
            r"label: expected a plain value .* found \w*Path .*self\.hparams\.pop\('label', None\)",
        ),
        ({"label": Kind.ONE}, "label: expected a plain value .* found Kind"),
        ({"label": nn.Linear(1, 1)}, "label: expected a plain value .* found Linear"),
    ],
)
def test_an_argument_that_no_checkpoint_gives_back_is_refused(arguments, message, tiny_eyes):
    model = Labelled(**({"shape": SHAPE} | arguments))
    with pytest.raises(ValueError, match=f"^Labelled: {message}"):
        fit(model, tiny_eyes)


@pytest.mark.parametrize(
    "label", [{"a": [1, 0.5, True, None, "b"]}, (1, (2, 3)), float("inf"), torch.Size([2])]
)
def test_plain_arguments_are_taken(label):
    check_plain(Labelled(SHAPE, label=label), None)


class SavingOnceMore(VoxelGAN):
    """Saves its arguments, as the pages of Lightning show it."""

    def __init__(self, shape, encoder="auto", init_from=None, **options):
        super().__init__(shape, encoder=encoder, init_from=init_from, **options)
        self.save_hyperparameters()


def test_what_was_chosen_stays_where_a_class_saves_its_arguments_once_more(tiny_eyes, tmp_path):
    model = SavingOnceMore(SHAPE, encoder="own", channels=(8, 8), weights=WEIGHTS)
    model.hparams.update(encoder="auto", encoder_px=192)  # as they were given
    fit(model, tiny_eyes).save_checkpoint(tmp_path / "model.ckpt")
    saved = torch.load(tmp_path / "model.ckpt", weights_only=True)["hyper_parameters"]
    assert saved["encoder"] == "own" and saved["encoder_px"] is None and "init_from" not in saved
    assert load_model(tmp_path / "model.ckpt", SavingOnceMore).encoder == "own"


class Saving(FundusOCTDataModule):
    """A datamodule that saves its arguments, which a checkpoint holds then."""

    def __init__(self, path, config=None):
        super().__init__(str(path), batch_size=2)
        self.save_hyperparameters(*() if config is None else [config])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"Saving: path: expected a plain value .* found \w*Path"),
        (
            {"config": OmegaConf.create({"a": 1})},
            "Saving: hparams: expected a plain value .* found DictConfig",
        ),
    ],
)
def test_so_is_one_of_a_datamodule(options, message, tiny_eyes):
    with pytest.raises(ValueError, match=message):
        quick_trainer(max_steps=1).fit(Labelled(SHAPE), datamodule=Saving(tiny_eyes, **options))
