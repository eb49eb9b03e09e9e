"""What all commands have in common: how they are described, and how they answer."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from fund2oct.progress import is_quiet

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

GOES_ON = "run the same command again: it goes on from here"
"""What is said when a command is stopped whose finished eyes are kept."""


class Help(argparse.HelpFormatter):
    """Short usage, the default of each option that has one, and examples to be copied as they are."""

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None) -> str:
        if usage is not None or prefix == "":  # what is asked for is the name of a parser
            return super()._format_usage(usage, actions, groups, prefix)
        needed = [action for action in actions if action.required or not action.option_strings]
        return f"{super()._format_usage(usage, needed, [], prefix).rstrip()} [options]\n\n"

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.help is None or "(default" in action.help or not action.option_strings
        default = action.default
        if told or default is None or default is False or default in ("", [], argparse.SUPPRESS):
            return action.help
        return f"{action.help} (default: %(default)s)"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example:") else super()._fill_text(text, width, indent)


def add_command(
    commands: Commands,
    name: str,
    purpose: str,
    example: str,
    *,
    about: str = "",
    usage: str | None = None,
    go_on: str = "nothing is half done; run it again",
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: to which it is added.
        name: the word that calls it.
        purpose: what it does, in a line that begins with a verb in small letters.
        example: a call, or several in lines.
        about: more sentences on what it does.
        usage: as :mod:`argparse` takes it, where the one that it makes would mislead.
        go_on: what to do after it was stopped.
    """
    indented = example.replace("\n", "\n  ")
    parser = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}. {about}".strip(),
        epilog=f"example:\n  {indented}",
        formatter_class=Help,
        usage=usage,
        add_help=False,
    )
    parser.set_defaults(go_on=go_on, json=False)
    return parser


def add_group(commands: Commands, name: str, metavar: str, purpose: str, example: str) -> Commands:
    """Add a word that commands follow, called ``metavar``; the rest as :func:`add_command`."""
    parser = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=f"example:\n  {example}\n  fund2oct {name} {metavar} --help",
        formatter_class=Help,
    )
    return parser.add_subparsers(required=True, metavar=metavar)


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of the commands that do something; those that only group others are left out."""
    grouped = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not grouped:
        yield parser
    for each in grouped:
        for below in each.choices.values():
            yield from leaves(below)


def say(*lines: str) -> None:
    """Tell what was done, unless it is to be quiet."""
    if not is_quiet():
        for line in lines:
            print(line)


def suggest(words: Sequence[object]) -> None:
    """Name the command that comes next, as it may be typed."""
    say(f"Next: {shlex.join(map(str, words))}")


def answer(options: argparse.Namespace, found: dict[str, Any], *lines: str) -> None:
    """Give what was asked for: an object of JSON to a program, lines to a person."""
    if options.json:
        print(json.dumps(found, indent=1, default=str, allow_nan=False))
    else:
        say(*lines)
