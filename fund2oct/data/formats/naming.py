"""What a file's name, or a table's cell, says of an eye."""

from __future__ import annotations

import re
from pathlib import Path

_SIDES = {
    "OD": ("od", "r", "re", "right", "right eye", "dextra"),
    "OS": ("os", "l", "le", "left", "left eye", "sinistra"),
}
_WORDS = {word: side for side, words in _SIDES.items() for word in words}


def laterality_of(name: str) -> str:
    """The side that a name tells: ``"OD"``, ``"OS"``, or empty where it tells none, or both.

    A word counts if it stands alone (``scan_OD_3``, ``Left``), and a letter also where it ends the
    name behind a digit (``011574-64L``).

    Args:
        name: the name of a file, without its folder and its ending, or the cell of a table.
    """
    words = [word for word in re.split(r"[^A-Za-z]+", re.sub(r"\d", " ", name).lower()) if word]
    found = {_WORDS[word] for word in words if word in _WORDS and len(word) > 1}
    if not found:
        found = {_WORDS[word] for word in words if word in _WORDS}
    return found.pop() if len(found) == 1 else ""


def side_of(text: str) -> str:
    """The side that somebody tells of an eye, as it is stored: ``"OD"``, ``"OS"``, or empty for nothing told.

    Args:
        text: in the words of :func:`laterality_of`.

    Raises:
        ValueError: if it is something else.

    Example:
        >>> side_of("left"), side_of("")
        ('OS', '')
    """
    side = laterality_of(text)
    if text and not side:
        raise ValueError(f"laterality: expected OD, OS, R, L, right or left, found {text!r}")
    return side


def natural_order(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts ``slice_2`` before ``slice_10``."""
    parts = re.split(r"(\d+)", path.name.lower())
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)
