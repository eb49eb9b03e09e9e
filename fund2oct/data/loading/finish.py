"""From the bytes that a loader reads to the batch that a model sees, on the model's device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from fund2oct.by_path import check_named_by_user, import_by_path
from fund2oct.data.augmenting.photo_map import PhotoMap
from fund2oct.data.preparing.photo import resize
from fund2oct.geometry import Symmetry

Pictures = Tensor | list[Tensor]

_ROUNDING = 1e-3
_IN_RANGE: WeakSet[nn.Module] = WeakSet()
"""Networks whose masks were seen to lie in [0, 1]."""


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
        pictures: uint8; ``fundus`` :math:`(B, H, H, 3)`, ``volume`` and ``rescan`` :math:`(B, S, Z, X)`,
            each a list of B where the sizes differ.
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
    """

    fundus_px: int
    size: tuple[int, int]
    vessels: nn.Module | None = None

    def __call__(self, raw: RawBatch) -> dict[str, Any]:
        """Make the batch that models see, all pictures float32 in [0, 1]."""
        batch: dict[str, Any] = {}
        for name, many in raw.pictures.items():
            if name == "fundus":
                photos = _stacked(many, lambda stack: stack.permute(0, 3, 1, 2), (self.fundus_px,) * 2)
                batch["fundus"] = _moved_photos(photos, raw.symmetries, raw.photo_maps)
            else:
                scans = _moved_scans(many, raw.symmetries)
                batch[name] = _stacked(scans, lambda stack: stack, self.size)[:, None]
        pictures: dict[str, Any] = with_vessels(batch, self.vessels)
        return pictures | raw.values | raw.texts


def vessels_of(path: str | None) -> nn.Module | None:
    """The network that the setting ``vessel_network`` names; None where it names none."""
    return load_mask_network(path) if path else None


def with_vessels(batch: Any, network: nn.Module | None) -> Any:
    """A batch with the map ``vessels``, if there is a network that draws it, and a photo."""
    if network is None or "fundus" not in batch:
        return batch
    return batch | {"vessels": draw_mask(network, batch["fundus"], "vessel_network")}


def draw_mask(network: nn.Module, photos: Tensor, name: str) -> Tensor:
    """Draw a mask of photos, such as their vessels.

    Args:
        network: from :func:`load_mask_network`.
        photos: in [0, 1], shape ``(B, 3, H, H)``.
        name: of the mask or of the option, for errors.

    Returns:
        Masks in [0, 1], shape ``(B, 1, H, H)``.

    Raises:
        ValueError: if the network returns something else.
    """
    if photos.is_meta:  # a step that is only weighed: the network would lose its weights there
        return photos[:, :1]
    # No part of a model: it has to be told where the photos are.
    with torch.no_grad():
        maps = network.to(photos.device)(photos)
    wanted = (len(photos), 1, *photos.shape[-2:])
    if not isinstance(maps, Tensor) or tuple(maps.shape) != wanted:
        found = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ValueError(f"{name}: expected maps of shape {wanted}, found {found}")
    if network not in _IN_RANGE or photos.device.type == "cpu":  # elsewhere once: a look waits for the device
        low, high = float(maps.min()), float(maps.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # nor NaN
            raise ValueError(
                f"{name}: expected maps in [0, 1], found {low:.3g} to {high:.3g}; "
                "end the network with a sigmoid"
            )
        _IN_RANGE.add(network)
    return maps.float()


def load_mask_network(name: str, option: str = "vessel_network") -> nn.Module:
    """Load a network that draws a mask of the photo, such as its vessels, ready for use.

    Args:
        name: path of a TorchScript file (``.pt``), or import path of a class or function without
            arguments that returns a module.
        option: what the user named it by, for errors.

    Returns:
        The network, frozen and in evaluation mode. It takes photos ``(B, 3, H, H)`` in [0, 1] and returns
        masks ``(B, 1, H, H)`` in [0, 1].

    Raises:
        ValueError: if there is no such file or name, or it is no network.

    Example:
        >>> class RedChannel(nn.Module):
        ...     def forward(self, photo: torch.Tensor) -> torch.Tensor:
        ...         return photo[:, :1]
        >>> torch.jit.trace(RedChannel(), torch.rand(1, 3, 48, 48)).save("vessels.pt")
        >>> load_mask_network("vessels.pt")(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 1, 64, 64])
    """
    check_named_by_user(name)
    if Path(name).is_file():
        try:
            network: Any = torch.jit.load(name, map_location="cpu")
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"{option}: {name}: not a TorchScript file ({reason})") from error
    else:
        try:
            factory = import_by_path(name)
        except ValueError as error:
            raise ValueError(
                f"{option}: expected a TorchScript file or an import path, found {error}"
            ) from error
        try:
            network = factory()
        except TypeError as error:
            raise ValueError(
                f"{option}: {name}: expected a class or function that needs no arguments: {error}"
            ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{option}: {name}: expected a network, found {type(network).__name__}")
    for parameter in network.parameters():  # one by one: TorchScript modules cannot do it at once
        parameter.requires_grad_(False)
    return network.eval()


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
