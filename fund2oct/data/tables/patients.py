"""Who the patient of an eye is, where a table does not say it, and which eyes have one name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fund2oct.data.formats.naming import laterality_of, plain_name
from fund2oct.data.tables.eyes import EyeRow
from fund2oct.data.tables.spreadsheet import Table, some
from fund2oct.eye import DataError

_LAST_WORD = re.compile(r"(.*?)[^A-Za-z0-9]*([A-Za-z]+)", re.DOTALL)
_VISIT = re.compile(
    r"[\W_]*(?<![^\W_])"
    r"(?:(?:19|20)\d\d[\W_]?[01]\d[\W_]?[0-3]\d|[0-3]\d[\W_]?[0-3]\d[\W_]?(?:19|20)\d\d"
    r"|(?:19|20)\d\d[\W_][01]?\d[\W_][0-3]?\d|[0-3]?\d[\W_][0-3]?\d[\W_](?:19|20)\d\d)(?![^\W_])"
    r"|[\W_]*(?<![^\W_])(?:19|20)\d\d(?:[\W_]?[01]\d|[-.]\d)?$"
    r"|[\W_]*(?<![^\W\d_])v(?:isit)?[\W_]?\d+$",
    re.IGNORECASE,
)
"""A day anywhere in a name; a year, a month of it, or the number of a visit at its end."""


def with_patients(eyes: list[EyeRow], table: Table, no_patients: bool) -> tuple[list[EyeRow], list[str]]:
    """Eyes with their patients, for a split must never part two eyes of one.

    Without a column, the names of right and left eyes tell it where both are there: ``p12`` of ``p12_OD``
    and ``p12_OS``. An eye by itself is called alike, so that its patient is known in another file.

    Args:
        eyes: what a table says of each eye.
        table: the table.
        no_patients: whether each eye without a patient counts as a patient of its own.

    Returns:
        The eyes, and notes.

    Raises:
        DataError: if there is no column, and names do not tell it either.
    """
    if "patient" in table.columns:
        alone = [eye.where for eye in eyes if not eye.patient]
        note = f"{table.path}: {some(alone)}: names no patient; it counts as a patient of its own"
        named = [replace(eye, patient=_whole(eye.patient) or eye.name) for eye in eyes]
        return named, [*([note] if alone else []), *_spelt_twice(table, [eye.patient for eye in named])]
    if no_patients:
        return [replace(eye, patient=eye.name) for eye in eyes], []
    if len(eyes) < 2:
        return [replace(eye, patient=without_side(eye.name) or eye.name) for eye in eyes], []
    patients, note = patients_of_names([eye.name for eye in eyes])
    if not patients:
        raise DataError(
            f"{table.path}: expected a column patient, found {', '.join(table.columns)}: {note}; name it, as "
            "in --column patient=PID, or say --no-patients where each eye is of another patient"
        )
    told = [replace(eye, patient=patient) for eye, patient in zip(eyes, patients, strict=True)]
    return told, [f"{table.path}: has no column patient; {note}"]


def _whole(patient: str) -> str:
    """A number without the ``.0`` that a spreadsheet adds to a column with empty cells."""
    return re.sub(r"^(\d+)\.0$", r"\1", patient)


def _spelt_twice(table: Table, patients: Sequence[str]) -> list[str]:
    """A note on patients whose names differ in capitals, spaces or accents alone."""
    spellings: dict[str, dict[str, None]] = {}
    for patient in patients:
        spellings.setdefault(plain_name(" ".join(patient.split())), {})[patient] = None
    twice = [" and ".join(map(repr, each)) for each in spellings.values() if len(each) > 1]
    if not twice:
        return []
    return [
        f"{table.path}: {some(twice)} count as different patients; if they are one, spell them alike: two "
        "eyes of one patient must not be both trained and tested on"
    ]


def patients_of_names(names: Sequence[str]) -> tuple[list[str], str]:
    """The patient of each eye, as the names of right and left eyes tell it.

    Args:
        names: names of the eyes.

    Returns:
        The patients, none where the names do not tell them; and a note, or the reason why they are needed.

    Example:
        >>> patients_of_names(["p12_OD", "p12_OS", "p13_OD"])[0], patients_of_names(["p12", "p13"])[0]
        (['p12', 'p12', 'p13'], [])
    """
    stems = [without_side(name) for name in names]
    sides = Counter((stem, laterality_of(name)) for stem, name in zip(stems, names, strict=True))
    pairs = [stem for stem, count in Counter(stem for stem, _ in sides).items() if count > 1]
    reason = "two eyes of one patient must not be both trained and tested on"
    if not pairs or "" in stems or max(sides.values()) > 1:
        return [], reason
    first: dict[str, str] = {}
    for name, stem in zip(names, stems, strict=True):
        other = first.setdefault(plain_name(_without_visit(stem)), name)
        if without_side(other) != stem:
            return [], f"{other} and {name} may be of one patient, at two visits or spelt twice, and {reason}"
    example = [name for name, stem in zip(names, stems, strict=True) if stem == pairs[0]]
    return stems, (
        f"{len(set(stems))} patients were taken from the names of {len(names)} eyes, as {pairs[0]!r} of "
        f"{' and '.join(example)}; --no-patients takes each eye for one"
    )


def without_side(name: str) -> str:
    """A name without the word or letter at its end that tells the side; empty where there is none.

    Example:
        >>> without_side("011574-64L"), without_side("p12_OD"), without_side("left")
        ('011574-64', 'p12', '')
    """
    found = _LAST_WORD.fullmatch(name)
    return found[1] if found and laterality_of(name) == laterality_of(found[2]) != "" else ""


def _without_visit(stem: str) -> str:
    """A name without side, also without the date or the number of a visit, unless it is nothing else."""
    return _VISIT.sub("", stem).strip(" ._-") or stem


def repeated_keys(eyes: list[EyeRow]) -> list[tuple[str, str]]:
    """The label of each eye whose key another has before it, with the reason why it cannot be used."""
    first: dict[str, EyeRow] = {}
    found = []
    for eye in eyes:
        other = first.setdefault(eye.name, eye)
        if other is not eye:
            why = (
                "keys are unique in a file"
                if eye.key
                else "it is the name of the file; give each eye a name in a column key, or, where each row "
                "is a B-scan, name its picture in a column bscan"
            )
            found.append((eye.label, f"key {eye.name!r} is that of {other.where} already; {why}"))
    return found
