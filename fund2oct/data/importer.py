"""What all importers share: eyes that cannot be read are named and left out, the others written."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fund2oct.data.progress import with_progress
from fund2oct.data.schema import DataError, Eye
from fund2oct.data.store import EyeWriter


@dataclass(frozen=True)
class Candidate:
    """An eye that may be imported; ``read`` raises :class:`DataError` where it cannot be.

    What ``read`` returns beside the eye are notes: nothing that keeps the eye out, but worth knowing.
    """

    name: str
    read: Callable[[], tuple[Eye, list[str]]]


@dataclass
class ImportReport:
    """What became of each eye.

    Args:
        path: the file that was written.
        imported: keys of the eyes in it.
        skipped: ``(name, reason)`` of each eye that was left out.
        notes: ``(key, note)`` on eyes that were imported.
    """

    path: Path
    imported: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report as text, what went wrong first."""
        return [
            *(f"left out {name}: {reason}" for name, reason in self.skipped),
            *(f"note on {key}: {note}" for key, note in self.notes),
            f"{self.path}: {len(self.imported)} eyes imported, {len(self.skipped)} left out",
        ]


def import_eyes(
    candidates: Sequence[Candidate], out: str | os.PathLike[str], overwrite: bool = False
) -> ImportReport:
    """Write all eyes that can be read to a file.

    Raises:
        DataError: if there is none, or ``out`` exists or cannot be made.
    """
    report = ImportReport(Path(out))
    with EyeWriter(out, overwrite) as writer:
        for candidate in with_progress(candidates, len(candidates), "importing eyes"):
            try:
                eye, notes = candidate.read()
                writer.add(eye)
            except DataError as error:
                report.skipped.append((candidate.name, str(error)))
                continue
            report.imported.append(eye.key)
            report.notes += [(eye.key, note) for note in notes]
        if not report.imported:
            first = f"; the first, {report.skipped[0][0]}: {report.skipped[0][1]}" if report.skipped else ""
            raise DataError(f"{out}: not written, none of {len(candidates)} eyes could be imported{first}")
    return report
