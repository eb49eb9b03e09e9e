"""What of a pre-trained network is trained: nothing, its last blocks, all of it, or low-rank changes."""

from __future__ import annotations

from typing import Any

from torch import nn

from fund2oct.networks.foundation.backbone import Backbone


def choose_trained(backbone: Backbone, fine_tune: bool | int, lora_rank: int) -> None:
    """Freeze a network but for what is to be trained.

    Args:
        backbone: the network; with ``lora_rank`` its linear layers are replaced in place.
        fine_tune: False to train none of its weights, True to train all, a number to train its last blocks.
        lora_rank: rank of the low-rank changes of the linear layers in its blocks; 0 for none.

    Raises:
        ValueError: if there are fewer blocks, a number is negative, both are asked for, or the network has
            no linear layer.
        ModuleNotFoundError: if ``peft`` is missing, with ``lora_rank``.

    References:
        Hu et al., LoRA: low-rank adaptation of large language models, ICLR 2022, arXiv:2106.09685, section
        4.1, equation 3.
    """
    if lora_rank and fine_tune:
        raise ValueError(
            f"lora_rank {lora_rank} and fine_tune {fine_tune}: choose one; LoRA leaves the weights alone"
        )
    if lora_rank < 0:
        raise ValueError(f"lora_rank: expected 0 for none or a positive rank, found {lora_rank}")
    backbone.requires_grad_(fine_tune is True)
    if lora_rank:
        _add_lora(backbone, lora_rank)
    elif not isinstance(fine_tune, bool):
        _train_last(backbone, fine_tune)


def _train_last(backbone: Backbone, n_blocks: int) -> None:
    blocks = backbone.blocks()
    if not 0 <= n_blocks <= len(blocks):
        raise ValueError(
            f"fine_tune: expected true, false or up to {len(blocks)} of its blocks, found {n_blocks}"
        )
    chosen = {name for block in blocks[len(blocks) - n_blocks :] for name in block}
    for name, weight in backbone.named_parameters():
        weight.requires_grad_(name in chosen)


def _add_lora(backbone: Backbone, rank: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ModuleNotFoundError(
            f'lora_rank needs peft: pip install "fund2oct[foundation]" ({error})'
        ) from error
    within = {name.rpartition(".")[0] for block in backbone.blocks() for name in block}
    targets = [
        name for name, part in backbone.named_modules() if isinstance(part, nn.Linear) and name in within
    ]
    if not targets:
        raise ValueError("lora_rank: the network has no linear layer in its blocks; use fine_tune")
    part: Any
    for part in backbone.modules():
        # The attention of timm's BEiT, EVA and Swin V2 else multiplies by the layer's weight itself, and
        # never calls the layer, to which the change is added.
        if hasattr(part, "qkv_bias_separate"):
            part.qkv_bias_separate = True
    # Twice the rank, so that the rate of learning does not depend on the rank.
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
    inject_adapter_in_model(config, backbone)
