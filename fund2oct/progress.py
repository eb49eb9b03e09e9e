"""A progress bar for whoever looks at a terminal, and silence in a log."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_LIBRARIES = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric")
_quiet = False


@contextmanager
def quiet() -> Iterator[None]:
    """Say nothing inside the block but what is wrong: no progress, no remarks of libraries.

    Example:
        >>> with quiet():
        ...     print(is_quiet())
        True
        >>> is_quiet()
        False
    """
    global _quiet
    before = _quiet
    levels = {name: logging.getLogger(name).level for name in _LIBRARIES}
    _quiet = True
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        _quiet = before
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def is_quiet() -> bool:
    """Whether :func:`quiet` is in force."""
    return _quiet


def with_progress(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Pass items on, with a bar on standard error that tells how many are done and the time that is left.

    Args:
        items: to be passed on.
        total: how many there are.
        description: what is done with them, in a few words.

    Example:
        >>> list(with_progress("abc", 3, "spelling"))
        ['a', 'b', 'c']
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    shown = console.is_terminal and not _quiet
    with Progress(*columns, console=console, disable=not shown) as progress:
        yield from progress.track(items, total, description=description)
