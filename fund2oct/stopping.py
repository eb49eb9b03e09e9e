"""Being stopped from outside: Ctrl-C, a signal of a scheduler, a terminal that is closed, want of memory."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
HANGUP = getattr(signal, "SIGHUP", None)
"""What a terminal that is closed sends; None on Windows."""
REQUEUE = getattr(signal, "SIGUSR1", None)
"""What Slurm sends some time before a job's time is up, where ``--signal`` asks for it; None on Windows."""
_ENDING = [number for number in (signal.SIGTERM, HANGUP, REQUEUE) if number is not None]


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
    """SIGTERM, SIGHUP or SIGUSR1, as an exception at the place where the process was.

    Args:
        number: of the signal.

    Example:
        >>> Terminated(signal.SIGTERM).status, Terminated(signal.SIGTERM).name
        (143, 'SIGTERM')
    """

    def __init__(self, number: int) -> None:
        super().__init__("", 128 + number)
        self.name = signal.Signals(number).name


def what_stopped(stop: KeyboardInterrupt) -> tuple[str, int]:
    """What stopped a command, in words, and the exit status that shells expect of it.

    Args:
        stop: the exception, Python's own for Ctrl-C.

    Returns:
        The words and the status.

    Example:
        >>> what_stopped(Terminated(signal.SIGTERM)), what_stopped(KeyboardInterrupt())
        (('stopped by SIGTERM', 143), ('interrupted', 130))
    """
    if isinstance(stop, Terminated):
        return f"stopped by {stop.name}", stop.status
    return "interrupted", INTERRUPTED


def want_of_memory(error: BaseException) -> str:
    """Which memory was too small, in words, and what to do.

    Args:
        error: what ended a command. It is known by name and text, so that nothing is imported for it.

    Returns:
        The words; empty where the error is of another kind.

    Example:
        >>> want_of_memory(RuntimeError("can't allocate memory: you tried to allocate 10 GiB"))
        'the memory is too small: free some, or take fewer processes or smaller batches'
        >>> want_of_memory(RuntimeError("a bug"))
        ''
    """
    kind, text = type(error).__name__, " ".join(str(error).split())
    if kind == "OutOfMemoryError":
        return f"the device's memory is too small: free some, or choose another with --device ({text})"
    full = os.strerror(errno.ENOSPC) in text or "Bus error" in text
    if "shared memory" in text and full:
        return (
            "the shared memory (/dev/shm) is full: give a container more of it (docker run --shm-size), or "
            "lower data.init_args.num_workers"
        )
    worker_lost = "DataLoader worker" in text and ("signal: Killed" in text or "exited unexpectedly" in text)
    if kind == "BrokenProcessPool" or worker_lost:
        return (
            "a process was killed, perhaps for want of memory: free some, or take fewer processes "
            "(--workers, in a training data.init_args.num_workers)"
        )
    if "can't allocate memory" in text:
        return "the memory is too small: free some, or take fewer processes or smaller batches"
    return ""


@contextmanager
def signals_raise() -> Iterator[None]:
    """Turn SIGTERM, SIGHUP and SIGUSR1 into :class:`Terminated`, so that what is half made is removed.

    A signal that is ignored, as SIGHUP is under ``nohup``, stays so. A library that sets a handler of its
    own inside the block, as Lightning does while it trains, decides itself what its signal does.

    Returns:
        A context manager; the signal acts as usual again when its block ends.

    Raises:
        Terminated: inside the block, where the process was when the signal came.

    Example:
        >>> try:
        ...     with signals_raise():
        ...         signal.raise_signal(signal.SIGTERM)  # as a scheduler does when the time is up
        ... except Terminated as stop:
        ...     print("status", stop.status)
        status 143
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(number) is terminate:
            _leave_closed_terminal()
            raise Terminated(number)

    with _handling(_ENDING, terminate):
        yield


@contextmanager
def hangup_as_sigterm() -> Iterator[list[int]]:
    """Have SIGHUP do what SIGTERM does, whoever handles that; for a training, which ends its step first.

    Yields:
        A list that holds SIGHUP once it came.

    Example:
        >>> with hangup_as_sigterm() as received:
        ...     pass  # train
        >>> received
        []
    """
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        _leave_closed_terminal()
        signal.raise_signal(signal.SIGTERM)

    with _handling([] if HANGUP is None else [HANGUP], pass_on):
        yield received


@contextmanager
def _handling(numbers: list[signal.Signals], handler: object) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: known for number, known in before.items() if known is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def _leave_closed_terminal() -> None:
    """Write to nowhere where the terminal is gone: an error of the progress bar must not end the rest."""
    for stream in (1, 2):
        try:
            os.get_terminal_size(stream)
        except OSError as error:
            if error.errno == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
