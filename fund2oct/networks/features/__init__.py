"""Frozen networks whose features are compared by perceptual losses and by distances between sets.

Each describes images or videos in [0, 1] by named vectors, see :class:`FeatureNetwork`:

=================== ======================== ================================= ==================
name                input                    outputs, the default first        trained with
=================== ======================== ================================= ==================
efficientnet_lite0  images                   pooled 1280, logits 1000          ImageNet
efficientnet_lite1  images                   pooled 1280, logits 1000          ImageNet
i3d                 videos of >= 9 frames    logits 400, pooled 1024           Kinetics-400
oct3d               videos                   pooled 16, logits 2               OCT of nerve heads
=================== ======================== ================================= ==================
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fund2oct.by_path import check_named_by_user, import_by_path
from fund2oct.networks.features.base import FeatureNetwork
from fund2oct.networks.features.efficientnet import EfficientNetLite0, EfficientNetLite1
from fund2oct.networks.features.i3d import I3D
from fund2oct.networks.features.oct3d import OCT3D
from fund2oct.networks.features.user import (
    UserNetwork,
    load_torch_fidelity,
    load_torchscript,
    load_torchvision,
)

__all__ = [
    "I3D",
    "OCT3D",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "FeatureNetwork",
    "UserNetwork",
    "load_feature_network",
    "load_torch_fidelity",
    "load_torchscript",
    "load_torchvision",
]

MEASURES = {"image": "efficientnet_lite0", "video": "i3d"}
"""Networks by which the distances between sets compare eyes, unless another is asked for."""

_OWN: dict[str, Callable[[], FeatureNetwork]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_lite1": EfficientNetLite1,
    "i3d": I3D,
    "oct3d": OCT3D,
    "torch_fidelity:inception": load_torch_fidelity,
}
_BY_ARGUMENT: dict[str, Callable[[str], FeatureNetwork]] = {
    "torchscript": load_torchscript,
    "torchvision": load_torchvision,
}


def load_feature_network(spec: str) -> FeatureNetwork:
    """Build a frozen feature network from its name.

    Args:
        spec: one of

            * ``"efficientnet_lite0"``, ``"efficientnet_lite1"``, ``"i3d"``, ``"oct3d"``:
              :class:`EfficientNetLite0`, :class:`EfficientNetLite1`, :class:`I3D`, :class:`OCT3D`;
            * ``"torchscript:PATH"``, see :func:`load_torchscript`;
            * ``"torchvision:NAME"``, see :func:`load_torchvision`;
            * ``"torch_fidelity:inception"``, see :func:`load_torch_fidelity`;
            * ``"module:factory"``, a function of your own without arguments. It returns a
              :class:`FeatureNetwork`, or a module that maps images ``(N, 1 or 3, H, W)`` in [0, 1] to a
              tensor, a list or a dictionary of features, of which a :class:`UserNetwork` is made.

    Returns:
        The network in evaluation mode; its parameters require no gradient.

    Raises:
        ValueError: if the name is unknown, the import path leads nowhere or a file is broken.
        TypeError: if the factory returns something else than a module.
        ImportError: if an optional package is missing.
        OSError: if weights or a file are missing.

    Example:
        >>> import torch
        >>> network = load_feature_network("efficientnet_lite0")
        >>> network.features(torch.rand(2, 1, 32, 48))["pooled"].shape  # of two B-scans
        torch.Size([2, 1280])
    """
    if spec in _OWN:
        return _OWN[spec]()
    prefix, colon, rest = spec.partition(":")
    if not colon:
        raise ValueError(
            f"feature network: expected {', '.join(map(repr, _OWN))}, 'torchscript:PATH', "
            f"'torchvision:NAME' or 'module:factory', found {spec!r}"
        )
    check_named_by_user(spec)
    if prefix in _BY_ARGUMENT:
        return _BY_ARGUMENT[prefix](rest)
    try:
        factory = import_by_path(spec)
    except ValueError as error:
        raise ValueError(f"feature network: cannot import {error}") from error
    network = factory()
    if not isinstance(network, nn.Module):
        raise TypeError(f"feature network: {spec!r} returned a {type(network).__name__}, not a module")
    if not isinstance(network, FeatureNetwork):
        return UserNetwork(network)
    network._freeze()
    return network
