"""EfficientNet-Lite0 and Lite1, for photos and for single B-scans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fund2oct.networks.blocks import Recomputing
from fund2oct.networks.features.base import FeatureNetwork, weights_are_to_follow
from fund2oct.networks.features.padding import padded_for
from fund2oct.networks.features.weights import load_weights


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
_HEAD_CHANNELS = 1280
_CLASSES = 1000
# The last stage before each halving; the seventh stage is left out as the classifier's own.
_LEVELS = (1, 2, 3, 5, 6)


class EfficientNetLite(FeatureNetwork, Recomputing):
    r"""A network of the EfficientNet-Lite family, trained on ImageNet; see its subclasses.

    A call returns the feature maps of the first six stages, at 1/2 to 1/32 of the image's size.
    Its method ``features`` returns vectors after all seven stages:

    * ``pooled``, the 1280 channels after the last convolution, averaged over the image;
    * ``logits``, those of the 1000 classes.

    Intensities :math:`v` in [0, 1] are normalised to :math:`(255 v - 127) / 128`, as in the training of the
    weights. Grey images are repeated over the three colours. The batch normalisation is folded into the
    convolutions.

    Raises:
        ModuleNotFoundError: if the weights are missing; the message names the command that fetches
            them and the extra that installs them.
        ValueError: if the file of weights is broken or another one.

    References:
        Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946; the Lite variant has ReLU6 and no
        squeeze and excitation.
    """

    ndim = 4
    num_features: Mapping[str, int] = {"pooled": _HEAD_CHANNELS, "logits": _CLASSES}
    stages: tuple[_Stage, ...]
    channels = tuple(_STAGES[level - 1].channels for level in _LEVELS)

    def __init__(self) -> None:
        super().__init__()
        # The names, underscores included, are those of the published weights.
        self._conv_stem = _SameConv2d(3, _STEM_CHANNELS, 3, 2)
        self._bn0 = _batch_norm(_STEM_CHANNELS)
        self._blocks = nn.ModuleList()
        self._ends: list[int] = []
        before = _STEM_CHANNELS
        for number, stage in enumerate(self.stages, start=1):
            for block in range(stage.blocks):
                stride = 1 if block else stage.stride
                self._blocks.append(_Block(before, stage, stride))
                before = stage.channels
            if number in _LEVELS:
                self._ends.append(len(self._blocks) - 1)
        self._conv_head = _SameConv2d(before, _HEAD_CHANNELS, 1, 1)
        self._bn1 = _batch_norm(_HEAD_CHANNELS)
        self._fc = nn.Linear(_HEAD_CHANNELS, _CLASSES)
        if not weights_are_to_follow():
            self._load_published()
        # A processor computes 1x1 and depthwise convolutions a third faster with the channels last.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._fold()
        self._freeze()

    def _load_published(self) -> None:
        try:
            published = load_weights(self.name)
        except FileNotFoundError as error:
            raise ModuleNotFoundError(str(error)) from error
        self.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in published.items()})

    def without_classifier(self) -> Self:
        """Remove the layers after the last map, over half of the weights; :meth:`features` then fails."""
        del self._blocks[self._ends[-1] + 1 :]
        del self._conv_head, self._fc
        return self

    def _fold(self) -> None:
        """Fold the batch normalisations, which are fixed, into the convolutions before them: a quarter of
        the time goes by otherwise on scaling maps."""
        for block in (self, *self._blocks):
            block.eval()
            for conv, norm in block._pairs:
                setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
                delattr(block, norm)

    _pairs = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps of an image.

        Args:
            image: intensities in [0, 1], shape ``(N, 1, H, W)`` or ``(N, 3, H, W)``.

        Returns:
            Five feature maps with ``channels`` channels, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the
            image's size, rounded up.

        Raises:
            ValueError: if the image has another shape.
        """
        return self.maps(image, last=len(self._ends) - 1)

    def maps(self, image: Tensor, last: int) -> list[Tensor]:
        """Compute the first feature maps of :meth:`forward` only, which saves time.

        Args:
            image: intensities in [0, 1], shape ``(N, 1, H, W)`` or ``(N, 3, H, W)``.
            last: index of the last map, from 0.

        Returns:
            Maps 0 to ``last``.

        Raises:
            ValueError: if the image has another shape.
        """
        if image.ndim != 4 or image.shape[1] not in (1, 3):
            raise ValueError(f"image: expected (N, 1 or 3, H, W), found {tuple(image.shape)}")
        x = ((255 * image.expand(-1, 3, -1, -1) - 127) / 128).contiguous(memory_format=torch.channels_last)
        x = F.relu6(self._conv_stem(x), inplace=True)
        maps = []
        for number, block in enumerate(self._blocks[: self._ends[last] + 1]):
            x = self.part(block, x)
            if number in self._ends:
                maps.append(x)
        return maps

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        last = self.forward(x)[-1]
        for block in self._blocks[self._ends[-1] + 1 :]:
            last = block(last)
        pooled = F.relu6(self._conv_head(last), inplace=True).mean((-2, -1))
        return {"pooled": pooled, "logits": self._fc(pooled)}


class EfficientNetLite0(EfficientNetLite):
    """EfficientNet-Lite0, trained on ImageNet with images of 224 x 224 pixels.

    It is the default network of :class:`fund2oct.metrics.ImageDistance`. A call returns feature maps;
    Its method ``features`` returns the vectors ``pooled`` (1280) and ``logits`` (1000).

    Raises:
        ModuleNotFoundError: if the weights are missing; the message says how to get them.
        ValueError: if the file of weights is broken or another one.

    References:
        Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946, table 1. The Lite variant has ReLU6 and no
        squeeze and excitation.

    Example:
        >>> network, bscans = EfficientNetLite0(), torch.rand(2, 1, 32, 48)
        >>> network.features(bscans)["pooled"].shape, network(bscans)[0].shape
        (torch.Size([2, 1280]), torch.Size([2, 16, 16, 24]))
    """

    name = "efficientnet_lite0"
    size = (224, 224)
    stages = _STAGES


class EfficientNetLite1(EfficientNetLite):
    """EfficientNet-Lite1, trained on ImageNet with images of 240 x 240 pixels.

    It is the network of
    :class:`~fund2oct.networks.adversaries.feature_discriminator.FeatureDiscriminator` and of the perceptual
    term of :class:`fund2oct.models.VoxelGAN`, which must not use the network that evaluates (Lite0). A call
    returns feature maps; ``features`` returns the vectors ``pooled`` (1280) and ``logits`` (1000).

    Raises:
        ModuleNotFoundError: if the weights are missing; the message says how to get them.
        ValueError: if the file of weights is broken or another one.

    References:
        Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946, table 1 and section 3.3. The Lite variant has
        ReLU6 and no squeeze and excitation.

    Example:
        >>> network, bscans = EfficientNetLite1(), torch.rand(2, 1, 32, 48)
        >>> [level.shape[1:] for level in network(bscans)[:2]]
        [torch.Size([16, 16, 24]), torch.Size([24, 8, 12])]
    """

    name = "efficientnet_lite1"
    size = (240, 240)
    stages = tuple(
        stage._replace(blocks=blocks) for stage, blocks in zip(_STAGES, (1, 3, 3, 4, 4, 5, 1), strict=True)
    )


class _SameConv2d(nn.Conv2d):
    """TensorFlow's SAME padding, which puts the odd pixel at the end."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x, padding = padded_for(x, self.kernel_size, self.stride)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)


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
        self._pairs: tuple[tuple[str, str], ...] = (("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
        if self.expands:
            self._pairs = (("_expand_conv", "_bn0"), *self._pairs)
        self.residual = stride == 1 and before == stage.channels

    def forward(self, inputs: Tensor) -> Tensor:
        x = F.relu6(self._expand_conv(inputs), inplace=True) if self.expands else inputs
        x = F.relu6(self._depthwise_conv(x), inplace=True)
        x = self._project_conv(x)
        return x + inputs if self.residual else x


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
