"""What all importers share: eyes made in parallel, kept when interrupted, and put into one file.

Each eye becomes a file of its own in a hidden folder beside the file to be made, under a name that
tells what it was made from; once all are there, they are put together and the folder is removed. An
import that was interrupted, however, finds the eyes that it had made, and goes on with the others.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import fund2oct
from fund2oct.data.importing.parts import (
    assemble,
    disk_full,
    identities,
    locked,
    parts_folder,
    read_part,
    write_part,
)
from fund2oct.data.importing.report import ImportReport, check_table, named, unlike_whites
from fund2oct.data.store.layout import Compression, check_compression, read_text
from fund2oct.data.store.reader import EyeReader
from fund2oct.data.store.shards import open_checked, why_not_of_eyes
from fund2oct.data.store.writer import is_disk_full
from fund2oct.eye import SCHEMA_VERSION, DataError, Eye, Plain, validate
from fund2oct.file_kinds import HDF5
from fund2oct.outputs import check_files
from fund2oct.processes import process_pool
from fund2oct.progress import with_progress


@dataclass(frozen=True)
class Candidate:
    """An eye that is to be imported: its name, and how to read it.

    Args:
        name: what the report calls the eye; unique among the candidates.
        read: makes the eye. It returns the eye and notes, which are worth knowing but do not keep the eye
            out, and raises :class:`~fund2oct.data.DataError` where the eye cannot be used. It has to be
            picklable, for it may be called in another process.
        fingerprint: tells whether what the eye is made from has changed, see :func:`fingerprint_of`. Without
            one, the eye is made again in each import.
        known_as: by what the eye is found again in an earlier import; empty for its name.

    Example:
        >>> from fund2oct.phantom import simulate_eye
        >>> candidate = Candidate("first eye", lambda: (simulate_eye(0, 0), ["simulated"]))
        >>> eye, notes = candidate.read()
        >>> eye.key, notes
        ('sim-0000000-OD', ['simulated'])
    """

    name: str
    read: Callable[[], tuple[Eye, list[str]]]
    fingerprint: str = ""
    known_as: str = ""

    def identity(self, compression: Compression) -> str:
        """A name for what the eye is made from; empty where that is not known."""
        made_of = self.known_as or self.name, self.fingerprint
        return _sha256(*made_of, compression)[:32] if self.fingerprint else ""


@dataclass(frozen=True)
class _Outcome:
    """What became of one candidate: key, notes and history, or the reason why it was left out."""

    key: str = ""
    notes: tuple[str, ...] = ()
    reason: str = ""
    reused: bool = False
    history: Mapping[str, Plain] = field(default_factory=dict)


def fingerprint_of(paths: Iterable[str | os.PathLike[str]], *settings: object) -> str:
    """Tell by name, size and time of change whether files are still those that an eye was made from.

    Args:
        paths: files, or folders, of which every file counts.
        settings: whatever else the eye depends on; what ``repr`` gives for them must say it all.

    Returns:
        A hash, which is another for another version of fund2oct.

    Example:
        >>> before = fingerprint_of(["photo.png"], "even light")
        >>> Path("photo.png").touch()  # saved again
        >>> fingerprint_of(["photo.png"], "even light") == before
        False
    """
    stated: list[tuple[str, int, int]] = []
    for path in map(Path, paths):
        files = [path]
        with suppress(OSError):  # what is wrong is said when it is read
            files = sorted(path.iterdir()) if path.is_dir() else files
        stated += [(str(file), *_size_and_time(file)) for file in files]
    return _sha256(fund2oct.__version__, SCHEMA_VERSION, stated, settings)


def import_eyes(
    candidates: Sequence[Candidate],
    out: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    workers: int = 1,
    compression: Compression = "none",
    left_out: Sequence[tuple[str, str]] = (),
) -> ImportReport:
    """Write all eyes that can be read to a file, and a table of what became of each beside it.

    The file depends neither on the number of workers nor on interruptions. Where it is there already, and
    nothing that it was made from has changed, it is left as it is, and what was left out is named again. With
    ``overwrite``, eyes that have not changed are taken over from the old file.

    Args:
        candidates: the eyes, in the order of the report.
        out: the file to make; the table is its name with ``.import.csv`` in place of ``.h5``.
        overwrite: whether ``out`` may be replaced; until the new file is complete, the old one stays.
        workers: processes to read eyes in.
        compression: how the file is compressed, see :class:`~fund2oct.data.EyeWriter`.
        left_out: ``(name, reason)`` of what is left out before, as a folder that cannot be read.

    Returns:
        What became of each eye.

    Raises:
        DataError: if no eye can be used, if ``out`` exists or cannot be made, if another process is making
            it, or if the disk is full.
        OutputError: if a file that is no report has the table's name.

    Example:
        >>> from fund2oct.phantom import simulate_eye
        >>> def read(number):
        ...     return simulate_eye(7, number), []
        >>> eyes = [Candidate(f"eye {number}", partial(read, number)) for number in range(2)]
        >>> import_eyes(eyes, "mine.h5").imported
        ['sim7-0000000-OD', 'sim7-0000001-OS']
    """
    table = Path(out).with_suffix(".import.csv")
    check_table(table)
    report = make_file(candidates, out, overwrite, workers=workers, compression=compression)
    report.skipped += left_out
    # Also where the file is unchanged: the table may be lost, or never have been written.
    report.write_table(table)
    return report


def make_file(
    candidates: Sequence[Candidate],
    out: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    workers: int = 1,
    compression: Compression = "none",
    wait: bool = False,
    description: str = "importing eyes",
) -> ImportReport:
    """Write all eyes that can be read to a file, as :func:`import_eyes`, without the table beside it.

    Args:
        candidates: the eyes, in the order of the report.
        out: the file to make.
        overwrite: whether ``out`` may be replaced.
        workers: processes to read eyes in.
        compression: how the file is compressed, see :class:`~fund2oct.data.EyeWriter`.
        wait: whether to wait where another process is making the file, instead of raising an error.
        description: what the progress bar says.

    Returns:
        What became of each eye.

    Raises:
        DataError: as :func:`import_eyes`.
        ValueError: if ``workers`` is not positive.
    """
    out = Path(out)
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, found {workers}")
    check_compression(compression)
    check_files([out], overwrite=True, kind=HDF5, why_not=why_not_of_eyes)  # which eyes: told below
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out, wait), parts_folder(out) as folder:
        ids = [candidate.identity(compression) for candidate in candidates]
        made_from = _sha256(ids) if all(ids) else ""
        if out.exists() and not overwrite:
            report = _unchanged(candidates, ids, out, made_from)
        else:
            for left in folder.glob(".*.part"):
                left.unlink(missing_ok=True)
            try:
                report = _make(candidates, ids, out, folder, made_from, workers, compression, description)
            except OSError as error:
                if is_disk_full(error):
                    raise disk_full(out, folder, len(candidates)) from error
                raise
        for part in folder.iterdir():
            part.unlink(missing_ok=True)
    return report


def _make(
    candidates: Sequence[Candidate],
    ids: Sequence[str],
    out: Path,
    folder: Path,
    made_from: str,
    workers: int,
    compression: Compression,
    description: str,
) -> ImportReport:
    earlier = identities(out) if out.exists() else {}
    paths = [folder / f"{identity or f'unknown-{number}'}.h5" for number, identity in enumerate(ids)]
    make = partial(_make_part, out, compression)
    jobs = [
        (candidate, identity, path, earlier.get(identity, ""))
        for candidate, identity, path in zip(candidates, ids, paths, strict=True)
    ]
    report = ImportReport(out)
    parts, histories = list[tuple[Path, str]](), dict[str, Mapping[str, Plain]]()
    outcomes = with_progress(_run(make, jobs, workers, out), len(jobs), description)
    for candidate, path, outcome in zip(candidates, paths, outcomes, strict=True):
        if outcome.key in report.names:
            outcome = _Outcome(reason=report.why_not_again(outcome.key))
        if outcome.reason:
            report.skipped.append((candidate.name, outcome.reason))
            continue
        parts.append((path, outcome.key))
        report.imported.append(outcome.key)
        report.names[outcome.key] = candidate.name
        report.notes += [(outcome.key, note) for note in outcome.notes]
        report.reused += outcome.reused
        histories[outcome.key] = outcome.history
    report.remarks += unlike_whites(histories)
    if not parts:
        first = f"; the first, {named(*report.skipped[0])}" if report.skipped else ""
        raise DataError(f"{out}: not written, none of {len(candidates)} eyes could be imported{first}")
    needed = sum(path.stat().st_size for path, _ in parts)
    if shutil.disk_usage(out.parent).free < needed:
        raise disk_full(out, folder, len(candidates))
    assemble(parts, out, made_from, compression)
    return report


def _run(
    make: Callable[..., _Outcome], jobs: Sequence[tuple[Candidate, str, Path, str]], workers: int, out: Path
) -> Iterator[_Outcome]:
    """The outcome of each job, in their order."""
    if (workers := min(workers, len(jobs))) <= 1:  # a process starts in more time than one eye takes
        yield from (make(*job) for job in jobs)
        return
    with process_pool(workers) as pool:
        try:
            for future in [pool.submit(make, *job) for job in jobs]:
                yield future.result()
        except BrokenProcessPool:
            raise DataError(
                f"{out}: not written, one of {workers} processes was killed, perhaps for want of memory; "
                "run it again with fewer workers, it goes on from here (a script of yours has to call this "
                'below `if __name__ == "__main__":`, for each process imports the script)'
            ) from None


def _make_part(
    out: Path, compression: Compression, candidate: Candidate, identity: str, path: Path, earlier: str
) -> _Outcome:
    """Make the part of one eye, unless a sound one is there or in the file to be replaced."""
    if identity and (kept := read_part(path)):
        return _Outcome(kept[0].key, tuple(kept[1]), reused=True, history=kept[0].history)
    kept = read_part(out, earlier) if earlier else None
    try:
        eye, notes = kept or _read(candidate)
        write_part(path, eye, notes, identity, compression)
    except DataError as error:
        return _Outcome(reason=str(error))
    return _Outcome(eye.key, tuple(notes), reused=kept is not None, history=eye.history)


def _read(candidate: Candidate) -> tuple[Eye, list[str]]:
    try:
        return candidate.read()
    except OSError as error:
        raise DataError(f"cannot be read ({error})") from error
    except (DataError, ImportError, MemoryError):
        raise
    # An eye that nobody thought of is left out by name; it must not cost the others hours.
    except Exception as error:
        logging.getLogger(__name__).exception("%s", candidate.name)
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(f"failed in a way that fund2oct does not know ({found}); please report it") from error


def _unchanged(
    candidates: Sequence[Candidate], ids: Sequence[str], out: Path, made_from: str
) -> ImportReport:
    """The report of a file that holds these very eyes. Those that were left out are tried again.

    The file says neither their names nor what is wrong with them: patients may be called by those.
    """
    with open_checked(out) as file:
        before = read_text(file.attrs.get("made_from"))
    if not made_from or before != made_from:
        raise _exists(out, "it was made from something else than this")
    report = ImportReport(out, unchanged=True)
    keys = identities(out)
    with EyeReader(out) as reader:
        for candidate, identity in zip(candidates, ids, strict=True):
            if key := keys.get(identity):
                report.imported.append(key)
                report.names[key] = candidate.name
                report.notes += [(key, note) for note in reader.notes(key)]
    for candidate, identity in zip(candidates, ids, strict=True):
        if identity not in keys:
            report.skipped.append((candidate.name, _why_left_out(candidate, report)))
    return report


def _why_left_out(candidate: Candidate, report: ImportReport) -> str:
    try:
        eye, _ = _read(candidate)
        validate(eye)
    except DataError as error:
        return str(error)
    if eye.key in report.names:
        return report.why_not_again(eye.key)
    raise _exists(report.path, f"{candidate.name} was left out of it, and can be read now")


def _exists(out: Path, why: str) -> DataError:
    return DataError(f"{out}: exists; choose another name, or allow it to be overwritten ({why})")


def _size_and_time(file: Path) -> tuple[int, int]:
    with suppress(OSError):
        return (state := file.stat()).st_size, state.st_mtime_ns
    return -1, 0


def _sha256(*values: object) -> str:
    return hashlib.sha256("\n".join(map(repr, values)).encode(errors="surrogateescape")).hexdigest()
