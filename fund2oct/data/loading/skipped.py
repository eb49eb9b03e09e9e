"""Damaged eyes that a training does without: each is named, and they are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, TypeVar

from fund2oct.by_path import listed
from fund2oct.eye import DataError

if TYPE_CHECKING:
    import pytorch_lightning as pl

T = TypeVar("T")


def leave_out(
    known: dict[str, str], split: Mapping[str, Iterable[str]] | None, key: str, error: DataError
) -> None:
    """Leave out an eye of which nothing can be read, and warn of it once.

    Args:
        known: why each eye that was met before could not be read, by key; a new one is added.
        split: keys of the eyes of each part, as a user gives them. None splits by patient: the part of an eye
            whose record cannot be read is then not known, and it is left out whichever it was.
        key: of the eye.
        error: what is wrong with it.

    Raises:
        DataError: that error, if the split names the eye to validate or to test on.
    """
    if any(key in listed(of_part) for part, of_part in (split or {}).items() if part != "train"):
        raise error
    if key not in known:
        known[key] = str(error)
        _warn(f"{error}; it is left out ({len(known)} so far)")


def readable(
    read: Callable[[int], T], numbers: Iterable[int], on_corrupt: Literal["raise", "skip"]
) -> Iterator[tuple[int, T]]:
    """Read training eyes one after the other, where damaged ones may be skipped without those.

    Args:
        read: reads the eye of a number.
        numbers: of the eyes.
        on_corrupt: whether a damaged eye raises, or is passed over and warned of.

    Yields:
        The number of each eye that can be read, and what was read.

    Raises:
        DataError: what is wrong with a damaged eye, or with the last one where none can be read.
    """
    failed: DataError | None = None
    n_read = 0
    for number in numbers:
        try:
            found = read(number)
        except DataError as error:
            if on_corrupt == "raise":
                raise
            failed = error
            _warn(f"{error}; it is passed over")
        else:
            n_read += 1
            yield number, found
    if failed is not None and not n_read:
        raise failed


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
