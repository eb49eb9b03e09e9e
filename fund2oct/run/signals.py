"""Signals that end a training: its processes agree on them, and all end after the same batch."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from fund2oct.run.folder import slurm_job
from fund2oct.stopping import REQUEUE, Terminated

_ENDING = [number for number in (REQUEUE, signal.SIGTERM) if number is not None]
"""Signals that end a training. Where both came the later one here counts: a job may be cancelled, too."""


class SaveWhenTerminated(pl.Callback):
    """Write ``checkpoints/stopped.ckpt`` where a signal ends a training, after the batch that it met.

    In a batch job of Slurm, SIGUSR1 then puts the job into the queue again.

    Lightning saves, and waits for the other processes, inside the handler of a signal. Processes that are
    signalled at different places then wait for ever. Here a handler notes the signal and nothing else; after
    each batch the processes tell one another, and all end after the next, whichever of them was signalled.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The signal that all processes ended for."""
        self.trained = self._stepped = False
        """Whether the training made steps, and came to its end."""
        self.not_requeued = ""
        """Why Slurm did not take the job back."""
        self._noted = self._n_shared = 0
        self._told: torch.Tensor | None = None

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen; Lightning, whose handlers give way here, restores at the end those that were there."""
        self._listen()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same, where nothing is validated before."""
        self._listen()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Agree whether to end."""
        self._stepped = True
        self._agree(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the training came to its end."""
        self.trained = self._stepped

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Learn how many batches every process validates on: what one of them alone has is not waited at."""
        of = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        fewest = torch.tensor(float(min(of, default=0)), device=trainer.strategy.root_device)
        fewest = trainer.strategy.reduce(fewest, reduce_op="min")
        self._n_shared = int(fewest) if fewest.isfinite() else 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        *_: Any,
    ) -> None:
        """Agree whether to end."""
        if batch_idx < self._n_shared:
            self._agree(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save; all processes of a training come here after the same step."""
        if not isinstance(exception, SIGTERMException) or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = trainer.log_dir  # asked by all processes: they agree on it by a broadcast
        if folder is None:
            return
        trainer.save_checkpoint(Path(folder) / "checkpoints" / "stopped.ckpt")
        if self.signal == REQUEUE and trainer.is_global_zero:
            self.not_requeued = _requeue()

    def raise_noted(self) -> None:
        """Raise a signal that came after the last batch, when there was nothing left to end.

        Raises:
            Terminated: if there was one.
        """
        if self._noted and self.signal is None:
            raise Terminated(_ENDING[self._noted - 1])

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():  # where no handler can be set
            return
        signal.signal(signal.SIGTERM, self._note)
        if REQUEUE is not None and slurm_job() is not None:
            signal.signal(REQUEUE, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = max(self._noted, _ENDING.index(signal.Signals(number)) + 1)

    def _agree(self, trainer: pl.Trainer) -> None:
        noted = self._noted
        if trainer.world_size > 1:
            # What they told after the batch before: a GPU still at work on this one is not waited for.
            told, self._told = self._told, torch.full((1,), noted, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(self._told, torch.distributed.ReduceOp.MAX)
            noted = 0 if told is None else int(told)
        if noted:
            self.signal = _ENDING[noted - 1]
            # All processes then leave Lightning's loops at the same place, after the counters of this batch.
            trainer._signal_connector.received_sigterm = True


def _requeue() -> str:
    """Ask Slurm to put this job into the queue again; returns why it did not, or nothing."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    try:
        asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    except OSError as error:
        return f"scontrol: {error.strerror}"
    return "" if asked.returncode == 0 else " ".join(asked.stderr.split()) or f"status {asked.returncode}"
