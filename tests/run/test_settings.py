"""Settings do what they say, or are refused with the name that was meant."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from fund2oct.callbacks import PanelCallback, RunRecordCallback
from fund2oct.cli import main
from fund2oct.data import UnpairedDataModule
from fund2oct.run.config import ConfigError, load_experiment
from fund2oct.run.settings import check_sections, check_trainer, explain, loggers_of, with_our_names
from fund2oct.run.train import _build, _ExperimentCLI, build

CALLBACK = "trainer.callbacks=[{class_path: pytorch_lightning.callbacks."

UNREAD = [
    ("model.init_args.ema_dcay=1", "Pix2Vol: there is no 'ema_dcay'; did you mean ema_decay?"),
    ("data.init_args.batchsize=3", "PhantomDataModule: there is no 'batchsize'; did you mean batch_size?"),
    (
        f"{CALLBACK}ModelChekpoint}}]",
        "there is no 'ModelChekpoint' in pytorch_lightning.callbacks; did you mean ModelCheckpoint?",
    ),
    ("model.init_arg.encoder=own", "model.init_arg: unknown key; did you mean init_args?"),
    ("data.classpath=x", "data.classpath: unknown key; did you mean class_path?"),
    ("trainer.gradient_clip_val=1", "Pix2Vol steps by itself; set model.init_args.gradient_clip"),
]
MORE_UNREAD = [
    ("trainer.max_epoch=1", "trainer: there is no 'max_epoch'; did you mean max_epochs?"),
    ("model.init_args.texure=[8]", "Pix2Vol: there is no 'texure'; did you mean texture?"),
    ("model.init_args.learning_rat=1", "Pix2Vol: there is no 'learning_rat'; did you mean learning_rate?"),
    (
        f"{CALLBACK}ModelCheckpoint, init_args: {{save_lst: true}}}}]",
        "ModelCheckpoint: there is no 'save_lst'; did you mean save_last?",
    ),
    (
        "model.class_path=fund2oct.models.Pix2Vl",
        "there is no 'Pix2Vl' in fund2oct.models; did you mean Pix2Vol?",
    ),
    ("trainer.accumulate_grad_batches=2", "each batch is a step; raise data.init_args.batch_size"),
    ("trainer.overfit_batches=2", "PhantomDataModule orders its eyes itself; name the few to learn"),
]
"""Like those above; each takes a second or more, for the whole parser is built."""


@pytest.mark.parametrize(
    ("override", "message"), [*UNREAD, *(pytest.param(*one, marks=pytest.mark.slow) for one in MORE_UNREAD)]
)
def test_a_key_that_nothing_reads_is_named_with_the_nearest(override, message):
    with pytest.raises(ConfigError) as caught:
        build("pix2vol", [override, "trainer.accelerator=cpu", "trainer.devices=1"])
    assert str(caught.value).startswith("configuration: ") and message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("default_root_dir", "elsewhere", "all lies in the folder of the run; choose it by --out"),
        ("limit_test_batches", "0", "the report of a training reads the test eyes by itself; set report"),
        ("limit_predict_batches", "3", "a training predicts nothing; leave it out"),
        ("barebones", "true", "without checkpoints and logs nothing is left of a run; leave it out"),
    ],
)
def test_what_a_run_never_asks_for_is_refused(key, value, instead, quick, capsys, tmp_path):
    assert main(["train", "pix2vol", *quick, f"trainer.{key}={value}"]) == 1
    assert f"trainer.{key}: {instead}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_as_it_was_or_of_no_run_is_not_refused():
    check_sections({"trainer": {"barebones": False, "limit_test_batches": None}}, run_is_given=True)
    check_sections({"trainer": {"limit_test_batches": 3}}, run_is_given=False)


def test_loaders_of_ones_own_may_be_overfitted():
    config, model = {"trainer": {"overfit_batches": 2}}, pl.LightningModule()
    check_trainer(config, model, pl.LightningDataModule())
    ours = UnpairedDataModule({"path": "photos.h5"}, {"path": "volumes.h5"})
    with pytest.raises(ConfigError, match=r"trainer\.overfit_batches: UnpairedDataModule orders its eyes"):
        check_trainer(config, model, ours)
    check_trainer({"trainer": {"overfit_batches": 0.0}}, model, ours)


def names(callbacks):
    return [path["class_path"].rpartition(".")[2] for path in callbacks]


def test_a_callback_is_added_and_takes_the_place_of_its_like():
    ours = ["ModelCheckpoint", "MemoryCallback", "PanelCallback", "RunRecordCallback", "TimeLeftCallback"]
    assert names(load_experiment("pix2vol")["trainer"]["callbacks"]) == ours
    added = load_experiment("pix2vol", [f"{CALLBACK}LearningRateMonitor}}]"])["trainer"]["callbacks"]
    assert names(added) == [*ours, "LearningRateMonitor"]
    replaced = load_experiment(
        "pix2vol", ["trainer.callbacks=[{class_path: a.PanelCallback, init_args: {n: 1}}]"]
    )
    assert names(replaced["trainer"]["callbacks"]) == [
        "ModelCheckpoint",
        "MemoryCallback",
        "RunRecordCallback",
        "TimeLeftCallback",
        "PanelCallback",
    ]
    assert replaced["trainer"]["callbacks"][-1]["init_args"] == {"n": 1}
    assert names(load_experiment("pix2vol", ["trainer.callbacks=null"])["trainer"]["callbacks"]) == ours


def test_a_lone_callback_needs_no_list(tmp_path):
    before = names(load_experiment("pix2vol")["trainer"]["callbacks"])
    path = tmp_path / "mine.yaml"
    path.write_text("trainer: {callbacks: {class_path: a.Mine, init_args: {n: 1}}}\n")
    callbacks = load_experiment(str(path))["trainer"]["callbacks"]
    assert names(callbacks) == [*before, "Mine"] and callbacks[-1]["init_args"] == {"n": 1}
    replaced = load_experiment("pix2vol", ["trainer.callbacks.class_path=a.PanelCallback"])
    assert sorted(names(replaced["trainer"]["callbacks"])) == sorted(before)
    assert replaced["trainer"]["callbacks"][-1] == {"class_path": "a.PanelCallback"}
    # What is no callback is refused where its class is built.
    assert load_experiment("pix2vol", ["trainer.callbacks=[3]"])["trainer"]["callbacks"][-1] == 3


def test_loggers_are_added_or_left_out():
    own = [{"class_path": "a"}]
    assert loggers_of({"trainer": {}}, own) == loggers_of({"trainer": {"logger": True}}, own) == own
    assert loggers_of({"trainer": {"logger": False}}, own) is False
    mine = {"class_path": "b"}
    assert loggers_of({"trainer": {"logger": mine}}, own) == [*own, mine]
    assert loggers_of({"trainer": {"logger": [mine]}}, own) == [*own, mine]


def test_a_count_that_comes_back_as_a_float_is_a_count():
    given = {"limit_train_batches": 1, "limit_val_batches": 0.5, "devices": 2}
    parsed = {"limit_train_batches": 1.0, "limit_val_batches": 0.5, "devices": 2}
    _ExperimentCLI._keep_counts(SimpleNamespace(given=given), parsed)
    assert list(map(repr, parsed.values())) == ["1", "0.5", "2"]


@pytest.mark.slow
def test_one_batch_is_not_all_of_them_where_floats_are_tried_first(quick, tmp_path):
    # typing keeps the first of two equal unions, as another package may have written it; in a process of its
    # own, as packages are imported once.
    program = f"""
from typing import Optional, Union
Optional[Union[float, int]]
from fund2oct.run.train import build
trainer = build("pix2vol", {[*quick, "trainer.logger=false", "trainer.limit_val_batches=0.5"]!r})[0]
found = trainer.limit_train_batches, trainer.limit_val_batches
assert list(map(repr, found)) == ["1", "0.5"], found
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_what_is_wanted_of_the_trainer_reaches_it(quick, tmp_path):
    mine = "trainer.logger={class_path: pytorch_lightning.loggers.CSVLogger, init_args: {save_dir: mine}}"
    config = load_experiment("pix2vol", [*quick, mine, f"{CALLBACK}LearningRateMonitor}}]"])
    trainer = _build(config, tmp_path / "run").trainer
    assert [type(logger) for logger in trainer.loggers] == [TensorBoardLogger, CSVLogger, CSVLogger]
    assert trainer.log_dir.rstrip("/") == str(tmp_path / "run")
    for kind in (ModelCheckpoint, PanelCallback, RunRecordCallback, LearningRateMonitor):
        assert sum(isinstance(callback, kind) for callback in trainer.callbacks) == 1, kind
    without = load_experiment(
        "pix2vol", [*quick, "trainer.enable_checkpointing=false", "trainer.logger=false"]
    )
    trainer = _build(without, tmp_path / "run").trainer
    assert not trainer.checkpoint_callbacks and not trainer.loggers


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"accelerator": "magic"}, "trainer.accelerator"),
        ({"accelerator": "cpu", "fast_dev_run": -1}, "trainer.fast_dev_run"),
        ({"accelerator": "cpu", "overfit_batches": 2.5}, "trainer.overfit_batches"),
    ],
)
def test_what_lightning_refuses_is_named_by_our_key(options, key):
    with pytest.raises((MisconfigurationException, ValueError)) as caught:
        pl.Trainer(**options)
    assert key in explain(caught.value)


def test_a_missing_gpu_is_named_by_our_key():
    assert explain(ValueError("You requested gpu: [3]\n But your machine only has: [0]")).endswith(
        "only has: [0]; set trainer.devices"
    )
    assert with_our_names("set trainer.devices, of `devices`") == "set trainer.devices, of `devices`"


def test_a_precision_of_the_whole_batch_is_refused(quick, capsys):
    assert main(["train", "pix2vol", *quick, "trainer.precision=bf16-true"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "trainer.precision: expected 32-true, bf16-mixed or 16-mixed, found bf16-true: " in line
    assert line.endswith("set trainer.precision=bf16-mixed")
    for other in ("16-true", "64-true", "64", 64):
        with pytest.raises(ConfigError, match=f"16-mixed, found {other}: "):
            check_trainer({"trainer": {"precision": other}}, pl.LightningModule(), pl.LightningDataModule())
