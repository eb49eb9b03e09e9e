"""What has to be the same where a training goes on from a checkpoint, and what may be changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from fund2oct.by_path import listed
from fund2oct.models.task import TASK_KEY, Task

_AXES = "slices", "rows", "A-scans"
_FAR_MM = 0.01
_ROUNDING = 1e-6
_INSTEAD = "or begin a new training with its weights (model.init_args.init_from)"


def check_same_data(checkpoint: Mapping[str, Any], stored: Task | None, model: Any) -> None:
    """Refuse to go on with photos, volumes or conditions of another kind.

    A checkpoint tells one kind, by which a new photo is prepared, and which its weights have to be used to.

    Args:
        checkpoint: what it holds.
        stored: the task in it; None of a training on photos or volumes alone.
        model: the model that goes on, which knows the data of this training.

    Raises:
        ValueError: if something differs; the message names it.
    """
    about, arguments = checkpoint[TASK_KEY], checkpoint.get("hyper_parameters", {})
    told: dict[str, tuple[Any, Any]] = {}
    if "masks" in arguments:
        told["model.init_args.masks"] = listed(arguments["masks"] or ()), list(model.masks)
    if "encoder_px" in arguments:
        usual = getattr(getattr(model.generator, "encoder", None), "usual_px", None)
        widths = arguments["encoder_px"] or usual, model.hparams.get("encoder_px") or usual
        told["model.init_args.encoder_px"] = widths
    if stored and model.task:
        told |= _of_tasks(stored, model.task)
    elif about.get("fundus_px") and model.photos_px:  # of photos alone
        told["data.init_args.fundus_px"] = about["fundus_px"], model.photos_px
    if differ := [f"{name}: {there}, here {here}" for name, (there, here) in told.items() if there != here]:
        raise ValueError(
            f"the checkpoint was trained on other data than this training's ({'; '.join(differ)}); resume "
            f"with the same, {_INSTEAD}"
        )


def _of_tasks(stored: Task, here: Task) -> dict[str, tuple[Any, Any]]:
    """What two tasks say of their data, by the setting that decides it; what one lacks is left out."""
    one, other = stored.preparation, here.preparation
    told: dict[str, tuple[Any, Any]] = {
        "data.init_args.fundus_px": (stored.fundus_px, here.fundus_px),
        "data.init_args.even_light": (one.even_light, other.even_light),
        "data.init_args.even_levels": (one.even_levels, other.even_levels),
        "model.init_args.conditions": (list(stored.conditions.names), list(here.conditions.names)),
    }
    if one.photo_px and other.photo_px:
        told["width of the photos in the file"] = one.photo_px, other.photo_px
    for of, mm, here_mm in zip(_AXES, stored.spacing_mm, here.spacing_mm, strict=True):
        known = not (math.isnan(mm) or math.isnan(here_mm))
        if known and not math.isclose(mm, here_mm, rel_tol=_ROUNDING):
            told[f"distance of {of} in mm"] = mm, here_mm
    # A file holds a pattern of the user's own in another form, so that places are compared.
    places, here_places = (task.scan.coordinates(17) for task in (stored, here))
    if places.shape != here_places.shape or not torch.allclose(places, here_places, atol=_FAR_MM):
        told["lines of the scan"] = str(len(places)), f"{len(here_places)} elsewhere on the retina"
    return told


def eyes_of_a_step(trainer: pl.Trainer) -> list[int] | None:
    """Processes of a training, and eyes in a batch of each; None where its loader does not tell."""
    size = getattr(trainer.train_dataloader, "batch_size", None)
    return [trainer.world_size, size] if isinstance(size, int) else None


def check_same_step(before: Sequence[int] | None, here: Sequence[int] | None) -> None:
    """Refuse to go on in steps of another number of eyes.

    A checkpoint counts steps. Of other ones there are more or fewer in an epoch and in the whole training, so
    that the rates would jump, and the eyes that the epoch has not shown yet would be others.

    Args:
        before: what :func:`eyes_of_a_step` said of the training so far; None where it is not known.
        here: what it says now.

    Raises:
        ValueError: if the numbers differ.

    Example:
        >>> check_same_step([2, 4], [1, 8])  # two processes of four eyes, or one of eight
        >>> check_same_step([2, 4], [1, 4])
        Traceback (most recent call last):
        ...
        ValueError: the checkpoint's training took 8 eyes a step (processes x batch_size: 2 x 4), this one ...
    """
    if before and here and math.prod(before) != math.prod(here):
        (n, size), (n_here, size_here) = before, here
        raise ValueError(
            f"the checkpoint's training took {n * size} eyes a step (processes x batch_size: {n} x {size}), "
            f"this one would take {n_here * size_here} ({n_here} x {size_here}); its rates would jump, and "
            "eyes of the epoch be left out or shown again; resume with as many eyes a step (trainer.devices, "
            f"data.init_args.batch_size), {_INSTEAD}"
        )


def different_arguments(saved: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Arguments whose values differ between two models; numbers, such as rates, may be changed.

    Args:
        saved: those in the checkpoint.
        own: those of the model that goes on.

    Returns:
        The differences, for a message; empty where there is none. Of weights of terms the names count.

    Example:
        >>> different_arguments({"lift": "repeat", "rate": 0.1}, {"lift": "geometry", "rate": 0.2})
        'lift=repeat (here geometry)'
    """

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return sorted(name for name, one in value.items() if one)
        return list(value) if isinstance(value, (list, tuple)) else value

    def may_change(value: Any) -> bool:
        each = value if isinstance(value, (list, tuple)) else [value]
        return bool(each) and all(isinstance(one, float) for one in each)

    return ", ".join(
        f"{name}={plain(saved[name])} (here {plain(own[name])})"
        for name in sorted(saved.keys() & own.keys())
        if plain(saved[name]) != plain(own[name]) and not may_change(own[name])
    )


def group_sizes(optimizers: Iterable[Mapping[str, Any] | Optimizer]) -> list[list[int]]:
    """Numbers of tensors in the groups of optimisers, or of the states that a checkpoint has of them."""
    # Lightning takes an optimiser that is no subclass of torch's.
    groups = (one["param_groups"] if isinstance(one, Mapping) else one.param_groups for one in optimizers)
    return [[len(group["params"]) for group in each] for each in groups]


def check_same_optimised(before: list[list[int]] | None, here: list[list[int]], different: str) -> None:
    """Refuse to go on with optimisers of other weights, to which what they had learned does not belong.

    Args:
        before: what :func:`group_sizes` said of the training so far; None of one that does not go on.
        here: what it says now.
        different: from :func:`different_arguments`.

    Raises:
        ValueError: if the numbers differ.
    """
    if before is not None and before != here:
        there, now = (" and ".join("/".join(map(str, one)) for one in each) for each in (before, here))
        raise ValueError(
            "the checkpoint's training optimised other weights than this one "
            f"({different or 'another version'}: groups of {there} tensors, here {now}); resume with the "
            f"arguments that it was trained with, as model.init_args.NAME=VALUE, {_INSTEAD}"
        )


def given_rates(optimizers: Sequence[Optimizer]) -> list[list[dict[str, Any]]]:
    """Rates and betas that ``configure_optimizers`` gave, before a checkpoint puts its own in their place.

    Each group keeps its rate as ``initial_lr``, as it does under a schedule, so that a checkpoint tells it.

    Args:
        optimizers: as they were configured.

    Returns:
        For each of them, what each group of weights was given.
    """
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group.setdefault("initial_lr", float(group["lr"]))
    return [
        [
            {name: group[name] for name in ("initial_lr", "betas") if name in group}
            for group in one.param_groups
        ]
        for one in optimizers
    ]


def take_rates(trainer: pl.Trainer, given: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Let the rates and betas that were given now hold, where those of a checkpoint are others.

    A rate is the new one times the factor of its schedule. A group whose rate was not changed keeps that of
    the checkpoint, and so does one with a schedule of another kind than ``LambdaLR``, with a warning: such a
    one builds on its own last rate. Betas are taken unless a schedule moves them.

    Args:
        trainer: the trainer, once it has restored the checkpoint.
        given: from :func:`given_rates`.
    """
    changed = []
    for optimizer, groups in zip(trainer.optimizers, given, strict=True):
        schedules: list[Any] = [
            config.scheduler
            for config in trainer.lr_scheduler_configs
            if getattr(config.scheduler, "optimizer", optimizer) is optimizer
        ]
        for number, (group, own) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
            betas, other = (tuple(each.get("betas", ())) for each in (group, own))
            if betas != other and "max_momentum" not in group:  # a cycle of momentum goes on where it was
                changed.append(f"betas {betas}, now {other}")
                group["betas"] = other
            before, now = float(group.get("initial_lr", own["initial_lr"])), float(own["initial_lr"])
            if before == now:
                continue
            if len(schedules) > 1 or any(type(one) is not LambdaLR for one in schedules):
                rank_zero_warn(
                    f"it goes on at the learning rate of its checkpoint, which began at {before:g}, "
                    f"not {now:g}: {type(schedules[0]).__name__} builds on its own last rate"
                )
                continue
            factor = float(group["lr"]) / before if before else 1.0
            for one in schedules:
                one.base_lrs[number] = now
                factor = one.lr_lambdas[number](one.last_epoch)
            group["initial_lr"], group["lr"] = now, now * factor
            changed.append(f"learning rate {before:g}, now {now:g}")
    if changed:
        rank_zero_info(f"the training goes on with other rates than its checkpoint's: {'; '.join(changed)}")
