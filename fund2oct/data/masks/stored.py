"""Masks of the photo that a file of eyes holds: those that graders drew, and a simulated photo's lesions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import numpy as np
import torch
from torch import Tensor

from fund2oct.data.preparing.photo import resize
from fund2oct.data.store.layout import EyeInfo
from fund2oct.data.store.reader import EyeReader
from fund2oct.eye import ARRAYS, Array, DataError, Eye, some_of

LESION = "lesion"
"""Name of the mask of all lesions of a simulated photo, whose labels a file holds as ``lesion_fundus``."""

OTHER_ENTRIES = frozenset(ARRAYS) | {
    *("key", "patient", "laterality", "diagnosis", "metadata", "grid", "spacing_z_mm", "spacing_x_mm"),
    *("aligned", "mask", "lines", "whole", "fake", "fake_pose_um", "masks_known"),
}
"""What else a batch holds under a name, see :class:`fund2oct.models.Batch`."""


def check_names(names: Iterable[str]) -> None:
    """Refuse names that no mask may have.

    Args:
        names: of masks, such as ``"disc"``.

    Raises:
        DataError: if one is no word, or names something else in a batch.

    Example:
        >>> check_names(["disc", "lesions"])
        Traceback (most recent call last):
            ...
        fund2oct.eye.DataError: mask lesions: names something else in a batch; choose another name
    """
    for name in names:
        if name in OTHER_ENTRIES:
            raise DataError(f"mask {name}: names something else in a batch; choose another name")
        if not name.isidentifier():
            raise DataError(f"mask {name!r}: expected a name of letters, digits and _, found another")


def held_masks(info: EyeInfo) -> tuple[str, ...]:
    """Names of the masks that a file holds of an eye's photo, that of its lesions among them."""
    labelled = "lesion_fundus" in info.arrays and LESION not in info.mask_names
    return (*info.mask_names, *([LESION] if labelled else []))


def which_hold(held: Sequence[str], names: Sequence[str]) -> Array:
    """Which eyes have which masks.

    Args:
        held: of each eye, the names of :func:`held_masks` with commas.
        names: of masks.

    Returns:
        Bool, shape ``(N, M)``.

    Example:
        >>> which_hold(["disc,lesion", ""], ["lesion"]).tolist()
        [[True], [False]]
    """
    found = [[name in of_eye.split(",") for name in names] for of_eye in held]
    return np.array(found, bool).reshape(len(held), len(names))


def held_told(held: Sequence[str], names: Sequence[str]) -> str:
    """In how many eyes there are which masks, in words that go on; empty for no masks.

    Example:
        >>> held_told(["disc,lesion", "disc"], ["disc", "lesion"])
        '; masks of the training eyes: disc in 2, lesion in 1'
    """
    counts = which_hold(held, names).sum(0).tolist()
    told = ", ".join(f"{name} in {count}" for name, count in zip(names, counts, strict=True))
    return f"; masks of the training eyes: {told}" if told else ""


def check_wanted(names: Sequence[str], content: str, drawn: Set[str]) -> None:
    """Refuse masks that a batch cannot have.

    Args:
        names: of masks that are wanted of a file.
        content: what the batches have: ``"pairs"``, ``"photos"`` or ``"volumes"``.
        drawn: names of masks that a network draws for the batches.

    Raises:
        DataError: if they cannot be had.
    """
    check_names(names)
    if both := sorted(drawn & {*names}):
        raise DataError(f"masks: {both[0]}: expected from the file or drawn by a network, found both")
    if names and content == "volumes":
        raise DataError(f"masks: {', '.join(names)}: lie on photos, found volumes alone; leave them out")


def check_held(held: Sequence[str], names: Sequence[str], file: str) -> None:
    """Refuse a mask that no eye of a file has.

    Args:
        held: of each eye, the names of :func:`held_masks` with commas.
        names: of the masks that are wanted.
        file: for the message.

    Raises:
        DataError: if there is one.
    """
    there = sorted({name for of_eye in {*held} for name in of_eye.split(",") if name})
    for name in names:
        if name not in there:
            has = f"those there are: {some_of(there)}" if there else "its eyes have no masks"
            raise DataError(f"{file}: masks: expected {name} in at least one eye, found it in none; {has}")


def fill_masks(reader: EyeReader, key: str, names: Sequence[str], out: Array) -> None:
    """Read masks of an eye's photo.

    Args:
        reader: the file.
        key: of the eye.
        names: of the masks.
        out: uint8, shape ``(M, H, H)``, of the photo's width; masks that the eye lacks are filled with 0.

    Raises:
        DataError: if the eye cannot be read.

    Example:
        >>> masks = np.empty((1, 48, 48), np.uint8)
        >>> fill_masks(EyeReader("eyes.h5"), "sim3-0000000-OD", ["lesion"], masks)
        >>> np.unique(masks).tolist()
        [0, 255]
    """
    held = reader.info(key).mask_names
    for name, mask in zip(names, out, strict=True):
        if name in held:
            reader.read_into(key, "masks", mask[None], [held.index(name)])
            continue
        labels = reader.array(key, "lesion_fundus") if name == LESION else None
        mask[...] = 0 if labels is None else of_labels(labels)


def of_labels(labels: Array) -> Array:
    """A mask of all lesions, of their labels in the photo; both uint8, shape ``(H, H)``."""
    return np.where(labels > 0, np.uint8(255), np.uint8(0))


def masks_of(eye: Eye) -> dict[str, Tensor]:
    """The masks that an eye holds, as a batch of one eye has them.

    Args:
        eye: with its photo; the masks may be of another width.

    Returns:
        Masks in [0, 1] by their names, shape ``(1, 1, H, H)``, as wide as the photo.

    Example:
        >>> masks_of(EyeReader("eyes.h5").read("sim3-0000000-OD"))["lesion"].shape
        torch.Size([1, 1, 48, 48])
    """
    if eye.fundus is None:
        return {}
    found = dict(zip(eye.mask_names, () if eye.masks is None else eye.masks, strict=True))
    if eye.lesion_fundus is not None:
        found = {LESION: of_labels(eye.lesion_fundus), **found}
    size = (len(eye.fundus), len(eye.fundus))
    return {
        name: resize(torch.from_numpy(mask)[None, None].float() / 255, size) for name, mask in found.items()
    }
