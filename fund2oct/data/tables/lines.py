"""Eyes with the lines of their B-scans, which their own table gives or, with the pictures, a second one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fund2oct.data.formats.naming import plain_name
from fund2oct.data.tables.eyes import OF_LINES, EyeRow, eye_of_rows, groups_of_rows, where_of
from fund2oct.data.tables.spreadsheet import Table, some
from fund2oct.eye import DataError


def eyes_of_lines(table: Table) -> Iterator[tuple[EyeRow, str]]:
    """Each eye of a table of lines, and why its rows cannot be used; empty where they can.

    Of an eye whose rows cannot be used there are key and photo alone, by which it is known.

    Args:
        table: under our names, a row for each B-scan.

    Raises:
        DataError: if a row does not tell which eye it is of.
    """
    for places in groups_of_rows(table):
        rows = [table.rows[place] for place in places]
        try:
            yield eye_of_rows(rows, [{}] * len(rows), table.columns)[0], ""
        except DataError as error:
            key, photo = (next((c[name] for _, c in rows if c.get(name)), "") for name in ("key", "photo"))
            yield EyeRow(where_of([number for number, _ in rows]), photo, key=key), f"{table.path}: {error}"


def columns_of_lines(table: Table) -> list[str]:
    """The columns of a table that tell where B-scans lie."""
    return [name for name in table.columns if name in ("lines_px", "lines_mm", *OF_LINES)]


def with_lines(eyes: list[EyeRow], table: Table) -> tuple[list[EyeRow], list[tuple[str, str]], list[str]]:
    """Eyes with the lines, and the pictures, that a second table gives for their B-scans.

    Args:
        eyes: what the first table says, from :func:`~fund2oct.data.tables.eyes.read_eyes`.
        table: the second, under our names, a row for each B-scan, with ``key`` or ``photo`` as the first has
            them. A name in other capitals is found too, if one eye of each table only has it.

    Returns:
        The eyes, without lines where the second table has none for a volume of the first; the name of each
        that cannot be used, with the reason; and notes.

    Raises:
        DataError: if the second table lacks a column, or one of its rows does not tell which eye it is of.
    """
    if not set(OF_LINES) & set(table.columns) or not {"key", "photo"} & set(table.columns):
        raise DataError(
            f"{table.path}: expected key or photo, and the columns x0_px, y0_px, x1_px and y1_px, or the "
            f"same in mm, found {', '.join(table.columns)}"
        )
    refused, notes = [], [f"{table.path}: {note}" for note in table.notes]
    by = "key" if "key" in table.columns else "photo"
    said = list(eyes_of_lines(table))
    given = [eye for eye, _ in said]
    found = _same_names([_name(eye, by) for eye in eyes], [_name(eye, by) for eye in given])
    meant = defaultdict[tuple[int, ...], list[EyeRow]](list)
    for eye, places in zip(eyes, found, strict=True):
        meant[places].append(eye)
    joined = []
    for eye, places in zip(eyes, found, strict=True):
        own, problem = said[places[0]] if places else (None, "")
        if places and max(len(places), len(meant[places])) > 1:
            sharing = [one.where for one in meant[places]]
            others = [given[place].where for place in places]
            refused.append(
                (
                    eye.label,
                    f"{by}: expected one eye called {_name(eye, by)!r} in each table, in capital or small "
                    f"letters, found {some(sharing)}, and {some(others)} of {table.path}; spell them apart",
                )
            )
        elif problem:
            refused.append((eye.label, problem))
        elif own is None or own.lines is None:
            if eye.volume:  # which may tell its lines itself
                joined.append(replace(eye, masks=own.masks | eye.masks) if own else eye)
            else:
                refused.append((eye.label, f"expected its lines in {table.path}, found none for this {by}"))
        elif own.volume and eye.volume:
            refused.append(
                (eye.label, f"its B-scans are named in both tables; leave one out of {table.path}")
            )
        else:
            volume, masks = eye.volume or own.volume, own.masks | eye.masks
            joined.append(replace(eye, lines=own.lines, volume=volume, masks=masks))
    used = {place for places in found for place in places}
    if left := [eye.key or eye.photo for place, eye in enumerate(given) if place not in used]:
        notes.append(f"{table.path}: gives lines of eyes that are not in the other table: {some(left)}")
    return joined, refused, notes


def _name(eye: EyeRow, by: str) -> str:
    return eye.name if by == "key" else eye.photo


def _same_names(names: Sequence[str], given: Sequence[str]) -> list[tuple[int, ...]]:
    """For each name the places of those given that it may mean: the same, or else those in other capitals."""
    exact, plain = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for place, name in enumerate(given):
        exact[name].append(place)
        plain[plain_name(name)].append(place)
    taken = {place for name in names for place in exact.get(name, [])}
    found = []
    for name in names:
        others = plain.get(plain_name(name), [])
        found.append(tuple(exact.get(name) or (others if set(others) - taken else [])))
    return found
