"""Damaged eyes that a training does without: each is named, and they are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fund2oct.eye import DataError

if TYPE_CHECKING:
    import pytorch_lightning as pl


def leave_out(known: dict[str, str], key: str, error: DataError) -> None:
    """Leave out an eye of which nothing can be read, and warn of it once.

    Args:
        known: why each eye that was met before could not be read, by key; a new one is added.
        key: of the eye.
        error: what is wrong with it.
    """
    if key not in known:
        known[key] = str(error)
        _warn(f"{error}; it is left out ({len(known)} so far)")


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
        _warn(f"{reason}; another eye takes its place ({len(known)} so far)")
        for logger in trainer.loggers if trainer else ():
            logger.log_metrics({"data/corrupt_eyes": len(known)}, trainer.global_step if trainer else 0)


def _warn(text: str) -> None:
    # Lightning takes seconds to import; a process that trains has it already.
    from pytorch_lightning.utilities.rank_zero import rank_zero_warn

    rank_zero_warn(text)
