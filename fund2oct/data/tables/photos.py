"""What a table says of photos, by their files: where their B-scans lie, and what is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from fund2oct.data.formats.naming import plain_name
from fund2oct.data.tables.eyes import EyeRow, GivenLines, read_eyes
from fund2oct.data.tables.files import find_file
from fund2oct.data.tables.lines import columns_of_lines, eyes_of_lines
from fund2oct.data.tables.spreadsheet import Table, some
from fund2oct.eye import DataError, Plain

Told = TypeVar("Told")


@dataclass(frozen=True)
class OfPhotos(Generic[Told]):
    """What the rows of a table say of photos.

    Args:
        table: its file.
        rows: for each photo, as its row names it, the row's number and what it says.
    """

    table: Path
    rows: dict[str, tuple[str, Told]]

    @classmethod
    def of(cls, table: Path, said: Iterable[tuple[EyeRow, Told]]) -> OfPhotos[Told]:
        """Take the rows that name a photo.

        Raises:
            DataError: if two of them name the same one.
        """
        first: dict[str, str] = {}
        rows = {}
        for eye, told in said:
            if not eye.photo:
                continue
            path = _whole(table.parent / eye.photo.replace("\\", "/"))
            if path in first:
                raise DataError(
                    f"{table}: {eye.where}: photo: expected each photo once, found {eye.photo}, which is in "
                    f"{first[path]} too"
                )
            first[path] = eye.where
            rows[path] = eye.where, told
        return cls(table, rows)

    def find(self, photos: Sequence[Path]) -> dict[Path, Told]:
        """What the table says of some photos; those are left out of which it says nothing.

        A row is a photo's if it names its path, from the folder of the table. Where none does, it is the row
        with the name of its file, in whatever folder.

        Raises:
            DataError: if several rows, or several of the photos, have that name.
        """
        whole = {photo: _whole(photo) for photo in photos}
        by_path = {photo: path for photo, path in whole.items() if path in self.rows}
        named = defaultdict[str, list[str]](list)
        for path in self.rows:
            named[_base(path)].append(path)
        others = defaultdict[str, list[Path]](list)
        for photo, path in whole.items():
            if photo not in by_path:
                others[_base(path)].append(photo)
        taken = set(by_path.values())
        for name, those in others.items():
            rows = named.get(name, [])
            if len(rows) == 1 and rows[0] in taken:
                continue
            if len(rows) > 1 or (rows and len(those) > 1):
                where = some([self.rows[path][0] for path in rows])
                raise DataError(
                    f"{self.table}: {where}: photo: expected paths from the folder {self.table.parent}, for "
                    f"several files are called {those[0].name}, found no path of {some(those)}"
                )
            by_path |= {photo: path for photo in those for path in rows}
        return {photo: self.rows[path][1] for photo, path in by_path.items()}


def lines_of_photos(table: Table) -> OfPhotos[GivenLines | DataError]:
    """The lines of a table's photos.

    Args:
        table: under our names, a row for each B-scan, with a column ``photo``.

    Returns:
        For each photo its lines, or the error that says why its rows cannot be used.

    Raises:
        DataError: if it is no such table, or names a photo twice.
    """
    _check_columns(table)
    columns = columns_of_lines(table)
    if not columns:
        raise DataError(
            f"{table.path}: expected x0_px, y0_px, x1_px and y1_px, or the same in mm, found "
            f"{', '.join(table.columns)}"
        )
    found = list[tuple[EyeRow, GivenLines | DataError]]()
    for eye, problem in eyes_of_lines(table):
        empty = f"{table.path}: {eye.where}: expected its lines, found empty cells in {', '.join(columns)}"
        found.append((eye, eye.lines or DataError(problem or empty)))
    return OfPhotos.of(table.path, found)


def known_of_photos(table: Table) -> OfPhotos[dict[str, Plain]]:
    """What a table says of the eyes of its photos.

    Args:
        table: under our names, a row for each eye or each of its B-scans, with a column ``photo``.

    Returns:
        For each photo metadata, laterality and diagnosis by name; what a row leaves empty is not there.

    Raises:
        DataError: if it is no such table, a row cannot be used, or it names a photo twice.
    """
    _check_columns(table)
    eyes, refused, _ = read_eyes(table)
    for where, reason in refused:
        raise DataError(f"{table.path}: {where}: {reason}")
    return OfPhotos.of(table.path, [(eye, _known(eye)) for eye in eyes])


def masks_of_photos(table: Table, names: Collection[str]) -> OfPhotos[dict[str, Path] | DataError]:
    """The files of the masks of a table's photos.

    Args:
        table: as :func:`known_of_photos` takes it.
        names: of the masks that are wanted.

    Returns:
        For each photo the files by the names of the masks, without those of empty cells, or the error that
        says which cannot be found.

    Raises:
        DataError: as :func:`known_of_photos`.
    """
    _check_columns(table)
    found = list[tuple[EyeRow, dict[str, Path] | DataError]]()
    for eye in read_eyes(table)[0]:
        try:
            drawn = {name: file for name, file in eye.masks.items() if name in names}
            found.append((eye, {name: find_file(table.path.parent, file)[0] for name, file in drawn.items()}))
        except DataError as error:
            found.append((eye, error))
    return OfPhotos.of(table.path, found)


def _check_columns(table: Table) -> None:
    if "photo" not in table.columns:
        raise DataError(f"{table.path}: expected a column photo, found {', '.join(table.columns)}")


def _known(eye: EyeRow) -> dict[str, Plain]:
    texts: dict[str, Plain] = {"laterality": eye.laterality, "diagnosis": eye.diagnosis}
    return eye.metadata | {name: text for name, text in texts.items() if text}


def _whole(path: Path) -> str:
    """The whole path of a photo; a link is called as it is, and its folder by its true name."""
    return plain_name(str(path.parent.resolve() / path.name))


def _base(path: str) -> str:
    return path.rpartition("/")[2]
