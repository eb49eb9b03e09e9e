"""Networks of the package timm, read from a file that is named like one, or from a folder of the hub."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fund2oct.networks.features.weight_files import read_weights
from fund2oct.networks.foundation.backbone import Backbone, check_width, evenly
from fund2oct.networks.foundation.photo_input import PhotoInput

_NAMED = re.compile(r"[a-z][a-z0-9_]*\.(?!\d+$)[a-z0-9_]+|(vit|deit3?|flexivit)_\w*patch\d+\w*")
"""Names of files of timm: ARCHITECTURE.TAG, and the transformers whose weights have the names of MAE's."""


def is_timm_file(path: Path) -> bool:
    """Whether a file is named like a model of timm: ``ARCHITECTURE.TAG`` or ``ARCHITECTURE``, and an ending.

    Raises:
        ModuleNotFoundError: if it is named so and timm is missing. Read as something else, its photos would
            be normalised in another way.
    """
    try:
        timm = _timm()
    except ModuleNotFoundError as error:
        if not _NAMED.fullmatch(path.stem):
            return False
        raise ModuleNotFoundError(
            f"encoder: {path}: is named like a model of timm; {error}. If it is a masked autoencoder in the "
            "layout of MAE, give it another name, such as my_mae.pth"
        ) from error
    return bool(timm.is_model(path.stem))


def load_timm(path: Path, width_px: int | None = None) -> Backbone:
    """Read a network whose name is that of its file, such as ``convnext_tiny.fb_in22k.safetensors``.

    Args:
        path: ``.safetensors`` or ``.pth``. Of a ``.pth`` only tensors and plain values are read.
        width_px: width in pixels to which photos are resized; None takes that of the weights.

    Returns:
        The network.

    Raises:
        ValueError: if the file is damaged, or lacks weights of the network; or if its name has no tag, and
            timm knows weights of this network that want different photos.
        ModuleNotFoundError: if ``timm`` is missing.
    """
    timm = _timm()
    if "." not in path.stem:
        _check_one_kind(timm, path)
    weights = read_weights(path, "encoder")
    known = timm.get_pretrained_cfg(path.stem.partition(".")[0])
    names = getattr(known, "classifier", None) or ()
    heads = [weights.get(f"{name}.weight") for name in ([names] if isinstance(names, str) else names)]
    # As many classes as the file has, so that a weight that is missing is not drawn at random.
    n_classes = len(heads[0]) if heads and heads[0] is not None else 0
    overlay = {"state_dict": weights, "num_classes": n_classes, "label_offset": 0}
    return _load(path, path.stem, width_px, pretrained_cfg_overlay=overlay, num_classes=n_classes)


def _check_one_kind(timm: Any, path: Path) -> None:
    """Refuse a file without a tag where the tag alone says how the photo is wanted."""
    tagged = timm.list_pretrained(f"{path.stem}.*")
    wanted = set()
    for name in tagged:
        known = timm.get_pretrained_cfg(name)
        wanted.add((tuple(known.input_size), tuple(known.mean), tuple(known.std), known.interpolation))
    if len(wanted) > 1:
        some = ", ".join(tagged[:3])
        raise ValueError(
            f"encoder: {path}: its name does not say which of timm's {len(tagged)} weights of this network "
            "it holds, and they want photos of different sizes or normalisations; name it with its tag, as "
            f"in {some}"
        )


def load_timm_folder(folder: Path, config: Mapping[str, Any], width_px: int | None = None) -> Backbone:
    """Read a network of timm from a folder of the hub, whose ``config.json`` names an ``architecture``.

    Args:
        folder: with ``config.json`` and weights.
        config: content of ``config.json``.
        width_px: as in :func:`load_timm`.

    Returns:
        The network.

    Raises:
        ValueError: if timm does not know it, or weights are missing.
        ModuleNotFoundError: if ``timm`` is missing.
    """
    if not _timm().is_model(str(config["architecture"])):
        raise ValueError(f"encoder: {folder}: timm knows no architecture {config['architecture']!r}")
    return _load(folder, f"local-dir:{folder}", width_px)


def _load(path: Path, name: str, width_px: int | None, **options: Any) -> Backbone:
    timm = _timm()
    try:
        network = timm.create_model(name, pretrained=True, **options)
    except (RuntimeError, ValueError, KeyError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"encoder: {path}: damaged, or not the weights of its name ({reason})") from error
    network.reset_classifier(0)
    wanted = timm.data.resolve_model_data_config(network)
    _, height, width = wanted["input_size"]
    interpolation = wanted["interpolation"]
    backbone = TimmBackbone(
        network,
        PhotoInput(
            width_px or width,
            tuple(wanted["mean"]),
            tuple(wanted["std"]),
            interpolation=interpolation if interpolation in ("nearest", "bilinear") else "bicubic",
        ),
    )
    if width_px and (width_px, width_px) != (height, width) and hasattr(network, "set_input_size"):
        network.set_input_size(img_size=(width_px, width_px))
    return backbone


class TimmBackbone(Backbone):
    """A network of timm: the maps of all its stages, or of four depths where all have one size.

    The latter are normalised by its last layer norm. Of a network that classifies by the mean of its tokens
    that is the norm of the mean, which is applied to each token.

    Args:
        network: a model of timm, without its classifier.
        photo_input: how it wants the photo.

    Raises:
        ValueError: if timm does not return maps of this network, or its patches do not fill the photo's
            width.
    """

    def __init__(self, network: nn.Module, photo_input: PhotoInput) -> None:
        super().__init__()
        if not hasattr(network, "forward_intermediates"):
            raise ValueError(
                f"encoder: timm returns no maps of a {type(network).__name__}; choose another model"
            )
        norm, of_mean = getattr(network, "norm", None), getattr(network, "fc_norm", None)
        if isinstance(norm, nn.Identity) and isinstance(of_mean, nn.Module):
            # A transformer that classifies by the mean of its tokens has its last norm after that mean.
            network.norm, network.fc_norm = of_mean, norm
        self.network = network
        self.photo_input = photo_input
        stages: Any = network.feature_info
        self.one_size = len({stage["reduction"] for stage in stages}) == 1
        self.indices = (
            [depth - 1 for depth in evenly(len(stages))] if self.one_size else list(range(len(stages)))
        )
        self.channels = tuple(stages[index]["num_chs"] for index in self.indices)
        self.reductions = tuple(stages[index]["reduction"] for index in self.indices)
        if self.one_size:
            check_width(photo_input.width_px, self.reductions[0], "the patch's")

    def forward(self, prepared: Tensor) -> list[Tensor]:
        """Maps of prepared photos, each ``(B, C, h, w)``."""
        maps: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]
            prepared, indices=self.indices, norm=self.one_size, intermediates_only=True
        )
        width_px = prepared.shape[-1]
        for each, cell_px in zip(maps, self.reductions, strict=True):
            # Rounded down, the photo's last pixels are in no cell; rounded up, its edge is padded.
            if each.shape[-1] != math.ceil(width_px / cell_px):
                raise ValueError(
                    f"encoder_px: expected maps that span the whole photo of {width_px} pixels, found "
                    f"{each.shape[-1]} cells of {cell_px}; choose a multiple of {max(self.reductions)} "
                    "pixels, or another network"
                )
        return maps

    def blocks(self) -> list[list[str]]:
        """Names of the weights of each block of a transformer, or of each stage of another network."""
        matcher = self.network.group_matcher(coarse=not self.one_size)  # type: ignore[operator]
        # What belongs to no block, such as the first layers, comes last.
        groups = _timm().models.group_parameters(self.network, {"blocks": matcher["blocks"]})
        return [[f"network.{name}" for name in groups[number]] for number in sorted(groups)[:-1]]


def _timm() -> Any:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision for another torch breaks with the latter
        reason = " ".join(str(error).split())[:150]
        raise ModuleNotFoundError(
            'this encoder needs timm: pip install "fund2oct[timm]", with the torchvision of your torch '
            f"({reason})"
        ) from error
    return timm
