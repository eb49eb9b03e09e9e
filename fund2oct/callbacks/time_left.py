"""How long a training still takes, in a line now and then, in a log as on a terminal."""

from __future__ import annotations

import time
from datetime import timedelta

import pytorch_lightning as pl

from fund2oct.models.training.optimisation import ends_by_epochs, share_done
from fund2oct.progress import is_quiet


class TimeLeftCallback(pl.Callback):
    """Say after an epoch how many are done and about how long the others take.

    Args:
        every_s: least time between two lines, in seconds. A training that is shorter says nothing.

    Example:
        >>> TimeLeftCallback().every_s
        60.0
    """

    def __init__(self, every_s: float = 60.0) -> None:
        self.every_s = every_s
        self._began_s = self._said_s = 0.0
        self._began_at = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the clock; a training that was resumed has epochs behind it."""
        self._began_s = self._said_s = time.monotonic()
        self._began_at = share_done(trainer, pl_module.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say it, where the last line is long enough ago."""
        now_s = time.monotonic()
        share = share_done(trainer, pl_module.global_step, trainer.current_epoch + 1)
        if is_quiet() or not self._began_at < share < 1 or now_s - self._said_s < self.every_s:
            return
        self._said_s = now_s
        left_s = (now_s - self._began_s) / (share - self._began_at) * (1 - share)
        of_all = f" of {trainer.max_epochs}" if ends_by_epochs(trainer) else ""
        pl_module.print(
            f"epoch {trainer.current_epoch + 1}{of_all}; about {timedelta(seconds=round(left_s))} left"
        )
