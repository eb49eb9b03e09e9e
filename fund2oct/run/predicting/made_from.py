"""What results were made from, kept beside them: a later call knows whether it would make the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import fund2oct
from fund2oct.file_kinds import file_sha256
from fund2oct.models.published import CONFIG, WEIGHTS, is_published
from fund2oct.outputs import whole_file

RECORDS = ".made_from"
"""The hidden folder of these records among the results."""
_OTHER = {"photo": "another photo", "model": "another model", "options": "other options"}


def content_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file; empty where there is none.

    Example:
        >>> len(content_digest("photo.png")), content_digest("photo-of-nobody.png")
        (64, '')
    """
    return file_sha256(path) if Path(path).is_file() else ""


def model_digest(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint, or of a published model's files."""
    files = [checkpoint / CONFIG, checkpoint / WEIGHTS] if is_published(checkpoint) else [checkpoint]
    return hashlib.sha256("".join(map(content_digest, files)).encode()).hexdigest()


def options_digest(*options: object) -> str:
    """SHA-256 of options, for which ``repr`` must say all, and of the version of fund2oct."""
    return hashlib.sha256(repr((fund2oct.__version__, options)).encode(errors="surrogateescape")).hexdigest()


def difference(folder: Path, name: str, made_from: Mapping[str, str], files: Iterable[str]) -> str:
    """Tell whether files would be made from the same now.

    Args:
        folder: where the files lie.
        name: of the eye, by which :func:`remember` noted what they were made from.
        made_from: what they would be made from now: digests of ``photo``, ``model`` and ``options``.
        files: names of the files that are asked for.

    Returns:
        What is another; empty where nothing is.

    Example:
        >>> now = {"photo": "12ab", "model": "34cd", "options": "56ef"}
        >>> remember(Path("."), "OD", now, ["OD.h5"])
        >>> difference(Path("."), "OD", now, ["OD.h5"])
        ''
        >>> difference(Path("."), "OD", now | {"photo": "78ab"}, ["OD.h5"])
        'made from another photo'
        >>> difference(Path("."), "OS", now, ["OS.h5"])
        'made from something else, nobody knows what,'
    """
    before, noted = _recalled(folder, name)
    others = [word for what, word in _OTHER.items() if before.get(what) != made_from[what]]
    if not before or (not others and not noted.issuperset(files)):
        return "made from something else, nobody knows what,"
    return f"made from {' and '.join(others)}" if others else ""


def remember(folder: Path, name: str, made_from: Mapping[str, str], files: Iterable[str]) -> None:
    """Note what files were made from, beside those of the same eye that were made from the same before."""
    before, noted = _recalled(folder, name)
    record = {
        "made_from": dict(made_from),
        "files": sorted({*files} | (noted if before == made_from else set())),
    }
    path = _record(folder, name)
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as part:
        part.write_text(json.dumps(record), encoding="utf-8")


def forget(folder: Path, name: str, made_from: Mapping[str, str]) -> None:
    """Drop the note on files that are about to be made from something else."""
    if _recalled(folder, name)[0] != made_from:
        _record(folder, name).unlink(missing_ok=True)


def left_of_others(folder: Path, name: str, made_from: Mapping[str, str]) -> list[str]:
    """The noted files of an eye that were made from something else.

    Example:
        >>> now = {"photo": "12ab", "model": "34cd", "options": "56ef"}
        >>> remember(Path("."), "OD", now, ["OD.h5", "OD.png"])
        >>> left_of_others(Path("."), "OD", now), left_of_others(Path("."), "OD", now | {"photo": "78ab"})
        ([], ['OD.h5', 'OD.png'])
    """
    before, noted = _recalled(folder, name)
    # A note names files of its own folder.
    return [] if before == made_from else sorted(file for file in noted if file == Path(file).name)


def _record(folder: Path, name: str) -> Path:
    return folder / RECORDS / f"{name}.json"


def _recalled(folder: Path, name: str) -> tuple[dict[str, str], set[str]]:
    try:
        record = json.loads(_record(folder, name).read_text(encoding="utf-8"))
        return dict(record["made_from"]), set(record["files"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}, set()
