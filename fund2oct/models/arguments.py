"""The arguments of a model and of a datamodule, which checkpoints hold."""

from __future__ import annotations

import io
import reprlib
from typing import Any

import pytorch_lightning as pl
import torch


def check_plain(model: pl.LightningModule, datamodule: object) -> None:
    """Refuse arguments with which no checkpoint of a training could be read, before the training begins.

    Args:
        model: the model.
        datamodule: the datamodule, whose hyper-parameters a checkpoint holds too; None where there is none.

    Raises:
        ValueError: if one is no plain value; the message names it.
    """
    for one in (model, datamodule):
        held = getattr(one, "hparams", {})
        for name, value in held.items() if isinstance(held, dict) else [("hparams", held)]:
            if not _is_read_again(value):
                found = f"{type(value).__name__} {reprlib.repr(value)}"
                raise ValueError(
                    f"{type(one).__name__}: {name}: expected a plain value (a number, a text, True, False, "
                    f"None, or a list or dictionary of these), found {found}; checkpoints hold it, and are "
                    "read as plain values alone: give it as one, by float(), str() or list(), or do not save "
                    f"it (save_hyperparameters(ignore=[{name!r}]))"
                )


def _is_read_again(value: Any) -> bool:
    """Whether a file that holds a value can be read as checkpoints are."""
    held = io.BytesIO()
    try:
        torch.save(value, held)
        held.seek(0)
        torch.load(held, weights_only=True)
    except Exception:  # what cannot be written or read fails in many ways
        return False
    return True
