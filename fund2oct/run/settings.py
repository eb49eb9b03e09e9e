"""Settings of an experiment that would do nothing, or not what they say."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

import pytorch_lightning as pl

from fund2oct.data import FundusOCTDataModule, UnpairedDataModule
from fund2oct.run.config import ConfigError, nearest

_OURS = {
    "gradient_clip_val": "set model.init_args.gradient_clip, the largest norm of a network's gradient",
    "gradient_clip_algorithm": "norms are clipped; set model.init_args.gradient_clip",
    "accumulate_grad_batches": "each batch is a step; raise data.init_args.batch_size, or train on more "
    "devices",
}
"""Keys of the trainer that a model which steps its optimisers itself never asks for."""
_NOT_OF_A_RUN = {
    "default_root_dir": "all lies in the folder of the run; choose it by --out",
    "limit_test_batches": "the report of a training reads the test eyes by itself; set report.n_eyes, or "
    "data.init_args.test_fraction=0 for no report",
    "limit_predict_batches": "a training predicts nothing; leave it out",
    "barebones": "without checkpoints and logs nothing is left of a run; leave it out",
}
"""Keys of the trainer that a training with a folder of its own never asks for, or cannot do with."""
_WHOLE = ("bf16-true", "16-true", "64-true", "64")
"""Precisions in which Lightning would turn all of a batch into other numbers."""
_OF_FILES = (FundusOCTDataModule, UnpairedDataModule)
"""Data whose loaders have an order of their own, in whose place Lightning cannot put another."""
_SECTION = ("class_path", "init_args", "dict_kwargs")


def check_sections(config: dict[str, Any], run_is_given: bool) -> None:
    """Refuse keys that nothing reads.

    Args:
        config: from :func:`fund2oct.run.config.load_experiment`.
        run_is_given: whether the trainer writes into the folder of a run.

    Raises:
        ConfigError: if there are any; the message names the nearest that is read.
    """
    for name in ("model", "data"):
        for key in config.get(name, {}):
            if key not in _SECTION:
                raise ConfigError(f"configuration: {name}.{key}: unknown key{nearest(key, _SECTION)}")
    for key, instead in _NOT_OF_A_RUN.items() if run_is_given else ():
        given = config["trainer"].get(key)
        if given is not None and given is not False:  # 0 batches are not nothing
            raise ConfigError(f"configuration: trainer.{key}: {instead}")


def check_trainer(
    config: dict[str, Any], model: pl.LightningModule, datamodule: pl.LightningDataModule
) -> None:
    """Refuse what a training would not do, or a model that steps by itself, or data in an order of their own.

    Raises:
        ConfigError: naming the key or the value to use instead.
    """
    precision = str(config["trainer"].get("precision"))
    if precision in _WHOLE:
        raise ConfigError(
            f"configuration: trainer.precision: expected 32-true, bf16-mixed or 16-mixed, found {precision}: "
            "batches are bytes until they are on the device, and what is measured needs 32 bits; set "
            "trainer.precision=bf16-mixed"
        )
    if config["trainer"].get("accelerator") == "mps":
        raise ConfigError(
            "configuration: trainer.accelerator: expected cpu or gpu, found mps, which has no 64-bit "
            "numbers, as measures need them; set trainer.accelerator=cpu"
        )
    if config["trainer"].get("overfit_batches") and isinstance(datamodule, _OF_FILES):
        side = "photos." if isinstance(datamodule, UnpairedDataModule) else ""
        raise ConfigError(
            f"configuration: trainer.overfit_batches: {type(datamodule).__name__} orders its eyes itself; "
            f"name the few to learn in its split, as in data.init_args.{side}split={{train: [KEY], "
            "val: [KEY]}; trainer.limit_train_batches shortens an epoch"
        )
    if model.automatic_optimization:
        return
    for key, instead in _OURS.items():
        if config["trainer"].get(key) not in (None, 1 if key == "accumulate_grad_batches" else None):
            raise ConfigError(
                f"configuration: trainer.{key}: {type(model).__name__} steps by itself; {instead}"
            )


def loggers_of(config: dict[str, Any], own: list[dict[str, Any]]) -> list[dict[str, Any]] | bool:
    """The loggers of a run: our own and those that the experiment names, or none where it says ``false``."""
    wanted = config["trainer"].get("logger")
    if wanted is False:
        return False
    named = wanted if isinstance(wanted, list) else [wanted] if isinstance(wanted, (dict, str)) else []
    return [*own, *named]


def explain(error: Exception) -> str:
    """What is wrong with a configuration, in a line, with the name that was perhaps meant.

    The libraries that check it list all types that they tried, and the whole value.
    """
    text = " ".join(str(error).split())
    refused = re.search(r"Option '([^']+)' is not accepted|does not accept option '([^']+)'", text)
    if refused is not None:
        word = (refused[1] or refused[2]).rpartition(".")[2]
        path = re.findall(r"given class_path '([^']+)'", text[: refused.start()])
        where = path[-1] if path else "trainer"
        known = _arguments(_class_of(path[-1]) if path else pl.Trainer)
        return f"{where}: there is no {word!r}{nearest(word, known)}"
    absent = re.search(r"given class_path '([\w.]+)\.(\w+)': module '[^']+' has no attribute", text)
    if absent is not None:
        names = [name for name in dir(import_module(absent[1])) if name[0].isupper()]
        return f"there is no {absent[2]!r} in {absent[1]}{nearest(absent[2], names)}"
    where = re.match(r'Parser key "([\w.]+)"', text)
    tried = re.search(r"Errors:(.*?)- (?:Expected a <class 'NoneType'>|Not a valid subclass)", text)
    line = (tried[1] if tried else text).replace("- ", "", 1).strip()
    return f"{where[1]}: {line}" if where and tried else with_our_names(line)


def with_our_names(text: str) -> str:
    """What Lightning says is wrong, with our keys of the arguments that it names.

    Example:
        >>> with_our_names("The argument `max_epochs` must be positive.")
        'The argument `max_epochs` must be positive; set trainer.max_epochs'
    """
    named = []
    for name in _arguments(pl.Trainer):
        # A word of plain English counts only where it is written as an argument.
        pattern = rf"\b{name}\b" if "_" in name else rf"`{name}\b|\b{name}\s?=|\({name}\b"
        if re.search(pattern, text):
            named.append(name)
    if "You requested gpu" in text:
        named.append("devices")
    keys = ", ".join(f"trainer.{name}" for name in sorted(set(named)) if f"trainer.{name}" not in text)
    return f"{text.rstrip('. ')}; set {keys}" if keys else text


def _class_of(path: str) -> type:
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    return found if isinstance(found, type) else type(found)


def _arguments(of: type) -> set[str]:
    """Names of the arguments of a class and of those that it stands on."""
    inits = (vars(base)["__init__"] for base in of.__mro__[:-1] if "__init__" in vars(base))
    return {name for init in inits for name in inspect.signature(init).parameters}
