"""What a user names: one or several of a kind, and objects by import path. A file that is read never does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import PurePath
from typing import Any, TypeVar

AnyName = TypeVar("AnyName", bound=str | os.PathLike[str])
_OF_WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors")
"""Endings of files that a network is read from, and that no object is named like."""


def listed(given: AnyName | Iterable[AnyName]) -> list[AnyName]:
    """What a user names, as a list. A lone name is one name, and not its letters.

    Example:
        >>> listed("eye.jpg"), listed(("left.jpg", "right.jpg"))
        (['eye.jpg'], ['left.jpg', 'right.jpg'])
    """
    return [given] if isinstance(given, str | os.PathLike) else list(given)


def names_among(given: str | Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """The names that a user gives, each of which must be known.

    Args:
        given: one name or several.
        known: the names that there are, in the order in which an error tells them.
        what: what a name is of, for the error.

    Raises:
        ValueError: if one is not known.

    Example:
        >>> names_among("svg", ("png", "svg"), "figure format")
        ['svg']
    """
    names, there = listed(given), list(known)
    for name in names:
        if name not in there:
            raise ValueError(f"{what} {name!r}: expected one of {', '.join(there)}")
    return names


class _Reading:
    """A file, the texts of it that are in use, and what the user named beside it, by import path."""

    def __init__(self, file: str, texts: set[str], named: Mapping[str, Any]) -> None:
        self.file = file
        self.texts = texts
        self.named = named


_LEADS = re.compile(r"[/\\:]|\.\.")
_READING: ContextVar[_Reading | None] = ContextVar("_READING", default=None)


@contextmanager
def values_of_a_file(
    file: str, values: Mapping[str, Any], named: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Say which of the values in use inside the block were read from a file.

    A checkpoint from anywhere must not decide what is imported, opened or downloaded. Inside the block
    :func:`import_by_path` and :func:`check_named_by_user` refuse each name that is a text of the file, but
    those that the user gave beside it. A name that stands in code is not refused: who runs code trusts it.

    Args:
        file: its name, for the message; where it is empty, nothing is refused.
        values: what is used of the file, such as the arguments of a model, with dictionaries and lists in it.
        named: objects that the user named, by import path.

    Example:
        >>> with values_of_a_file("model.ckpt", {"weights": {"os.abort": 1.0}}):
        ...     import_by_path("os.abort")
        Traceback (most recent call last):
            ...
        ValueError: 'os.abort' was read from model.ckpt, which never says what to import or open; ...
    """
    before = _READING.set(_Reading(file, _texts(values), named or {}) if file else None)
    try:
        yield
    finally:
        _READING.reset(before)


def _texts(values: Any) -> set[str]:
    """All texts in nested values, also in such that hold themselves."""
    found: set[str] = set()
    met: set[int] = set()
    left = [values]
    while left:
        one = left.pop()
        if isinstance(one, str):
            found.add(one)
        elif isinstance(one, Mapping | list | tuple | set) and id(one) not in met:
            met.add(id(one))
            left += [*one, *one.values()] if isinstance(one, Mapping) else one
    return found


def check_named_by_user(name: str) -> None:
    """Refuse a name, of an object to import, a file or a download, that a file gave.

    Raises:
        ValueError: inside :func:`values_of_a_file`, if the name is a text of the file, or holds one that
            leads elsewhere, as ``../``.
    """
    reading = _READING.get()
    if reading is None or name in reading.named:
        return
    # What leads to another folder or module does so also where code puts something around it.
    if name in reading.texts or any(_LEADS.search(text) and text in name for text in reading.texts):
        raise ValueError(
            f"{name!r} was read from {reading.file}, which never says what to import or open; name it "
            "yourself (--model at the command line, a key of the experiment in training), or write it into "
            "the class in place of an argument"
        )


def import_by_path(path: str) -> Any:
    """Import an object by a path that the *user* gives, ``package.module.Name`` or ``package.module:Name``.

    Raises:
        ValueError: if it was read from a file, see :func:`values_of_a_file`, or leads nowhere.

    Example:
        >>> import_by_path("fractions.Fraction")(1, 2)
        Fraction(1, 2)
    """
    reading = _READING.get()
    if reading is not None and path in reading.named:
        return reading.named[path]
    check_named_by_user(path)
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"{path!r}: {_why_not(path, error)}") from error


def _why_not(path: str, error: Exception) -> str:
    """Why nothing can be imported: perhaps a file was meant, to be read or to be imported from."""
    if PurePath(path).suffix in _OF_WEIGHTS:
        if os.path.isfile(path):
            return "is a file, expected an importable module.Name"
        return "no such file, and no importable module.Name"
    if PurePath(path).name != path:
        return "is a path, expected an importable module.Name, as my_model.Smoother for one of my_model.py"
    return f"expected an importable module.Name: {error}"


def import_path_of(one: type) -> str:
    """The path by which a class is imported.

    Example:
        >>> from fractions import Fraction
        >>> import_path_of(Fraction)
        'fractions.Fraction'
    """
    return f"{one.__module__}.{one.__qualname__}"


def without_strange_paths(state: Mapping[str, Any]) -> dict[str, Any]:
    """Take out of a callback's state the paths that lead out of a folder, or to another machine.

    Lightning removes the best checkpoint so far, under the path that the state gives, when it saves a better
    one.

    Example:
        >>> without_strange_paths({"best_model_path": "run/../photo.png", "last_model_path": "run/last.ckpt"})
        {'best_model_path': '', 'last_model_path': 'run/last.ckpt'}
    """

    def strange(path: Any) -> bool:
        return isinstance(path, str) and (".." in PurePath(path).parts or "://" in path)

    def cleaned(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: one for name, one in value.items() if not strange(name)}
        return "" if strange(value) else value

    return {name: cleaned(value) for name, value in state.items()}
