"""Being stopped from outside: Ctrl-C, or a signal of a cluster's scheduler."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


class Stopped(KeyboardInterrupt):
    """A command that was stopped from outside.

    Args:
        message: what stopped it and how to go on; empty where another process says it.
        status: exit status of the process, 128 and the signal's number, as shells have it.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Terminated(Stopped):
    """SIGTERM, as an exception at the place where the process was."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into :class:`Terminated`, so that files are closed and what is half made is removed."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated("", TERMINATED)

    with _sigterm(terminate):
        yield


@contextmanager
def sigterm_left_to_others() -> Iterator[None]:
    """Let a library inside the block decide what SIGTERM does, and take it back after."""
    with _sigterm(signal.SIG_DFL):
        yield


@contextmanager
def _sigterm(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where none can be set
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
