"""A progress bar for whoever looks at a terminal, and silence in a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def with_progress(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Pass items on, with a bar on standard error."""
    console = Console(stderr=True)
    return iter(track(items, description, total, console=console, disable=not console.is_terminal))
