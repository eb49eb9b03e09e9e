"""Whether a training steps what is used of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import nn
from torch.optim import Optimizer

from fund2oct.eye import some_of

_STEP = (
    "end a training_step of your own with self.step_generator({name: weighted loss}), which steps the "
    "optimiser and the average; a loss that it returns trains nothing"
)


class Began(NamedTuple):
    """How a training begins, before its first batch.

    Args:
        step: the number of steps.
        n_updates: how often the averaged generator has moved.
        version: of the generator's weights, which every change of them in their place raises.
        sizes: the shape of all that a checkpoint holds of the generator, by name.
    """

    step: int
    n_updates: int
    version: int
    sizes: dict[str, torch.Size]

    @classmethod
    def of(cls, model: Any) -> Began:
        """As a model is now."""
        return cls(
            model.global_step,
            model.generator_ema.n_updates,
            _version(model.generator),
            _sizes(model.generator),
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
            f"used; do not set it, and {_STEP}"
        )


def check_followed(model: Any, began: Began | None, returned: bool = False) -> None:
    """Refuse a training whose steps the averaged generator does not follow, which alone is used.

    Args:
        model: the model.
        began: how its training began; None before that.
        returned: whether its step has returned a loss, with which nothing steps.

    Raises:
        ValueError: if the average has not moved since, though there was a step or a loss.
    """
    if began is None or model.generator_ema.n_updates != began.n_updates:
        return
    if returned or model.global_step != began.step or _version(model.generator) != began.version:
        raise ValueError(
            f"{type(model).__name__}.training_step: the averaged generator, which is the one that is "
            f"validated and used, did not follow any step; {_STEP}"
        )


def check_same_sizes(model: Any, began: Began | None) -> Began | None:
    """Refuse a generator of whose weights and buffers its own call has made some, or changed the size.

    Returns:
        How the training began, without the sizes: to look once is enough.

    Raises:
        ValueError: if it has: what is built for use has not, and could not read the checkpoint.
    """
    if began is None or not began.sizes:
        return began
    for name, size in _sizes(model.generator).items():
        if began.sizes.get(name) != size:
            raise ValueError(
                f"{type(model).__name__}: generator.{name}: a call of the generator makes it or changes its "
                "size, so that no checkpoint could be read; make it in the constructor with its size, or "
                "register_buffer(..., persistent=False)"
            )
    return began._replace(sizes={})


def _sizes(network: nn.Module) -> dict[str, torch.Size]:
    held = network.state_dict().items()
    return {name: value.shape for name, value in held if isinstance(value, torch.Tensor)}


def _version(network: nn.Module) -> int:
    return sum(weight._version for weight in network.parameters())


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
