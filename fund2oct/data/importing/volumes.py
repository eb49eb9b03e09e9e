"""``fund2oct import volumes``: volumes without photos, from TIFF, NIfTI, NumPy or folders of pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fund2oct.data.formats.naming import laterality_of, natural_order
from fund2oct.data.formats.stacks import PICTURES, STACKS, stack_files
from fund2oct.data.importing.assemble import ImportOptions, assemble_eye
from fund2oct.data.importing.engine import Candidate, ImportReport, fingerprint_of, import_eyes
from fund2oct.data.store.layout import Compression
from fund2oct.eye import DataError, Eye


def import_volumes(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ImportOptions | None = None,
    overwrite: bool = False,
    *,
    workers: int = 1,
    compression: Compression = "none",
) -> ImportReport:
    """Import volumes, an eye each; every file, and every folder of pictures, is one.

    The eye's key and patient are the name of the file or folder, and its side what the name tells.

    Args:
        source: a file, a folder of pictures (one volume), or a folder of files and such folders.
        out: the file to make.
        options: slices, spacing and sizes.
        overwrite: whether ``out`` may be replaced.
        workers: processes to read in.
        compression: as :class:`~fund2oct.data.EyeWriter`.

    Raises:
        DataError: if there is no volume, or none could be imported.
    """
    options = options or ImportOptions()
    found = _find_volumes(Path(source))
    candidates = [
        Candidate(
            str(path),
            partial(_read, path, options),
            fingerprint_of(stack_files(path), str(path), options),
        )
        for path in found
    ]
    return import_eyes(candidates, out, overwrite, workers=workers, compression=compression)


def _find_volumes(source: Path) -> Sequence[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    if _holds_pictures(source):
        return [source]
    found = [
        path
        for path in source.iterdir()
        if (path.is_dir() and _holds_pictures(path)) or path.name.lower().endswith(STACKS)
    ]
    if not found:
        raise DataError(f"{source}: expected volumes ({', '.join(STACKS)}) or folders of pictures in it")
    return sorted(found, key=natural_order)


def _holds_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in PICTURES for path in folder.iterdir())


def _read(path: Path, options: ImportOptions) -> tuple[Eye, list[str]]:
    name = path.name
    for ending in STACKS:
        name = name[: -len(ending)] if name.lower().endswith(ending) and path.is_file() else name
    return assemble_eye(name, name, laterality_of(name), options, volume=path, source=f"volume {path.name}")
