"""What a file's name, or a table's cell, says of an eye."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

_SIDES = {
    "OD": ("od", "r", "re", "right", "right eye", "dextra"),
    "OS": ("os", "l", "le", "left", "left eye", "sinistra"),
}
_WORDS = {word: side for side, words in _SIDES.items() for word in words}
_MISSING = {"", "-", "#n/a", "<na>", "n/a", "na", "nan", "none", "null", "unknown"}
"""Words that people, spreadsheets, R and pandas write where nothing is known, in small letters."""


def is_missing(value: object) -> bool:
    """Whether a value says that nothing is known: None, NaN, an empty text, or a word such as ``NA``.

    Example:
        >>> [is_missing(value) for value in (None, "NA", " unknown ", "-", 0, "Nancy")]
        [True, True, True, True, False, False]
    """
    return str(value).strip().casefold() in _MISSING


def known_text(value: object) -> str:
    """A value as free text, empty where it is missing. The word ``none`` is an answer there, as of a drug.

    Example:
        >>> known_text("NA"), known_text(None), known_text("none"), known_text(" wet ")
        ('', '', 'none', 'wet')
    """
    text = "" if value is None else str(value).strip()
    return text if text.casefold() == "none" or not is_missing(text) else ""


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
        text: in the words of :func:`laterality_of`, or a word for nothing, see :func:`is_missing`.

    Raises:
        ValueError: if it is something else.

    Example:
        >>> side_of("left"), side_of(""), side_of("unknown")
        ('OS', '', '')
    """
    if is_missing(text):
        return ""
    side = laterality_of(text)
    if not side:
        raise ValueError(f"laterality: expected OD, OS, R, L, right or left, found {text!r}")
    return side


def plain_name(name: str) -> str:
    r"""A file's name as tables and folders agree on it: small letters, slashes, and one form of accents.

    A Mac may write an accent as a letter of its own; the names are the same.

    Example:
        >>> plain_name(".\\Photos\\Mu\u0308ller.PNG") == "photos/m\xfcller.png"
        True
    """
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./")).casefold()


def natural_order(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts ``slice_2`` before ``slice_10``."""
    parts = re.split(r"(\d+)", path.name.lower())
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)
