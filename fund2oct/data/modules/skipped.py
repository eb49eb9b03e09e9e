"""Eyes of a training that could not be read, and whose places others took."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_warn


def note_skipped(skipped: Mapping[str, str], known: dict[str, str], trainer: pl.Trainer | None) -> None:
    """Warn of each eye that was skipped for the first time, and log how many there are.

    Args:
        skipped: why each could not be read, by key.
        known: the same of those that were met before; new ones are added.
        trainer: whose loggers are told; None where there is none.
    """
    new = {key: reason for key, reason in skipped.items() if key not in known}
    for key, reason in new.items():
        known[key] = reason
        rank_zero_warn(f"{reason}; another eye takes its place ({len(known)} so far)")
        for logger in trainer.loggers if trainer else ():
            logger.log_metrics({"data/corrupt_eyes": len(known)}, trainer.global_step if trainer else 0)
