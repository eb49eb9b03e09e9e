"""What a scanner's file holds of one eye, whatever its format, and where its lines lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np

from fund2oct.data.formats.images import read_photo, resize
from fund2oct.data.formats.stacks import Spacing
from fund2oct.eye import SIMULATED, Array, DataError, Plain
from fund2oct.file_kinds import JPEG, kind_of
from fund2oct.geometry import CircularScan, LineScan, Placement, Point, RadialScan, RasterScan, ScanPattern
from fund2oct.levels import GUESSED, Levels
from fund2oct.retina.layers import BOUNDARIES, boundary_index

JPEG_RATIO = {"photo": "photo_jpeg_ratio", "volume": "volume_jpeg_ratio"}
"""Where an eye's history has how many times smaller than its pixels its JPEG files were, if it had any."""

_REGULAR_MM = 0.02
_OLDEST = 90


@dataclass(frozen=True, kw_only=True)
class Exam:
    """One eye as its files hold it, before slices are chosen and pictures resized.

    Args:
        volume: B-scans, numbers of any type, shape ``(S, Z, X)``; None where there is a photo alone.
        spacing_mm: distance of neighbouring slices, rows and A-scans ``(s, z, x)``, NaN for what the file
            does not tell; None where it tells none of them.
        laterality: ``"OD"``, ``"OS"`` or empty.
        patient: what tells patients apart in the files, empty where there is nothing. It is hashed and
            never stored.
        source: name of the file's format, which the eye is stored with.
        levels: the numbers that are black and white; None where the file does not tell it.
        lines: where the slices lie; None where the file does not tell it.
        localizer: the scanner's own infrared picture, grey, uint8, shape ``(L, L)``.
        localizer_placement: where the lines lie on the localizer.
        photo: colour photo, RGB, uint8, shape ``(rows, columns, 3)``.
        masks: masks of the photo by name, uint8, 0 outside and 255 inside, shape ``(rows, columns)``.
        photo_centre_px: column and row of the photo, from its corner, where the centre of the lines lies;
            None where the file does not tell it. The localizer is then the same picture in grey.
        photo_pixel_mm: width of a pixel of the photo; NaN where the file does not tell it.
        sha256: SHA-256 of the file that holds the photo, empty where there is none.
        photo_file: name of that file, for messages alone.
        volume_file: name of the file that holds the volume, for messages alone.
        boundaries_um: the vendor's boundaries, as :class:`~fund2oct.data.Eye` holds them.
        metadata: plain values by name that are to be stored with the eye, such as ``age_years``.
        history: plain values by name that say how the numbers of the file were converted.
        notes: what is worth knowing of the file.

    Example:
        >>> exam = Exam(volume=np.zeros((5, 64, 80)), spacing_mm=(0.24, 0.004, 0.075), laterality="OD")
        >>> exam.volume.shape, exam.lines  # without lines, an importer takes a raster from above to below
        ((5, 64, 80), None)
    """

    volume: Array | None = None
    spacing_mm: Spacing | None = None
    laterality: str = ""
    patient: str = ""
    source: str = ""
    levels: Levels | None = None
    lines: ScanPattern | None = None
    localizer: Array | None = None
    localizer_placement: Placement = field(default_factory=Placement)
    photo: Array | None = None
    masks: Mapping[str, Array] = field(default_factory=dict)
    photo_centre_px: Point | None = None
    photo_pixel_mm: float = math.nan
    sha256: str = ""
    photo_file: str = ""
    volume_file: str = ""
    boundaries_um: Array | None = None
    metadata: dict[str, Plain] = field(default_factory=dict)
    history: dict[str, Plain] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def jpeg_history(part: str, files: Sequence[Path], n_bytes: int) -> dict[str, Plain]:
    """What an eye's history says of pictures that were read of JPEG files, which lose something.

    Args:
        part: ``"photo"`` or ``"volume"``.
        files: all its files.
        n_bytes: size of its pixels.

    Returns:
        The entry of :data:`JPEG_RATIO`; nothing where none of the files is a JPEG.

    Example:
        >>> jpeg_history("photo", [Path("photo.png")], n_bytes=3 * 144 * 176)
        {}
    """
    if not any(kind_of(file) == JPEG for file in files):
        return {}
    return {JPEG_RATIO[part]: round(n_bytes / sum(file.stat().st_size for file in files), 1)}


def read_photo_file(path: Path) -> tuple[Array, dict[str, Plain], tuple[str, ...]]:
    """Read the file of a photo, whoever brings it: an importer or a prediction.

    Args:
        path: a picture file, as :func:`~fund2oct.data.formats.images.read_rgb` takes it.

    Returns:
        The photo, RGB, uint8, shape ``(rows, columns, 3)``; what the history has of its file; and notes.

    Raises:
        DataError: as :func:`~fund2oct.data.formats.images.read_rgb`.

    Example:
        >>> photo, history, notes = read_photo_file(Path("photo.png"))
        >>> photo.shape, history, notes  # nothing was lost in a PNG of bytes, and nothing guessed
        ((144, 176, 3), {}, ())
    """
    photo, white = read_photo(path)
    history = jpeg_history("photo", [path], photo.size)
    if white is None:
        return photo, history, ()
    note = f"the photo's white was taken for {white:g}; save it with 8 bits a channel to choose another"
    return photo, history | {GUESSED["photo"]: white}, (note,)


def with_origin(exam: Exam, origin: str) -> Exam:
    """The exam with a source that says that its volume was not scanned, where its file says so.

    Args:
        exam: what was read of a file.
        origin: what ``fund2oct.eye.stated_origin`` found in the file.
    """
    if not origin:
        return exam
    made = "simulated" if origin == SIMULATED else "generated"
    note = f"its file says that its volume was {made}, not scanned; it is kept as such, by its source"
    return replace(exam, source=f"{origin}, {exam.source}", notes=(*exam.notes, note))


def centred_scan(
    ends_mm: Array, tolerance_mm: float = _REGULAR_MM
) -> tuple[ScanPattern, tuple[float, float]]:
    """Lines around their own centre: a raster or a star where they are one.

    Args:
        ends_mm: first and last point of each line, x to the right and y down, shape ``(S, 2, 2)``.
        tolerance_mm: how far the end of a line may lie from that of a raster or a star.

    Returns:
        The scan, and its centre in the coordinates of ``ends_mm``.

    Raises:
        DataError: if a line has no length, or is not finite.
    """
    ends = np.asarray(ends_mm, np.float64)
    if not np.isfinite(ends).all():
        raise DataError("expected finite positions of the slices, found NaN or infinity")
    centre = ends.mean((0, 1))
    return regular_scan(ends - centre, tolerance_mm), (float(centre[0]), float(centre[1]))


def regular_scan(ends_mm: Array, tolerance_mm: float) -> ScanPattern:
    """Lines as a raster or a star around the origin where they are one, else as they are.

    Args:
        ends_mm: first and last point of each line around the origin, shape ``(S, 2, 2)``.
        tolerance_mm: how far the end of a line may lie from that of a raster or a star.

    Raises:
        DataError: if a line has no length, or is not finite.
    """
    try:
        lines = LineScan(tuple(((a, b), (c, d)) for (a, b), (c, d) in ends_mm.tolist()))
    except ValueError as error:
        raise DataError(str(error)) from error
    length = float(np.mean(lines.length_mm))
    for regular in (_raster(ends_mm, length), _star(ends_mm, length)):
        if regular is not None and np.abs(np.array(regular.lines) - ends_mm).max() < tolerance_mm:
            return regular
    return lines


def _raster(ends: Array, length: float) -> LineScan | None:
    first, last = ends[0, :, 1].mean(), ends[-1, :, 1].mean()
    if len(ends) < 2 or first == last:
        return None
    return RasterScan(len(ends), length, abs(last - first), upwards=bool(first > last))


def _star(ends: Array, length: float) -> LineScan | None:
    x, y = (ends[:, 1] - ends[:, 0]).T
    degrees = np.degrees(np.arctan2(x, -y))  # clockwise from straight up
    if len(ends) < 2:
        return None
    clockwise = math.sin(math.radians(degrees[1] - degrees[0])) > 0
    return RadialScan(len(ends), length, round(float(degrees[0]), 6), bool(clockwise))


def between_slices_mm(scan: ScanPattern, stated_mm: float = math.nan) -> float:
    """Distance of two slices of a raster; of other scans what the file states, NaN for a star and circles."""
    if isinstance(scan, RasterScan):
        return abs(scan.lines[-1][0][1] - scan.lines[0][0][1]) / (scan.n_slices - 1)
    if isinstance(scan, RadialScan | CircularScan) or scan.n_slices < 2 or not stated_mm > 0:
        return math.nan
    return stated_mm


def square_localizer(
    picture: Array, pixel_mm: tuple[float, float], centre_mm: tuple[float, float]
) -> tuple[Array, Placement]:
    """A localizer as a square of square pixels, with black where it was no square.

    Args:
        picture: grey, uint8, shape ``(rows, columns)``.
        pixel_mm: width and height of a pixel.
        centre_mm: where the scan's centre lies, from the top left corner.

    Returns:
        The picture, shape ``(L, L)``, and where the scan lies on it.
    """
    across, down = pixel_mm
    rows, columns = picture.shape
    height_mm, width_mm = rows * down, columns * across
    picture = resize(picture, max(1, round(height_mm / across)), columns)
    size = max(picture.shape)
    top, left = (size - picture.shape[0]) // 2, (size - columns) // 2
    square = np.zeros((size, size), np.uint8)
    square[top : top + picture.shape[0], left : left + columns] = picture
    half = size * across / 2
    shift = ((centre_mm[0] - width_mm / 2) / half, (centre_mm[1] - height_mm / 2) / half)
    return square, Placement(shift, 0.0, half)


def named_boundaries(rows: Mapping[str, Array], z_mm: float, shape: tuple[int, int]) -> Array | None:
    """Boundaries in the order of the schema, from rows of pixels; None where there is none.

    Args:
        rows: by the schema's name, the row at each A-scan, 0 at the centre of the first row, NaN where
            absent, shape ``(S, X)``.
        z_mm: height of a row; without a positive one there are none.
        shape: ``(S, X)``.
    """
    found = np.full((len(BOUNDARIES), *shape), np.nan, np.float32)
    for name, values in rows.items():
        found[boundary_index(name)] = (np.asarray(values) + 0.5) * z_mm * 1000
    return found if z_mm > 0 and np.isfinite(found).any() else None


def age_years(born: date | None, seen: date | None) -> dict[str, Plain]:
    """The age as metadata, 90 for all who are older; nothing where a date is absent or makes no sense."""
    if born is None or seen is None:
        return {}
    years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return {"age_years": min(years, _OLDEST)} if 0 <= years < 130 else {}
