"""The models at hand: those of the package, and those of a folder of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fund2oct.models.published import WEIGHTS, read_config, shipped_models
from fund2oct.run.publishing.record import FIGURES, RunRecord

_DEPTHS = ("run.json", "*/run.json", "*/*/run.json")


class ModelAtHand(NamedTuple):
    """A model that ``fund2oct predict`` can be given.

    Args:
        name: as the command takes it, but for those of the package, which it takes where none is named.
        where: it comes from.
        lines: what is known of it.
    """

    name: str
    where: str
    lines: tuple[str, ...]


def models_at_hand(runs: Path) -> list[ModelAtHand]:
    """List the models of the package, the one that is taken where none is named first, and those of runs.

    Args:
        runs: a folder of runs, ``EXPERIMENT/NUMBER`` each, one of its experiments, or one of its runs; it
            need not be there.
    """
    found: list[ModelAtHand] = []
    for folder in shipped_models():
        config = read_config(folder)
        size = f"{config['class'].rpartition('.')[2]}, {(folder / WEIGHTS).stat().st_size / 1e6:.1f} MB"
        where = (
            "in the package; predict takes it where no model is named"
            if not found
            else f"in the package: {folder}"
        )
        about = config["about"]
        known = size, str(about.get("provenance", "")), figures_of(about)
        found.append(ModelAtHand(folder.name, where, tuple(filter(None, known))))
    for marked in sorted(path for depth in _DEPTHS for path in runs.glob(depth)):
        try:
            record = RunRecord.read(marked.parent)
        except ValueError:
            continue  # stopped before its first checkpoint, or damaged: nothing to predict with
        lines = tuple(filter(None, (figures_of(record.about),)))
        found.append(ModelAtHand(str(record.checkpoint), "a run of yours", lines))
    return found


def figures_of(about: Mapping[str, Any]) -> str:
    """What a model's report measured, in a line; empty where it has none.

    Example:
        >>> figures_of({"hours": 0.25, "n_eyes": 56, "figures": {"thickness/error_um": 19.43}})
        '0.25 hours of training; on 56 test eyes: thickness error, µm ↓ 19.4'
    """
    parts = [f"{about['hours']:.2f} hours of training"] if "hours" in about else []
    known = {name: value for name, value in about.get("figures", {}).items() if value is not None}
    if known:
        values = ", ".join(f"{FIGURES[name][0]} {FIGURES[name][1].format(v)}" for name, v in known.items())
        parts.append(f"on {about['n_eyes']} test eyes: {values}")
    return "; ".join(parts)
