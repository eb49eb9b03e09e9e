"""How much memory a training needs, said before it begins."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_only, rank_zero_warn

from fund2oct.data.masks.networks import vessels_of, with_vessels
from fund2oct.models.training.memory import StepMemory, batch_without_values, step_memory
from fund2oct.models.training.stepping import SteppingModule

_GIB = 2**30
_PROCESS = _GIB // 2
"""What Python and the libraries take in a process."""


class MemoryCallback(pl.Callback):
    """Say before a training how much memory it will need, and warn where a GPU has less.

    It is an estimate, see ``step_memory`` in ``fund2oct/models/training/memory.py``. It is made of the
    ``train_dataset`` and ``batch_size`` of a datamodule; without them nothing is said. It changes nothing of
    the training: a step is run on a copy of the model, which has no trainer. Of a step that asks for the
    trainer or its optimisers, or cannot be run on tensors without values, it is said that it was not
    estimated.

    Example:
        >>> need = StepMemory(weights=2**28, training=2**27, step=2**30)  # bytes, as it estimates them
        >>> memory_line(need, torch.device("cpu"), n_eyes=4, n_workers=0, ahead=0)[:46]
        'memory: about 1.9 GiB of main memory a process'
    """

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say it."""
        data = getattr(trainer, "datamodule", None)
        dataset, n_eyes = getattr(data, "train_dataset", None), getattr(data, "batch_size", None)
        if dataset is None or n_eyes is None or not isinstance(pl_module, SteppingModule):
            return
        try:
            vessels = vessels_of(getattr(data, "vessel_network", None))
            need = step_memory(pl_module, with_vessels(batch_without_values(dataset, n_eyes), vessels))
        except Exception as error:  # a user's own step may do anything; an estimate must not stop a training
            first, *_ = [*str(error).splitlines(), ""]
            rank_zero_info(f"memory: not estimated ({type(error).__name__}: {first})")
            return
        device, n_workers = trainer.strategy.root_device, getattr(data, "num_workers", 0)
        ahead = 2 * n_workers * _bytes_read(dataset, n_eyes)
        rank_zero_info(memory_line(need, device, n_eyes, n_workers, ahead))
        if device.type == "cuda":
            _, has = torch.cuda.mem_get_info(device)
            if need.total > has:
                rank_zero_warn(
                    f"{device} has {_gib(has)}, less than that: lower data.init_args.batch_size, or set "
                    "model.init_args.recompute=true or trainer.precision=bf16-mixed"
                )


def memory_line(need: StepMemory, device: torch.device, n_eyes: int, n_workers: int, ahead: int) -> str:
    """What a process of a training needs, in words.

    Args:
        need: of a step.
        device: that it runs on.
        n_eyes: eyes in a batch.
        n_workers: processes that read ahead.
        ahead: bytes that they have read at most.

    Example:
        >>> need = StepMemory(weights=2**28, training=2**27, step=2**30)
        >>> memory_line(need, torch.device("cpu"), n_eyes=4, n_workers=0, ahead=0)
        'memory: about 1.9 GiB of main memory a process: weights 0.25, gradients and moments 0.12, a step of 4 eyes 1.00, Python and libraries 0.5'
    """  # noqa: E501
    step = (
        f"weights {need.weights / _GIB:.2f}, gradients and moments {need.training / _GIB:.2f}, a step of "
        f"{n_eyes} eyes {need.step / _GIB:.2f}"
    )
    own = (1 + n_workers) * _PROCESS + ahead
    libraries = f"Python and libraries {(1 + n_workers) * _PROCESS / _GIB:.1f}"
    libraries += f", {n_workers} workers' batches {ahead / _GIB:.1f}" if n_workers else ""
    if device.type == "cpu":
        return f"memory: about {_gib(need.total + own)} of main memory a process: {step}, {libraries}"
    return (
        f"memory: about {_gib(need.total)} of {device} a process ({step}), and {_gib(own)} of main memory "
        f"({libraries})"
    )


def _bytes_read(dataset: Any, n_eyes: int) -> int:
    """Bytes of a batch as a worker reads it: pictures as bytes, a quarter of the floats that are seen."""
    batch = batch_without_values(dataset, n_eyes)
    return sum(value.numel() for value in batch.values() if isinstance(value, torch.Tensor))


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
