"""Trainings that are stopped, interrupted or meet a wall: a line that says how to go on, and a status."""

import errno
import os
import shlex
import signal
import stat
import sys
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import EarlyStopping

from fund2oct.callbacks import TimeLeftCallback
from fund2oct.cli import main
from fund2oct.data.importing import engine
from fund2oct.outputs import make_numbered_folder
from fund2oct.run import train
from fund2oct.run.config import ConfigError
from fund2oct.run.ending import explained, model_option
from fund2oct.run.folder import metrics_files
from fund2oct.stopping import Terminated, signals_raise
from fund2oct.visual.curves import read_curves


def error_line(capfd):
    """The one line of ours on standard error."""
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fund2oct: ")]
    assert len(lines) == 1, lines
    return lines[0]


def signal_after(monkeypatch, number, n_batches):
    """Send a signal to this process when so many batches of a training are done."""

    def send(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx + 1 == n_batches and trainer.current_epoch == 0:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(TimeLeftCallback, "on_train_batch_end", send)


def four_batches(quick):
    return [*quick, "trainer.limit_train_batches=4", "model.init_args.adversaries_from=0.5"]


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_go_on(quick, monkeypatch, capfd, tmp_path):
    settings = four_batches(quick)
    assert main(["train", "pix2vol", *settings, "--out", "whole"]) == 0
    with monkeypatch.context() as patch:
        signal_after(patch, signal.SIGTERM, 2)
        assert main(["train", "pix2vol", *settings, "--out", "part"]) == 143
    line = error_line(capfd)
    assert line.startswith("fund2oct: stopped by SIGTERM; go on with: fund2oct train pix2vol ")
    assert line.endswith(" --resume part/checkpoints/stopped.ckpt")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    resume = ["--resume", "part/checkpoints/stopped.ckpt", "--out", "rest"]
    assert main(["train", "pix2vol", *settings, *resume]) == 0
    assert "predict rest/checkpoints/last.ckpt PHOTO.jpg" in capfd.readouterr().out
    whole, rest = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ("whole", "rest")
    )
    assert whole["global_step"] == rest["global_step"] == 4
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, rest["state_dict"][name]), name


def test_ctrl_c_says_how_to_go_on(quick, monkeypatch, capfd):
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored in a process of the background
    signal_after(monkeypatch, signal.SIGINT, 1)
    assert main(["train", "pix2vol", *quick]) == 130
    line = error_line(capfd)
    assert line.startswith(
        "fund2oct: interrupted; nothing was saved yet; begin anew with: fund2oct train pix2vol "
    )
    assert signal.signal(signal.SIGINT, before) == signal.default_int_handler


@pytest.mark.slow
def test_slurm_requeues_and_the_job_goes_on_by_itself(quick, monkeypatch, capfd, tmp_path):
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    # As Slurm does: it takes the job back, and ends its processes. The first time it does not.
    scontrol.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        f"[ $(wc -l < {tmp_path}/asked) = 1 ] && echo Job is held >&2 && exit 1\nkill -TERM $PPID\n"
    )
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    job = {
        "PATH": f"{scontrol.parent}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1",
        "SLURM_JOB_NAME": "oct", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
    }  # fmt: skip
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    settings = [*four_batches(quick), "trainer.log_every_n_steps=1"]
    before = signal.getsignal(signal.SIGUSR1)
    with monkeypatch.context() as patch:
        signal_after(patch, signal.SIGUSR1, 2)
        assert main(["train", "pix2vol", *settings, "--out", "held"]) == 138
        line = error_line(capfd)
        assert line.startswith(
            "fund2oct: stopped by SIGUSR1; Slurm did not requeue the job (Job is held); go on"
        )
        assert line.endswith("--resume held/checkpoints/stopped.ckpt")
        assert main(["train", "pix2vol", *settings]) == 138
    run = tmp_path / "runs/pix2vol/slurm-4711"
    assert (tmp_path / "asked").read_text() == "requeue 4711\n" * 2
    assert (
        f"the job was requeued and goes on from runs/pix2vol/{run.name}/checkpoints/stopped.ckpt"
        in error_line(capfd)
    )
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(["train", "pix2vol", *settings]) == 0
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    # What was measured before is kept beside what came after.
    first, second = ((run / name).read_text() for name in ("metrics-1.csv", "metrics.csv"))
    assert len(first.splitlines()) == 3 and len(second.splitlines()) == 3
    curves = read_curves(*metrics_files(run)).values()
    assert max(len(steps) for steps, _ in curves) == 4
    assert all((np.diff(steps) > 0).all() for steps, _ in curves)
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_full_disk_is_said_with_the_last_good_checkpoint(quick, monkeypatch, capfd):
    save = pl.Trainer.save_checkpoint

    def full_in_the_second_epoch(trainer, path, *options):
        if trainer.current_epoch == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(trainer, path, *options)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", full_in_the_second_epoch)
    assert main(["train", "pix2vol", *quick, "trainer.max_epochs=2"]) == 1
    line = error_line(capfd)
    assert line.startswith(
        "fund2oct: runs/pix2vol/001: the disk is full; make room; go on with: fund2oct train"
    )
    assert line.endswith("--resume runs/pix2vol/001/checkpoints/last.ckpt")


def test_a_quantity_that_is_not_measured_is_named_with_the_nearest(tmp_path):
    logs = {"val/thickness/error_um": torch.tensor(1.0), "val/aligned/ssim": torch.tensor(1.0)}
    with (
        pytest.raises(
            ConfigError, match=r"watches 'val/thickness/eror_um'.*did you mean val/thickness/error_um\?"
        ),
        explained(tmp_path, "fund2oct train pix2vol"),
    ):
        EarlyStopping(monitor="val/thickness/eror_um")._validate_condition_metric(logs)
    # As ModelCheckpoint says it.
    text = "`ModelCheckpoint(monitor='val/sim')` could not find the monitored key in the returned metrics: "
    text += f"{[*logs]}."
    with (
        pytest.raises(
            ConfigError, match=r"watches 'val/sim', which is not measured.*there are val/aligned/ssim, "
        ),
        explained(tmp_path, "fund2oct train pix2vol"),
    ):
        raise MisconfigurationException(text)


def test_other_failures_pass_as_they_are(tmp_path):
    for error in (RuntimeError("a bug"), OSError(errno.EIO, "broken"), SystemExit(3), KeyError("x")):
        with pytest.raises(type(error)) as caught, explained(tmp_path, "train"):
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    ("command", "module", "how"),
    [
        (
            ["simulate", "new.h5"],
            "fund2oct.data.importing.simulated_file.simulate_file",
            "it goes on from here",
        ),
        (
            ["import", "aptos", "a", "b.h5"],
            "fund2oct.data.importing.aptos.import_aptos",
            "it goes on from here",
        ),
        (
            ["predict", "a.ckpt", "b.jpg", "--out", "c"],
            "fund2oct.run.predicting.predict.load_model",
            "give it again with --skip-done to go on",
        ),
        (
            ["evaluate", "a.ckpt", "--data", "b.h5", "--out", "c"],
            "fund2oct.evaluation.checkpoints.load_model",
            "no report was written; run it again",
        ),
        (["check", "a.h5"], "fund2oct.data.store.check.check_file", "run it again"),
    ],
)
def test_ctrl_c_is_a_line_in_every_command(command, module, how, monkeypatch, capfd, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, interrupted)
    assert main(command) == 130
    line = error_line(capfd)
    assert line.startswith("fund2oct: interrupted; ") and how in line


@pytest.mark.usefixtures("few_twins", "one_eye_measured")
@pytest.mark.parametrize(
    "stop, status, by",
    [
        pytest.param(Terminated(signal.SIGTERM), 143, "stopped by SIGTERM", marks=pytest.mark.slow),
        pytest.param(Terminated(signal.SIGUSR1), 138, "stopped by SIGUSR1", marks=pytest.mark.slow),  # Slurm
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_stopped_report_leaves_a_finished_training(quick, tiny_eyes, monkeypatch, capfd, stop, status, by):
    def stopped(*_):
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(train, "_report", stopped)
        assert main(["train", "pix2vol", *quick, "--out", "run"]) == status
    line, _, command = error_line(capfd).partition("; have the report with: fund2oct ")
    assert line == (
        f"fund2oct: {by} while the report was made; the training is finished, its model is "
        "run/checkpoints/last.ckpt"
    )
    words = shlex.split(command)
    model = "run/checkpoints/last.ckpt"
    assert words == ["evaluate", model, "--data", str(tiny_eyes), "--out", "run/report"]
    if by == "interrupted":  # the command is the same each time
        assert main([*words, "--distances", "none"]) == 0
        assert os.path.isfile("run/report/report.md")


def test_a_command_for_a_class_of_ones_own_names_it(tiny_checkpoint, tmp_path):
    assert model_option(tiny_checkpoint) == []
    contents = torch.load(tiny_checkpoint, weights_only=True)
    contents["fund2oct"]["class"] = "my_model.Smoother"
    torch.save(contents, tmp_path / "mine.ckpt")
    assert model_option(tmp_path / "mine.ckpt") == ["--model", "my_model.Smoother"]


def test_a_signal_after_the_last_batch_is_not_lost(quick, monkeypatch, capfd):
    monkeypatch.setattr(TimeLeftCallback, "on_train_end", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(train, "_report", lambda *_: pytest.fail("a report was made"))
    assert main(["train", "pix2vol", *quick, "--out", "run"]) == 143
    line = error_line(capfd)
    assert line.startswith(
        "fund2oct: stopped by SIGTERM while the report was made; the training is finished, "
    )


def test_a_closed_terminal_saves_and_says_how_to_go_on(quick, monkeypatch, capfd):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
    try:
        signal_after(monkeypatch, signal.SIGHUP, 2)
        assert main(["train", "pix2vol", *four_batches(quick), "--out", "part"]) == 129
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    line = error_line(capfd)
    assert line.startswith("fund2oct: stopped by SIGHUP; go on with: fund2oct train pix2vol ")
    assert line.endswith(" --resume part/checkpoints/stopped.ckpt")


@pytest.mark.parametrize(
    "number, status", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 128 + signal.SIGUSR1)]
)
def test_a_signal_raises_where_the_process_was(number, status):
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with signals_raise(), pytest.raises(Terminated) as stop:
            os.kill(os.getpid(), number)
        assert (stop.value.status, stop.value.name) == (status, number.name)
        assert signal.getsignal(number) == signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)
        with signals_raise():
            os.kill(os.getpid(), number)  # ignored, as under nohup: nothing happens
    finally:
        signal.signal(number, before)


def test_output_to_a_closed_terminal_goes_nowhere():
    """The terminal's other end is closed, as by a lost connection: what is written fails until it is left."""
    ours, theirs = os.openpty()
    kept = os.dup(1)
    try:
        os.dup2(theirs, 1)
        os.close(ours)
        with pytest.raises(OSError, match="Input/output error"):
            os.write(1, b"lost")
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with signals_raise(), pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
        assert os.write(1, b"lost") == 4
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(theirs)


def test_sigterm_ends_a_command(tmp_path, monkeypatch, capfd):
    out = tmp_path / "eyes.h5"
    sizes = ["--eyes", "4", "--workers", "1", "--shape", "32", "48", "--fundus-px", "48"]
    told = engine.with_progress

    def stop(items, *rest):
        for number, item in enumerate(told(items, *rest)):
            yield item
            if number == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(engine, "with_progress", stop)
    # As the shell calls it: of a program that calls it, the signals are the program's.
    monkeypatch.setattr(sys, "argv", ["fund2oct", "simulate", str(out), *sizes])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert main() == 143
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capfd.readouterr().err
    assert said.splitlines()[-1] == (
        "fund2oct: stopped by SIGTERM; run the same command again: it goes on from here"
    )
    assert "Traceback" not in said and not out.exists()


def test_two_runs_never_take_one_number(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        made = [*pool.map(lambda _: make_numbered_folder(tmp_path / "runs"), range(40))]
    assert sorted(folder.name for folder in made) == [f"{number:03d}" for number in range(1, 41)]
