"""The plan of a leaderboard: entries, budget and settings, as a YAML file and the command line say them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fund2oct.data import DataError
from fund2oct.run.config import ConfigError

HERE = Path(__file__).parent
DISTANCES = "image", "video", "video:oct3d"
"""What the tables have columns for. The last judges by a network that was trained on OCT, not on photos."""
DOCS = HERE.parents[1] / "docs"
TAKEN = ("pretrained", "reports")
"""Folders beside those of the entries, which have the entries' names."""


class PlanError(ValueError):
    """A plan that cannot be carried out; the message says why, and what to do."""


@dataclass
class Entry:
    """An experiment that is trained, and the rows that it gives the table.

    Args:
        experiment: a shipped experiment's name or the path of a YAML file.
        settings: ``key=value`` of this entry, after those of all entries.
        rows: for each row the end of its answer's name in a report, such as ``, median surfaces``; empty for
            one row with the volumes that the model draws.
        tuning: how much it was tuned, in words.
        needs: a package without which the entry is left out; empty for none.
        begins_with: names of the plan's pre-trainings whose weights it begins with.
    """

    experiment: str = MISSING
    settings: list[str] = field(default_factory=list)
    rows: dict[str, str] = field(default_factory=dict)
    tuning: str = "none"
    needs: str = ""
    begins_with: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """What is trained and how it is judged.

    Args:
        entries: by name.
        minutes: of each training.
        at_once: trainings side by side, each with one thread; 1 trains in this process with all of them.
        seeds: of the trainings; the eyes and their split are the same for all.
        distances: between real and generated sets, some of :data:`DISTANCES`.
        thorough: whether the distances of all controls are measured too.
        shuffled_photos: whether each row of a leaderboard is asked with the photos of other patients, too.
        settings: ``key=value`` of all trainings.
        sizes: numbers of training eyes, for learning curves; empty for all eyes.
        pretrainings: by name, trained before the entries, for as long, with the first seed; not judged.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    minutes: float = 13.0
    at_once: int = 1
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    distances: list[str] = field(default_factory=lambda: ["image"])
    thorough: bool = False
    shuffled_photos: bool = True
    settings: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    pretrainings: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path, changes: Sequence[str] = ()) -> Plan:
        """Read a plan.

        Args:
            path: the YAML file.
            changes: ``key=value`` that differ, as in ``minutes=1``.

        Raises:
            PlanError: if the file or a change says something that a plan does not have.
        """
        try:
            given = OmegaConf.merge(
                OmegaConf.structured(cls), OmegaConf.load(path), OmegaConf.from_dotlist([*changes])
            )
            plan = OmegaConf.to_object(given)
        except (OmegaConfBaseException, YAMLError, OSError) as error:
            raise PlanError(f"{path}: {' '.join(str(error).split())}") from None
        assert isinstance(plan, cls)
        if unknown := [name for name in plan.distances if name not in DISTANCES]:
            raise PlanError(
                f"{path}: distances: expected some of {', '.join(DISTANCES)}, for which the tables have "
                f"columns, found {', '.join(unknown)}"
            )
        for name, entry in plan.entries.items():
            if name in TAKEN or "/" in name:
                raise PlanError(f"{path}: {name}: an entry's folder has its name; expected another one")
            if unknown := set(entry.begins_with) - set(plan.pretrainings):
                raise PlanError(
                    f"{path}: {name} begins with {', '.join(sorted(unknown))}; expected pre-trainings of the "
                    f"plan, found {', '.join(plan.pretrainings) or 'none'}"
                )
        for name, entry in list(plan.entries.items()):
            if entry.needs and find_spec(entry.needs) is None:
                print(f"{name} is left out: {entry.needs} is not installed")
                del plan.entries[name]
        return plan


def asked(words: list[str] | None, about: str, plan: str, out: str) -> tuple[Plan, Path, Path]:
    """What a command line asks for.

    Args:
        words: of the command line; None takes those of this process.
        about: what the command does.
        plan: name of the plan beside this file that is taken if none is given.
        out: folder of models and reports.

    Returns:
        The plan, the folder of models and reports, and that of table and pictures.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", nargs="?", default=str(HERE / plan), metavar="PLAN.yaml")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--docs", type=Path, default=DOCS)
    given = parser.parse_intermixed_args(words)
    sys.path.append(os.getcwd())  # for classes in the user's own files
    changes, path = given.changes, given.plan
    if "=" in path:  # no plan, and the first change in its place
        changes, path = [path, *changes], str(HERE / plan)
    return Plan.read(path, changes), given.out, given.docs


def run(command: Callable[[], None]) -> None:
    """Run a command; where it refuses what it is given, its message is all that is shown."""
    try:
        command()
    except (PlanError, ConfigError, DataError, FileNotFoundError, ImportError) as refusal:
        raise SystemExit(str(refusal)) from None
