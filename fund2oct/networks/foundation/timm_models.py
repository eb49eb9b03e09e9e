"""Networks of the package timm, read from a file that is named like one, or from a folder of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fund2oct.networks.features.weight_files import read_weights
from fund2oct.networks.foundation.backbone import Backbone, evenly
from fund2oct.networks.foundation.photo_input import PhotoInput


def is_timm_file(path: Path) -> bool:
    """Whether timm is there and knows a model of the file's name, without its ending and its tag."""
    try:
        timm = _timm()
    except ModuleNotFoundError:
        return False
    return bool(timm.is_model(path.stem))


def load_timm(path: Path, width_px: int | None = None) -> Backbone:
    """Read a network whose name is that of its file, such as ``convnext_tiny.fb_in22k.safetensors``.

    Args:
        path: ``.safetensors`` or ``.pth``. Of a ``.pth`` only tensors and plain values are read.
        width_px: width in pixels to which photos are resized; None takes that of the weights.

    Returns:
        The network.

    Raises:
        ValueError: if the file is damaged, or lacks weights of the network.
        ModuleNotFoundError: if ``timm`` is missing.
    """
    timm = _timm()
    weights = read_weights(path, "encoder")
    known = timm.get_pretrained_cfg(path.stem.partition(".")[0])
    names = getattr(known, "classifier", None) or ()
    heads = [weights.get(f"{name}.weight") for name in ([names] if isinstance(names, str) else names)]
    # As many classes as the file has, so that a weight that is missing is not drawn at random.
    n_classes = len(heads[0]) if heads and heads[0] is not None else 0
    overlay = {"state_dict": weights, "num_classes": n_classes, "label_offset": 0}
    return _load(path, path.stem, width_px, pretrained_cfg_overlay=overlay, num_classes=n_classes)


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
    if width_px and (width_px, width_px) != (height, width) and hasattr(network, "set_input_size"):
        network.set_input_size(img_size=(width_px, width_px))
    interpolation = wanted["interpolation"]
    return TimmBackbone(
        network,
        PhotoInput(
            width_px or width,
            tuple(wanted["mean"]),
            tuple(wanted["std"]),
            interpolation=interpolation if interpolation in ("nearest", "bilinear") else "bicubic",
        ),
    )


class TimmBackbone(Backbone):
    """A network of timm: the maps of all its stages, or of four depths where all have one size.

    Args:
        network: a model of timm, without its classifier.
        photo_input: how it wants the photo.

    Raises:
        ValueError: if timm does not return maps of this network.
    """

    def __init__(self, network: nn.Module, photo_input: PhotoInput) -> None:
        super().__init__()
        if not hasattr(network, "forward_intermediates"):
            raise ValueError(
                f"encoder: timm returns no maps of a {type(network).__name__}; choose another model"
            )
        self.network = network
        self.photo_input = photo_input
        stages: Any = network.feature_info
        self.one_size = len({stage["reduction"] for stage in stages}) == 1
        self.indices = (
            [depth - 1 for depth in evenly(len(stages))] if self.one_size else list(range(len(stages)))
        )
        self.channels = tuple(stages[index]["num_chs"] for index in self.indices)
        self.reductions = tuple(stages[index]["reduction"] for index in self.indices)

    def forward(self, prepared: Tensor) -> list[Tensor]:
        """Maps of prepared photos, each ``(B, C, h, w)``."""
        maps: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]
            prepared, indices=self.indices, norm=self.one_size, intermediates_only=True
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
