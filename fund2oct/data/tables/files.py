"""The files that a table names, as they are called on this machine."""

from __future__ import annotations

import glob
import os
import re
from functools import lru_cache
from pathlib import Path

from fund2oct.data.formats.naming import plain_name
from fund2oct.data.formats.stacks import stack_files
from fund2oct.eye import DataError


def find_file(folder: Path, name: str) -> tuple[Path, str]:
    r"""Find a file, folder or pattern as a table names it.

    A name with backslashes, in other capital letters, or with accents in another form of Unicode is found
    too, if there is one file only that it can mean.

    Args:
        folder: the table's folder, where relative paths begin.
        name: the cell, as in ``photos\01.JPG``.

    Returns:
        The path, or a pattern that finds files, and a note where the file is called otherwise.

    Raises:
        DataError: if there is none, more than one that it may mean, or one that cannot be read.
    """
    try:
        return _found(folder, name)
    except OSError as error:
        raise DataError(f"{folder / name}: cannot be read ({error})") from error


def _found(folder: Path, name: str) -> tuple[Path, str]:
    path = folder / name
    if path.exists():
        return path, ""
    # What looks like a pattern in the folder is its name.
    pattern = Path(glob.escape(str(folder))) / name
    if glob.has_magic(name) and glob.glob(str(pattern)):
        return pattern, ""
    if os.sep != "\\" and "\\" in name:
        if re.match(r"[A-Za-z]:|\\\\", name):
            raise DataError(
                f"{name}: is a path of another machine; give paths relative to the table's folder, {folder}"
            )
        return _found(folder, name.replace("\\", "/"))
    if glob.has_magic(name):
        raise DataError(f"{path}: expected files, found none")
    found = [Path(path.anchor) if path.is_absolute() else Path()]
    for part in path.relative_to(path.anchor).parts:
        same = (
            [part] if part == ".." else _names(found[0]).get(plain_name(part), []) if len(found) == 1 else []
        )
        exact = [name for name in same if name == part]
        found = [base / name for base in found for name in exact or same]
    if len(found) > 1:
        raise DataError(f"{path}: no such file, but {' and '.join(f.name for f in found)}; which is meant?")
    if not found:
        raise DataError(f"{path}: no such file or folder")
    # Notes are stored beside the eye, names of files are not.
    return found[0], "the table calls its file by a name in other letters"


def find_volume(folder: Path, name: str) -> tuple[Path | tuple[Path, ...], list[str]]:
    """Find a volume: a file, a folder, a pattern, or pictures with bars between them, ``a.png | b.png``.

    Raises:
        DataError: as :func:`find_file`.
    """
    parts = [part.strip() for part in name.split("|") if part.strip()]
    found = [find_file(folder, part) for part in parts]
    notes = [note for _, note in found if note]
    if len(parts) == 1:
        return found[0][0], notes
    return tuple(path for path, _ in found), notes


def files_of(volume: Path | tuple[Path, ...]) -> list[Path]:
    """All files of a volume; the path itself where it has none."""
    if isinstance(volume, tuple):
        return list(volume)
    try:
        return stack_files(volume)
    except DataError:  # said when the eye is read
        return [volume]


@lru_cache(maxsize=256)
def _listed(folder: str, changed_ns: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        found.setdefault(plain_name(name), []).append(name)
    return found


def _names(folder: Path) -> dict[str, list[str]]:
    """The names in a folder, by what is left of them without capitals."""
    try:
        return _listed(os.fspath(folder), folder.stat().st_mtime_ns)
    except OSError:
        return {}
