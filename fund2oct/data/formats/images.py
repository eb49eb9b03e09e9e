"""Picture files as 8-bit arrays, whatever their mode, depth or orientation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageOps

from fund2oct.data.formats.by_library import by_library
from fund2oct.data.formats.tiff import grey_of_colours, n_pages, swaps_bytes
from fund2oct.eye import Array, DataError, stated_origin
from fund2oct.file_kinds import is_made_here, kind_of, why_not_a_file
from fund2oct.levels import Levels, find_levels, is_guessed, to_bytes

_TIFF = (".tif", ".tiff")
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_MINISWHITE = 0
_BITS, _PHOTOMETRIC, _ORIENTATION = 258, 262, 274
# Of the eight orientations: stored columns are rows, stored rows begin below, stored columns at the right.
_ON_ITS_SIDE, _FROM_BELOW, _FROM_THE_RIGHT = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)
_KNOWN_COLOURS = tuple(tifffile.PHOTOMETRIC[name] for name in ("MINISWHITE", "MINISBLACK", "RGB", "YCBCR"))


def read_rgb(path: str | os.PathLike[str]) -> Array:
    """Read a picture in colour, turned upright as its EXIF tag says.

    Transparent parts become black. More than eight bits are brought to eight by the smallest usual
    depth that holds the largest value, so that 12 bits stored in 16 do not come out black.

    Args:
        path: a picture file of any size: JPEG, PNG, TIFF or BMP, grey or in colour.

    Returns:
        RGB, uint8, shape ``(rows, columns, 3)``; a grey picture has three equal channels.

    Raises:
        DataError: if the file is missing, damaged or no picture, or one that fund2oct made, or
            nothing tells its black and white.

    Example:
        >>> photo = read_rgb("photo.png")
        >>> photo.shape, photo.dtype.name
        ((144, 176, 3), 'uint8')
    """
    return read_photo(path)[0]


def read_photo(path: str | os.PathLike[str]) -> tuple[Array, float | None]:
    """Read a picture as :func:`read_rgb`, and tell which number was taken for its white.

    Args:
        path: a picture file, as :func:`read_rgb`.

    Returns:
        The picture, and its white where that follows from its largest number; None where the file or its
        type tells it.

    Raises:
        DataError: as :func:`read_rgb`.

    Example:
        >>> Image.fromarray(np.array([[0, 3000]], np.uint16)).save("deep.png")
        >>> read_photo("deep.png")[1], read_photo("photo.png")[1]
        (4095.0, None)
    """
    values, white = _eight_bits(path)
    if is_made_here(path):
        raise DataError(f"{path}: is a picture that fund2oct made, expected a photo")
    return (values if values.ndim == 3 else np.repeat(values[..., None], 3, -1)), white


def read_grey(path: str | os.PathLike[str]) -> Array:
    """Read a picture by itself in grey; slices of one volume are read by :func:`read_slice`.

    Args:
        path: a picture file, as :func:`read_rgb`; colours are weighted by their brightness to the eye.

    Returns:
        Grey, uint8, shape ``(rows, columns)``.

    Raises:
        DataError: as :func:`read_rgb`, but for what fund2oct made: it may be a B-scan.

    Example:
        >>> read_grey("photo.png").shape
        (144, 176)
    """
    values, _ = _eight_bits(path)
    return values if values.ndim == 2 else np.asarray(Image.fromarray(values).convert("L"))


def read_slice(path: str | os.PathLike[str]) -> tuple[Array, Levels | None]:
    """Read a B-scan with its numbers as they are, so that all slices of a volume get one black and white.

    Args:
        path: a picture file, as :func:`read_rgb`.

    Returns:
        Grey numbers, shape ``(rows, columns)``, and the numbers that are black and white, where the file
        tells them; else None, and :func:`fund2oct.levels.find_levels` finds them in the whole volume.

    Raises:
        DataError: if the file is missing, damaged or no picture, or a TIFF of several pages.

    Example:
        >>> deep = np.array([[0, 4095], [1000, 2000]], np.uint16)  # 12 bits
        >>> Image.fromarray(deep).save("slice_0.png")
        >>> bscan, levels = read_slice("slice_0.png")
        >>> int(bscan.max()), levels
        (4095, None)
    """
    values, levels = _read(path)
    if Path(path).suffix.lower() in _TIFF and (pages := n_pages(Path(path))) > 1:
        raise DataError(
            f"{path}: holds {pages} pages, is a volume by itself; expected one B-scan in each file, or this "
            "file alone as a volume"
        )
    if values.ndim == 2:
        return values, levels
    # Colours of more bits stay numbers too, lest each slice get a white of its own.
    return (read_grey(path), None) if values.dtype.itemsize == 1 else (grey_of_colours(values), levels)


def read_slices(paths: Sequence[Path]) -> Iterator[tuple[Array, Levels | None]]:
    """Read the B-scans of one volume one by one, whose numbers have to mean the same in all of them.

    Args:
        paths: their picture files, as :func:`read_slice`.

    Yields:
        Grey numbers of each, and the numbers that are black and white in all, where the files tell them.

    Raises:
        DataError: as :func:`read_slice`, or if their types, or their black and white, differ.

    Example:
        >>> Image.new("L", (48, 32)).save("slice_0.png")
        >>> Image.new("L", (48, 32)).save("slice_1.png")
        >>> [bscan.shape for bscan, levels in read_slices([Path("slice_0.png"), Path("slice_1.png")])]
        [(32, 48), (32, 48)]
    """
    first: tuple[Any, Levels | None] | None = None
    for path in paths:
        bscan, levels = read_slice(path)
        first = first or (bscan.dtype, levels)
        if (bscan.dtype, levels) != first:
            raise DataError(
                f"{path}: expected {first[0]} as in {paths[0].name}, found {bscan.dtype}, or black "
                "and white the other way round; save all slices alike"
            )
        yield bscan, levels


def picture_origin(path: str | os.PathLike[str]) -> str:
    """What a PNG says of its origin, see ``fund2oct.eye.stated_origin``; empty for other pictures.

    Args:
        path: the picture.

    Returns:
        How the source of such an eye begins, ``"generated"`` or ``"simulated"``.

    Example:
        >>> picture_origin("photo.png")
        ''
    """
    if Path(path).suffix.lower() != ".png":
        return ""
    with Image.open(path) as image:
        return stated_origin(str(image.info.get("Description", "")))


def resize(image: Array, rows: int, columns: int) -> Array:
    """Resize a picture by bicubic interpolation, antialiased where it shrinks.

    Args:
        image: uint8, grey ``(rows, columns)`` or RGB ``(rows, columns, 3)``.
        rows: height of the result in pixels.
        columns: width of the result in pixels.

    Returns:
        uint8, shape ``(rows, columns)`` or ``(rows, columns, 3)``; the picture itself where it has this size.

    Example:
        >>> resize(np.zeros((496, 768), np.uint8), 320, 448).shape
        (320, 448)
    """
    if image.shape[:2] == (rows, columns):
        return image
    return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC))


def _eight_bits(path: str | os.PathLike[str]) -> tuple[Array, float | None]:
    values, stated = _read(path)
    try:
        levels = stated or find_levels(values)
        guessed = levels[1] if stated is None and is_guessed(values, levels) else None
        return to_bytes(values, levels), guessed
    except DataError as error:
        raise DataError(f"{path}: {error}; save it with 8 bits a channel") from error


def _read(path: str | os.PathLike[str]) -> tuple[Array, Levels | None]:
    """Numbers, ``(rows, columns)`` or ``(rows, columns, 3)``, and what the file says of black and white."""
    if reason := why_not_a_file(path):
        raise DataError(f"{path}: {reason}")
    kind = kind_of(path)
    if kind and not kind.endswith("picture"):
        raise DataError(f"{path}: is {kind}; expected a picture")
    with by_library(Path(path), "a picture"):
        try:
            values, levels = _decode(Path(path))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    if values.size == 0:
        raise DataError(f"{path}: cannot be read as a picture, it holds no pixels")
    return values, levels


def _decode(path: Path) -> tuple[Array, Levels | None]:
    # Given a name, Pillow maps a TIFF into memory, and takes the sides of one on its side for each other.
    with path.open("rb") as file:
        try:
            image = Image.open(file)
        except Image.UnidentifiedImageError:
            if path.suffix.lower() not in _TIFF:
                raise
            return _by_tifffile(path)
        levels = None
        # Pillow keeps the upper eight bits of deep colours alone, so that 12 bits in 16 are black, and
        # takes those that lie apart in a TIFF for bytes.
        if not image.mode.startswith(("I", "F")):
            if image.format == "TIFF" and max(_tags(image).get(_BITS, [8])) > 8:
                return _by_tifffile(path)
            if any("16" in _raw_mode(tile.args) for tile in image.tile):
                return _by_opencv(path, image.getexif().get(_ORIENTATION, 1))
        elif image.format == "TIFF":
            if swaps_bytes(image):
                return _by_tifffile(path)
            levels = _tiff_levels(image)
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return np.asarray(upright), levels
    if upright.mode in _TRANSPARENT or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, (0, 0, 0, 255)), upright)
    return np.asarray(upright.convert("L" if upright.mode in ("1", "L") else "RGB")), None


def _raw_mode(args: Any) -> str:
    """How the pixels of a tile lie in the file; what else its decoder is told are numbers."""
    return str(args if isinstance(args, str) else args[0] if args else "")


def _tags(image: Image.Image) -> Mapping[int, Any]:
    return image.tag_v2  # type: ignore[attr-defined]


def _tiff_levels(image: Image.Image) -> Levels | None:
    tags = _tags(image)
    if tags.get(_PHOTOMETRIC) != _MINISWHITE:
        return None
    if image.mode == "F":
        raise ValueError("its white is zero, and nothing tells its black")
    return 2.0 ** tags[_BITS][0] - 1, 0.0


def _by_tifffile(path: Path) -> tuple[Array, Levels | None]:
    """The first page, which Pillow knows only with 8 bits a colour, colours behind each other."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        values, axes = _values(page), page.axes
        orientation = page.tags.valueof(_ORIENTATION, 1)
    if "S" in axes:
        values = np.moveaxis(values, axes.index("S"), -1)
    if values.ndim not in (2, 3):
        raise ValueError(f"it has the shape {values.shape}")
    values, levels = _upright(values, orientation), None
    if values.ndim == 3:
        n_colours = values.shape[-1] - len(page.extrasamples)
        if tifffile.EXTRASAMPLE.UNASSALPHA in page.extrasamples:
            alpha = n_colours + page.extrasamples.index(tifffile.EXTRASAMPLE.UNASSALPHA)
            values, levels = _over_black(values, alpha)
        values = values[..., :3] if n_colours > 1 else values[..., 0]
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        if values.dtype.kind not in "ub":
            raise ValueError("its white is zero, and nothing tells its black")
        return values, (2.0**page.bitspersample - 1, 0.0)
    return values, levels


def _values(page: Any) -> Array:
    if page.photometric not in _KNOWN_COLOURS:
        colours = "CMYK" if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else page.photometric.name
        raise DataError(
            f"is a TIFF of {page.bitspersample} bits a colour in {colours}, expected RGB or grey; "
            "save it in RGB, or with 8 bits a colour"
        )
    try:
        return np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        raise DataError(
            f"its {page.bitspersample} bits a colour are compressed by {page.compression.name}, which needs "
            'a package: pip install "fund2oct[tiff]"'
        ) from error


def _by_opencv(path: Path, orientation: int) -> tuple[Array, Levels | None]:
    import cv2

    # Without this flag OpenCV leaves alpha out; with it, it leaves the picture as it lies.
    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError("it is truncated")
    values, levels = _upright(values, orientation), None
    if values.ndim == 3 and values.shape[-1] == 4:
        values, levels = _over_black(values, 3)
    return np.ascontiguousarray(values[..., 2::-1] if values.ndim == 3 else values), levels


def _upright(values: Array, orientation: int) -> Array:
    """Turn and mirror a picture as the tag 274 of TIFF and EXIF says."""
    if orientation in _ON_ITS_SIDE:
        values = values.swapaxes(0, 1)
    if orientation in _FROM_BELOW:
        values = values[::-1]
    return np.ascontiguousarray(values[:, ::-1] if orientation in _FROM_THE_RIGHT else values)


def _over_black(values: Array, alpha: int) -> tuple[Array, Levels]:
    """The picture on black, without its alpha; alpha runs to white too, and so helps to tell it."""
    levels = find_levels(values)
    colours = np.delete(values, alpha, -1)
    on_black = colours * (values[..., alpha : alpha + 1] / levels[1])
    return (on_black if values.dtype.kind == "f" else on_black.round()).astype(values.dtype), levels
