"""Photo encoders: from a photo to a pyramid of 2D feature maps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.blocks import Recomputing, ResidualBlock
from fund2oct.networks.features.efficientnet import EfficientNetLite0
from fund2oct.networks.features.weights import find_weights
from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.networks.foundation.local_weights import find_local_weights


class FundusEncoder(Recomputing):
    """A photo encoder that is trained from random weights: a residual feature pyramid.

    Residual blocks halve the maps from level to level. Then each level is joined with the coarser one [1],
    so that the finest map, which has the photo's resolution, also depends on the whole photo. The position
    in the photo is given as two more channels [2], because retinal thickness depends on the distance from
    the fovea.

    An encoder of your own needs the same two members: ``channels``, and a ``forward`` that returns one map
    for each of them, each half as wide as the one before. One that resizes photos tells the width, in pixels,
    as ``width_px``.

    Args:
        channels: number of channels of each level, finest first. The maps of level ``l`` have ``1 / 2**l`` of
            the photo's size.

    References:
        [1] Lin et al., Feature pyramid networks, CVPR 2017, arXiv:1612.03144, section 3.

        [2] Liu et al., CoordConv, NeurIPS 2018, arXiv:1807.03247, section 3.

    Example:
        >>> encoder = FundusEncoder(channels=(8, 16, 32))
        >>> maps = encoder(torch.rand(1, 3, 64, 64))  # one photo
        >>> [tuple(each.shape) for each in maps]
        [(1, 8, 64, 64), (1, 16, 32, 32), (1, 32, 16, 16)]
    """

    def __init__(self, channels: Sequence[int] = (8, 24, 48, 64, 96)) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.stem = nn.Conv2d(5, self.channels[0], 3, padding=1)
        levels = [ResidualBlock(self.channels[0], self.channels[0])]
        levels += [
            ResidualBlock(fine, coarse, stride=2)
            for fine, coarse in zip(self.channels[:-1], self.channels[1:], strict=True)
        ]
        self.levels = nn.ModuleList(levels)
        self.merges = nn.ModuleList(
            nn.Sequential(nn.Conv2d(fine + coarse, fine, 1), ResidualBlock(fine, fine))
            for fine, coarse in zip(self.channels[:-1], self.channels[1:], strict=True)
        )

    def forward(self, fundus: Tensor) -> list[Tensor]:
        """Encode photos.

        Args:
            fundus: photos in [0, 1], RGB, shape ``(B, 3, H, W)``.

        Returns:
            A map for each level ``l``, shape ``(B, channels[l], H / 2**l, W / 2**l)``, finest first.

        Raises:
            ValueError: if the photo is not RGB or smaller than the coarsest level needs.
        """
        if fundus.ndim != 4 or fundus.shape[1] != 3:
            raise ValueError(f"fundus: expected (B, 3, H, W), found {tuple(fundus.shape)}")
        smallest = 2 ** (len(self.channels) - 1)
        if min(fundus.shape[-2:]) < smallest:
            raise ValueError(
                f"fundus: {len(self.channels)} levels need at least {smallest} pixels a side, "
                f"found {tuple(fundus.shape[-2:])}; give a larger photo or fewer levels"
            )
        x = self.stem(torch.cat([2 * fundus - 1, _positions(fundus)], 1))
        maps = []
        for level in self.levels:
            x = self.part(level, x)
            maps.append(x)
        # Down again, so that what is fine in place also knows what lies around it.
        for number in reversed(range(len(self.merges))):
            coarser = F.interpolate(maps[number + 1], maps[number].shape[-2:], mode="bilinear")
            maps[number] = self.part(self.merges[number], torch.cat([maps[number], coarser], 1))
        return maps


def _positions(fundus: Tensor) -> Tensor:
    height, width = fundus.shape[-2:]
    ys = torch.linspace(-1, 1, height, device=fundus.device, dtype=fundus.dtype)
    xs = torch.linspace(-1, 1, width, device=fundus.device, dtype=fundus.dtype)
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij"))
    return grid.expand(len(fundus), -1, -1, -1)


class PretrainedEncoder(nn.Module):
    """A photo encoder that was trained on ImageNet: the feature maps of EfficientNet-Lite0.

    It already responds to edges, blobs and colours, which an encoder with random weights has to learn from a
    few hundred eyes. On simulated eyes it lowered the error of the thickness more than any choice of the
    loss, even without being trained further.

    Args:
        fine_tune: True to train its weights too. Its batch normalisation stays fixed.
        width_px: width in pixels to which photos are resized for it. It was trained at 224; in smaller photos
            it recognises less.

    Raises:
        ModuleNotFoundError: if its weights are missing; the message says how to get them.

    References:
        Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946.

    Example:
        >>> encoder = PretrainedEncoder(width_px=64)
        >>> maps = encoder(torch.rand(1, 3, 128, 128))  # one photo
        >>> [tuple(each.shape) for each in maps]
        [(1, 16, 32, 32), (1, 24, 16, 16), (1, 40, 8, 8), (1, 112, 4, 4), (1, 192, 2, 2)]
    """

    usual_px = 192
    """Width where none is set."""
    _BALANCE = (1.0, 1.0, 1.0, 0.7, 0.7)
    """Factors that bring the maps, of which the later ones are stronger, to about the same size."""

    def __init__(self, fine_tune: bool = False, width_px: int = usual_px) -> None:
        super().__init__()
        self.width_px = width_px
        self.network = EfficientNetLite0().without_classifier()
        self.channels: tuple[int, ...] = tuple(self.network.channels)
        self.network.requires_grad_(fine_tune)

    def forward(self, fundus: Tensor) -> list[Tensor]:
        """Encode photos.

        Args:
            fundus: photos in [0, 1], RGB, shape ``(B, 3, H, H)``.

        Returns:
            Five maps at 1/2, 1/4, ... 1/32 of ``width_px``, rounded up, with ``channels`` channels.
        """
        if fundus.shape[-1] != self.width_px:
            size = self.width_px, self.width_px
            smaller = fundus.shape[-1] > self.width_px
            fundus = F.interpolate(fundus, size, mode="bilinear", align_corners=False, antialias=smaller)
        # By its padding each cell of a map would lie up to half a cell right of and below the place at which
        # it is read. But what it reacts to lies within a few pixels of that place, and reading at the shifted
        # places was worse: thickness errors of 18.2 and 18.1 um instead of 17.1 and 16.7 (seeds 0 and 2).
        maps = self.network(fundus)
        return [share * each for share, each in zip(self._BALANCE, maps, strict=True)]


ENCODERS: tuple[str, ...] = ("efficientnet_lite0", "own")
"""Names of the encoders of this library; any other name is that of weights on this machine."""


def available_encoder(name: str) -> str:
    """Replace ``"auto"`` by the pre-trained encoder if its weights are installed, else by ``"own"``.

    Without the weights a warning says how to get them.

    Args:
        name: ``"auto"``, or a name for :func:`build_encoder`, which is returned as it is.

    Returns:
        A name for :func:`build_encoder`.

    Example:
        >>> available_encoder("own")
        'own'
        >>> available_encoder("auto")  # with the extra "pretrained" installed
        'efficientnet_lite0'
    """
    if name != "auto":
        return name
    try:
        find_weights("efficientnet_lite0")
    except FileNotFoundError as error:
        warnings.warn(f"the photo encoder starts from nothing, for want of {error}", stacklevel=2)
        return "own"
    return "efficientnet_lite0"


def encoder_for_file(name: str) -> str:
    """The name under which a checkpoint holds an encoder: of weights on this machine, name and digest.

    Args:
        name: a name for :func:`build_encoder`.

    Returns:
        The same for an encoder of this library, else ``NAME@sha256:DIGEST``, without the path.

    Raises:
        ValueError: if there are no weights of this name on this machine.
        ModuleNotFoundError: if weights with this digest are not on this machine.

    Example:
        >>> encoder_for_file("own")
        'own'
    """
    return name if name in ENCODERS else find_local_weights(name).pinned


def check_encoder(
    name: str,
    fine_tune: bool | int = False,
    width_px: int | None = None,
    lora_rank: int = 0,
) -> None:
    """Refuse arguments of :func:`build_encoder` for which an encoder of this library has no use.

    Args:
        name: name of the encoder; one of weights on this machine is not checked here.
        fine_tune: what of it is trained.
        width_px: width in pixels to which photos are resized for it.
        lora_rank: rank of trained low-rank changes.

    Raises:
        ValueError: if single blocks or low-rank changes are asked of an encoder of this library, or a width
            of the one that starts from random weights.

    Example:
        >>> check_encoder("efficientnet_lite0", fine_tune=True, width_px=224)
    """
    if name in ENCODERS and (lora_rank or not isinstance(fine_tune, bool)):
        raise ValueError(
            f"encoder {name}: expected fine_tune true or false, and lora_rank 0, found {fine_tune} and "
            f"{lora_rank}; single blocks and LoRA are for foundation encoders"
        )
    if name == "own" and width_px is not None:
        raise ValueError(
            f"encoder own: expected no encoder_px, found {width_px}; it reads photos as wide as they are, "
            "which is fundus_px of the data"
        )


def build_encoder(
    name: str,
    fine_tune: bool | int = False,
    width_px: int | None = None,
    lora_rank: int = 0,
) -> nn.Module:
    """Build a photo encoder by its name.

    Args:
        name: ``"efficientnet_lite0"`` for a :class:`PretrainedEncoder`; ``"own"`` for a
            :class:`FundusEncoder`, which starts from random weights; or path or name of weights on this
            machine, for a :class:`~fund2oct.networks.foundation.encoder.FoundationEncoder`.
        fine_tune: True to train the weights of a pre-trained encoder too; a number to train the last so many
            blocks of a foundation encoder.
        width_px: width in pixels to which photos are resized for a pre-trained encoder; None takes that of
            the weights, for EfficientNet-Lite0 192. ``"own"`` takes photos as they are.
        lora_rank: rank of trained low-rank changes of a foundation encoder; 0 for none.

    Returns:
        A module with ``channels`` that maps photos ``(B, 3, H, H)`` in [0, 1] to one map for each of them.

    Raises:
        ValueError: if there is no encoder of this name, or it cannot be trained in this way.
        ModuleNotFoundError: if the weights of a pre-trained encoder, or a package, are missing.

    Example:
        >>> build_encoder("own").channels
        (8, 24, 48, 64, 96)
    """
    if name not in ENCODERS:
        from fund2oct.networks.foundation.encoder import FoundationEncoder

        return FoundationEncoder(name, fine_tune, lora_rank, width_px)
    check_encoder(name, fine_tune, width_px, lora_rank)
    if name == "own":
        return FundusEncoder()
    return PretrainedEncoder(bool(fine_tune), width_px or PretrainedEncoder.usual_px)


def pretrained_parts(network: nn.Module) -> list[nn.Module]:
    """The parts of a network whose weights others have trained, which are trained on slowly if at all.

    Args:
        network: any network.

    Returns:
        The pre-trained networks of its encoders.

    Example:
        >>> pretrained_parts(FundusEncoder())
        []
    """
    return [part for part in network.modules() if isinstance(part, EfficientNetLite0 | Backbone)]
