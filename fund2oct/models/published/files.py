"""A published model: tensors in one file, plain values in another, and nothing that runs.

``model.safetensors`` holds the averaged networks that use needs, and statistics of the training's poses and
photos; ``config.json`` the class, the hyper-parameters, the task, and what the card says in numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fund2oct import __version__
from fund2oct.by_path import import_path_of
from fund2oct.file_kinds import kind_of, why_not_a_file
from fund2oct.models.task import TASK_KEY
from fund2oct.networks.foundation.backbone import Backbone

if TYPE_CHECKING:
    from fund2oct.models.base import VolumeModel

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_FORMAT = 1
_TASK, _OF_TENSORS = "task.", ("poses", "photos")
"""Entries of the task that hold tensors."""
_TRAINED, _AVERAGED = "generator.", "generator_ema.module."


def is_published(path: str | Path) -> bool:
    """Whether a path is a folder that holds a published model."""
    return all((Path(path) / name).is_file() for name in (CONFIG, WEIGHTS))


def write_published(
    model: VolumeModel,
    folder: Path,
    about: Mapping[str, Any],
    half: bool = False,
    with_encoder: bool = False,
) -> None:
    """Write a model's tensors and configuration.

    Args:
        model: loaded for use, see :func:`fund2oct.models.load_model`.
        folder: which is there.
        about: plain values for the card and for lists of models; loading reads none of them.
        half: whether numbers are written as float16; they are float32 again once loaded.
        with_encoder: whether frozen networks that come from packages are written too; a reader needs
            these packages otherwise.

    Raises:
        ValueError: if a hyper-parameter is no plain value, a weight is too large for float16, or the encoder
            is made of weights that are not ours to hand on.
    """
    if with_encoder and any(isinstance(part, Backbone) for part in model.modules()):
        name, digest = str(model.hparams.get("encoder", "")).partition("@")[::2]
        raise ValueError(
            f"encoder{f' {name}' if digest else ''}: its weights come from elsewhere and are "
            "not ours to hand on; publish without --with-encoder. Who uses the model needs the same weights"
        )
    assert model.task is not None
    task = model.task.for_publishing().to_dict()
    stored = {
        f"{_TASK}{part}.{name}": value
        for part in _OF_TENSORS
        for name, value in (task.pop(part) or {}).items()
    }
    # Slices of a star have no distance; JSON has no NaN.
    task["spacing_mm"] = [None if math.isnan(length) else length for length in task["spacing_mm"]]
    arguments = {name: value for name, value in model.hparams.items() if not name.startswith("_")}
    config = {
        "format": _FORMAT,
        "fund2oct": __version__,
        "class": import_path_of(type(model)),
        "with_encoder": with_encoder,
        "hyper_parameters": {name: _plain(value, name) for name, value in arguments.items()},
        "task": task,
        "about": _plain(about, "about"),
    }
    rebuilt = set() if with_encoder else model.rebuilt_names()
    tensors = {
        name: _halved(name, value) if half else value
        for name, value in model.state_dict().items()
        if not name.startswith(_TRAINED) and name not in rebuilt
    } | stored
    # safetensors wants each tensor in memory of its own, in C order.
    own = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    (folder / WEIGHTS).write_bytes(save(own, metadata={"format": "pt"}))
    # Last: a folder without it is known to be unfinished.
    (folder / CONFIG).write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", "utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json``, plain values.

    Raises:
        ValueError: if it is damaged or something else; the message names the file.
    """
    path = folder / CONFIG
    if reason := why_not_a_file(path):
        raise ValueError(f"{path}: {reason}; expected a folder that fund2oct publish wrote")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = kind_of(path) or f"damaged ({error})"
        raise ValueError(f"{path}: is {reason}; expected the configuration of a model") from None
    wanted = {"class": str, "with_encoder": bool, "hyper_parameters": dict, "task": dict, "about": dict}
    if not isinstance(config, dict) or not all(isinstance(config.get(name), t) for name, t in wanted.items()):
        raise ValueError(f"{path}: expected {', '.join(wanted)}, as fund2oct publish writes them")
    if config.get("format") != _FORMAT:
        raise ValueError(
            f"{path}: written in form {config.get('format')!r} by fund2oct {config.get('fund2oct')!r}, "
            f"expected form {_FORMAT}; install a newer fund2oct (this is {__version__})"
        )
    return config


def read_published(folder: Path) -> dict[str, Any]:
    """Read a published model as :func:`fund2oct.models.checkpoint.read_checkpoint` reads a checkpoint.

    Raises:
        ValueError: if a file is missing, damaged or something else.
    """
    config = read_config(folder)
    path = folder / WEIGHTS
    if reason := why_not_a_file(path):
        raise ValueError(f"{path}: {reason}; expected the model's tensors")
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        found = kind_of(path)
        reason = f"damaged ({error})" if not found or "safetensors" in found else found
        raise ValueError(f"{path}: is {reason}; expected the model's tensors") from None
    task: dict[str, Any] = config["task"]
    for name in [name for name in tensors if name.startswith(_TASK)]:
        part, _, value = name.removeprefix(_TASK).partition(".")
        task.setdefault(part, {})[value] = tensors.pop(name)
    spacing = task.get("spacing_mm")
    if isinstance(spacing, list):
        task["spacing_mm"] = [math.nan if length is None else length for length in spacing]
    averaged = {name: value for name, value in tensors.items() if name.startswith(_AVERAGED)}
    # A training that goes on from it begins with the average.
    trained = {name.replace(_AVERAGED, _TRAINED, 1): value for name, value in averaged.items()}
    return {
        TASK_KEY: {"class": config["class"], "task": task},
        "hyper_parameters": config["hyper_parameters"],
        "state_dict": trained | tensors,
        "with_encoder": config["with_encoder"],
    }


def _halved(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    halved = value.half()
    if not halved.isfinite().all():
        raise ValueError(f"{name}: {value.abs().max():g} is too large for float16; publish without --half")
    return halved


def _plain(value: Any, name: str) -> Any:
    """A value as JSON holds it; what it cannot hold is refused by name."""
    if (
        value is None
        or isinstance(value, bool | int | str)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    if isinstance(value, list | tuple):
        return [_plain(part, f"{name}[{number}]") for number, part in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(part, f"{name}.{key}") for key, part in value.items()}
    raise ValueError(
        f"{name}: expected a plain value (a number, a text, a list or a dictionary by text), found "
        f"{type(value).__name__} {value!r}; a model's arguments have to be plain to be published"
    )
