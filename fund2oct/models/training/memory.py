"""How much memory a training step takes, found out before it takes any."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import default_collate
from torchmetrics import Metric

from fund2oct.models.batch import Batch, Losses
from fund2oct.models.training.stepping import SteppingModule
from fund2oct.networks.noise import NoiseSource

_META = torch.device("meta")
_MOMENTS = 2


@dataclass(frozen=True)
class StepMemory:
    """What a training step holds in the memory of the device that it runs on, in bytes.

    Args:
        weights: parameters and buffers, those of the averaged generator among them.
        training: the gradient of each trained weight, and Adam's two moments.
        step: the batch, and what is computed from it and kept for the backward pass, where it is most.
    """

    weights: int
    training: int
    step: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.training + self.step


def step_memory(model: SteppingModule, batch: Batch, shares: Collection[float] = ()) -> StepMemory:
    """Estimate the memory of a training step by running it on tensors without values.

    The step is run on a copy of the model, which has no trainer, so that nothing of the training is changed.
    Of several steps it is the one that takes most. It is the memory of a step in float32, hence the most that
    one in half precision takes. What a convolution needs for a moment, what lies unused between two tensors,
    and CUDA itself are not in it.

    Args:
        model: built for a training.
        batch: as :func:`batch_without_values` makes it.
        shares: shares of the training, in [0, 1], at which a step is run; empty for one before the
            adversaries join and one after.

    Returns:
        The memory.
    """
    trained = sum(_size(weight) for weight in model.parameters() if weight.requires_grad)
    parts = shares or ({0.0, 1.0} if getattr(model, "adversaries_from", 0) else {1.0})
    return StepMemory(
        weights=_sizes((*model.parameters(), *model.buffers())),
        training=(1 + _MOMENTS) * trained,
        step=max(_run(model, batch, share) for share in parts),
    )


def batch_without_values(dataset: Any, n_eyes: int) -> Batch:
    """A batch of so many eyes like the first one of a dataset, as tensors that hold nothing."""
    sample = default_collate([dataset[0]])
    entries = {
        name: torch.empty((n_eyes, *value.shape[1:]), dtype=value.dtype, device=_META)
        if isinstance(value, Tensor)
        else value * n_eyes
        for name, value in sample.items()
    }
    return cast(Batch, entries)


def _run(model: SteppingModule, batch: Batch, share: float) -> int:
    """Bytes that a step holds at most beside the weights, at a share of the training."""
    ghost = _ghost(model)

    def backward(losses: Losses, *_: Any) -> None:
        torch.stack(list(losses.values())).sum().backward()

    def nothing(*_: Any, **__: Any) -> None:
        pass

    for name, instead in {
        "share_done": lambda step=None: share,
        "step_noise": NoiseSource,
        "step_generator": backward,
        "_step_discriminators": backward,
        "log": nothing,
        "log_dict": nothing,
    }.items():
        object.__setattr__(ghost, name, instead)
    with _Held() as held:
        held.add(ghost.parameters())
        held.add(ghost.buffers())
        weights = held.now
        held.add(value for value in batch.values() if isinstance(value, Tensor))
        ghost.training_step(dict(batch), 0)
    return held.most - weights


def _ghost(model: SteppingModule) -> SteppingModule:
    """A copy of a model whose weights hold no values, and which has no trainer.

    Whatever its step fills, counts, freezes or steps is its own: nothing reaches the model, nor the
    optimisers, schedules and logs of the training.
    """
    ghost = object.__new__(type(model))
    # A copy takes what is in the memo in place of what is copied.
    memo: dict[int, Any] = {id(model): ghost, id(model._trainer): None}
    weights = [*model.parameters(), *model.buffers()]  # each has to be there as long as its id is used
    memo |= {id(weight): _without_values(weight) for weight in weights}
    # The average and the metrics are no part of a step. The rest is never changed, and a network that draws a
    # mask is not run on tensors without values.
    unused = [
        part
        for name, part in model._modules.items()
        if part is not None and (name == "generator_ema" or _measures(part))
    ]
    memo |= {id(part): None for part in unused}
    shared = model.task, model.seen_eyes, *getattr(model, "mask_networks", {}).values()
    memo |= {id(one): one for one in shared}
    ghost.__dict__ = copy.deepcopy(model.__dict__, memo)
    for part in ghost.children():  # TorchScript keeps weights of its own
        part.to(_META)
    ghost._device = _META
    return ghost


def _without_values(weight: Tensor) -> Tensor:
    empty = torch.empty_like(weight, device=_META)
    return nn.Parameter(empty, weight.requires_grad) if isinstance(weight, nn.Parameter) else empty


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, now and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, Any] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        self.add(out if isinstance(out, (tuple, list)) else (out,))
        return out

    def add(self, values: Iterable[Any]) -> None:
        """Count tensors until they are gone; a view of one that is counted takes nothing."""
        for value in values:
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            name, size = storage._cdata, storage.nbytes()
            if name in self._alive:
                continue

            def gone(_: Any, name: int = name, size: int = size) -> None:
                del self._alive[name]
                self.now -= size

            self._alive[name] = weakref.ref(storage, gone)
            self.now += size
            self.most = max(self.most, self.now)


def _measures(part: nn.Module) -> bool:
    return any(isinstance(each, Metric) for each in part.modules())


def _sizes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, of which some may be the same."""
    return sum({tensor.untyped_storage()._cdata: _size(tensor) for tensor in tensors}.values())


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
