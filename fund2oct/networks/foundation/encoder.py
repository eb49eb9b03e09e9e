"""A photo encoder made of a network that others trained on many pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Self

from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.networks.foundation.local_weights import CONFIG, find_local_weights
from fund2oct.networks.foundation.mae_layout import load_mae
from fund2oct.networks.foundation.pyramid import TokenPyramid
from fund2oct.networks.foundation.timm_models import is_timm_file, load_timm, load_timm_folder
from fund2oct.networks.foundation.transformers_models import load_transformers
from fund2oct.networks.foundation.tuning import choose_trained

_IN_FOLDERS = re.compile(r"model[-.].*safetensors|pytorch_model[-.].*bin")
"""Names of weights that the hub has beside a configuration."""


class FoundationEncoder(nn.Module):
    """A photo encoder on weights of others: DINOv2, DINOv3, RETFound, ConvNeXt, any model of timm.

    What the weights are is read from where they lie:

    * a folder with the ``config.json`` of transformers: DINOv2, DINOv3, ViT, ViT-MAE or ConvNeXt;
    * a folder with the ``config.json`` of timm, or a file whose name is that of a timm model;
    * any other file: a masked autoencoder in the layout of MAE and RETFound.

    The photo gets the size and the normalisation that belong to the weights. Of a vision transformer four
    depths are taken at even distances, normalised by its last layer norm, and made into a pyramid by trained
    layers. The maps of other networks have sizes of their own; their channels are normalised at each place.
    The network stays in evaluation mode, also where it is trained.

    Args:
        weights: path or name of the weights, see
            :func:`~fund2oct.networks.foundation.local_weights.find_local_weights`.
        fine_tune: False to train none of its weights, True to train all, a number to train its last blocks.
        lora_rank: rank of trained low-rank changes of its linear layers (LoRA); 0 for none.
        width_px: width in pixels to which photos are resized; None takes that of the weights.

    Raises:
        ValueError: if there are no such weights, they are damaged or of an unknown kind.
        ModuleNotFoundError: if a package is missing, or weights that a checkpoint needs.

    References:
        Hu et al., LoRA, ICLR 2022, arXiv:2106.09685.

    Example:
        >>> encoder = FoundationEncoder("/data/dinov2-small")  # doctest: +SKIP
        >>> [tuple(each.shape) for each in encoder(torch.rand(1, 3, 512, 512))]  # doctest: +SKIP
        [(1, 64, 64, 64), (1, 96, 32, 32), (1, 128, 16, 16), (1, 192, 8, 8)]
    """

    def __init__(
        self,
        weights: str,
        fine_tune: bool | int = False,
        lora_rank: int = 0,
        width_px: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = load_backbone(find_local_weights(weights).path, width_px)
        choose_trained(self.backbone, fine_tune, lora_rank)
        channels = self.backbone.channels
        one_size = len(set(self.backbone.reductions)) == 1
        self.pyramid = TokenPyramid(channels) if one_size else None
        self.channels: tuple[int, ...] = self.pyramid.channels if self.pyramid else channels
        self.train()

    @property
    def width_px(self) -> int:
        """Width in pixels to which photos are resized."""
        return self.backbone.photo_input.width_px

    def train(self, mode: bool = True) -> Self:
        """Put the layers of the pyramid into training mode; the network stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, fundus: Tensor) -> list[Tensor]:
        """Encode photos.

        Args:
            fundus: photos in [0, 1], RGB, shape ``(B, 3, H, H)``.

        Returns:
            A map for each of ``channels``, the finest first.
        """
        maps = self.backbone(self.backbone.photo_input(fundus))
        return self.pyramid(maps) if self.pyramid else [_normalised(each) for each in maps]


def _normalised(maps: Tensor) -> Tensor:
    """Maps ``(B, C, h, w)`` whose channels have mean 0 and deviation 1 at each place."""
    return F.layer_norm(maps.permute(0, 2, 3, 1), maps.shape[1:2], eps=1e-6).permute(0, 3, 1, 2)


def _is_of_a_folder(path: Path) -> bool:
    """Whether a file's folder says what its weights are."""
    if not _IN_FOLDERS.fullmatch(path.name):
        return False
    try:
        config = json.loads((path.parent / CONFIG).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and ("model_type" in config or "architecture" in config)


def load_backbone(path: Path, width_px: int | None = None) -> Backbone:
    """Build the network that some weights belong to, and give it the weights.

    Args:
        path: a folder or file, see :class:`FoundationEncoder`.
        width_px: width in pixels to which photos are resized; None takes that of the weights.

    Returns:
        The network.

    Raises:
        ValueError: if the weights are damaged or of an unknown kind.
        ModuleNotFoundError: if a package is missing.
    """
    if path.is_file():
        if _is_of_a_folder(path):
            raise ValueError(
                f"encoder: {path}: belongs to the {CONFIG} beside it; name the folder, {path.parent}"
            )
        return load_timm(path, width_px) if is_timm_file(path) else load_mae(path, width_px)
    try:
        config = json.loads((path / CONFIG).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"encoder: {path / CONFIG}: damaged ({error})") from None
    if isinstance(config, dict) and "model_type" in config:
        return load_transformers(path, config, width_px)
    if isinstance(config, dict) and "architecture" in config:
        return load_timm_folder(path, config, width_px)
    raise ValueError(
        f"encoder: {path / CONFIG}: expected the model_type of transformers or the architecture of timm"
    )
