"""One width of all photos and one shape of all volumes, within a part of the eyes and between the parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.loading.regularity import NEEDED, Content
from fund2oct.data.loading.split import PARTS, Part
from fund2oct.eye import Array, DataError


def common_sizes(
    parts: Mapping[Part, EyeIndex],
    content: Content,
    fundus_px: int | None,
    volume_shape: tuple[int, int, int] | None,
    where: Callable[[str], str],
) -> dict[str, Any]:
    """The sizes to which the eyes of all parts are brought, so that each part is measured as the others.

    Args:
        parts: the eyes of each part; a part may be empty. Where no size is wanted, all have to be of the size
            of the first one, which is a training eye if there are any.
        content: what is needed of each eye.
        fundus_px: wanted width of the photos; None keeps the stored one.
        volume_shape: wanted shape ``(S, Z, X)`` of the volumes; None keeps the stored one.
        where: names the eye of a key.

    Returns:
        ``fundus_px`` and ``volume_shape`` of :class:`~fund2oct.data.loading.dataset.FundusOCTDataset`.

    Raises:
        DataError: if an eye has another size, and none is wanted; or if it has fewer slices than wanted.
    """
    eyes = [parts[part] for part in PARTS]
    keys = [key for index in eyes for key in index.keys]

    def stored(name: str) -> Array:
        return np.concatenate([index.shapes[name] for index in eyes])

    def named(number: int) -> str:
        return where(keys[number])

    if keys and "fundus" in NEEDED[content]:
        fundus_px = common_fundus_px(stored("fundus"), fundus_px, named)
    if keys and "volume" in NEEDED[content]:
        volume_shape = common_shape(stored("volume"), volume_shape, named)
    return {"fundus_px": fundus_px, "volume_shape": volume_shape}


def common_shape(
    sizes: Array, wanted: tuple[int, int, int] | None, where: Callable[[int], str]
) -> tuple[int, int, int]:
    """The shape ``(S, Z, X)`` of all volumes; the wanted one, where none has fewer slices.

    Args:
        sizes: shapes of the stored volumes, ``(N, 3)``.
        wanted: the shape to resize them to; None keeps theirs.
        where: names the eye of a number.
    """
    s, z, x = sizes[0].tolist() if wanted is None else wanted
    unlike = (sizes != (s, z, x)).any(1) if wanted is None else sizes[:, 0] < s
    for number in np.flatnonzero(unlike)[:1]:
        raise DataError(
            f"{where(number)}: expected a volume {(s, z, x)}, found "
            f"{tuple(sizes[number].tolist())}; volume_shape resizes along Z and X "
            "and takes evenly spaced slices, but cannot add any"
        )
    return s, z, x


def common_fundus_px(sizes: Array, wanted: int | None, where: Callable[[int], str]) -> int:
    """The width of all photos; the wanted one, where there is one.

    Args:
        sizes: shapes of the stored photos, ``(N, 3)``.
        wanted: the width to resize them to; None keeps theirs.
        where: names the eye of a number.
    """
    widths = sizes[:, 0]
    for number in np.flatnonzero(widths != widths[0])[:1] if wanted is None else ():
        raise DataError(
            f"{where(number)}: expected a photo {widths[0]} pixels wide, found {widths[number]}; "
            "set fundus_px to resize them all"
        )
    return int(widths[0]) if wanted is None else wanted
