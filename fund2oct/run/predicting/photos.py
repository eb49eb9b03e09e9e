"""The photos that a command is given, by name, by folder or by pattern, and how their eyes are called."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fund2oct.by_path import listed
from fund2oct.data.formats.folders import files_below
from fund2oct.eye import DataError, some_of
from fund2oct.file_kinds import is_made_here

PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k", ".jpx"),
    *(".png", ".tif", ".tiff", ".bmp", ".webp"),
)
"""Endings of the pictures that are looked for in a folder."""
_OURS = "; pictures that fund2oct made are passed over"
_UNFIT = re.compile(r"^\.+|[\ud800-\udfff]")
"""No later command finds hidden files, and no page or picture shows names that are not UTF-8."""
_ELSEWHERE = "choose another folder (--out), or name each photo"


def expand_photos(
    given: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> list[Path]:
    """Find the photos that a user names, each once.

    Args:
        given: one or several files; folders, which are searched with all below them for ``PICTURES``; and
            patterns, as in ``clinic/*/*.jpg``, where ``**`` stands for any folders. Links to folders
            are followed.
        out: folder of the results. What lies in it is no photo that a folder or pattern means, nor are the
            results of earlier calls, wherever they lie. A warning counts the photos that are so left out, and
            one names the folders below that cannot be read.

    Returns:
        The files in the order in which they were given, those of a folder or pattern by name. A file that is
        named itself is listed even if it does not exist; an error says so when it is read.

    Raises:
        DataError: if a folder or a pattern has no photos, if they all lie in ``out``, or if a folder cannot
            be read.

    Example:
        >>> [photo.name for photo in expand_photos(["*.png", "photo.png"], out="predictions")]
        ['photo.png']
    """
    results = Path(out).resolve()
    photos: dict[Path, Path] = {}
    seen: set[Path] = set()
    closed: list[str] = []
    for word in listed(given):
        path = Path(word)
        if path.is_dir():
            files, folders = files_below(path)
            found = _pictures(files)
            unread = [f"{folder}: {reason}" for folder, reason in folders]
            closed += unread
            problem = f"no photo ({', '.join(PICTURES)}) in this folder or below it{_OURS}"
            if unread:
                problem += f"; {some_of(unread)}"
        elif glob.has_magic(str(word)) and not path.exists():
            found = _pictures(map(Path, glob.glob(str(word), recursive=True)))
            problem = f"no photo ({', '.join(PICTURES)}) matches this pattern{_OURS}"
        else:
            photos.setdefault(path.resolve(), path)
            continue
        outside = [photo for photo in found if results not in photo.resolve().parents]
        if found and not outside:
            count = len(found)
            problem = f"all of its photos ({count}) lie in the folder of the results ({out}); {_ELSEWHERE}"
        if not outside:
            raise DataError(f"{word}: {problem}")
        seen.update(photo.resolve() for photo in found)
        for photo in outside:
            photos.setdefault(photo.resolve(), photo)
    if left_out := seen - photos.keys():
        warnings.warn(
            f"{out}: {len(left_out)} photos lie in the folder of the results and are left out, such as "
            f"{min(left_out).name}; {_ELSEWHERE}",
            stacklevel=2,
        )
    if closed:
        warnings.warn(f"{some_of(closed)}; photos in there are left out", stacklevel=2)
    return list(photos.values())


def is_photo(path: Path) -> bool:
    """Whether a file in a folder counts as a photo of it, by its name and by who made it.

    What is hidden, as the ``._eye.jpg`` that a Mac leaves beside ``eye.jpg``, does not count, and neither do
    pictures that this library drew.

    A file that cannot be looked at counts: what is wrong is said when it is read.

    Args:
        path: the file.

    Returns:
        Whether it counts.

    Example:
        >>> is_photo(Path("photo.png")), is_photo(Path("._photo.png")), is_photo(Path("eyes.h5"))
        (True, False, False)
    """
    wanted = path.suffix.lower() in PICTURES and not path.name.startswith(".")
    try:
        return wanted and path.is_file() and not is_made_here(path)
    except OSError:
        return True  # what is wrong is said when it is read


def _pictures(paths: Iterable[Path]) -> list[Path]:
    """The photos among them by name."""
    return sorted(path for path in paths if is_photo(path))


def name_eyes(photos: Sequence[Path], files_of: Callable[[str], Iterable[str]]) -> list[str]:
    """Give the eyes of photos names that differ.

    Args:
        photos: the photos' files.
        files_of: returns, for the name of an eye, the names of the files that would be written for it.

    Returns:
        For each photo the name of its file without the ending. Where several have that name, the folders
        in which they differ stand before it; where they lie in one folder, a number behind it. No name
        begins with a dot, or holds what is not UTF-8.

    Example:
        >>> photos = [Path("anna/OD.jpg"), Path("ben/OD.jpg"), Path("ben/OS.jpg"), Path("ben/OS.png")]
        >>> name_eyes(photos, lambda name: [f"{name}.h5"])
        ['anna-OD', 'ben-OD', 'OS', 'OS-2']
    """
    folders: dict[str, set[Path]] = defaultdict(set)
    for photo in photos:
        folders[photo.stem.casefold()].add(_whole(photo).parent)
    common = {stem: os.path.commonpath(those) for stem, those in folders.items()}
    names: list[str] = []
    taken: set[str] = set()
    for photo in photos:
        path = _whole(photo).with_suffix("")
        whole = "-".join(path.relative_to(common[photo.stem.casefold()]).parts)
        whole = _UNFIT.sub("_", whole)
        name, number = whole, 2
        while taken & (files := {file.casefold() for file in files_of(name)}):
            name, number = f"{whole}-{number}", number + 1
        taken |= files
        names.append(name)
    return names


def _whole(photo: Path) -> Path:
    """The path from the root, without the ``..`` that would come into names."""
    return Path(os.path.abspath(photo))
