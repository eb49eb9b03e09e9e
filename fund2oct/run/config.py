"""From an experiment's name and overrides to one resolved configuration."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

SECTIONS = ("trainer", "model", "data", "seed_everything")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file or key and what to do."""


def experiments() -> dict[str, Path]:
    """The shipped experiments by name; ``base`` is what all of them stand on."""
    with as_file(files("fund2oct.experiments")) as folder:
        return {path.stem: path for path in sorted(Path(folder).glob("*.yaml"))}


def load_experiment(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Merge ``base.yaml``, an experiment and overrides, and resolve the references between them.

    A dictionary is merged key by key and a list is replaced. Where an experiment names another
    ``class_path`` than the base, the base's ``init_args`` are dropped with their class.

    Args:
        name: a shipped experiment's name, or the path of a YAML file.
        overrides: ``key=value``, as in ``trainer.max_epochs=1``.

    Returns:
        Plain dictionaries, lists and values.

    Raises:
        ConfigError: if the experiment or a section is not known, or a file or override is not valid.
    """
    shipped = experiments()
    path = shipped.get(name) or Path(name)
    if name == "base" or not path.is_file():
        known = [known for known in shipped if known != "base"]
        raise ConfigError(
            f"experiment {name!r}: expected a YAML file or one of {', '.join(known)}"
            f"{_suggestion(name, known)}"
        )
    merged = _merge(_read(shipped["base"]), _read(path))
    for override in overrides:
        key, separator, _ = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"override {override!r}: expected key=value, as in trainer.max_epochs=1")
    try:
        merged = _merge(merged, OmegaConf.from_dotlist(list(overrides)))
        resolved = OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError(f"experiment {name!r}: {_one_line(error)}") from None
    assert isinstance(resolved, dict)
    for key in map(str, resolved):
        if key not in SECTIONS:
            raise ConfigError(
                f"experiment {name!r}: unknown section {key!r}, expected {', '.join(SECTIONS)}"
                f"{_suggestion(key, SECTIONS)}"
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
    merged = OmegaConf.merge(base, change)
    assert isinstance(merged, DictConfig)
    return merged


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _suggestion(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
