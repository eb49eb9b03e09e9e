"""What a plan needs beside its eyes, looked for before the first training and not after the last."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from judging import wanted
from plan import Plan
from trainings import pretrainings_of, trainings_of

from fund2oct.evaluation.distances import build_distances
from fund2oct.run.train import build

_INSTEAD = "for want of"
"""What the warning says of a model that is trained otherwise, because weights are missing."""


def check_plan(plan: Plan, out: Path) -> None:
    """Build once what the trainings of a plan train, and load the networks of its distances.

    Args:
        plan: the plan.
        out: folder of its trainings.

    Raises:
        OSError: if the network of a distance has no weights on this machine.
        ValueError: if an experiment is not valid, or a model would be trained without weights of others that
            it is meant to have. One that does without them says ``model.init_args.encoder=own``.
    """
    build_distances(wanted(plan), None, 1, torch.device("cpu"))
    for training in (*pretrainings_of(plan, out), *trainings_of(plan, out)[: len(plan.entries)]):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model = build(training.experiment, training.settings)[1]
            model.configure_model()
            model.configure_training()
        if missing := [text for one in said if _INSTEAD in (text := str(one.message))]:
            raise ValueError(f"{training.name}: would be another model, {'; '.join(missing)}")
