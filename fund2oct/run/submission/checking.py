"""``fund2oct submit --check``: what an upload would be refused for."""

from __future__ import annotations

import io
import os
import re
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from fund2oct.eye import DataError, some_of
from fund2oct.run.submission.layout import HEIGHT_PX, N_SLICES, WIDTH_PX, find_challenge_photos, slice_names

_MOST_BYTES = 4 << 20
"""Of one slice: a JPG of this size is smaller by far, and a bomb is not unpacked."""
_OF_THE_SYSTEM = ("__MACOSX", "Thumbs.db", "desktop.ini")


def check_submission(submission: str | os.PathLike[str], folder: str | os.PathLike[str]) -> list[str]:
    """Say what is wrong with an upload.

    The challenge's own checks are not public: these are of the layout that its sample shows, see
    :mod:`fund2oct.run.submission.layout`.

    Args:
        submission: the zip.
        folder: the photos that it has to answer, see
            :func:`fund2oct.run.submission.layout.find_challenge_photos`.

    Returns:
        A line for each thing that is wrong; empty for an upload as it should be.

    Raises:
        DataError: if the file is no zip, or the folder has no photos.

    Example:
        >>> zipfile.ZipFile("submission.zip", "w").close()  # an empty one
        >>> check_submission("submission.zip", ".")  # this folder holds photo.png
        ['photos without slices: photo']
    """
    wanted = find_challenge_photos(folder)
    path = Path(submission)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            names = [entry.filename for entry in entries]
            expected = {name for stem in wanted for name in slice_names(stem)}
            found = [*_layout_problems(names, list(wanted)), *_missing(set(names), list(wanted))]
            found += [
                f"{entry.filename}: {problem}"
                for entry in entries
                if entry.filename in expected
                for problem in _picture_problems(archive, entry)
            ]
            return found
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: cannot be read as a zip, it is damaged or none ({error})") from error


def _layout_problems(names: list[str], stems: list[str]) -> list[str]:
    """What lies in the zip and should not."""
    expected = {name for stem in stems for name in slice_names(stem)}
    found = [f"{name}: is there {n} times" for name, n in Counter(names).items() if n > 1]
    kinds: dict[str, list[str]] = {}
    for name in sorted(set(names) - expected):
        kinds.setdefault(_why_superfluous(name, set(stems)), []).append(name)
    return found + [f"{why}: {some_of(those)}" for why, those in sorted(kinds.items())]


def _why_superfluous(name: str, stems: set[str]) -> str:
    path = PurePosixPath(name)
    if "\\" in name or path.is_absolute() or ".." in path.parts:
        return "names that leave the folder, or have backslashes; zip on another system"
    if any(part.startswith(".") or part in _OF_THE_SYSTEM for part in path.parts):
        return "files of the system, not of the submission; zip without them"
    if len(path.parts) == 1:
        return "files outside a photo's folder"
    if len(path.parts) > 2:
        return "folders within folders; the photos' folders lie at the top of the zip"
    if path.parent.name not in stems:
        return "folders of no photo"
    if path.suffix != ".jpg":
        return "slices that do not end in .jpg"
    if re.fullmatch(re.escape(path.parent.name) + r"_\d+", path.stem):
        return f"slices beyond the six, _0 to _{N_SLICES - 1}"
    return "slices not named as PHOTO/PHOTO_0.jpg"


def _missing(names: set[str], stems: list[str]) -> list[str]:
    absent, partial = [], []
    for stem in stems:
        lost = [name for name in slice_names(stem) if name not in names]
        if len(lost) == N_SLICES:
            absent.append(stem)
        else:
            partial += lost
    found = [f"photos without slices: {some_of(absent)}"] if absent else []
    return found + ([f"missing slices: {some_of(partial)}"] if partial else [])


def _picture_problems(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> list[str]:
    if entry.flag_bits & 1:
        return ["is encrypted"]
    if entry.file_size > _MOST_BYTES:
        return [f"expected a JPG of some kilobytes, found {entry.file_size / 2**20:.0f} MB"]
    try:
        with Image.open(io.BytesIO(archive.read(entry))) as picture:
            picture.load()
            kind, mode, size = picture.format, picture.mode, picture.size
            values = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        return [f"cannot be read as a picture ({' '.join(str(error).split())})"]
    found = []
    if kind != "JPEG":
        found.append(f"expected a JPEG, found a {kind} of that name")
    if mode != "L":
        found.append(f"expected grey (mode L), found mode {mode}")
    if size != (WIDTH_PX, HEIGHT_PX):
        found.append(f"expected {WIDTH_PX} x {HEIGHT_PX} (width x height), found {size[0]} x {size[1]}")
    if values.min() == values.max():
        found.append("holds one grey level, no picture")
    return found
