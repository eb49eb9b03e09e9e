"""From an experiment's name and overrides to one resolved configuration."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fund2oct.by_path import listed

SECTIONS = ("trainer", "model", "data", "report", "seed_everything")
_MAPPINGS = {
    "trainer": "trainer.max_epochs=1",
    "model": "model.class_path=fund2oct.models.Pix2Vol",
    "model.init_args": "model.init_args.learning_rate=0.001",
    "data": "data.init_args.path=data/eyes.h5",
    "data.init_args": "data.init_args.path=data/eyes.h5",
    "report": "report.n_eyes=100",
}
"""What is a mapping in each experiment, with one of its keys as an example for errors."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file or key and what to do."""


def experiments() -> dict[str, Path]:
    """Find the experiments that come with the package.

    Returns:
        The YAML file of each by its name; ``base`` holds what all of them share.

    Example:
        >>> experiments()["pix2vol"].name
        'pix2vol.yaml'
    """
    checkout = Path(__file__).parents[2]
    if (checkout / "setup.cfg").is_file():  # its own, whether it is installed, another one is, or none
        return _named(checkout / "experiments")
    with as_file(files("fund2oct.experiments")) as folder:
        return _named(folder)


def _named(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_experiment(name: str, overrides: str | Sequence[str] = ()) -> dict[str, Any]:
    """Merge ``base.yaml``, an experiment and overrides, and resolve the references between them.

    A dictionary is merged key by key and a list is replaced, but for ``trainer.callbacks``: those that are
    named are added to the base's, or take the place of one of the same class. Where an experiment names
    another ``class_path`` than the base, the base's ``init_args`` are dropped with their class. A section, or
    its ``init_args``, that is left empty counts as not given.

    Args:
        name: a shipped experiment's name, or the path of a YAML file.
        overrides: ``key=value``, as in ``trainer.max_epochs=1``.

    Returns:
        Plain dictionaries, lists and values.

    Raises:
        ConfigError: if the experiment or a section is not known, or a file or override is not valid.

    Example:
        >>> config = load_experiment("pix2vol", ["trainer.max_epochs=1"])
        >>> config["model"]["class_path"], config["trainer"]["max_epochs"]
        ('fund2oct.models.Pix2Vol', 1)
    """
    shipped = experiments()
    path = shipped.get(name) or Path(name)
    if name == "base" or not path.is_file():
        known = [known for known in shipped if known != "base"]
        raise ConfigError(
            f"experiment {name!r}: expected a YAML file or one of {', '.join(known)}{nearest(name, known)}"
        )
    base, own = _read(shipped["base"]), _read(path)
    overrides = listed(overrides)
    for override in overrides:
        key, separator, _ = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"override {override!r}: expected key=value, as in trainer.max_epochs=1")
    try:
        said = []
        for override in overrides:  # one by one: a further key of a section hides that it was set to a value
            alone, key = OmegaConf.from_dotlist([override]), override.partition("=")[0]
            _check_mappings(alone)
            if key not in _MAPPINGS or OmegaConf.select(alone, key) is not None:  # else it is left empty
                said.append(override)
        merged = _merge(_merge(base, own), OmegaConf.from_dotlist(said))
        resolved = OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"experiment {name!r}: {_one_line(error)}") from None
    assert isinstance(resolved, dict)
    for key in map(str, resolved):
        if key not in SECTIONS:
            raise ConfigError(
                f"experiment {name!r}: unknown section {key!r}, expected {', '.join(SECTIONS)}"
                f"{nearest(key, SECTIONS)}"
            )
    return {str(key): value for key, value in resolved.items()}


def _read(path: Path) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a readable YAML file: {_one_line(error)}") from None
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path}: expected a YAML mapping of {', '.join(SECTIONS)}")
    return config


def _merge(base: DictConfig, change: DictConfig) -> DictConfig:
    _check_mappings(change)
    for section in ("model", "data"):
        new = OmegaConf.select(change, f"{section}.class_path")
        if new is not None and new != OmegaConf.select(base, f"{section}.class_path"):
            OmegaConf.update(base, section, {}, merge=False)
    own, others = (OmegaConf.select(config, "trainer.callbacks") for config in (base, change))
    if isinstance(others, DictConfig) and "class_path" in others:  # a lone one, without its dash
        OmegaConf.update(change, "trainer.callbacks", [others], merge=False)
    _check_kinds(OmegaConf.to_container(base), OmegaConf.to_container(change))
    merged = OmegaConf.merge(base, change)
    if own is not None:
        OmegaConf.update(merged, "trainer.callbacks", _merge_callbacks(own, others), merge=False)
    assert isinstance(merged, DictConfig)
    return merged


def _check_mappings(change: DictConfig) -> None:
    """Refuse a section that is a value or a list, and leave out one that is empty: nothing is said in it."""
    for key, example in _MAPPINGS.items():
        given = OmegaConf.select(change, key)
        if given is None:
            section, _, name = key.rpartition(".")
            holder = OmegaConf.select(change, section) if section else change
            if holder is not None:
                holder.pop(name, None)
        elif not isinstance(given, DictConfig):
            raise ConfigError(f"{key}: expected a mapping of keys, as in {example}, found {given!r}")


def _check_kinds(base: Any, change: Any, where: str = "") -> None:
    """Refuse a list in the place of a mapping, and the other way round: nothing can merge the two."""
    if isinstance(base, dict) and isinstance(change, dict):
        for key in change:
            if key in base:
                _check_kinds(base[key], change[key], f"{where}.{key}" if where else str(key))
    elif isinstance(base, list) and isinstance(change, dict):
        raise ConfigError(
            f"{where}: expected a list, found a mapping; no entry is set by itself, give the whole list"
        )
    elif isinstance(base, dict) and isinstance(change, list):
        raise ConfigError(f"{where}: expected a mapping of keys, found a list")


def _merge_callbacks(own: Any, others: Any) -> list[Any]:
    """Those of the base that are not named again, and all others: none is lost where one is added."""
    if others is None:
        return list(own)
    added = list(others) if isinstance(others, ListConfig) else [others]
    named = {_class_name(callback) for callback in added}
    return [callback for callback in own if _class_name(callback) not in named] + added


def _class_name(callback: Any) -> str:
    path = OmegaConf.select(callback, "class_path") if isinstance(callback, DictConfig) else callback
    return str(path).rpartition(".")[2]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def nearest(word: str, known: Iterable[str]) -> str:
    """Ask whether another word was meant, to be put behind an error message.

    Args:
        word: what was found.
        known: the words that would have been right.

    Returns:
        The question; empty where no known word is alike.

    Example:
        >>> nearest("max_epoch", ["max_steps", "max_epochs"])
        '; did you mean max_epochs?'
    """
    close = difflib.get_close_matches(word, [*known], n=1)
    return f"; did you mean {close[0]}?" if close else ""
