"""Reading a trained model, without running anything that a checkpoint says."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from fund2oct.by_path import import_by_path, import_path_of, values_of_a_file
from fund2oct.file_kinds import kind_of, why_not_a_file
from fund2oct.models.base import VolumeModel
from fund2oct.models.baselines import X2CT, Pix2PixHD, UNet3D
from fund2oct.models.pix2vol import Pix2Vol
from fund2oct.models.pretraining import MaskedPairs, MaskedPhotos, MaskedVolumes
from fund2oct.models.published import fetch_from_hub, is_address, is_published, read_published, shipped_model
from fund2oct.models.surface_model import SurfaceModel
from fund2oct.models.task import TASK_KEY
from fund2oct.models.training.going_on import different_arguments
from fund2oct.models.voxel_gan import VoxelGAN
from fund2oct.networks.features.base import weights_follow

MODELS: dict[str, type[VolumeModel]] = {
    import_path_of(model): model for model in (Pix2Vol, SurfaceModel, VoxelGAN, Pix2PixHD, X2CT, UNet3D)
}


_PRETRAININGS = {import_path_of(model) for model in (MaskedPhotos, MaskedVolumes, MaskedPairs)}


_CHECKPOINTS = ("a zip archive", "a Python pickle")
"""Kinds of :func:`fund2oct.file_kinds.kind_of` that torch writes."""


_REFUSED = re.compile(r"(?:unexpected keyword|multiple values for(?: keyword)?) argument '(\w+)'")
"""What Python says of an argument that a constructor does not take, or that its class gives already."""


CHECKPOINT_ENDINGS = (".ckpt", ".pt", ".pth", ".safetensors")
"""Endings of files that hold a model, in small letters."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and says what to do."""


def load_model(
    path: str | Path | None = None,
    model_class: type[VolumeModel] | Sequence[type[VolumeModel]] | None = None,
    device: str | torch.device = "cpu",
) -> VolumeModel:
    """Load a trained model for use, in evaluation mode.

    Only tensors and plain values are read; a file that holds anything else is refused. A file never decides
    what is imported, opened or downloaded. Only the networks that are needed for use are built.

    Args:
        path: a checkpoint of a training; a folder that ``fund2oct publish`` wrote; the address of such a
            folder on the Hugging Face hub, ``hf://OWNER/NAME`` or ``hf://OWNER/NAME@REVISION``; or None for
            the model that comes with the package.
        model_class: class of the model if it is your own; or several classes, of which the file names one.
            The classes of this package need not be given.
        device: device to which the model is moved.

    Returns:
        The model. Its ``predict`` takes a photo.

    Raises:
        CheckpointError: if the file is absent, damaged, not a model of this package, or of
            another class than ``model_class``.
        ModuleNotFoundError: if a frozen network is neither in the file nor installed; the message says how
            to get it.

    Example:
        >>> model = load_model("model.ckpt")
        >>> model.predict("photo.png").volume.shape  # slices, rows and A-scans
        (6, 32, 48)
    """
    path = find_model(path)
    checkpoint = _read(path)
    name = str(checkpoint[TASK_KEY].get("class"))
    own = [model_class] if isinstance(model_class, type) else [*(model_class or ())]
    if not isinstance(model_class, type):
        model_class = _find_class(path, checkpoint, own)
    expected = import_path_of(model_class)
    # A class in a user's own file has another module name when that file is run as a script.
    if name.rpartition(".")[2] != model_class.__name__:
        raise CheckpointError(f"{path}: holds a {name}, expected a {expected}")
    named, different = {import_path_of(one): one for one in own}, ""
    try:
        model, given, fixed = _called(model_class, checkpoint["hyper_parameters"], str(path), named)
        different = different_arguments(fixed, model.hparams)
        model.from_file, model.arguments_read = str(path), given
        with values_of_a_file(str(path), {**checkpoint, "hyper_parameters": given}, named):
            with weights_follow() if checkpoint.get("with_encoder") else nullcontext():
                model.configure_model()
            model.on_load_checkpoint(checkpoint)
            model.load_state_dict(checkpoint["state_dict"])
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{path}: needs a network that it does not hold: {error}") from error
    except (TypeError, RuntimeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        why = f"which in its training fixed {different}" if different else "perhaps another version wrote it"
        raise CheckpointError(f"{path}: does not fit {expected}, {why}: {_one_line(error)}") from error
    if model.task is None:
        raise CheckpointError(f"{path}: says nothing of its data; it was saved before training began")
    if different:
        warnings.warn(
            f"{path}: in its training its class, {expected}, fixed {different}; as the class is now, the "
            "model may draw something else",
            stacklevel=2,
        )
    return model.to(device).eval()


def find_model(name: str | os.PathLike[str] | None) -> Path:
    """Find a model on this machine, a checkpoint or a published folder, or fetch it from the hub.

    Args:
        name: path, address or None, see :func:`load_model`.

    Returns:
        Its path.

    Raises:
        CheckpointError: if there is none.
    """
    try:
        if name is None:
            return shipped_model()
        return fetch_from_hub(name) if is_address(name) else Path(name)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def names_a_model(word: str) -> bool:
    """Whether a word of a command line names a model; a photo, or a folder of photos, does not.

    Example:
        >>> names_a_model("last.ckpt"), names_a_model("hf://owner/name"), names_a_model("photo.jpg")
        (True, True, False)
    """
    path = Path(word)
    if is_address(word) or is_published(path) or path.suffix.lower() in CHECKPOINT_ENDINGS:
        return True
    if path.is_dir():
        return bool(_within(path))
    return not why_not_a_file(path) and kind_of(path).startswith(_CHECKPOINTS)


def _read(path: Path) -> dict[str, Any]:
    if not is_published(path):
        return read_checkpoint(path)
    try:
        return read_published(path)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def training_after(path: Path, checkpoint: dict[str, Any]) -> list[str]:
    """The command that begins a translation with a pre-training.

    Args:
        path: checkpoint of the pre-training.
        checkpoint: what it holds, see :func:`read_checkpoint`.

    Returns:
        The words of the command, in which the photo encoder is the same. A checkpoint does not hold where
        weights of others lie: ``FOLDER_OF_WEIGHTS`` stands for it.

    Example:
        >>> training_after(Path("a.ckpt"), {"hyper_parameters": {"encoder": "own"}})
        ['fund2oct', 'train', 'pix2vol', 'model.init_args.init_from=a.ckpt', 'model.init_args.encoder=own']
    """
    given = checkpoint["hyper_parameters"]
    settings: dict[str, object] = {"init_from": path}
    if "encoder" in given:  # that of volumes alone has none
        (encoder, of_others, _), rank = str(given["encoder"]).partition("@"), given.get("lora_rank")
        settings["encoder"] = f"FOLDER_OF_WEIGHTS/{encoder}" if of_others else encoder
        if given.get("encoder_px"):
            settings["encoder_px"] = given["encoder_px"]
        if rank:
            settings["lora_rank"] = rank
        elif encoder != "own":
            settings["fine_tune"] = "true"
    words = [f"model.init_args.{name}={value}" for name, value in settings.items()]
    return ["fund2oct", "train", "pix2vol", *words]


def _find_class(
    path: Path, checkpoint: dict[str, Any], own: Sequence[type[VolumeModel]]
) -> type[VolumeModel]:
    name = str(checkpoint[TASK_KEY].get("class"))
    known = MODELS | {import_path_of(one): one for one in own}
    if name in known:
        return known[name]
    if name in _PRETRAININGS:
        raise CheckpointError(
            f"{path}: is a pre-training ({name}), which translates no photo; begin a training with it: "
            f"{shlex.join(training_after(path, checkpoint))}"
        )
    # A class in a user's own file has another module name when that file is run as a script.
    alike = [one for one in own if one.__name__ == name.rpartition(".")[2]]
    if len(alike) == 1:
        return alike[0]
    given = f", nor one of {', '.join(known)}" if own else ""
    raise CheckpointError(
        f"{path}: holds a {name}, which is not part of fund2oct{given}; "
        "pass the class itself as model_class (--model at the command line)"
    )


def _called(
    model_class: type[VolumeModel], saved: Mapping[str, Any], path: str, named: Mapping[str, Any]
) -> tuple[VolumeModel, dict[str, Any], dict[str, Any]]:
    """Call a class with the arguments that were saved.

    Lightning saves those of all constructors, from that of the base class to that of the own class. What a
    class fixes for its base class, or does not take, is left out: only the class itself can say what that is.

    Returns:
        The model, the arguments that it was called with, and those that were left out.

    Raises:
        ValueError: if one is left out that no constructor takes.
    """
    given = {name: value for name, value in saved.items() if not name.startswith("_")}
    fixed: dict[str, Any] = {}
    while True:
        try:
            with values_of_a_file(path, given, named):
                model = model_class(**given)
            break
        except TypeError as error:
            refused = _REFUSED.search(str(error))
            if refused is None or refused[1] not in given:
                raise
            fixed[refused[1]] = given.pop(refused[1])
    if unknown := sorted(fixed.keys() - model.hparams.keys()):
        raise ValueError(f"it takes no {', '.join(unknown)}")
    return model, given, fixed


def import_class(path: str) -> type[VolumeModel]:
    """Import a model's class by the path that the *user* gives, ``module.Class``.

    Raises:
        ValueError: if there is no such class, or it is no model.
    """
    try:
        found = import_by_path(path)
    except ValueError as error:
        raise ValueError(f"model {error}") from None
    if not (isinstance(found, type) and issubclass(found, VolumeModel)):
        raise ValueError(f"model {path!r}: expected a subclass of fund2oct.models.VolumeModel")
    return found


def read_checkpoint(path: str | Path, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint as tensors and plain values, and nothing else.

    Args:
        path: the file.
        mmap: whether tensors are read only once they are used; the file has to stay as it is until then.

    Raises:
        CheckpointError: if it cannot be read, or is not one of a model of this package.
    """
    path = Path(path)
    if reason := why_not_a_file(path):
        raise CheckpointError(f"{path}: {reason}{_within(path)}")
    kind = kind_of(path)
    if not kind.startswith(_CHECKPOINTS):
        found = kind or "damaged or something else"
        raise CheckpointError(f"{path}: is {found}; expected a checkpoint, as fund2oct train writes them")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        reason = "holds more than tensors and plain values, which could run code; refused"
        raise CheckpointError(f"{path}: {reason} ({_asked_for(error)})") from None
    except Exception as error:  # on a damaged file the reader raises whatever it stumbles over
        raise CheckpointError(
            f"{path}: damaged or not a checkpoint; copy it anew, or use an earlier one ({_one_line(error)})"
        ) from None
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path}: not a checkpoint of a fund2oct model, but a {type(checkpoint).__name__}"
        )
    parts = {TASK_KEY: dict, "state_dict": dict, "hyper_parameters": dict}
    if not all(isinstance(checkpoint.get(name), kind) for name, kind in parts.items()):
        raise CheckpointError(f"{path}: not a checkpoint of a fund2oct model; train one with fund2oct train")
    return checkpoint


def _within(path: Path) -> str:
    """Where the checkpoint lies in the folder of a run."""
    found = [
        *path.glob("last*.ckpt"),
        *path.glob("checkpoints/last*.ckpt"),
        *path.glob("*/checkpoints/last.ckpt"),
    ]
    return f"; perhaps {found[0]}" if found else ""


def _asked_for(error: Exception) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it asks for {named[1]}" if named else "its content is not that of a checkpoint"


def _one_line(error: Exception) -> str:
    line = " ".join(str(error).split())
    return line if len(line) < 200 else line[:197] + "..."
