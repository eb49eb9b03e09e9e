"""What became of each eye of an import, as lines to read and as a table."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fund2oct.data.preparing.light_and_levels import LEVELS, LIGHT, is_done
from fund2oct.eye import Plain, some_of
from fund2oct.levels import GUESSED
from fund2oct.outputs import OutputError, whole_file

COLUMNS = ("name", "key", "state", "remark")
"""Columns of the table that lies beside the imported file."""
_WHAT_TO_DO = {
    "photo": (
        LIGHT,
        "save all photos with 8 bits a channel by one white, or even them out with --even-light",
    ),
    "volume": (
        LEVELS,
        "if one scanner made them, import again with --overwrite --levels 0 {:g}, the white of the largest; "
        "if several did, with --overwrite --even-levels",
    ),
}


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
        left_out = [f"left out {named(name, reason)}" for name, reason in self.skipped]
        if self.unchanged:
            others = "the other" if left_out else "these"
            nothing = f"{self.path}: holds {others} {len(self.imported)} eyes already; nothing to do"
            return [*left_out, nothing]
        reused = f", {self.reused} of them by an earlier run" if self.reused else ""
        return [
            *left_out,
            *(f"note on {key}: {note}" for key, note in self.notes),
            *self._other_files(),
            *(f"note: {remark}" for remark in self.remarks),
            f"{self.path}: {len(self.imported)} eyes imported{reused}, {len(self.skipped)} left out",
        ]

    def _other_files(self) -> list[str]:
        if not self.passed_over:
            return []
        count = f"{len(self.passed_over)} file{'s' * (len(self.passed_over) > 1)} of other kinds"
        return [f"passed over {count}: {some_of(self.passed_over)}"]

    def table(self) -> str:
        """The report as CSV: name, key, state, and the reason or the notes of each eye."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        notes: dict[str, list[str]] = defaultdict(list)
        for key, note in self.notes:
            notes[key].append(note)
        for key in self.imported:
            writer.writerow((self.names[key], key, "imported", "; ".join(notes[key])))
        writer.writerows((name, "", "left out", reason) for name, reason in self.skipped)
        return text.getvalue()

    def write_table(self, path: Path) -> None:
        """Write the table, whole or not at all; where a file's name is not UTF-8, its bytes are shown."""
        with whole_file(path) as part:
            part.write_text(self.table(), encoding="utf-8", errors="backslashreplace")

    def why_not_again(self, key: str) -> str:
        """Why an eye of a key that is imported already is left out."""
        double = f"eye {key!r}: there is an eye of that key already; keys are unique in a file"
        return f"{double}; the other is {self.names[key]}"


def check_table(path: Path) -> None:
    """Refuse to write a report's table over another file.

    Args:
        path: the table.

    Raises:
        OutputError: if a file that is no report has its name.

    Example:
        >>> Path("mine.csv").write_text("photo")
        5
        >>> check_table(Path("mine.csv"))
        Traceback (most recent call last):
            ...
        fund2oct.outputs.OutputError: mine.csv: exists, and is no report of an import; choose another ...
    """
    if path.is_file() and not path.read_bytes().startswith(",".join(COLUMNS).encode()):
        raise OutputError(f"{path}: exists, and is no report of an import; choose another name for the file")


def named(name: str, reason: str) -> str:
    """The reason behind the name, unless it begins with it."""
    return reason if reason.startswith(name) else f"{name}: {reason}"


def unlike_whites(histories: Mapping[str, Mapping[str, Plain]]) -> list[str]:
    """Say where eyes of one import differ in brightness, because the white of each was guessed.

    Args:
        histories: what was done to each eye, by its key.

    Returns:
        A line for photos and one for volumes, where guesses differ. Photos whose light was evened and
        volumes that were brought to common levels do not count.

    Example:
        >>> guesses = {"a": 1023.0, "b": 4095.0, "c": 4095.0}
        >>> (line,) = unlike_whites({key: {"volume_white_guessed": guess} for key, guess in guesses.items()})
        >>> line.partition(", so that")[0]
        "the white of each volume was guessed: 1023 for 1 eye ('a'), 4095 for 2 eyes (such as 'b')"
    """
    found = []
    for kind, (evened, what_to_do) in _WHAT_TO_DO.items():
        eyes: dict[float, list[str]] = defaultdict(list)
        for key, history in histories.items():
            if GUESSED[kind] in history and not is_done(history, evened):
                eyes[float(history[GUESSED[kind]])].append(key)
        if len(eyes) > 1:
            each = ", ".join(f"{white:g} for {_such_as(keys)}" for white, keys in sorted(eyes.items()))
            found.append(
                f"the white of each {kind} was guessed: {each}, so that the same tissue may be "
                f"{max(eyes) / min(eyes):.2g} times as bright in one as in another; "
                + what_to_do.format(max(eyes))
            )
    return found


def _such_as(keys: Sequence[str]) -> str:
    return f"{len(keys)} eyes (such as {keys[0]!r})" if len(keys) > 1 else f"1 eye ({keys[0]!r})"
