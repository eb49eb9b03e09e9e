"""Masks of the photo that a network draws, such as its vessels."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from fund2oct.by_path import check_named_by_user, import_by_path

_ROUNDING = 1e-3
_IN_RANGE: WeakSet[nn.Module] = WeakSet()
"""Networks whose masks were seen to lie in [0, 1]."""


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
