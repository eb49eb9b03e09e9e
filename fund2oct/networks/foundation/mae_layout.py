"""Vision transformers of masked autoencoders in the layout of their authors, which RETFound has too."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from fund2oct.eye import some_of
from fund2oct.networks.features.weight_files import read_weights
from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.networks.foundation.photo_input import PhotoInput
from fund2oct.networks.foundation.transformers_models import (
    TransformerBackbone,
    check_complete,
    quiet_transformers,
)

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Those of ImageNet: MAE and RETFound normalise by them, and resize with bicubic interpolation."""
_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Attention heads of each width, a number that no weight tells: ViT-Tiny, Small, Base, Large and Huge."""

_BEFORE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
}
_WITHIN = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")
_LEFT_OUT = re.compile(r"mask_token|(decoder_\w+|head|fc_norm)(\..+)?")
"""Decoder and classifier, and the norm of the mean of all tokens, which the classifier reads."""


def load_mae(path: Path, width_px: int | None = None) -> Backbone:
    """Read the encoder of a masked autoencoder; a decoder, or the classifier of a fine-tuning, is left out.

    Only tensors and plain values are read. The layout tells the sizes of the network, the width the number of
    attention heads, as far as it is a usual one, and the table of positions the size of the photo. Where it
    was fine-tuned as MAE and RETFound do it, which classify by the mean of the tokens, the norm of that mean
    takes the place of the last layer norm, which is then not there.

    Plain vision transformers of timm have the same names and may want another normalisation. They are told
    by their classifier, and refused.

    Args:
        path: ``.pth`` or ``.safetensors``, such as ``RETFound_mae_natureCFP.pth``.
        width_px: width in pixels to which photos are resized; None takes that of the weights.

    Returns:
        The network.

    Raises:
        ValueError: if the file is damaged, could run code, or has another layout or an unusual width.
        ModuleNotFoundError: if ``transformers`` is missing.

    References:
        He et al., Masked autoencoders are scalable vision learners, CVPR 2022, arXiv:2111.06377; Zhou et al.,
        A foundation model for generalizable disease detection from retinal images, Nature 622, 2023,
        doi:10.1038/s41586-023-06555-x.
    """
    weights = read_weights(path, "encoder")
    needed = "cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"
    lacking = [name for name in needed if name not in weights]
    if lacking or any(".ls1." in name for name in weights):
        found = "a layer scale, as DINOv2 has it" if not lacking else ", ".join(list(weights)[:3])
        raise ValueError(
            f"encoder: {path}: expected the layout of MAE and RETFound (cls_token, pos_embed, "
            f"patch_embed.proj, blocks.0.attn.qkv, ...), or the name of a timm model, "
            f"with timm installed; found {found}"
        )
    if "fc_norm.weight" not in weights and any(name.startswith("head.") for name in weights):
        raise ValueError(
            f"encoder: {path}: holds a classifier (head) beside a last norm, as transformers of timm do, "
            "which may want the photo normalised in another way; name it as timm does, ARCHITECTURE.TAG, and "
            "install timm. Where it is a masked autoencoder, take the classifier out"
        )
    known = _names(weights)
    if unknown := [name for name in weights if name not in known and not _LEFT_OUT.fullmatch(name)]:
        raise ValueError(
            f"encoder: {path}: {len(unknown)} weights have no place in the layout of MAE and RETFound "
            f"({some_of(unknown, 3)}): it is another network"
        )
    width, _, patch_px, _ = weights["patch_embed.proj.weight"].shape
    if width not in _HEADS:
        widths = ", ".join(map(str, _HEADS))
        raise ValueError(
            f"encoder: {path}: expected a width of {widths}, of which the number of attention heads is "
            f"known, found {width}: the file does not tell that number. Save the network as a folder of "
            "transformers (ViTModel.save_pretrained), whose config.json does"
        )
    side = round((weights["pos_embed"].shape[1] - 1) ** 0.5)
    n_layers = 1 + max(int(match[1]) for name in weights if (match := _BLOCK.fullmatch(name)))
    with quiet_transformers() as library:
        config = library.ViTConfig(
            hidden_size=width,
            num_hidden_layers=n_layers,
            num_attention_heads=_HEADS[width],
            intermediate_size=weights["blocks.0.mlp.fc1.weight"].shape[0],
            image_size=side * patch_px,
            patch_size=patch_px,
            layer_norm_eps=1e-6,
        )
        network, report = library.ViTModel.from_pretrained(
            None,
            config=config,
            state_dict=renamed(weights),
            add_pooling_layer=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which the report then names
        )
    check_complete(path, report)
    return TransformerBackbone(network, PhotoInput(width_px or side * patch_px, _MEAN, _DEVIATION))


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in the layout of MAE by the names under which the Hugging Face hub has them.

    Query, key and value of a block lie in one tensor there.
    """
    found: dict[str, Tensor] = {}
    for name, theirs in _names(weights).items():
        for own, part in zip(theirs, weights[name].chunk(len(theirs)), strict=True):
            found[own] = part.to(torch.float32, copy=True)
    return found


def _names(weights: Collection[str]) -> dict[str, list[str]]:
    """The names that the hub has, for each name of MAE's encoder: three where the weight holds three."""
    found: dict[str, list[str]] = {}
    # Of a fine-tuned one: the norm of the mean of the tokens.
    last = "norm" if "norm.weight" in weights else "fc_norm"
    for name in weights:
        start, _, kind = name.rpartition(".") if name.endswith((".weight", ".bias")) else (name, "", "")
        ending = f".{kind}" if kind else ""
        if match := _BLOCK.fullmatch(name):
            number, part, _ = match.groups()
            block = f"encoder.layer.{number}"
            if part == "attn.qkv":
                roles = "query", "key", "value"
                found[name] = [f"{block}.attention.attention.{role}{ending}" for role in roles]
            elif part in _WITHIN:
                found[name] = [f"{block}.{_WITHIN[part]}{ending}"]
        elif start in _BEFORE:
            found[name] = [f"{_BEFORE[start]}{ending}"]
        elif start == last:
            found[name] = [f"layernorm{ending}"]
    return found
