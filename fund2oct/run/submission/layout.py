"""What the challenge's upload holds: six grey slices a photo of its ``val``, in a folder a photo."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from fund2oct.data.formats.naming import check_utf8
from fund2oct.eye import DataError
from fund2oct.run.predicting.photos import PICTURES, is_photo

N_SLICES, WIDTH_PX, HEIGHT_PX = 6, 448, 320


def slice_names(stem: str) -> list[str]:
    """Tell how a photo's slices are called in the zip.

    Args:
        stem: name of the photo's file, without its ending.

    Returns:
        The six names, with the folder, in the order of the slices.

    Example:
        >>> slice_names("011574-64L")[:2]
        ['011574-64L/011574-64L_0.jpg', '011574-64L/011574-64L_1.jpg']
    """
    return [f"{stem}/{stem}_{number}.jpg" for number in range(N_SLICES)]


def find_challenge_photos(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Find the photos that an upload has to answer.

    Args:
        folder: the challenge's folder, its ``val``, or any folder of photos. Where there is a ``val.csv``
            its rows count, else every picture in ``CF`` or in the folder itself, see
            :func:`fund2oct.run.predicting.photos.is_photo`.

    Returns:
        The files by their names without ending, sorted.

    Raises:
        DataError: if there are none, two have one name, or a name is not UTF-8.

    Example:
        >>> list(find_challenge_photos("."))  # this folder holds photo.png
        ['photo']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected the challenge's val, which holds val.csv and CF")
    root = folder / "val" if (folder / "val").is_dir() else folder
    pictures = root / "CF" if (root / "CF").is_dir() else root
    if (table := root / "val.csv").is_file():
        photos = [root / "CF" / name for name in _names(table)]
    else:
        photos = [path for path in pictures.iterdir() if is_photo(path)]
    found: dict[str, Path] = {}
    for photo in sorted(photos):
        check_utf8(photo)
        if found.setdefault(photo.stem, photo) != photo:
            raise DataError(
                f"{photo}: {found[photo.stem].name} has the same name; a folder holds one eye's slices"
            )
    if not found:
        raise DataError(f"{folder}: expected photos ({', '.join(PICTURES)}) in {pictures}, found none")
    return found


def _names(table: Path) -> list[str]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as CSV ({error})") from error
    names = [(row.get("CF_path") or "").strip() for row in rows]
    if not all(names) or any(Path(name).name != name for name in names):
        raise DataError(f"{table}: expected a column CF_path with the name of a file in CF in each row")
    return names
