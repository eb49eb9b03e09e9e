"""Picture files as 8-bit arrays, whatever their mode, depth or orientation."""

from __future__ import annotations

import os

import numpy as np
import tifffile
from PIL import Image, ImageOps

from fund2oct.eye import Array, DataError

_BITS = (8, 10, 12, 14, 16, 32)


def read_rgb(path: str | os.PathLike[str]) -> Array:
    """Read a picture in colour, turned upright as its EXIF tag says.

    Transparent parts become black. More than eight bits are brought to eight by the smallest usual
    depth that holds the largest value, so that 12 bits stored in 16 do not come out black.

    Returns:
        RGB, uint8, shape ``(rows, columns, 3)``.

    Raises:
        DataError: if the file is missing, damaged or no picture.
    """
    image = _open(path)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("RGB"))


def read_grey(path: str | os.PathLike[str]) -> Array:
    """Read a picture in grey, such as a B-scan.

    Returns:
        Grey, uint8, shape ``(rows, columns)``.

    Raises:
        DataError: if the file is missing, damaged or no picture.
    """
    return np.asarray(_open(path).convert("L"))


def resize(image: Array, rows: int, columns: int) -> Array:
    """Resize an 8-bit grey or RGB picture, antialiased where it shrinks."""
    if image.shape[:2] == (rows, columns):
        return image
    return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC))


def _open(path: str | os.PathLike[str]) -> Image.Image:
    if not os.path.isfile(path):
        raise DataError(f"{path}: no such file")
    try:
        return _decode(path)
    # A damaged file makes decoders raise whatever they stumble over.
    except (OSError, ValueError, SyntaxError, TypeError, IndexError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as a picture, it is damaged or none ({error})") from error


def _decode(path: str | os.PathLike[str]) -> Image.Image:
    try:
        image = Image.open(path)
    except Image.UnidentifiedImageError:
        if not os.fspath(path).lower().endswith((".tif", ".tiff")):
            raise
        return _from_deep(tifffile.imread(path))  # Pillow knows no colour of more than 8 bits
    with image:
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return _from_deep(np.asarray(upright))
    return upright


def to_eight_bits(values: Array) -> Array:
    """Bring numbers to uint8: floating point from [0, 1], whole numbers from the depth that holds them.

    Args:
        values: of any shape; floating point above 1 is taken for whole numbers.
    """
    if values.dtype == np.uint8:
        return values
    values = np.nan_to_num(values.astype(np.float32)).clip(0)
    top = values.max()
    # Whole numbers run to the largest of the smallest usual depth, so that 12 bits in 16 are not black.
    full = 1.0 if top <= 1 else next((2.0**bits - 1 for bits in _BITS if top < 2**bits), float(top))
    return (values / np.float32(full) * 255).round().astype(np.uint8)


def _from_deep(values: Array) -> Image.Image:
    if values.size == 0:
        raise ValueError("it holds no pixels")
    return Image.fromarray(to_eight_bits(values))
