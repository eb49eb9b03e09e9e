"""A checkpoint to go on from, looked at before anything is built or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from fund2oct.models import VolumeModel
from fund2oct.models.checkpoint import CheckpointError, read_checkpoint
from fund2oct.models.task import TASK_KEY
from fund2oct.models.training.going_on import different_arguments


def check_resumable(path: str | Path, model: VolumeModel, trainer: pl.Trainer) -> None:
    """Refuse a checkpoint that a training cannot go on from.

    Args:
        path: the checkpoint.
        model: the model that the experiment builds.
        trainer: the trainer that the experiment builds.

    Raises:
        fund2oct.models.CheckpointError: if it cannot be read, is of another model, or of a training that has
            nothing left to do.
    """
    checkpoint = read_checkpoint(path)
    of, own = str(checkpoint[TASK_KEY].get("class")), type(model).__name__
    if of.rpartition(".")[2] != own:
        raise CheckpointError(
            f"{path}: holds a {of}, but the experiment trains a {own}; resume with its own one"
        )
    if not {"optimizer_states", "loops", "epoch", "global_step"} <= checkpoint.keys():
        raise CheckpointError(
            f"{path}: holds weights alone, and no state of a training; resume from one that was written with "
            "save_weights_only=False"
        )
    model.configure_model()
    model.configure_training()
    wanted, saved = _shapes(model.state_dict()), _shapes(checkpoint["state_dict"])
    rebuilt, parts = model.rebuilt_names(), dict(model.named_children())
    lacking = any(saved.get(name) != shape for name, shape in wanted.items() if name not in rebuilt)
    # A name without a dot is that of a weight that lies directly on the model.
    left = any(name not in wanted for name in saved if name.partition(".")[0] in parts or "." not in name)
    if lacking or left:
        different = different_arguments(checkpoint["hyper_parameters"], model.hparams)
        missing = getattr(model, "for_want_of", "")
        raise CheckpointError(
            f"{path}: holds another network than the experiment builds ({different or 'another version'}"
            f"{missing and f'; not built for want of {missing}'}); resume with the arguments that it was "
            f"trained with, as model.init_args.NAME=VALUE{missing and ', and with what is missing'}"
        )
    done, most = _epochs_done(checkpoint), trainer.max_epochs
    if most is not None and 0 <= most <= done:
        raise CheckpointError(
            f"{path}: has {done} epochs behind it, and trainer.max_epochs={most} leaves none to train; set "
            f"more, as in trainer.max_epochs={2 * done}"
        )
    if 0 <= trainer.max_steps <= checkpoint["global_step"]:
        raise CheckpointError(
            f"{path}: has {checkpoint['global_step']} steps behind it, and trainer.max_steps="
            f"{trainer.max_steps} leaves none to train; set more"
        )


def _shapes(weights: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def _epochs_done(checkpoint: dict[str, Any]) -> int:
    try:
        return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except (KeyError, TypeError):
        return int(checkpoint["epoch"])
