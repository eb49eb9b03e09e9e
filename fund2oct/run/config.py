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
    another ``class_path`` than the base, the base's ``init_args`` are dropped with their class.

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
    merged = _merge(_read(shipped["base"]), _read(path))
    overrides = listed(overrides)
    for override in overrides:
        key, separator, _ = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"override {override!r}: expected key=value, as in trainer.max_epochs=1")
    try:
        merged = _merge(merged, OmegaConf.from_dotlist(overrides))
        resolved = OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
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
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a readable YAML file: {_one_line(error)}") from None
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path}: expected a YAML mapping of {', '.join(SECTIONS)}")
    return config


def _merge(base: DictConfig, change: DictConfig) -> DictConfig:
    for section in ("model", "data"):
        new = OmegaConf.select(change, f"{section}.class_path")
        if new is not None and new != OmegaConf.select(base, f"{section}.class_path"):
            OmegaConf.update(base, section, {}, merge=False)
    own, others = (OmegaConf.select(config, "trainer.callbacks") for config in (base, change))
    merged = OmegaConf.merge(base, change)
    if own is not None:
        OmegaConf.update(merged, "trainer.callbacks", _merge_callbacks(own, others), merge=False)
    assert isinstance(merged, DictConfig)
    return merged


def _merge_callbacks(own: Any, others: Any) -> list[Any]:
    """Those of the base that are not named again, and all others: none is lost where one is added."""
    if others is None:
        return list(own)
    added = list(others) if isinstance(others, ListConfig) else [others]
    named = {_class_name(callback) for callback in added}
    return [callback for callback in own if _class_name(callback) not in named] + added


def _class_name(callback: Any) -> str:
    path = callback if isinstance(callback, str) else OmegaConf.select(callback, "class_path")
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
