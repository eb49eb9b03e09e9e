"""What an export or a prediction may replace: what an earlier one wrote, and nobody's scans."""

from __future__ import annotations

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
