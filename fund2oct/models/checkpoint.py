"""Reading a trained model, without running anything that a checkpoint says."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from fund2oct.models.base import VolumeModel
from fund2oct.models.pix2vol import Pix2Vol
from fund2oct.models.surface_model import SurfaceModel
from fund2oct.models.task import TASK_KEY
from fund2oct.models.voxel_gan import VoxelGAN

MODELS: dict[str, type[VolumeModel]] = {
    f"{model.__module__}.{model.__qualname__}": model for model in (Pix2Vol, SurfaceModel, VoxelGAN)
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and says what to do."""


def load_model(
    path: str | Path,
    model_class: type[VolumeModel] | Sequence[type[VolumeModel]] | None = None,
    device: str | torch.device = "cpu",
) -> VolumeModel:
    """Load a trained model for use, in evaluation mode.

    The file is read as tensors and plain values; a file that holds anything else is refused. The class is
    looked up, never imported by a name that the file gives, and only the networks that use needs are built:
    no text in the file is an import path.

    Args:
        path: a checkpoint written in training.
        model_class: the class that was trained, where it is not one of this package; or several, of which,
            and of this package's, the one is taken that the file names.
        device: where to put the model.

    Returns:
        The model; call it with photos and A-scan positions.

    Raises:
        CheckpointError: if the file is absent, damaged, not a checkpoint of this package, or of
            another class than ``model_class``.
    """
    path = Path(path)
    checkpoint = _read(path)
    stored = checkpoint.get(TASK_KEY)
    if not isinstance(stored, dict) or not {"state_dict", "hyper_parameters"} <= checkpoint.keys():
        raise CheckpointError(f"{path}: not a checkpoint of a fund2oct model; train one with fund2oct train")
    name = str(stored.get("class"))
    if not isinstance(model_class, type):
        model_class = _find_class(path, name, model_class or ())
    expected = f"{model_class.__module__}.{model_class.__qualname__}"
    # A class in a user's own file has another module name when that file is run as a script.
    if name.rpartition(".")[2] != model_class.__qualname__:
        raise CheckpointError(f"{path}: holds a {name}, expected a {expected}")
    arguments = {
        key: value for key, value in checkpoint["hyper_parameters"].items() if not key.startswith("_")
    }
    try:
        model = model_class(**arguments)
        model.from_file = True
        model.configure_model()
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"])
    except (TypeError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: does not fit {expected}, perhaps another version wrote it: {_one_line(error)}"
        ) from error
    if model.task is None:
        raise CheckpointError(f"{path}: says nothing of its data; it was saved before training began")
    return model.to(device).eval()


def _find_class(path: Path, name: str, own: Sequence[type[VolumeModel]]) -> type[VolumeModel]:
    known = MODELS | {f"{one.__module__}.{one.__qualname__}": one for one in own}
    if name in known:
        return known[name]
    # A class in a user's own file has another module name when that file is run as a script.
    alike = [one for one in own if one.__qualname__ == name.rpartition(".")[2]]
    if len(alike) == 1:
        return alike[0]
    given = f", nor one of {', '.join(known)}" if own else ""
    raise CheckpointError(
        f"{path}: holds a {name}, which is not part of fund2oct{given}; "
        "pass the class itself as model_class (--model at the command line)"
    )


def import_class(path: str) -> type[VolumeModel]:
    """Import a model's class by the path that the *user* gives, ``module.Class``.

    Raises:
        ValueError: if there is no such class, or it is no model.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"model {path!r}: expected an importable MODULE.CLASS: {error}") from None
    if not (isinstance(found, type) and issubclass(found, VolumeModel)):
        raise ValueError(f"model {path!r}: expected a subclass of fund2oct.models.VolumeModel")
    return found


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: holds more than tensors and plain values, which could run code; refused"
        ) from None
    except Exception as error:  # on a damaged file the reader raises whatever it stumbles over
        raise CheckpointError(f"{path}: damaged or not a checkpoint: {_one_line(error)}") from None
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path}: not a checkpoint of a fund2oct model, but a {type(checkpoint).__name__}"
        )
    return checkpoint


def _one_line(error: Exception) -> str:
    line = " ".join(str(error).split())
    return line if len(line) < 200 else line[:197] + "..."
