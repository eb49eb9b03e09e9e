"""The trained models of a plan, judged on the test eyes, seed by seed, and all of them together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch
from plan import Plan, PlanError
from standing import Report, Standings
from tables import CONTROLS, FLOORS
from trainings import Training

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.evaluation import evaluate_checkpoints
from fund2oct.evaluation.distances import Wanted
from fund2oct.models.checkpoint import read_checkpoint
from fund2oct.models.task import TASK_KEY
from fund2oct.run.config import load_experiment
from fund2oct.run.train import build

WAY = 4
"""Number of the way in which models are judged. Raise it with each change after which the same models would
get other values, or a report other entries that the tables read: another search, control, error or protocol
of a distance. What was judged in an earlier way is then judged anew, and a table never holds both."""


def judge(plan: Plan, trainings: Sequence[Training], out: Path, answers: Sequence[str]) -> Standings:
    """Evaluate the models of each seed side by side, those that are not judged yet.

    Floors and controls depend on no model: they are judged once, with the first seed.

    Args:
        plan: says which distances are measured.
        trainings: all of them, finished; those that diverged are left out.
        out: folder of the reports.
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
    reports: dict[int, Report] = {}
    for seed in plan.seeds:
        models = [training for training in trained if training.seed == seed]
        if models:
            named = [*([] if reports else [*FLOORS, *CONTROLS]), *(one.format(seed=seed) for one in answers)]
            reports[seed] = judge_seed(plan, models, path, out, named)
    rows = next(iter(next(iter(reports.values()))["eyes"].values()))
    return Standings(reports, {row["key"]: row["patient"] for row in rows})


def judge_seed(
    plan: Plan, models: Sequence[Training], path: str, out: Path, answers: Sequence[str]
) -> Report:
    """The rows, sets and distances of the answers of one seed.

    What a report under ``out`` holds already is taken from there; the models of all other answers are
    evaluated side by side, in a report of their own: ``0`` of the first seed, then ``0-2`` and so on.

    Args:
        plan: says how they are judged.
        models: the trainings of the seed.
        path: the file of eyes.
        out: folder of the reports.
        answers: the names of the answers.
    """
    found = judged(plan, models, out)
    if missing := [answer for answer in answers if answer not in found]:
        asked = [model for model in models if any(is_of(answer, model) for answer in missing)] or [*models]
        # The first that is not there, or was not finished: what it was asked for is written at its end.
        folder = next(one for one in folders_of(out, models[0].seed) if not (one / "asked.json").is_file())
        evaluate_checkpoints(
            [str(training.checkpoint) for training in asked],
            path,
            folder,
            distances=wanted(plan),
            seed=models[0].seed,
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            overwrite=True,
            model=own_classes(asked),
            only=missing,
        )
        (folder / "asked.json").write_text(json.dumps(asked_of(asked, plan, missing), indent=1) + "\n")
        found |= dict.fromkeys(missing, folder)
    reports = {folder: _read(folder / "metrics.json") for folder in {found[name] for name in answers}}
    return {
        part: {name: held[name] for name in answers if name in (held := reports[found[name]][part])}
        for part in ("eyes", "sets", "distances")
    }


def judged(plan: Plan, models: Sequence[Training], out: Path) -> dict[str, Path]:
    """By each answer of a seed that was judged as the plan says, the folder of its report.

    A model that was trained after its report is not judged. Floors and controls are those of today's eyes
    where a model that was judged beside them is the same as then.
    """
    found = dict[str, Path]()
    for folder in takewhile(Path.is_dir, folders_of(out, models[0].seed)):
        report, asked = folder / "metrics.json", folder / "asked.json"
        if not (report.is_file() and asked.is_file()):
            continue
        told, made = _read(asked), report.stat().st_mtime
        if {key: told.get(key) for key in how(plan)} != how(plan):
            continue
        same = [
            one for one in models if one.answer in told["models"] and one.checkpoint.stat().st_mtime < made
        ]
        others = [one for one in models if one not in same]
        if same:
            held = (answer for answer in told["answers"] if not any(is_of(answer, one) for one in others))
            found |= dict.fromkeys(held, folder)
    return found


def folders_of(out: Path, seed: int) -> Iterator[Path]:
    """Where the reports of a seed lie, first to last, without end."""
    yield out / str(seed)
    yield from (out / f"{seed}-{number}" for number in count(2))


def is_of(answer: str, training: Training) -> bool:
    """Whether an answer is one of a training's model."""
    return answer == training.answer or answer.startswith(f"{training.answer}, ")


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


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


def asked_of(models: Sequence[Training], plan: Plan, answers: Sequence[str]) -> dict[str, Any]:
    """What a report was asked for."""
    return how(plan) | {"models": [model.answer for model in models], "answers": [*answers]}


def how(plan: Plan) -> dict[str, Any]:
    """How models are judged: what is alike in all reports that stand in one table."""
    asked = {"way": WAY, "distances": [*plan.distances], "thorough": plan.thorough}
    # Controls are made of the training eyes of the largest training.
    return asked | ({"largest": max(plan.sizes)} if plan.sizes else {})
