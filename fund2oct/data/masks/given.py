"""Masks that graders drew on a photo, brought to the square that the photo is brought to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fund2oct.data.formats.images import read_grey
from fund2oct.data.masks.stored import check_names
from fund2oct.data.preparing.circle import RetinaCircle, crop_retina
from fund2oct.eye import Array, DataError

_MOST = 0.5
"""Share of a photo above which a mask may be inverted."""


def read_masks(files: Mapping[str, Path], photo: Array) -> tuple[dict[str, Array], list[str]]:
    """Read the masks of a photo.

    A mask is a picture as large as its photo, black outside and of one other level inside. One that is all
    black says that there is nothing.

    Args:
        files: picture files by the names of the masks.
        photo: as its file has it, shape ``(rows, columns, 3)``.

    Returns:
        Masks by name, uint8, 0 outside and 255 inside, shape ``(rows, columns)``; and notes on them.

    Raises:
        DataError: if a file cannot be read, or is no mask of this photo.

    Example:
        >>> from PIL import Image
        >>> drawn = np.zeros((144, 176), np.uint8)
        >>> drawn[60:80, 100:120] = 1
        >>> Image.fromarray(drawn).save("disc.png")
        >>> photo = np.asarray(Image.open("photo.png"))
        >>> masks, notes = read_masks({"disc": Path("disc.png")}, photo)
        >>> int(masks["disc"].max()), notes
        (255, [])
    """
    check_names(files)
    found, notes = {}, []
    for name, file in files.items():
        levels = read_grey(file)
        if levels.shape != photo.shape[:2]:
            raise DataError(
                f"{file}: mask {name}: expected a picture as large as the photo, {_size(photo)} pixels, "
                f"found {_size(levels)}; give it as it was drawn, on the whole photo"
            )
        there = np.unique(levels)
        if not levels.any() and _is_drawn_in_transparency(file):
            raise DataError(
                f"{file}: mask {name}: expected black outside and one other level inside, found black "
                "that is transparent in places; save it without transparency, with what it shows bright"
            )
        if len(there) > 2 or there[0] != 0:
            told = f"{len(there)} levels" if len(there) > 2 else f"the lowest level {there[0]}"
            raise DataError(
                f"{file}: mask {name}: expected black outside and one other level inside, found {told}; save "
                "each kind as a picture of its own, with two levels, in a format that loses nothing, as PNG"
            )
        inside = levels > 0
        if inside.mean() > _MOST:
            notes.append(
                f"mask {name} covers {inside.mean():.0%} of the photo; is it inverted? what it shows has to "
                "be bright"
            )
        found[name] = np.where(inside, np.uint8(255), np.uint8(0))
    return found, notes


def mask_fields(masks: Mapping[str, Array], circle: RetinaCircle, size_px: int) -> dict[str, Any]:
    """The fields of an :class:`~fund2oct.data.Eye` that hold the masks of a photo.

    Args:
        masks: as :func:`read_masks` returns them.
        circle: of retina, to whose square the photo is cropped.
        size_px: width to which that is resized.

    Returns:
        ``masks`` and ``mask_names``; nothing where there are none.
    """
    if not masks:
        return {}
    cropped = [crop_retina(mask, circle, size_px) for mask in masks.values()]
    return {"masks": np.stack(cropped), "mask_names": tuple(masks)}


def _is_drawn_in_transparency(file: Path) -> bool:
    with Image.open(file) as picture:
        if "A" not in picture.getbands() and "transparency" not in picture.info:
            return False
        low, high = picture.convert("RGBA").getchannel("A").getextrema()
    return low != high


def _size(picture: Array) -> str:
    rows, columns = picture.shape[:2]
    return f"{columns} x {rows}"
