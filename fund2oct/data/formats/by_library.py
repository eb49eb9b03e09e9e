"""What a library says of a file that it cannot read, as one kind of error that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fund2oct.eye import DataError


@contextmanager
def by_library(path: Path, what: str) -> Iterator[None]:
    """Name the file on which a library fails: on a damaged one it raises whatever it stumbles over.

    Only what the library does belongs into the block: a mistake of ours is no damage of the file. What is
    said as :class:`~fund2oct.data.DataError` there, and a package that is missing, stay as they are.

    Args:
        path: the file.
        what: the library should have found in it, as in ``"a volume"``.

    Raises:
        DataError: in place of any other error.
        MemoryError: if the memory is too small, which is no damage of the file.

    Example:
        >>> with by_library(Path("a.nii"), "a volume"):
        ...     raise KeyError("header")
        Traceback (most recent call last):
        fund2oct.eye.DataError: a.nii: cannot be read as a volume, it is damaged or none (KeyError: 'header')
    """
    try:
        yield
    except (DataError, ImportError):
        raise
    except MemoryError as error:
        raise MemoryError(
            f"{path}: the memory is too small to read it; free some, or take fewer workers. If the file is "
            f"small, it is damaged: take it away. {error}".rstrip()
        ) from error
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(f"{path}: cannot be read as {what}, it is damaged or none ({found})") from error
