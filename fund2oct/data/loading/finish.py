"""From the bytes that a loader reads to the batch that a model sees, on the model's device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import nan, prod
from typing import Any

import torch
from torch import Tensor, nn

from fund2oct.data.augmenting.photo_map import PhotoMap
from fund2oct.data.masks.networks import with_vessels
from fund2oct.data.preparing.photo import resize
from fund2oct.geometry import Symmetry

Pictures = Tensor | list[Tensor]

MASKS = "masks"
"""The picture of a raw batch that holds the masks of the photos."""
MASKS_KNOWN = "masks_known"
"""Which of them each eye has: a value of a raw batch, and of no batch that models see."""


def empty_bytes(shape: tuple[int, ...], shared: bool) -> Tensor:
    """A uint8 tensor whose values are not set yet; in memory that all processes see, if ``shared``."""
    if not shared:
        return torch.empty(shape, dtype=torch.uint8)
    # As torch's own collate does it: a worker hands its batch over without copying it once more.
    storage = torch.UntypedStorage._new_shared(max(prod(shape), 1))
    return torch.empty(0, dtype=torch.uint8).set_(storage)[: prod(shape)].view(shape)


@dataclass(frozen=True)
class RawBatch:
    """A batch as the processes of a loader read it: bytes, which take a quarter of the room of floats.

    Args:
        pictures: uint8; ``fundus`` :math:`(B, H, H, 3)`, ``masks`` :math:`(B, M, H, H)`, ``volume`` and
            ``rescan`` :math:`(B, S, Z, X)`, each a list of B where the sizes differ.
        values: the other entries of the batch, moved by the symmetries already.
        texts: keys, patients, lateralities, diagnoses and metadata of the eyes.
        symmetries: for each eye, how its pictures are still to be moved; None leaves them.
        photo_maps: for each eye, how its photo is to be moved after that; None leaves it.
        skipped: keys of damaged eyes that others took the place of, with the reason of each.
    """

    pictures: dict[str, Pictures]
    values: dict[str, Tensor]
    texts: dict[str, list[str]]
    symmetries: tuple[Symmetry | None, ...]
    photo_maps: tuple[PhotoMap | None, ...]
    skipped: dict[str, str]

    def __getstate__(self) -> dict[str, Any]:
        # Each tensor from another process costs a handshake of a millisecond; small arrays are cheaper sent.
        return self.__dict__ | {"values": {name: value.numpy() for name, value in self.values.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = {name: torch.from_numpy(value) for name, value in state["values"].items()}
        self.__dict__.update(state | {"values": values})

    def to(self, device: torch.device | str, non_blocking: bool = True) -> RawBatch:
        """The same on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> RawBatch:
        """The same in memory that a device reads faster."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> RawBatch:
        pictures = {
            name: change(many) if isinstance(many, Tensor) else [change(one) for one in many]
            for name, many in self.pictures.items()
        }
        values = {name: change(value) for name, value in self.values.items()}
        return replace(self, pictures=pictures, values=values)


@dataclass(frozen=True)
class Finish:
    """Move, convert and resize pictures.

    Args:
        fundus_px: width of the photos.
        size: ``(Z, X)`` of the volumes.
        vessels: a network that draws the vessels of photos ``(B, 3, H, H)`` in [0, 1] as maps
            ``(B, 1, H, H)`` in [0, 1]; they join the batch as ``vessels``.
        masks: names of the masks that were read, in their order; each joins the batch under its name, shape
            ``(B, 1, H, H)``, and is all NaN for an eye that has none.
    """

    fundus_px: int
    size: tuple[int, int]
    vessels: nn.Module | None = None
    masks: tuple[str, ...] = ()

    def __call__(self, raw: RawBatch) -> dict[str, Any]:
        """Make the batch that models see, all pictures float32 in [0, 1]."""
        values = dict(raw.values)
        known = values.pop(MASKS_KNOWN, None)
        batch: dict[str, Any] = {}
        for name, many in raw.pictures.items():
            if name == "fundus":
                batch |= self._photos(raw, known)
            elif name != MASKS:
                scans = _moved_scans(many, raw.symmetries)
                batch[name] = _stacked(scans, lambda stack: stack, self.size)[:, None]
        pictures: dict[str, Any] = with_vessels(batch, self.vessels)
        return pictures | values | raw.texts

    def _photos(self, raw: RawBatch, known: Tensor | None) -> dict[str, Tensor]:
        """The photos, and the masks, which lie on them and move with them."""
        size = (self.fundus_px, self.fundus_px)
        photos = _stacked(raw.pictures["fundus"], lambda stack: stack.permute(0, 3, 1, 2), size)
        if known is None:
            return {"fundus": _moved_photos(photos, raw.symmetries, raw.photo_maps)}
        masks = _stacked(raw.pictures[MASKS], lambda stack: stack, size)
        moved = _moved_photos(torch.cat([photos, masks], 1), raw.symmetries, raw.photo_maps)
        photos, masks = moved[:, :3].contiguous(), moved[:, 3:]
        masks = masks.masked_fill(~known[..., None, None], nan)
        return {"fundus": photos, **dict(zip(self.masks, masks.split(1, 1), strict=True))}


def _stacked(many: Pictures, arrange: Callable[[Tensor], Tensor], size: tuple[int, int]) -> Tensor:
    stacks = [many] if isinstance(many, Tensor) else [one[None] for one in many]
    return torch.cat([resize(arrange(stack).float() / 255, size) for stack in stacks])


def _moved_photos(
    photos: Tensor, symmetries: tuple[Symmetry | None, ...], photo_maps: tuple[PhotoMap | None, ...]
) -> Tensor:
    # The identity is no symmetry here; going through a resampling of the photo would be wasted.
    for number, (symmetry, photo_map) in enumerate(zip(symmetries, photo_maps, strict=True)):
        photo = photos[number : number + 1]
        if photo_map is not None:
            photos[number] = photo_map.apply_to_fundus(photo, after=symmetry)[0]
        elif symmetry is not None:
            photos[number] = symmetry.apply_to_fundus(photo)[0]
    return photos


def _moved_scans(scans: Pictures, symmetries: tuple[Symmetry | None, ...]) -> Pictures:
    if not any(symmetries):
        return scans
    moved = [
        scan if symmetry is None else symmetry.apply_to_scan(scan, slice_dim=0)
        for scan, symmetry in zip(scans, symmetries, strict=True)
    ]
    return torch.stack(moved) if isinstance(scans, Tensor) else moved
