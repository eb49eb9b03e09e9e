"""The parser of the ``fund2oct`` command, and what becomes of errors."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from fund2oct import __version__
from fund2oct.cli import completion, data, exports, imports, models, publishing, view, weights
from fund2oct.cli.commands import Help, leaves
from fund2oct.cli.options import add_general
from fund2oct.progress import quiet
from fund2oct.stopping import Stopped, Terminated, signals_raise, want_of_memory, what_stopped

Command = Callable[[argparse.Namespace], int]

_FORMAT_WARNING = warnings.formatwarning
_READER_GONE = 141
"""Status of a command whose output nobody reads any more before its result is known: 128 and SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; bad input gives one line on standard error and exit status 1."""
    parser = build_parser()
    # argparse gives up on KEY=VALUE behind an option, as in train EXP --out DIR KEY=VALUE.
    options, rest = parser.parse_known_args(arguments)
    if rest and ("overrides" not in options or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    # Lightning starts the other processes of a training with the command line of this one.
    options.from_shell = arguments is None
    if options.from_shell:
        # A user's own classes lie here; at the end, so that no file here can stand in for a library.
        sys.path.append(os.getcwd())
        warnings.formatwarning = _format_warning
        if isinstance(sys.stdout, io.TextIOWrapper):
            # Names of files need not be UTF-8, and are shown all the same, as on standard error.
            sys.stdout.reconfigure(errors="backslashreplace")
    command: Command = options.command
    status = _READER_GONE
    try:
        with (
            signals_raise() if options.from_shell else nullcontext(),
            quiet() if options.quiet or options.json else nullcontext(),
        ):
            status = command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has read enough, as in fund2oct info FILE.h5 | head.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status
    except (ValueError, OSError, ImportError, MemoryError) as error:
        if options.debug:
            raise
        print(f"fund2oct: {_line(error)}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        known = want_of_memory(error)
        if "Connection closed by peer" in str(error):
            known = "another process of this training stopped; its message says why"
        if options.debug or not known:
            raise
        print(f"fund2oct: {known}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        return _stopped(stop, options.go_on)


def _line(error: Exception) -> str:
    """The message in one line. That of an error in another process is the end of the traceback from there."""
    text = str(error).strip()
    if text.startswith("Caught ") and "Original Traceback" in text:  # as torch passes it on
        text = re.sub(r"^[\w.]+: ", "", text.splitlines()[-1])  # without the error's class
    return " ".join(text.split())


def _stopped(stop: KeyboardInterrupt, go_on: str) -> int:
    """One line on what stopped the command and how to go on, unless another process says it."""
    if isinstance(stop, Stopped) and not isinstance(stop, Terminated):
        message, status = str(stop), stop.status
    else:
        by, status = what_stopped(stop)
        message = f"{by}; {go_on}"
    if message:
        print(f"fund2oct: {message}", file=sys.stderr)
    return status


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Our own warnings are for users, in a line; others keep the place in the code."""
    if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parents[1]):
        return f"fund2oct: {' '.join(str(message).split())}\n"
    return _FORMAT_WARNING(message, category, filename, lineno, line)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="fund2oct",
        description="Translate colour fundus photographs into OCT volumes.",
        epilog="example:\n  fund2oct train pix2vol\n  fund2oct COMMAND --help",
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=f"fund2oct {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for page in (data, imports, models, publishing, exports, view, weights, completion):
        page.add_commands(commands)
    for command in leaves(parser):
        add_general(command)
    return parser
