"""Detection of losses and gradients that are NaN or infinite, before they reach a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor, nn


class NotFiniteError(ValueError):
    """A training that diverged; the message names the step, the term and the last good checkpoint."""


class FiniteWatch:
    """Remembers the first step in which each value was NaN or infinite.

    :meth:`note` keeps everything on the device, so that no step has to wait. :meth:`check` reads it.

    Example:
        >>> watch = FiniteWatch()
        >>> watch.note(7, {"l1": torch.tensor(0.5), "ssim": torch.tensor(math.nan)})
        >>> watch.note(8, {"l1": torch.tensor(math.nan), "ssim": torch.tensor(math.nan)})
        >>> watch.first()
        (7, ['ssim'])
    """

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], Tensor] = {}

    def note(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Look at the values of a step.

        Args:
            step: number of the step.
            values: scalar tensors, by the names that the error shows.
        """
        names = tuple(values)
        stacked = torch.stack([value.detach().float() for value in values.values()])
        found = torch.where(stacked.isfinite(), math.inf, float(step))
        earlier = self._first.get(names)
        self._first[names] = found if earlier is None else torch.minimum(earlier, found)

    def first(self) -> tuple[int, list[str]] | None:
        """The first such step and the values that it concerns; None where all were finite."""
        steps = {
            name: step
            for names, found in self._first.items()
            for name, step in zip(names, found.tolist(), strict=True)
            if math.isfinite(step)
        }
        if not steps:
            return None
        first = min(steps.values())
        return int(first), [name for name, step in steps.items() if step == first]

    def check(self, advice: str = "") -> None:
        """Refuse to go on if a value was not finite.

        Args:
            advice: end of the message, what to do.

        Raises:
            NotFiniteError: if there was one.
        """
        found = self.first()
        if found is not None:
            step, names = found
            raise NotFiniteError(f"step {step}: not a finite number: {', '.join(names)}; {advice}")


def first_not_finite(parameters: Iterable[tuple[str, nn.Parameter]]) -> str | None:
    """The name of the first weight that holds NaN or infinity; reads from the device once."""
    named = list(parameters)
    if not named:
        return None
    finite = torch.stack([weight.detach().isfinite().all() for _, weight in named]).tolist()
    return next((name for (name, _), fine in zip(named, finite, strict=True) if not fine), None)


def advice(trainer: pl.Trainer) -> str:
    """What to do about a training that diverged, with the path of its last good checkpoint."""
    paths = [getattr(saver, "last_model_path", "") for saver in trainer.checkpoint_callbacks]
    saved = next((f"its last good checkpoint is {path}" for path in paths if path), "nothing was saved yet")
    return (
        f"the training stops, {saved}; lower the learning rate or the term's weight, clip gradients, or use "
        "precision 32-true"
    )
