"""What became of each eye of an import, as lines to read and as a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS = ("name", "key", "state", "remark")
"""Columns of the table that lies beside the imported file."""
_LISTED = 5


@dataclass
class ImportReport:
    """What became of each eye.

    Args:
        path: the file that was written.
        imported: keys of the eyes in it.
        skipped: ``(name, reason)`` of each eye that was left out.
        notes: ``(key, note)`` for what is worth knowing of an imported eye.
        remarks: what is worth knowing of the whole import.
        names: for each key, what the report calls the eye, such as the name of its file.
        reused: how many eyes were there from an earlier import.
        passed_over: names of files that were no candidates, being of another kind.
        unchanged: whether the file held these very eyes already, and was left as it is.

    Example:
        >>> report = ImportReport(Path("eyes.h5"), imported=["7-OD"], skipped=[("8.jpg", "no such file")])
        >>> for line in report.lines():
        ...     print(line)
        left out 8.jpg: no such file
        eyes.h5: 1 eyes imported, 1 left out
    """

    path: Path
    imported: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    reused: int = 0
    passed_over: list[str] = field(default_factory=list)
    unchanged: bool = False

    def lines(self) -> list[str]:
        """The report as text, what went wrong first."""
        if self.unchanged:
            return [f"{self.path}: holds these {len(self.imported)} eyes already; nothing to do"]
        reused = f", {self.reused} of them by an earlier run" if self.reused else ""
        return [
            *(f"left out {named(name, reason)}" for name, reason in self.skipped),
            *(f"note on {key}: {note}" for key, note in self.notes),
            *self._other_files(),
            *(f"note: {remark}" for remark in self.remarks),
            f"{self.path}: {len(self.imported)} eyes imported{reused}, {len(self.skipped)} left out",
        ]

    def _other_files(self) -> list[str]:
        if not self.passed_over:
            return []
        more = ", ..." if len(self.passed_over) > _LISTED else ""
        count = f"{len(self.passed_over)} file{'s' * (len(self.passed_over) > 1)} of other kinds"
        return [f"passed over {count}: {', '.join(self.passed_over[:_LISTED])}{more}"]

    def table(self) -> str:
        """The report as CSV: name, key, state, and the reason or the notes of each eye."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key in self.imported:
            remark = "; ".join(note for of, note in self.notes if of == key) if self.notes else ""
            writer.writerow((self.names[key], key, "imported", remark))
        writer.writerows((name, "", "left out", reason) for name, reason in self.skipped)
        return text.getvalue()


def named(name: str, reason: str) -> str:
    """The reason behind the name, unless it begins with it."""
    return reason if reason.startswith(name) else f"{name}: {reason}"
