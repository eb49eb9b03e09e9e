"""The trained models of a plan, judged on the test eyes: a report for each seed, and all of them together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from plan import Plan
from standing import Standings
from trainings import Training

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.evaluation import evaluate_checkpoints
from fund2oct.evaluation.distances import Wanted
from fund2oct.run.train import build


def judge(plan: Plan, trainings: Sequence[Training], out: Path) -> Standings:
    """Evaluate the models of each seed side by side, where that is not done yet.

    Args:
        plan: says which distances are measured.
        trainings: all of them, finished.
        out: folder of the reports, one a seed.

    Returns:
        Where all answers stand.
    """
    path = eyes_of(trainings[0]).path
    assert isinstance(path, str)
    reports: dict[int, dict[str, Any]] = {}
    for seed in plan.seeds:
        folder = out / str(seed)
        models = [training for training in trainings if training.seed == seed]
        if not _is_done(folder, models):
            evaluate_checkpoints(
                [str(training.checkpoint) for training in models],
                path,
                folder,
                distances=Wanted(tuple(plan.distances), required=True, thorough=plan.thorough),
                seed=seed,
                device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
                overwrite=True,
            )
        reports[seed] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    keys = [row["key"] for row in next(iter(reports[plan.seeds[0]]["eyes"].values()))]
    with EyeReader(path) as reader:
        return Standings(reports, {key: reader.info(key).patient for key in keys})


def eyes_of(training: Training) -> FundusOCTDataModule:
    """The eyes of a training, split as it had them."""
    data: FundusOCTDataModule = build(training.experiment, training.settings)[2]
    data.prepare_data()
    data.setup()
    return data


def _is_done(folder: Path, models: Sequence[Training]) -> bool:
    """Whether the report holds these very models."""
    report = folder / "metrics.json"
    if not report.is_file():
        return False
    made = report.stat().st_mtime
    named = set(json.loads(report.read_text(encoding="utf-8"))["eyes"])
    return all(
        model.checkpoint.stat().st_mtime < made and any(name.startswith(model.answer) for name in named)
        for model in models
    )
