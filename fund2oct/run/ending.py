"""How a training ends that does not end by itself, in words for those who started it."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.exceptions import SIGTERMException

from fund2oct.models.checkpoint import read_checkpoint
from fund2oct.models.task import TASK_KEY
from fund2oct.run.config import ConfigError, nearest
from fund2oct.run.folder import is_first_process, last_checkpoint
from fund2oct.run.settings import with_our_names
from fund2oct.run.signals import SaveWhenTerminated
from fund2oct.stopping import Stopped, Terminated, hangup_as_sigterm, want_of_memory, what_stopped

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def explained(run: Path, command: str, ending: SaveWhenTerminated | None = None) -> Iterator[None]:
    """Turn what ends a training into an error that says what happened and how to go on.

    Args:
        run: its folder.
        command: which began it, as in ``fund2oct train pix2vol``.
        ending: the training's callback that knows which signal ended it, and what became of the job.

    Raises:
        Stopped: after Ctrl-C, SIGTERM, SIGHUP or a requeue of Slurm's job.
        ConfigError: if a setting cannot be used.
        MemoryError: if memory is too small, that of the device, the machine's or the shared one.
        OSError: if the disk is full.
    """
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with hangup_as_sigterm() as hung_up:
            yield
    except SIGTERMException:
        number = (ending.signal if ending else None) or signal.SIGTERM
        by, status = what_stopped(Terminated(hung_up[0] if hung_up else number))
        raise _stopped(f"{by}; {_how(run, command, ending)}", status) from None
    except SystemExit as error:
        cause = error.__context__
        if not isinstance(cause, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, on_interrupt)  # Lightning ignores the next ones
        by, status = what_stopped(cause)  # Ctrl-C, or a signal before Lightning looked at signals
        raise _stopped(f"{by}; {_how(run, command)}", status) from None
    except MisconfigurationException as error:
        raise ConfigError(f"training: {_monitored(str(error)) or with_our_names(_line(error))}") from error
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            "the device's memory is too small: lower data.init_args.batch_size, or set "
            "model.init_args.recompute=true or trainer.precision=bf16-mixed "
            f"({_line(error)}); {_how(run, command)}"
        ) from error
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OSError(f"{run}: the disk is full; make room; {_how(run, command)}") from error
    except RuntimeError as error:
        if wanted := _monitored(str(error)):
            raise ConfigError(f"training: {wanted}") from error
        # Before the disk, for shared memory that is full says the same of itself.
        if short := want_of_memory(error):
            raise MemoryError(f"{short}; {_how(run, command)}") from error
        if os.strerror(errno.ENOSPC) in str(error) or "PytorchStreamWriter failed" in str(error):
            raise OSError(f"{run}: the disk is full; make room; {_how(run, command)}") from error
        raise


@contextmanager
def report_explained(run: Path, data: str | None) -> Iterator[None]:
    """Say that the training is finished where its report is stopped, and how to have the report.

    Args:
        run: its folder.
        data: the file of its eyes; None where they are in no single file.

    Raises:
        Stopped: after Ctrl-C, SIGTERM, SIGHUP or SIGUSR1.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        by, status = what_stopped(stop)
        saved = last_checkpoint(run)
        how = "" if saved is None else f", its model is {saved}"
        if saved is not None and data is not None:
            words = ["fund2oct", "evaluate", str(saved), "--data", data, "--out", str(run / "report")]
            words += model_option(saved)
            how += f"; have the report with: {shlex.join(words)}"
        raise _stopped(f"{by} while the report was made; the training is finished{how}", status) from None


def model_option(checkpoint: Path) -> list[str]:
    """The words that name the class of a checkpoint to a command; none for those of fund2oct."""
    path = str(read_checkpoint(checkpoint, mmap=True)[TASK_KEY]["class"])
    return [] if path.startswith("fund2oct.") else ["--model", path]


def command_of(experiment: str, overrides: list[str]) -> str:
    """The command line that trains an experiment."""
    return shlex.join(["fund2oct", "train", experiment, *overrides])


def _how(run: Path, command: str, ending: SaveWhenTerminated | None = None) -> str:
    saved = last_checkpoint(run)
    if ending is not None and ending.signal not in (None, signal.SIGTERM):
        if not ending.not_requeued:
            return f"the job was requeued and goes on from {saved} by itself"
        return f"Slurm did not requeue the job ({ending.not_requeued}); {_how(run, command)}"
    if saved is None:
        return f"nothing was saved yet; begin anew with: {command}"
    return f"go on with: {command} --resume {shlex.quote(str(saved))}"


def _stopped(message: str, status: int) -> Stopped:
    # In a training of several processes the first one speaks for all. It kills all, itself too, as soon as it
    # sees that one which it started has ended with another status than 0.
    return Stopped(message, status) if is_first_process() else Stopped("", 0)


def _monitored(text: str) -> str:
    """What is wrong with the quantity that a callback watches; empty where it is something else."""
    wanted = re.search(r"conditioned on metric `([^`]*)`", text)
    wanted = wanted or re.search(r"\(monitor='([^']*)'\)` could not find the monitored key", text)
    if wanted is None:
        return ""
    known = sorted(set(re.findall(r"[`'](val/[^`']*)[`']", text)) - {wanted[1]})
    found = f"; there are {', '.join(known)}" if known else ""
    return f"a callback watches {wanted[1]!r}, which is not measured{nearest(wanted[1], known)}{found}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
