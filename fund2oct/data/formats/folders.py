"""All files in a folder and below it."""

from __future__ import annotations

import os
from pathlib import Path

from fund2oct.eye import DataError
from fund2oct.file_kinds import file_identity


def files_below(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find the files in a folder and in all folders below it, also in those that links lead to.

    Each folder is looked into once, under its own name where it has one in the folder, and not under that of
    a link; a hidden folder under that of a link that leads to it. A link to a folder further up is not
    followed: it leads around in a circle.

    Args:
        folder: where to search.

    Returns:
        The files, in no order, and the folders below that cannot be read, each with the reason. What cannot
        be looked at counts as a file: what is wrong is said when it is read.

    Raises:
        DataError: if the folder itself cannot be read.

    Example:
        >>> Path("clinic/anna").mkdir(parents=True)
        >>> Path("clinic/anna/OD.jpg").touch()
        >>> [file.name for file in files_below(Path("clinic"))[0]]
        ['OD.jpg']
    """
    files: list[Path] = []
    errors: list[OSError] = []
    looked_into = {file_identity(parent) for parent in folder.resolve().parents if parent.exists()}
    roots, hidden = [folder], list[Path]()
    while roots or hidden:  # hidden folders come last: a link may show what is in them
        for here, inside, names in os.walk((roots or hidden).pop(0), onerror=errors.append):
            place = file_identity(Path(here))
            if place in looked_into:
                inside.clear()
                continue
            looked_into.add(place)
            files += [path for name in names if _is_file(path := Path(here, name))]
            hidden += [Path(here, name) for name in sorted(inside) if name.startswith(".")]
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            roots += [path for name in inside if os.path.islink(path := Path(here, name))]
    closed = [
        (Path(error.filename or folder), f"cannot be read: {error.strerror or error}") for error in errors
    ]
    for unread, reason in closed:
        if unread == folder:
            raise DataError(f"{folder}: {reason}")
    return files, closed


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return True  # what is wrong is said when it is read
