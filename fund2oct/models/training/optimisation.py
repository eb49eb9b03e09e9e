"""How much of a training is done, the schedules that follow it, and the optimisers that a model gave."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau


def share_done(trainer: pl.Trainer, step: int, n_epochs: int | None = None) -> float:
    """Share of a training that is done after so many steps, in [0, 1]; 0 as long as it has no known end.

    The end is that of ``max_steps``, ``max_epochs`` or ``max_time``, whichever comes first. Where the
    loader has no length, whole epochs are counted, ``n_epochs`` of them or those before this one. Time is
    that of the first process, for all of them.
    """
    shares = [0.0]
    if math.isfinite(n_steps := known_steps(trainer)):
        shares.append(step / max(n_steps, 1))
    if trainer.num_training_batches == math.inf and (trainer.max_epochs or 0) > 0:
        behind = trainer.current_epoch if n_epochs is None else n_epochs
        shares.append(behind / trainer.max_epochs)  # type: ignore[operator]
    if timer := _timer(trainer):
        passed = timer.time_elapsed() / timer._duration  # type: ignore[operator]
        shares.append(trainer.strategy.broadcast(passed) if trainer.world_size > 1 else passed)
    return min(1.0, max(shares))


class Progress:
    """The share of a training that is done, asked once a step: by the clock it would change within one."""

    def __init__(self) -> None:
        self._known = -1, 0.0

    def share_done(self, trainer: pl.Trainer, step: int) -> float:
        """As :func:`share_done`."""
        if self._known[0] != step:
            self._known = step, share_done(trainer, step)
        return self._known[1]


def last_share(trainer: pl.Trainer) -> float:
    """The share that :func:`share_done` reaches before the last step; 0 where the training has no end."""
    if math.isfinite(known_steps(trainer)) or _timer(trainer):
        return 1.0
    n_epochs = trainer.max_epochs or -1
    return (n_epochs - 1) / n_epochs if n_epochs > 0 else 0.0


def ends_by_epochs(trainer: pl.Trainer) -> bool:
    """Whether nothing but a number of epochs ends a training."""
    return (trainer.max_epochs or 0) > 0 and trainer.max_steps < 1 and _timer(trainer) is None


def known_steps(trainer: pl.Trainer) -> float:
    """Batches of the whole training; infinity where that is not known."""
    n_steps = trainer.estimated_stepping_batches
    # Lightning answers max_steps, which may be -1 for none, where the loader has no length.
    return math.inf if n_steps < 0 else float(n_steps)


def falling(share: float, start: float, decay_from: float) -> float:
    """Share of a rate at a share of the training: 1, and linearly to 0 at its end.

    Args:
        share: of the training that is done.
        start: share at which the part that the rate belongs to begins.
        decay_from: share of that part after which the rate falls; 1 keeps it constant.

    Example:
        >>> [falling(share, 0, decay_from=0.5) for share in (0, 0.5, 0.75, 1)]
        [1.0, 1.0, 0.5, 0.0]
        >>> falling(0.75, 0.5, decay_from=0)
        0.5
    """
    if decay_from >= 1:
        return 1.0
    left = (1 - share) / max(1 - start, 1e-9)
    return min(1.0, max(0.0, left / (1 - decay_from)))


def trained_parts(network: nn.Module, *parts: Sequence[nn.Module]) -> list[list[nn.Parameter]]:
    """The trained weights of some parts of a network, and the trained weights of what is left of it.

    Args:
        network: the network.
        parts: modules of it, without weights in common, for each list of weights that is wanted.

    Returns:
        A list for each of ``parts``, and that of the rest.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1, bias=False))
        >>> [len(weights) for weights in trained_parts(network, [network[0]])]
        [2, 1]
    """
    found = [
        [weight for part in modules for weight in part.parameters() if weight.requires_grad]
        for modules in parts
    ]
    taken = {id(weight) for weights in found for weight in weights}
    rest = [each for each in network.parameters() if each.requires_grad and id(each) not in taken]
    return [*found, rest]


def each_step(optimizer: Optimizer, factor: Any) -> dict[str, Any]:
    """A schedule of Lightning's kind that is asked for its factor after every batch.

    Args:
        optimizer: whose rates are changed.
        factor: of the rate at a step, or one such function for each group of weights.
    """
    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def step_schedules(trainer: pl.Trainer, interval: Literal["step", "epoch"]) -> None:
    """Step the schedules of an interval, as Lightning does where it steps the optimisers itself."""
    done = trainer.global_step if interval == "step" else trainer.current_epoch + 1
    for config in trainer.lr_scheduler_configs:
        due = config.interval == interval and done % config.frequency == 0
        if due and not isinstance(config.scheduler, ReduceLROnPlateau):
            config.scheduler.step()


def step_plateaus(trainer: pl.Trainer, monitored: str) -> None:
    """Show what a validation measured to the schedules that wait for a plateau.

    Raises:
        ValueError: if it was not measured.
    """
    for config in trainer.lr_scheduler_configs:
        if not isinstance(config.scheduler, ReduceLROnPlateau):
            continue
        if monitored not in trainer.callback_metrics:
            known = ", ".join(name for name in trainer.callback_metrics if name.startswith("val/"))
            raise ValueError(f"monitored: expected one of {known}, found {monitored!r}")
        config.scheduler.step(trainer.callback_metrics[monitored])


def check_optimizers(optimizers: Sequence[Optimizer], most: int, judges: Sequence[nn.Parameter]) -> None:
    """Refuse optimisers of which one would never be stepped, or weights that would never be trained.

    Args:
        optimizers: what ``configure_optimizers`` gave.
        most: how many the model steps.
        judges: trained weights of the discriminators.

    Raises:
        ValueError: if there are too many, the last one holds none of the discriminators' weights, or a
            learning rate is negative or NaN.
    """
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        rate = group.get("initial_lr", group["lr"])
        if not rate >= 0:  # Adam looks at its default alone, and would go uphill
            raise ValueError(f"learning rates: expected 0 or more, found {rate:g}")
    if not 1 <= len(optimizers) <= most:
        raise ValueError(
            f"configure_optimizers: expected {'one optimiser' if most == 1 else 'one or two optimisers'}, "
            f"found {len(optimizers)}; weights that need rates of their own can be groups of one optimiser"
        )
    held = {id(weight) for group in optimizers[-1].param_groups for weight in group["params"]}
    if judges and not held & {id(weight) for weight in judges}:
        raise ValueError(
            "configure_optimizers: the last optimiser holds no weight of the discriminators, which would "
            "never be trained; give them to it, or return a second one: [of the generator, of them]"
        )


def rest_frozen(*networks: nn.Module) -> None:
    """Put the parts of networks that are wholly frozen into evaluation mode, as their weights are.

    In training mode a frozen batch normalisation goes on learning means, and dropout goes on.
    """
    # Lightning takes it for an oversight.
    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
    for part in (part for network in networks for part in network.modules()):
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            part.eval()


def warn_without_end(trainer: pl.Trainer, decay_from: float) -> None:
    """Say that rates which are to fall towards the end of the training cannot, where it has none."""
    if decay_from < 1 and not last_share(trainer):
        rank_zero_warn(
            "the training has no known end: its rates stay constant; set trainer.max_steps, max_epochs or "
            "max_time where they are to fall"
        )


def datasets_of(trainer: pl.Trainer) -> tuple[Any, list[Any]]:
    """The dataset of the loader that is trained on, None for one without, and those that are validated on."""
    trainer.fit_loop.setup_data()
    if trainer.enable_validation:  # else Lightning would ask the model itself for a loader
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
    train, val = trainer.train_dataloader, loaders_of(trainer.val_dataloaders)
    return getattr(train, "dataset", None), [one.dataset for one in val if hasattr(one, "dataset")]


def loaders_of(found: Any) -> list[Any]:
    """The loaders that a datamodule gives: one, a list or a dictionary of them."""
    return [*found.values()] if isinstance(found, Mapping) else as_list(found)


def as_list(found: Any) -> list[Any]:
    """What Lightning gives as one where there is one, as a list."""
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _timer(trainer: pl.Trainer) -> Timer | None:
    timers = [one for one in trainer.callbacks if isinstance(one, Timer)]  # type: ignore[attr-defined]
    return next((timer for timer in timers if timer._duration is not None), None)
