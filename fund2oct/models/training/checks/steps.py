"""Whether a training steps what is used of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import nn
from torch.optim import Optimizer

from fund2oct.eye import some_of

_STEP = (
    "end a training_step of your own with self.step_generator({name: weighted loss}), which steps the "
    "optimiser and the average; a loss that it returns trains nothing"
)


def check_steps_itself(model: pl.LightningModule) -> None:
    """Refuse to leave the steps to Lightning, whose steps no averaged generator would follow.

    Raises:
        ValueError: if they are.
    """
    if model.automatic_optimization:
        name = type(model).__name__
        raise ValueError(
            f"{name}: automatic_optimization: expected False, found True: nothing would be trained that is "
            f"used; leave it as it is, and {_STEP}"
        )


def check_followed(model: Any, n_before: int | None) -> None:
    """Refuse a training whose steps the averaged generator does not follow, which alone is used.

    Args:
        model: the model.
        n_before: how often its average had moved before the first batch; None before that.

    Raises:
        ValueError: if it has not moved since.
    """
    if model.generator_ema.n_updates == n_before:
        raise ValueError(
            f"{type(model).__name__}.training_step: the averaged generator, which is the one that is "
            f"validated and used, did not follow any step; {_STEP}"
        )


def warn_of_untrained(model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
    """Say which weights of a model no optimiser holds, though they are not frozen."""
    held = {id(one) for each in optimizers for group in each.param_groups for one in group["params"]}
    left = [name for name, one in model.named_parameters() if one.requires_grad and id(one) not in held]
    if left:
        rank_zero_warn(
            f"{type(model).__name__}: no optimiser holds {some_of(left)}, which will not be trained; return "
            "the modules from optimised_networks(), or give them to an optimiser of configure_optimizers(), "
            "or freeze them by requires_grad_(False)"
        )
