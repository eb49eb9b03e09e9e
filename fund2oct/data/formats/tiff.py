"""Stacks of B-scans in a TIFF: ImageJ's, OME, and plain ones, whatever their compression."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageSequence

from fund2oct.data.formats.by_library import by_library
from fund2oct.eye import Array, DataError, stated_origin
from fund2oct.levels import Levels, find_levels

_MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "µm": 1e-3, "μm": 1e-3, "um": 1e-3, "micron": 1e-3, "nm": 1e-6}
_MM |= {"centimeter": 10.0, "millimeter": 1.0, "micrometer": 1e-3, r"\u00b5m": 1e-3}
"""Units by their names; an inch is none of a scan: it stands for what a printer would make of the picture."""


def read_tiff(path: Path) -> tuple[Array, Levels | None, tuple[float, float, float] | None, str]:
    """Read a stack.

    Args:
        path: a TIFF of one stack of grey pages, or of one page; colour pages become grey.

    Returns:
        The numbers, three axes in the order of the file; black and white where the file tells them;
        the millimetres between neighbours along each axis, NaN where unknown, None where all are; and its
        origin, see ``fund2oct.eye.stated_origin``.

    Raises:
        DataError: if it is damaged, or holds neither a stack nor a page, several stacks, or pages that cannot
            be decoded.
    """
    # What the file says of itself is parsed as it is asked for.
    with by_library(path, "a volume"), tifffile.TiffFile(path) as tif:
        series = _stack(path, tif)
        page: Any = series.keyframe
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not tif.is_imagej:
            raise DataError(f"{path}: its pages have a palette of colours; save them in grey")
        (_, axes), sizes = _squeezed(series), _sizes_mm(tif)
        origin = stated_origin(str(tif.pages.first.description))
        values, decoded = _pages(path, series, page)
        inverted = decoded and page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        bits = page.bitspersample
    try:
        levels = _inverted(values, bits) if inverted else None
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if decoded and "S" in axes:
        values = np.moveaxis(values, axes.index("S"), -1)
        values, axes = grey_of_colours(values), axes.replace("S", "")
    if len(axes.replace("S", "")) == 2:
        values, axes = values.reshape(-1, *values.shape[-2:]), f"?{axes}"
    if not sizes or len(axes) != 3:
        return values, levels, None, origin
    # A stack that calls its pages time or nothing at all has no distance of them.
    a, b, c = (sizes.get(axis, math.nan) for axis in axes)
    return values, levels, (a, b, c), origin


def n_pages(path: Path) -> int:
    """How many pages a file holds, without smaller copies of others.

    It is 0 where the file cannot be read, which is said when its pages are.
    """
    try:
        with by_library(path, "a volume"), tifffile.TiffFile(path) as tif:
            pages: Any = tif.pages
            # Of large stacks ImageJ lists one page alone.
            stated = (tif.imagej_metadata or {}).get("images", 0)
            return max(int(stated), sum(not page.is_reduced for page in pages))
    except (DataError, MemoryError):
        return 0


def _squeezed(series: Any) -> tuple[tuple[int, ...], str]:
    """Shape and axes without those of one element; width and height stay. Not each tifffile does it."""
    kept = [(n, axis) for n, axis in zip(series.shape, series.axes, strict=True) if n != 1 or axis in "YX"]
    return tuple(n for n, _ in kept), "".join(axis for _, axis in kept)


def _stack(path: Path, tif: tifffile.TiffFile) -> Any:
    found = [
        (series, *_squeezed(series))
        for series in tif.series
        if not series.keyframe.is_reduced  # a smaller copy of another one
    ]
    for n_axes in (3, 2):  # a page by itself is a B-scan where there is no stack
        stacks = [series for series, shape, axes in found if len(shape) - ("S" in axes) == n_axes]
        if len(stacks) == 1:
            return stacks[0]
        if stacks:
            break
    shapes = ", ".join("x".join(map(str, shape)) + ("" if "S" not in axes else " in colour")
                       for _, shape, axes in found[:4])  # fmt: skip
    raise DataError(f"{path}: expected one stack of B-scans, a page each, found {shapes or 'no pages'}")


def _pages(path: Path, series: Any, page: Any) -> tuple[Array, bool]:
    """The numbers as they are stored, and True; or, where a codec is missing, in grey from black to white."""
    try:
        return np.asarray(series.asarray()).reshape(_squeezed(series)[0]), True
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        return _by_pillow(path, page.compression.name), False


def _by_pillow(path: Path, compression: str) -> Array:
    """The pages by Pillow, which knows LZW and JPEG by itself; it inverts those whose zero is white."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")) and image.tag_v2.get(262) == 0:  # type: ignore[attr-defined]
                raise ValueError("its zero is white")
            return np.stack([*map(_grey_page, ImageSequence.Iterator(image))])
    except (OSError, ValueError, SyntaxError, KeyError) as error:
        raise DataError(
            f"{path}: its pages are compressed by {compression}, which needs a package: "
            f'pip install "fund2oct[tiff]" ({error})'
        ) from error


def _grey_page(page: Any) -> Array:
    """A page that Pillow has opened, with all the bits of its numbers; colours become grey."""
    if swaps_bytes(page):
        raise ValueError("its numbers have a sign or are fractions, their upper byte first")
    if page.mode.startswith(("I", "F")):
        return np.array(page)
    if (bits := max(page.tag_v2.get(258, (8,)))) > 8:
        raise ValueError(f"its colours have {bits} bits, of which eight would be kept")
    return np.array(page.convert("L"))


def swaps_bytes(image: Any) -> bool:
    """Whether Pillow would read the bytes of a TIFF in the wrong order.

    Where the upper byte comes first, libtiff turns it round as it unpacks the numbers. Pillow turns it once
    more, unless they are whole and without a sign.

    Args:
        image: a TIFF that Pillow has opened, and not yet loaded.
    """
    upper_first = image.tag_v2.prefix == b"MM"
    return bool(image.mode in ("I", "F") and upper_first and image.tile[0][0] == "libtiff")


def _inverted(values: Array, bits: int) -> Levels:
    if values.dtype.kind in "ub":
        return 2.0**bits - 1, 0.0
    black, white = find_levels(values)
    return white, black


def grey_of_colours(values: Array) -> Array:
    """Grey of colours along the last axis, weighted as the eye does; an alpha channel is left out."""
    if values.shape[-1] < 3:
        return values[..., 0]
    grey = values[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return grey if values.dtype.kind == "f" else grey.round().astype(values.dtype)


def _sizes_mm(tif: tifffile.TiffFile) -> dict[str, float]:
    """Millimetres of a step along X, Y and Z; other files state dots an inch, which are for printing."""
    if tif.ome_metadata:
        image = tifffile.xml2dict(tif.ome_metadata).get("OME", {}).get("Image", {})
        pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
        return {
            axis: float(pixels[f"PhysicalSize{axis}"]) * _MM[unit]
            for axis in "XYZ"
            if f"PhysicalSize{axis}" in pixels
            and (unit := str(pixels.get(f"PhysicalSize{axis}Unit", "µm"))) in _MM
        }
    if not tif.imagej_metadata:
        return {}
    unit = str(tif.imagej_metadata.get("unit", ""))
    unit_mm = _MM.get(unit, _MM.get(unit.lower()))
    if unit_mm is None:
        return {}
    sizes = {}
    for axis, name in (("X", "XResolution"), ("Y", "YResolution")):
        tag = tif.pages.first.tags.get(name)
        if tag is not None and all(tag.value):
            sizes[axis] = tag.value[1] / tag.value[0] * unit_mm
    if spacing := tif.imagej_metadata.get("spacing"):
        sizes["Z"] = abs(float(spacing)) * unit_mm
    return sizes
