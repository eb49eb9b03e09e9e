"""The arguments of a model and of a datamodule, which checkpoints hold."""

from __future__ import annotations

import io
import reprlib
from typing import Any

import pytorch_lightning as pl
import torch

from fund2oct.networks.encoder import encoder_for_file


def settle_arguments(model: pl.LightningModule, datamodule: object) -> None:
    """Settle, before a training, what its checkpoints hold of arguments.

    A constructor that saves its arguments once more saves what was given in place of what was chosen: the
    encoder that there is, and no path.

    Args:
        model: the model.
        datamodule: the datamodule; None where there is none.

    Raises:
        ValueError: if one is no plain value, see :func:`check_plain`.
    """
    if hasattr(model, "_encoder_options"):  # it has chosen one
        model.hparams["encoder"] = encoder_for_file(str(model.encoder))
        if "encoder_px" in model.hparams:
            model.hparams["encoder_px"] = model._encoder_options[1]  # type: ignore[index]
    for name in {"init_from", "mask_networks"} & model.hparams.keys():
        del model.hparams[name]
    check_plain(model, datamodule)


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
                way = f"take it out after super().__init__(), by self.hparams.pop({name!r}, None)"
                if held is value:
                    way = "save plain ones, as save_hyperparameters(OmegaConf.to_container(config)) does"
                raise ValueError(
                    f"{type(one).__name__}: {name}: expected a plain value (a number, a text, True, False, "
                    f"None, or a list or dictionary of these), found {found}; checkpoints hold it, and are "
                    f"read as plain values alone: give it as one, by float(), str() or list(), or {way}"
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
