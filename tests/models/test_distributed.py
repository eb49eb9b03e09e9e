"""Two processes on the CPU do what one does."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest
import torch

from fund2oct.run.train import train

pytestmark = pytest.mark.slow

SILENT = """
from pathlib import Path

import torch

from fund2oct.models import VoxelGAN
from fund2oct.networks.noise import NoNoise


class Silent(VoxelGAN):
    # Each process draws noise of its own in training; without any, two have to learn what one learns.
    def step_noise(self):
        return NoNoise()

    # Nothing is learned yet, so that both validate the same network.
    def on_validation_end(self):
        super().on_validation_end()
        if self.trainer.is_global_zero:
            measured = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
            start = {"measured": measured, "state_dict": self.state_dict()}
            torch.save(start, Path(self.trainer.default_root_dir) / "start.pt")
"""


@pytest.fixture(scope="module")
def trained(tiny_overrides, tmp_path_factory):
    """What one process and two began with, found in validation, and learned."""
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "silent.py").write_text(SILENT)
    # The adversary joins half way, so that both sides and the clipped gradients are compared.
    # All eyes are validated on before the training alone, and none are kept for a report.
    overrides = [
        *tiny_overrides, "model.class_path=silent.Silent", "model.init_args.channels=[8,8,16]",
        "model.init_args.n_layers=2", "model.init_args.learning_rate=0.001", "model.init_args.decay_from=1",
        "model.init_args.adversaries_from=0.5", "trainer.limit_train_batches=6",
        "trainer.num_sanity_val_steps=-1", "trainer.check_val_every_n_epoch=2",
        "data.init_args.val_fraction=0.4", "data.init_args.test_fraction=0",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LOCAL_RANK", "FUND2OCT_RUN_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        train("voxels", overrides, "one")
        environment = {name: value for name, value in os.environ.items() if name != "FUND2OCT_RUN_DIR"}
        shared = [*overrides, "trainer.devices=2", "data.init_args.batch_size=1"]
        done = subprocess.run(
            [sys.executable, "-m", "fund2oct", "train", "voxels", "--out", "two", *shared],
            env=environment, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        {
            part: torch.load(folder / name / file, weights_only=True)
            for part, file in (("start", "start.pt"), ("end", "checkpoints/last.ckpt"))
        }
        for name in ("one", "two")
    ]


def test_validation_of_two_processes_is_that_of_one(trained):
    one, two = (run["start"]["measured"] for run in trained)
    assert set(one) == set(two) and "val/aligned/l1" in one
    for name, value in one.items():
        # Batches of another size are summed in another order; an eye more or less would be a hundredth.
        assert two[name] == pytest.approx(value, rel=1e-4, abs=1e-4, nan_ok=True), name


def test_two_processes_learn_what_one_learns_of_the_whole_batch(trained):
    one, two = (run["end"] for run in trained)
    start = trained[0]["start"]
    assert one["global_step"] == two["global_step"] == 6
    for part in ("generator", "discriminators", "generator_ema"):
        moved, apart = (
            sum(
                float((value - other["state_dict"][name]).square().sum())
                for name, value in one["state_dict"].items()
                if name.startswith(f"{part}.")
            )
            for other in (start, two)
        )
        assert moved > 0 and apart < 1e-3 * moved, (part, moved, apart)


SIGNALLED = """
import os, signal, sys

from fund2oct.callbacks import TimeLeftCallback
from fund2oct.cli import main

def send(self, trainer, module, outputs, batch, batch_idx):
    if batch_idx == 1 and trainer.current_epoch == 0 and trainer.global_rank == 1:
        os.kill(os.getpid(), signal.{name})

TimeLeftCallback.on_train_batch_end = send
sys.exit(main())
"""


def start(folder, name, overrides, **environment):
    (folder / "signalled.py").write_text(SIGNALLED.format(name=name))
    command = [
        sys.executable, "signalled.py", "train", "voxels", "--out", "run", *overrides, "trainer.devices=2",
        "model.init_args.channels=[8,8,16]", "model.init_args.n_layers=2", "data.init_args.batch_size=1",
        "data.init_args.test_fraction=0", "trainer.limit_train_batches=6", "trainer.limit_val_batches=0",
    ]  # fmt: skip
    kept = {
        name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "FUND2OCT_RUN_DIR")
    }
    return subprocess.Popen(
        command,
        cwd=folder,
        env=kept | {"OMP_NUM_THREADS": "1"} | environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def said(process):
    """What a process wrote as errors; one that waits for ever is ended, with those that it started."""
    try:
        return process.communicate(timeout=600)[1]
    except subprocess.TimeoutExpired:
        pytest.fail("the processes wait for one another")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_signal_to_one_process_ends_all_after_the_same_batch(tiny_overrides, tmp_path):
    process = start(tmp_path, "SIGTERM", tiny_overrides)
    text = said(process)
    # Killed by the first process, or with it, where one that it started ended with a status of its own.
    assert process.returncode == 143, text[-3000:]
    assert "stopped by SIGTERM; go on with: fund2oct train voxels " in text
    saved = torch.load(tmp_path / "run/checkpoints/stopped.ckpt", weights_only=True)
    assert saved["global_step"] == 3  # the batch after the one in which it came


def test_two_tasks_of_slurm_requeue_their_job_once(tiny_overrides, tmp_path):
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {
        "PATH": f"{scontrol.parent}:{os.environ['PATH']}", "MASTER_PORT": str(port), "SLURM_JOB_ID": "4711",
        "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "oct", "SLURM_NODEID": "0",
    }  # fmt: skip
    tasks = [
        start(tmp_path, "SIGUSR1", tiny_overrides, **job, SLURM_PROCID=rank, SLURM_LOCALID=rank)
        for rank in ("0", "1")
    ]
    first, second = (said(task) for task in tasks)
    assert [task.returncode for task in tasks] == [138, 0], (first + second)[-3000:]
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    assert "the job was requeued and goes on from run/checkpoints/stopped.ckpt by itself" in first
    assert torch.load(tmp_path / "run/checkpoints/stopped.ckpt", weights_only=True)["global_step"] == 3
