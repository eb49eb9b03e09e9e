"""Where results go: never over a file that the same call did not make, and never half of a file.

Every command that writes asks here before it computes anything, so that hours of work are not refused at
their end. What results are made with is told here too.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fund2oct import __version__
from fund2oct.eye import DataError, some_of
from fund2oct.file_kinds import file_identity, is_made_here, kind_of

AnyPath = str | os.PathLike[str]
_NAMED = 3
_PACKAGES = (
    "pytorch-lightning", "torchmetrics", "kornia", "albumentations", "numpy", "scipy", "h5py",
)  # fmt: skip


class OutputError(DataError):
    """A place that results cannot be written to; the message names it and says what to do."""


def why_foreign(path: Path) -> str:
    """Tell why a file is no result of an earlier call.

    Args:
        path: the file.

    Returns:
        Words that an error can put behind the path; empty where fund2oct made it.

    Example:
        >>> why_foreign(Path("photo.png"))
        'is a PNG picture that fund2oct did not make'
    """
    return "" if is_made_here(path) else f"is {kind_of(path) or 'a file'} that fund2oct did not make"


def check_files(
    paths: Iterable[AnyPath],
    overwrite: bool = False,
    inputs: Iterable[AnyPath] = (),
    kind: str = "",
    why_not: Callable[[Path], str] = why_foreign,
) -> None:
    """Refuse to write files that are there already.

    Args:
        paths: the files that a call is going to make.
        overwrite: whether those of an earlier call may be replaced.
        inputs: what the call reads. None of it is replaced, whatever ``overwrite`` says, nor what is
            another name (a link) of it.
        kind: what :func:`fund2oct.file_kinds.kind_of` says of files that may be replaced, or its beginning;
            empty for any kind that ``why_not`` lets through.
        why_not: says why a file is no result of an earlier call, and may not be replaced; empty where it is
            one.

    Raises:
        OutputError: if a file is there, if it is a folder, an input, or no result of an earlier call.

    Example:
        >>> check_files(["results.h5"])  # is not there: nothing happens
        >>> check_files(["eyes.h5"], overwrite=True, inputs=["eyes.h5"])
        Traceback (most recent call last):
            ...
        fund2oct.outputs.OutputError: eyes.h5: is read by this very command; choose another place for ...
    """
    there = [path for path in map(Path, paths) if os.path.lexists(path)]
    for path in there:
        found = kind_of(path) if path.is_file() else ""
        if path.is_file() and not found.startswith(kind):
            raise OutputError(
                f"{path}: exists, and is {found or 'something else'}, not {kind}; choose another name"
            )
        if path.is_dir():
            raise OutputError(f"{path}: is a folder, expected the name of a file to make")
    check_inputs(there, inputs)
    for path in there:
        if overwrite and path.is_file() and (reason := why_not(path)):
            raise OutputError(f"{path}: {reason}; choose another place")
    if there and not overwrite:
        verb = "exists" if len(there) == 1 else "exist"
        raise OutputError(
            f"{some_of(there, _NAMED)}: {verb}; choose another name, or allow it to be "
            "overwritten (--overwrite)"
        )


def check_inputs(paths: Iterable[AnyPath], inputs: Iterable[AnyPath]) -> None:
    """Refuse to write over what a call reads.

    Args:
        paths: the files that a call is going to make.
        inputs: what it reads, under any name: a link is what it leads to.

    Raises:
        OutputError: if one of the files is an input.

    Example:
        >>> check_inputs(["results.h5"], inputs=["eyes.h5"])  # is another file: nothing happens
    """
    there = [path for path in map(Path, paths) if path.exists()]
    # Only where something is there: of many inputs each would be looked at for each output.
    read = {file_identity(Path(path)) for path in inputs if os.path.exists(path)} if there else set()
    for path in there:
        if file_identity(path) in read:
            raise OutputError(f"{path}: is read by this very command; choose another place for the results")


def check_no_file(folder: AnyPath) -> None:
    """Refuse a file where a folder of results is to be.

    Args:
        folder: the folder that a call is going to make, or to write into.

    Raises:
        OutputError: if it is a file.

    Example:
        >>> check_no_file("predictions")  # is not there: nothing happens
        >>> check_no_file("photo.png")
        Traceback (most recent call last):
            ...
        fund2oct.outputs.OutputError: photo.png: is a file, expected the name of a folder to make
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise OutputError(f"{folder}: is a file, expected the name of a folder to make")


def check_folder(folder: AnyPath, mark: str, overwrite: bool = False) -> None:
    """Refuse to write into a folder that holds something.

    Args:
        folder: the folder that a call is going to make and fill.
        mark: name of a file that each folder of such results holds, such as ``report.md``.
        overwrite: whether that may be replaced. A folder of anything else is refused all the same.

    Raises:
        OutputError: if the folder is a file, or holds something that may not be replaced.

    Example:
        >>> check_folder("report", mark="report.md")  # is not there: nothing happens
        >>> check_folder(".", mark="report.md", overwrite=True)
        Traceback (most recent call last):
            ...
        fund2oct.outputs.OutputError: .: holds other files already, and no report.md; choose another folder
    """
    folder = Path(folder)
    check_no_file(folder)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / mark).is_file():
        raise OutputError(f"{folder}: holds other files already, and no {mark}; choose another folder")
    if not overwrite:
        raise OutputError(
            f"{folder}: holds a {mark} already; choose another folder, or allow it to be overwritten "
            "(--overwrite)"
        )


@contextmanager
def whole_file(path: AnyPath) -> Iterator[Path]:
    """Write a file that others see whole or not at all, also where the writing ends in an error.

    Args:
        path: the file to make or replace; its folder must be there.

    Yields:
        The name to write it under, in the same folder. It gets its own name at the end of the block.

    Example:
        >>> with whole_file("results.csv") as part:
        ...     _ = part.write_text("eye,thickness_um")
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def make_numbered_folder(parent: AnyPath) -> Path:
    """Make the next of the folders ``001``, ``002``, and so on; no two processes get the same one.

    Args:
        parent: where to make it; this folder is made as well, if need be.

    Returns:
        The new folder, which is empty.

    Example:
        >>> [make_numbered_folder("runs/pix2vol").name for _ in range(2)]
        ['001', '002']
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name) for path in parent.iterdir() if path.name.isdigit()]
    number = max(taken, default=0)
    while True:
        number += 1
        folder = parent / f"{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:  # another process was faster
            continue
        return folder


def versions() -> dict[str, str]:
    """Versions that decide a result: those of fund2oct, of Python and of the libraries underneath.

    Returns:
        Versions by name; ``"not installed"`` for a library that is not.

    Example:
        >>> versions()["fund2oct"] == __version__
        True
    """
    import torch  # late: most of those who write files need it only then

    found = {"fund2oct": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found | {"torch": str(torch.__version__)}  # with its build, as in 2.11.0+cu130
