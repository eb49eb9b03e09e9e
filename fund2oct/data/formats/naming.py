"""What a file's name, or a table's cell, says of an eye."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from fund2oct.eye import DataError

_WORDS = {"od": "OD", "right": "OD", "dextra": "OD", "os": "OS", "left": "OS", "sinistra": "OS"}
# Each stands alone and counts nothing, as in R001. In small letters re is also a retake and le a French word,
# so that they count at the end alone.
_LETTERS = re.compile(r"(?<![^\W\d_])(?:[RLrl]|RE|LE|[RLrl]e(?=[\W_]*$))(?![^\W_])")
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

    A word counts if it stands alone (``scan_OD_3``, ``os7``, ``Left``). Where there is none, the letters R,
    L, RE and LE count, also behind a digit (``011574-64L``), but not directly before one (``R001``).

    Args:
        name: the name of a file, without its folder and its ending, or the cell of a table.

    Example:
        >>> laterality_of("p12_L_002"), laterality_of("R001"), laterality_of("p12_L_re")  # left; a retake
        ('OS', '', '')
    """
    name = unicodedata.normalize("NFC", name)
    found = {_WORDS[word] for word in re.findall(r"[^\W\d_]+", name.lower()) if word in _WORDS}
    found = found or {"OD" if letters[0] in "Rr" else "OS" for letters in _LETTERS.findall(name)}
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


def natural_order(path: Path) -> tuple[list[list[tuple[int, int | str]]], str]:
    """Sort key that puts ``slice_2`` before ``slice_10``, also where these are folders of files.

    No two paths have one key, so that the order is never the disk's.
    """
    names = [re.split(r"(\d+)", name.lower()) for name in path.parts]
    order: list[list[tuple[int, int | str]]] = [
        [(0, int(part)) if part.isdecimal() else (1, part) for part in name if part] for name in names
    ]
    return order, str(path)


def check_utf8(path: Path) -> None:
    """Refuse a file whose name is not UTF-8: no picture, zip or page can show it.

    Args:
        path: the file, which need not be there.

    Raises:
        DataError: if it is not.

    Example:
        >>> check_utf8(Path("photo.png"))  # nothing happens
    """
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{path}: expected the name of a file in UTF-8, found {path.name!r}; rename the file"
        ) from None
