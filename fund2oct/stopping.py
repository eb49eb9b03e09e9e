"""Being stopped from outside: Ctrl-C, or a signal of a cluster's scheduler."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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
    """SIGTERM, raised as an exception where the process was when the signal came."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into :class:`Terminated`, so that files are closed and what is half made is removed.

    A library that sets a handler of its own inside the block, as Lightning does while it trains, decides
    itself what SIGTERM does.

    Returns:
        A context manager; the signal acts as usual again when its block ends.

    Raises:
        Terminated: inside the block, where the process was when the signal came.

    Example:
        >>> try:
        ...     with sigterm_raises():
        ...         signal.raise_signal(signal.SIGTERM)  # as a scheduler does when the time is up
        ... except Terminated as stop:
        ...     print("status", stop.status)
        status 143
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGTERM) is terminate:
            raise Terminated("", TERMINATED)

    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
