"""What a plan needs, looked for before the first training and not after the last."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from judging import wanted
from plan import Plan, PlanError
from torch.nn import Module
from trainings import pretrainings_of, trainings_of

from fund2oct.evaluation.answers.answer import NOISE_OFF, OF_SURFACES
from fund2oct.evaluation.answers.borrowed import BORROWED, RETRIEVAL
from fund2oct.evaluation.answers.controls import TOLD_OTHERWISE, DrawsAnatomy
from fund2oct.evaluation.distances import build_distances
from fund2oct.models.thickness import PredictsSurfaces
from fund2oct.run.train import build

_INSTEAD = "for want of"
"""What the warning says of a model that is trained otherwise, because weights are missing."""


def check_plan(plan: Plan, out: Path) -> None:
    """Build once what the trainings of a plan train, load the networks of its distances, and make its eyes.

    Eyes that lie there are looked into: a warning names a file that another version of fund2oct simulated.

    Args:
        plan: the plan.
        out: folder of its trainings.

    Raises:
        FileNotFoundError: if the network of a distance has no weights on this machine.
        ModuleNotFoundError: if an encoder has none, or needs a package that is not installed.
        fund2oct.run.config.ConfigError: if an experiment is not valid.
        fund2oct.data.DataError: if there are no eyes, or others than an experiment says.
        PlanError: if a model would be trained without weights of others that it is meant to have; one that
            does without them says ``model.init_args.encoder=own``. Or if an entry has rows that its model
            does not give.
    """
    build_distances(wanted(plan), None, 1, torch.device("cpu"))
    data = []
    for training in (*pretrainings_of(plan, out), *trainings_of(plan, out)[: len(plan.entries)]):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            _, model, eyes = build(training.experiment, training.settings)
            model.configure_model()
            model.configure_training()
        if missing := [text for one in said if _INSTEAD in (text := str(one.message))]:
            raise PlanError(f"{training.name}: would be another model, {'; '.join(missing)}")
        if training.name in plan.entries:
            check_rows(training.name, plan.entries[training.name].rows, model)
        data.append(eyes)
    for eyes in data:
        eyes.prepare_data()


def check_rows(name: str, rows: Mapping[str, str], model: Module) -> None:
    """Refuse rows of an entry that a report of its model does not have.

    Args:
        name: of the entry.
        rows: for each row the end of its answer's name; empty for one row of volumes.
        model: the entry's.

    Raises:
        PlanError: if there are some; the message says which there are.
    """
    ends = ["", NOISE_OFF] if getattr(model, "draws_volumes", False) else []
    if isinstance(model, PredictsSurfaces):
        ends += [OF_SURFACES, f", {RETRIEVAL}"]
        ends += [f", {BORROWED}"] if isinstance(model, DrawsAnatomy) else []
        ends += [end for part, told in TOLD_OTHERWISE.items() if getattr(model, part, ()) for end in told]
    if wrong := [end for end in (rows or {name: ""}).values() if end not in ends]:
        raise PlanError(f"{name}: rows: expected ends of answers out of {ends}, found {wrong}")
