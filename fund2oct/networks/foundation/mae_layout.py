"""Vision transformers of masked autoencoders in the layout of their authors, which RETFound has too."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

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
_HEADS = {1280: 16}
"""Numbers of attention heads where they are not a 64th of the width: that of ViT-Huge."""

_BEFORE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_WITHIN = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")


def load_mae(path: Path, width_px: int | None = None) -> Backbone:
    """Read the encoder of a masked autoencoder; its decoder is left out.

    Only tensors and plain values are read. The layout tells the sizes of the network, and the table of
    positions the size of the photo.

    Args:
        path: ``.pth`` or ``.safetensors``, such as ``RETFound_mae_natureCFP.pth``.
        width_px: width in pixels to which photos are resized; None takes that of the weights.

    Returns:
        The network.

    Raises:
        ValueError: if the file is damaged, could run code, or has another layout.
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
    width, _, patch_px, _ = weights["patch_embed.proj.weight"].shape
    side = round((weights["pos_embed"].shape[1] - 1) ** 0.5)
    n_layers = 1 + max(int(match[1]) for name in weights if (match := _BLOCK.fullmatch(name)))
    with quiet_transformers() as library:
        config = library.ViTConfig(
            hidden_size=width,
            num_hidden_layers=n_layers,
            num_attention_heads=_HEADS.get(width, max(1, width // 64)),
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
        )
    check_complete(path, report)
    return TransformerBackbone(network, PhotoInput(width_px or side * patch_px, _MEAN, _DEVIATION))


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in the layout of MAE by the names under which the Hugging Face hub has them.

    Query, key and value of a block lie in one tensor there.
    """
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if match := _BLOCK.fullmatch(name):
            number, part, kind = match.groups()
            block = f"encoder.layer.{number}"
            if part == "attn.qkv":
                for role, own in zip(("query", "key", "value"), weight.chunk(3), strict=True):
                    found[f"{block}.attention.attention.{role}.{kind}"] = own.clone()
            elif part in _WITHIN:
                found[f"{block}.{_WITHIN[part]}.{kind}"] = weight
            continue
        start, _, kind = name.rpartition(".") if name.endswith((".weight", ".bias")) else (name, "", "")
        if start in _BEFORE:
            found[_BEFORE[start] + (f".{kind}" if kind else "")] = weight
    return {name: weight.to(torch.float32) for name, weight in found.items()}
