"""What tables tell of photos that are to be translated: lines of their scans, what is known, masks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fund2oct.data.tables.eyes import GivenLines, our_columns
from fund2oct.data.tables.masks import MASK_COLUMN, is_mask_column
from fund2oct.data.tables.photos import known_of_photos, lines_of_photos, masks_of_photos
from fund2oct.data.tables.spreadsheet import read_table, renamed_tables
from fund2oct.eye import DataError, Plain
from fund2oct.models.predicting.photo_reader import PhotoReader, ReadyPhoto
from fund2oct.run.predicting.made_from import content_digest


@dataclass(frozen=True)
class Told:
    """What tables tell of one photo.

    Args:
        lines: where its B-scans lie; None where no table of lines is given.
        known: side, diagnosis and metadata, by name.
        masks: files of masks, by name.
        problem: why what is told cannot be used; empty where it can.
    """

    lines: GivenLines | None = None
    known: Mapping[str, Plain] = field(default_factory=dict)
    masks: Mapping[str, Path] = field(default_factory=dict)
    problem: str = ""

    def decides(self) -> list[object]:
        """All of it that decides what becomes of the photo: of masks what their files hold."""
        drawn = {name: content_digest(file) for name, file in self.masks.items()}
        return [self.problem, self.lines, dict(self.known), drawn]


@dataclass(frozen=True)
class Tables:
    """Tables that tell of photos.

    Args:
        lines: a table with the lines of each photo's B-scans, as ``fund2oct import table`` reads it.
        eyes: a table with what is known of each photo's eye, files of masks among it.
        columns: their own names of our columns.

    Raises:
        ValueError: if columns are named of no table.
    """

    lines: str | Path | None = None
    eyes: str | Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.columns and not self.files:
            raise ValueError(
                "--column: expected a table whose columns it names, found none; give the table, or leave it "
                "out"
            )

    @property
    def files(self) -> list[Path]:
        """The files of the tables that there are."""
        return [Path(one) for one in (self.lines, self.eyes) if one]

    def read(self, photos: Sequence[Path], masks: Collection[str]) -> tuple[dict[Path, Told], list[str]]:
        """Read what they tell.

        Args:
            photos: files.
            masks: names of the masks that are wanted.

        Returns:
            What is told of each photo, and the names of all masks that the tables have columns for.

        Raises:
            DataError: if a table cannot be used.
        """
        tables = [*map(read_table, self.files)]
        ours = our_columns(tables, self.columns)
        of_file = dict(zip(self.files, renamed_tables(tables, self.columns, ours), strict=True))
        lines = lines_of_photos(of_file[Path(self.lines)]).find(photos) if self.lines else {}
        if not self.eyes:
            return {photo: self._told(photo, lines.get(photo), {}, {}) for photo in photos}, []
        table = of_file[Path(self.eyes)]
        known = known_of_photos(table).find(photos)
        files = masks_of_photos(table, masks).find(photos)
        told = {
            photo: self._told(photo, lines.get(photo), known.get(photo), files.get(photo, {}))
            for photo in photos
        }
        return told, [name.removeprefix(MASK_COLUMN) for name in table.columns if is_mask_column(name)]

    def _told(
        self,
        photo: Path,
        lines: GivenLines | DataError | None,
        known: Mapping[str, Plain] | None,
        masks: Mapping[str, Path] | DataError,
    ) -> Told:
        """What is told of a photo, or why it cannot be used: it has no row, or a faulty one."""
        for what, missing, table in (
            ("its lines", self.lines is not None and lines is None, self.lines),
            ("what is known of it", known is None, self.eyes),
        ):
            if missing:
                return Told(problem=f"{photo}: expected {what} in {table}, found no row for this photo")
        for faulty in (lines, masks):
            if isinstance(faulty, DataError):
                return Told(problem=str(faulty))
        assert not isinstance(lines, DataError) and not isinstance(masks, DataError) and known is not None
        return Told(lines, known, masks)


def read_told(reader: PhotoReader, photo: Path, told: Told) -> ReadyPhoto:
    """Read a photo with what is told of it.

    Raises:
        DataError: if the photo, or what is told of it, cannot be used.
    """
    if told.problem:
        raise DataError(told.problem)
    return reader.read(photo, told.lines, told.known, told.masks)
