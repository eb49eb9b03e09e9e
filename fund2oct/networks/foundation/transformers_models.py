"""Networks of the package transformers, read from a folder as the Hugging Face hub gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fund2oct.networks.foundation.backbone import Backbone, check_width, evenly
from fund2oct.networks.foundation.local_weights import PHOTO_CONFIG
from fund2oct.networks.foundation.photo_input import INTERPOLATIONS, PhotoInput

TRANSFORMERS = ("dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "vit_mae")
"""Vision transformers, by the ``model_type`` of their ``config.json``."""
CONVNETS = ("convnext", "convnextv2", "dinov3_convnext")
"""Convolutional networks with a stage for each size, likewise."""

_RESAMPLING = dict(zip((0, 2, 3), INTERPOLATIONS, strict=True))
"""Interpolations by their numbers in Pillow."""


def load_transformers(folder: Path, config: Mapping[str, Any], width_px: int | None = None) -> Backbone:
    """Read a network and how it wants the photo.

    Args:
        folder: with ``config.json``, ``preprocessor_config.json`` and weights.
        config: content of ``config.json``.
        width_px: width in pixels to which photos are resized; None takes that of the weights.

    Returns:
        The network.

    Raises:
        ValueError: if the kind is unknown, the weights are not all there, or nothing says how the photo is
            wanted.
        ModuleNotFoundError: if ``transformers`` is missing.
    """
    kind = config["model_type"]
    if kind not in TRANSFORMERS + CONVNETS:
        known = ", ".join(TRANSFORMERS + CONVNETS)
        raise ValueError(f"encoder: {folder}: expected a model_type out of {known}, found {kind!r}")
    photo_input = read_photo_input(folder, width_px)
    with quiet_transformers() as library:
        # A masked autoencoder's encoder is a plain transformer that sees all patches.
        plain = kind in ("vit", "vit_mae")
        made_by = library.ViTModel if plain else library.AutoModel
        options = {"add_pooling_layer": False} if plain else {}
        # Else the file decides, which can name a kernel to be fetched.
        attention = "sdpa" if kind in TRANSFORMERS else "eager"
        try:
            network, report = made_by.from_pretrained(
                folder, attn_implementation=attention, **options, **_OPTIONS
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"encoder: {folder}: damaged, or not what its config.json says ({reason})"
            ) from error
    check_complete(folder, report)
    made = TransformerBackbone if kind in TRANSFORMERS else ConvBackbone
    return made(network, photo_input)


_OPTIONS: dict[str, Any] = {
    "local_files_only": True,
    "trust_remote_code": False,
    "output_loading_info": True,
    "ignore_mismatched_sizes": True,  # which the report then names
    "dtype": torch.float32,
}
"""What keeps transformers from the network and from code in the folder, and lets it say what it found."""


class TransformerBackbone(Backbone):
    """A vision transformer: maps of four depths, normalised by its last layer norm.

    Args:
        network: a model of transformers, without a head.
        photo_input: how it wants the photo.

    Raises:
        ValueError: if the photo's width is no multiple of the patch's.
    """

    network: Any

    def __init__(self, network: Any, photo_input: PhotoInput) -> None:
        super().__init__()
        config = network.config
        patch_px = config.patch_size
        check_width(photo_input.width_px, patch_px, "the patch's")
        self.network = network
        self.photo_input = photo_input
        self.depths = evenly(config.num_hidden_layers)
        self.channels = len(self.depths) * (config.hidden_size,)
        self.reductions = len(self.depths) * (patch_px,)
        # DINOv2 always does it for another size than its own, DINOv3 has no table of positions.
        resized = config.model_type in ("vit", "vit_mae") and photo_input.width_px != config.image_size
        self._options = {"interpolate_pos_encoding": True} if resized else {}

    def forward(self, prepared: Tensor) -> list[Tensor]:
        """Maps of prepared photos, each ``(B, C, h, w)``; ``h`` and ``w`` are the numbers of patches."""
        out = self.network(pixel_values=prepared, output_hidden_states=True, **self._options)
        last = out.last_hidden_state  # after the layer norm, which the other depths still need
        norm = getattr(self.network, "norm", None) or self.network.layernorm
        n_patches = (self.photo_input.width_px // self.reductions[0]) ** 2
        found = [*(norm(out.hidden_states[depth]) for depth in self.depths[:-1]), last]
        return [_as_map(tokens, n_patches) for tokens in found]

    def blocks(self) -> list[list[str]]:
        """Names of the weights of each transformer block."""
        return _blocks(self, self.network.config.num_hidden_layers)


class ConvBackbone(Backbone):
    """A ConvNeXt: the maps of its stages, each half as fine as the one before.

    Args:
        network: a model of transformers, without a head.
        photo_input: how it wants the photo.

    Raises:
        ValueError: if the photo's width is no multiple of a cell of the coarsest map.
    """

    network: Any

    def __init__(self, network: Any, photo_input: PhotoInput) -> None:
        super().__init__()
        self.network = network
        self.photo_input = photo_input
        self.channels = tuple(network.config.hidden_sizes)
        self.reductions = tuple(4 * 2**stage for stage in range(len(self.channels)))
        # Each stage drops what is left over at the edge.
        check_width(photo_input.width_px, self.reductions[-1], "the coarsest map's")

    def forward(self, prepared: Tensor) -> list[Tensor]:
        """Maps of prepared photos, ``(B, C_l, h_l, w_l)``."""
        return list(self.network(pixel_values=prepared, output_hidden_states=True).hidden_states[1:])

    def blocks(self) -> list[list[str]]:
        """Names of the weights of each stage."""
        return _blocks(self, len(self.channels))


def _as_map(tokens: Tensor, n_patches: int) -> Tensor:
    """The last tokens of ``(B, N, C)``, those of a square of patches, as a map ``(B, C, h, h)``."""
    side = round(n_patches**0.5)
    return tokens[:, -n_patches:].transpose(1, 2).unflatten(2, (side, side))


def _blocks(backbone: Backbone, length: int) -> list[list[str]]:
    """Names of the weights of each module in the outermost list of modules of this length."""
    place = next(
        name
        for name, part in backbone.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) == length
    )
    names = [name for name, _ in backbone.named_parameters()]
    return [[name for name in names if name.startswith(f"{place}.{number}.")] for number in range(length)]


def read_photo_input(folder: Path, width_px: int | None = None) -> PhotoInput:
    """How the weights of a folder want the photo, as its ``preprocessor_config.json`` says.

    What old files leave out is what the image processors of transformers take then: intensities divided by
    255, and bilinear interpolation.

    Raises:
        ValueError: if the folder does not say it.
    """
    file = folder / PHOTO_CONFIG
    if not file.is_file():
        raise ValueError(
            f"encoder: {folder}: has no {PHOTO_CONFIG}, which says at which size and with which "
            "normalisation the weights want the photo; get it from where the weights come from"
        )
    try:
        said = {
            name: value for name, value in json.loads(file.read_text("utf-8")).items() if value is not None
        }
        size = said["crop_size"] if said.get("do_center_crop") else said["size"]
        if isinstance(size, dict):
            size = size["height"] if "height" in size else size["shortest_edge"]
        mean, deviation = (
            (said["image_mean"], said["image_std"])
            if said.get("do_normalize", True)
            else (3 * [0.0], 3 * [1.0])
        )
        scale = 255 * said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 255.0
        return PhotoInput(
            width_px or int(size), tuple(mean), tuple(deviation), scale, _RESAMPLING[said.get("resample", 2)]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing or unknown" if isinstance(error, KeyError) else error
        raise ValueError(
            f"encoder: {file}: {reason}; expected what the weights were published with"
        ) from error


def check_complete(path: Path, report: Mapping[str, Any]) -> None:
    """Refuse weights of which some are missing: transformers would draw them at random.

    Raises:
        ValueError: if some are missing or have another shape.
    """
    wrong = [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]
    if wrong:
        some = ", ".join(sorted(wrong)[:3])
        raise ValueError(f"encoder: {path}: {len(wrong)} weights are missing or of another shape ({some})")


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """The package, which does not write tables and bars meanwhile."""
    try:
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise ModuleNotFoundError(
            f'this encoder needs transformers: pip install "fund2oct[foundation]" ({error})'
        ) from error
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
