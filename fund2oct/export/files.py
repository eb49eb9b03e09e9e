"""``fund2oct export``: eyes of files, each in the formats asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fund2oct.by_path import listed
from fund2oct.data.store.reader import EyeReader
from fund2oct.export.formats import FORMATS, export_eye, known_formats
from fund2oct.eye import DataError, some_of
from fund2oct.outputs import check_inputs, check_no_file

_UNSAFE = re.compile(r"[^\w\-+=@,. ()\[\]]|^\.+|[. ]+$")


def export_files(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    formats: str | Sequence[str],
    keys: str | Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[list[Path], list[str]]:
    """Export the eyes of files, as ``fund2oct export`` does.

    What cannot be exported is left out: an eye, or one of its formats. The rest is still exported.

    Args:
        files: one or several files of eyes, read as one set.
        out: folder of the results; it is made if it does not exist.
        formats: names of one or several formats, see :data:`fund2oct.export.FORMATS`.
        keys: names of the eyes; none takes all that have a volume.
        overwrite: True to replace the files of an earlier export; ``files`` never are.

    Returns:
        Paths of the written files, and a line for each eye or format of an eye that was left out, which says
        why.

    Raises:
        ValueError: if a format is unknown.
        DataError: if a file cannot be read, or has no eye of a key.
        fund2oct.outputs.OutputError: if ``out`` is a file.

    Example:
        >>> written, failed = export_files(["eyes.h5"], "exports", ["tiff"])
        >>> written[0].name.endswith(".ome.tif"), failed
        (True, [])
    """
    formats = known_formats(formats)
    check_no_file(out)
    folder = Path(out)
    written: list[Path] = []
    failed: list[str] = []
    with EyeReader([os.fspath(file) for file in listed(files)]) as reader:
        chosen = _chosen(reader, listed(keys))
        folder.mkdir(parents=True, exist_ok=True)
        taken: set[str] = set()
        for key in chosen:
            name = free_name(file_name(key), taken)
            try:
                eye = reader.read(key)
            except DataError as error:
                failed.append(" ".join(str(error).split()))
                continue
            for format in formats:
                try:
                    check_inputs([folder / file for file in FORMATS[format].names(name)], reader.paths)
                    written.append(export_eye(eye, folder, name, format, overwrite))
                except DataError as error:
                    reason = " ".join(str(error).removeprefix(f"eye {key!r}: ").split())
                    failed.append(f"eye {key!r}, {format}: {reason}")
    return written, failed


def file_name(key: str) -> str:
    """A name that any file system takes, from an eye's key.

    Example:
        >>> file_name("../011574:64L")
        '__011574_64L'
    """
    return _UNSAFE.sub("_", key) or "_"


def free_name(stem: str, taken: set[str]) -> str:
    """A name that is not taken yet, by numbering; it is taken then."""
    name, number = stem, 2
    while name.lower() in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name.lower())
    return name


def _chosen(reader: EyeReader, keys: Sequence[str]) -> list[str]:
    known = set(reader.keys)
    if missing := [key for key in keys if key not in known]:
        raise DataError(
            f"{reader.path}: expected the key of one of its eyes ({some_of(sorted(known))}), found "
            f"{missing[0]!r}"
        )
    found = list(dict.fromkeys(keys)) or [key for key in reader.keys if "volume" in reader.info(key).arrays]
    if not found:
        raise DataError(f"{reader.path}: none of its {len(known)} eyes has a volume to export")
    return found
