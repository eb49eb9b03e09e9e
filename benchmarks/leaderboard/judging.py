"""The trained models of a plan, judged on the test eyes: a report for each seed, and all of them together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from plan import Plan, PlanError
from standing import Standings
from tables import CONTROLS, FLOORS
from trainings import Training

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.evaluation import evaluate_checkpoints
from fund2oct.evaluation.distances import Wanted
from fund2oct.models.checkpoint import read_checkpoint
from fund2oct.models.task import TASK_KEY
from fund2oct.run.config import load_experiment
from fund2oct.run.train import build

WAY = 3
"""Number of the way in which models are judged. Raise it with each change after which the same models would
get other values, or a report other entries that the tables read: another search, control, error or protocol
of a distance. What was judged in an earlier way is then judged anew, and a table never holds both."""


def judge(plan: Plan, trainings: Sequence[Training], out: Path, answers: Sequence[str]) -> Standings:
    """Evaluate the models of each seed side by side, where that is not done yet.

    Floors and controls depend on no model: they are in the report of the first seed alone.

    Args:
        plan: says which distances are measured.
        trainings: all of them, finished; those that diverged are left out.
        out: folder of the reports, one a seed.
        answers: what is measured of the models, with ``{seed}`` for the seed.

    Returns:
        Where all answers stand.

    Raises:
        PlanError: if all diverged, or some were trained on other eyes than those of the file.
    """
    trained = [training for training in trainings if not training.failure]
    if not trained:
        first = trainings[0]
        raise PlanError(f"{out.parent}: all trainings diverged: {first.answer}: {first.failure}")
    path = eyes_of(trained[0]).path
    assert isinstance(path, str)
    check_same_eyes(trained, path, plan.sizes)
    reports: dict[int, dict[str, Any]] = {}
    for seed in plan.seeds:
        folder = out / str(seed)
        models = [training for training in trained if training.seed == seed]
        if not models:
            continue
        named = [*([] if reports else [*FLOORS, *CONTROLS]), *(one.format(seed=seed) for one in answers)]
        if not is_judged(folder, models, plan, named):
            # Until the report is whole, nothing says what it holds.
            (folder / "asked.json").unlink(missing_ok=True)
            evaluate_checkpoints(
                [str(training.checkpoint) for training in models],
                path,
                folder,
                distances=wanted(plan),
                seed=seed,
                device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
                overwrite=True,
                model=own_classes(models),
                only=named,
            )
            (folder / "asked.json").write_text(json.dumps(asked_of(models, plan, named), indent=1) + "\n")
        reports[seed] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    rows = next(iter(next(iter(reports.values()))["eyes"].values()))
    return Standings(reports, {row["key"]: row["patient"] for row in rows})


def eyes_of(training: Training) -> FundusOCTDataModule:
    """The eyes of a training, split as it had them."""
    data: FundusOCTDataModule = build(training.experiment, training.settings)[2]
    data.prepare_data()
    data.setup()
    return data


def check_same_eyes(trainings: Sequence[Training], path: str, sizes: Sequence[int] = ()) -> None:
    """Refuse to compare models that had other eyes to train on or for the test, or were trained on test eyes.

    Args:
        trainings: finished ones, with a model each.
        path: the file of eyes.
        sizes: numbers of training eyes, where they are meant to differ.

    Raises:
        PlanError: if there are some; the message names them and says what to do.
    """
    with EyeReader(path) as reader:
        digest = reader.digest()
    seen = {one.answer: read_checkpoint(one.checkpoint)[TASK_KEY]["task"]["seen"] for one in trainings}
    others = [training for training in trainings if seen[training.answer]["digest"] != digest]
    if others:
        raise PlanError(
            f"{path}: expected the eyes that all models were trained on; it holds others than "
            f"{', '.join(one.answer for one in others)} had. Bring those back, or delete "
            f"{', '.join(str(one.folder) for one in others)} and run again"
        )
    for part, word in (("test", "test"), *([] if sizes else [("train", "training")])):
        keys = {answer: {name[0] for name in each["parts"][part]} for answer, each in seen.items()}
        first, *rest = keys
        if unlike := [answer for answer in rest if keys[answer] != keys[first]]:
            raise PlanError(
                f"{path}: expected the same {word} eyes for all entries, found others for "
                f"{', '.join(unlike)} than for {first}; leave `split`, `split_seed` and the fractions to the "
                "`settings` of the plan"
            )
    for answer, each in seen.items():
        # Key, patient and photo of each eye; an empty name tells nothing.
        learned, judged = (
            {name for part in parts for eye in each["parts"][part] for name in enumerate(eye) if name[1]}
            for parts in (("train", "val"), ("test",))
        )
        if both := sorted(name for _, name in learned & judged):
            raise PlanError(
                f"{path}: expected test eyes that no training saw, found {len(both)} names of eyes, patients "
                f"or photos in both parts of {answer}, such as {both[0]}; mend the `split` of the plan"
            )


def own_classes(trainings: Iterable[Training]) -> list[str]:
    """The models' classes that are not part of fund2oct, by the import paths that the experiments name.

    A checkpoint does not decide what is imported: whoever reads one has to name them.
    """
    configs = (load_experiment(training.experiment, training.settings) for training in trainings)
    named = {config["model"]["class_path"] for config in configs}
    return sorted(path for path in named if not path.startswith("fund2oct."))


def wanted(plan: Plan) -> Wanted:
    """The distances of a plan."""
    return Wanted(tuple(plan.distances), required=True, thorough=plan.thorough)


def is_judged(folder: Path, models: Sequence[Training], plan: Plan, answers: Sequence[str]) -> bool:
    """Whether the report holds these very models, judged as the plan says."""
    report, asked = folder / "metrics.json", folder / "asked.json"
    if not (report.is_file() and asked.is_file()):
        return False
    made = report.stat().st_mtime
    as_asked = json.loads(asked.read_text(encoding="utf-8")) == asked_of(models, plan, answers)
    return as_asked and all(model.checkpoint.stat().st_mtime < made for model in models)


def asked_of(models: Sequence[Training], plan: Plan, answers: Sequence[str]) -> dict[str, Any]:
    """What a report was asked for."""
    names = [model.answer for model in models]
    asked = {"way": WAY, "models": names, "answers": [*answers]}
    return asked | {"distances": [*plan.distances], "thorough": plan.thorough}
