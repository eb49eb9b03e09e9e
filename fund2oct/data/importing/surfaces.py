"""``fund2oct surfaces``: pose and surfaces for the volumes that lack them, and several files as one."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from fund2oct.data.importing.engine import Candidate, fingerprint_of, make_file
from fund2oct.data.importing.report import ImportReport
from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.data.store.layout import Compression
from fund2oct.data.store.reader import EyeReader
from fund2oct.data.store.shards import EyePaths
from fund2oct.eye import SEARCHED, Eye
from fund2oct.outputs import check_inputs


def add_surfaces(
    path: EyePaths,
    out: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    workers: int = 1,
    compression: Compression = "none",
) -> ImportReport:
    """Write the eyes of files to a new one, each volume with its pose and its surfaces.

    A volume that lacks them, as one that a program other than the importers wrote, is searched for both,
    which a note in the report says. An eye that is damaged is left out and named in the report.

    Args:
        path: a file, a folder or pattern of files, or several of these, which become one.
        out: the file to make, another than those that are read.
        overwrite: whether ``out`` may be replaced; what is read never is.
        workers: number of processes that search.
        compression: how the new file is compressed, see :class:`~fund2oct.data.EyeWriter`.

    Returns:
        What became of each eye.

    Raises:
        DataError: if no eye can be read, or ``out`` cannot be made or is read.

    Example:
        >>> from fund2oct.data import EyeWriter
        >>> with EyeReader("eyes.h5") as reader, EyeWriter("without.h5") as writer:
        ...     writer.add(reader.read("sim3-0000000-OD", skip=SEARCHED))
        >>> add_surfaces("without.h5", "mine.h5").notes
        [('sim3-0000000-OD', 'pose and surfaces searched in the volume')]
    """
    with EyeReader(path) as reader:
        check_inputs([out], reader.paths)
        candidates = [
            Candidate(key, partial(_read, file, key), fingerprint_of([file], "surfaces", key))
            for key in reader.keys
            for file in [reader.path_of(key)]
        ]
    return make_file(
        candidates, out, overwrite, workers=workers, compression=compression, description="finding surfaces"
    )


def _read(path: os.PathLike[str], key: str) -> tuple[Eye, list[str]]:
    with EyeReader(path) as reader:
        arrays, notes = reader.info(key).arrays, reader.notes(key)
        if "volume" not in arrays or all(name in arrays for name in SEARCHED):
            return reader.read(key), notes
        eye = reader.read(key, skip=SEARCHED)
    assert eye.volume is not None
    notes.append("pose and surfaces searched in the volume")
    return replace(eye, **searched_fields(eye.volume, eye.spacing_mm, notes)), notes
