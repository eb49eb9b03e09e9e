"""What an export or a prediction may replace: what an earlier one wrote, and nobody's scans."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fund2oct.data.store.reader import EyeReader
from fund2oct.export.etdrs_fields import COLUMNS
from fund2oct.eye import GENERATED, DataError
from fund2oct.file_kinds import HDF5, kind_of
from fund2oct.outputs import why_foreign

_LONGEST = 1000


def why_no_result(path: Path, key: str, generated: bool) -> str:
    """Tell why a file is no result of an earlier export, or prediction, of an eye.

    Args:
        path: the file.
        key: the eye's key.
        generated: whether a model made the volume that is to be written. A scan never makes room for it.

    Returns:
        Words that an error can put behind the path; empty where it is such a result.

    Example:
        >>> why_no_result(Path("eyes.h5"), "eye7", generated=False)
        "holds other eyes than 'eye7', such as 'sim3-0000000-OD'"
        >>> why_no_result(Path("photo.png"), "eye7", generated=False)
        'is a PNG picture that fund2oct did not make'
    """
    if kind_of(path).startswith(HDF5):
        return _why_not_the_eye(path, key, generated)
    with path.open("rb") as file:
        is_table = file.readline(_LONGEST).strip() == ",".join(COLUMNS).encode()
    return "" if is_table else why_foreign(path)


def _why_not_the_eye(path: Path, key: str, generated: bool) -> str:
    try:
        with EyeReader(path) as reader:
            if others := set(reader.keys) - {key}:
                return f"holds other eyes than {key!r}, such as {min(others)!r}"
            source = str(reader.info(key).fields["source"])
    except DataError:
        return "is an HDF5 file that fund2oct did not make, or an old or damaged one"
    is_scan = generated and not source.startswith(GENERATED)
    return "holds an eye that no model generated" if is_scan else ""


def check_room(made: Path, target: Path, key: str, generated: bool, overwrite: bool) -> None:
    """Refuse to put what was made where something else lies.

    Args:
        made: the file, or the folder of files, that was made elsewhere; where there is none, what lies at the
            target is to go.
        target: where it belongs.
        key: the eye's key.
        generated: whether a model made the eye's volume, see :func:`why_no_result`.
        overwrite: whether the result of an earlier export, or prediction, may be replaced.

    Raises:
        DataError: if something lies there that may not be replaced.

    Example:
        >>> check_room(Path("made.h5"), Path("eye7.h5"), "eye7", generated=True, overwrite=False)  # free
        >>> check_room(Path("made.h5"), Path("eyes.h5"), "eye7", generated=True, overwrite=False)
        Traceback (most recent call last):
            ...
        fund2oct.eye.DataError: eyes.h5: exists; choose another folder, or replace it with --overwrite
    """
    if not overwrite:
        refuse_existing(target)
        return
    there = [*target.iterdir()] if target.is_dir() else []
    if not made.exists():  # all files that an earlier export left are to go
        there = [each for each in there if not each.is_file()]
    if others := {each.name for each in there} - _names(made):
        # An export of more slices, or somebody's own files: not ours to delete, and not to be mixed with.
        raise DataError(
            f"{target}: holds {len(others)} files that this export does not replace, such as {min(others)}; "
            "remove the folder or choose another"
        )
    for file in sorted(target.iterdir()) if target.is_dir() else [target]:
        if file.is_file() and (reason := why_no_result(file, key, generated)):
            raise DataError(f"{file}: {reason}; choose another folder")


def refuse_existing(path: Path) -> None:
    """Refuse to write where something lies already."""
    if path.exists():
        raise DataError(f"{path}: exists; choose another folder, or replace it with --overwrite")


def put(made: Path, target: Path) -> None:
    """Put a file, or a folder, in the place of an earlier one; where none was made, the earlier one goes."""
    if target.is_dir():
        shutil.rmtree(target)
    if made.exists():
        os.replace(made, target)
    else:
        target.unlink(missing_ok=True)


def _names(made: Path) -> set[str]:
    return {each.name for each in made.iterdir()} if made.is_dir() else set()
