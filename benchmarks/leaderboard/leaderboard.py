"""Train all entries under one budget, judge them on the same eyes, and write the table and its pictures.

    python benchmarks/leaderboard/leaderboard.py [PLAN.yaml] [KEY=VALUE ...]

PLAN.yaml is `small.yaml` beside this file (default), `full.yaml` or your own; KEY=VALUE differs from it, as
in `minutes=1 seeds=[0]`. What is done is not done again: stop it when you like, and give the same command to
go on. Models and reports go to `runs/leaderboard` (`--out`), the table to `docs/results/leaderboard.txt` and
the pictures to `docs/images` (`--docs`).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import torch
from figures import draw_eye, draw_standings, save
from judging import eyes_of, judge
from measures import ANATOMY, REALISM
from plan import Plan, asked
from standing import Standings
from tables import Line, budget, results
from trainings import Training, train_plan

from fund2oct.data import FundusOCTDataModule
from fund2oct.evaluation.answers.answer import Answer
from fund2oct.evaluation.answers.controls import PredictsSurfaces, model_answers, surface_answers
from fund2oct.evaluation.answers.training_eyes import TrainingEyes
from fund2oct.models import load_model

SHOWN = "PED"
"""Diagnosis of the eye that is drawn: what a model without the photo cannot know."""
_PICTURES = (
    "### Pictures",
    "",
    "![Values of the entries with their intervals; lines: floors and controls](images/leaderboard.webp)",
    "",
    "![One test eye: the real volume, and that of each entry](images/leaderboard_eye.webp)",
)


def main(words: list[str] | None = None) -> None:
    """Train, judge and write."""
    plan, out, docs = asked(words, __doc__, "small.yaml", "runs/leaderboard")
    warnings.filterwarnings("ignore")
    trainings = train_plan(plan, out)
    standings = judge(plan, trainings, out / "reports")
    write(plan, trainings, standings, docs)


def write(plan: Plan, trainings: list[Training], standings: Standings, docs: Path) -> None:
    """Write the table and the pictures of finished trainings."""
    lines = lines_of(plan)
    known = {name: [one.known() for one in trainings if one.name == name] for name in plan.entries}
    first = next(iter(known.values()))[0]
    data = eyes_of(trainings[0])
    what = "simulated" if data.simulated else "real"
    told = (
        f"{data.n_eyes_of('train')} {what} eyes to train, {data.n_eyes_of('test')} to test, volumes of "
        f"{' x '.join(map(str, data.shape))} voxels. Each training has {plan.minutes:g} minutes on "
        f"{first['device']}, threads: {first['threads']}, trainings side by side: {plan.at_once}. "
        f"Seeds: {len(plan.seeds)}."
    )
    text = [told, "", *results(standings, lines), "", "### Budget and tuning", ""]
    text += budget(known, {name: entry.tuning for name, entry in plan.entries.items()})
    text += ["", *_PICTURES]
    table = docs / "results" / "leaderboard.txt"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join(text) + "\n", encoding="utf-8")
    images = docs / "images"
    save(draw_standings(standings, lines, [*ANATOMY, *REALISM]), images / "leaderboard.webp")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.inference_mode():
        answers = answers_of(plan, trainings, data, device)
        save(draw_eye(data, answers, SHOWN, device), images / "leaderboard_eye.webp")
    print(f"{table}, {images / 'leaderboard.webp'}, {images / 'leaderboard_eye.webp'}")


def lines_of(plan: Plan) -> list[Line]:
    """The rows of all entries."""
    return [
        Line(row, f"{name} {{seed}}{end}")
        for name, entry in plan.entries.items()
        for row, end in (entry.rows or {name: ""}).items()
    ]


def answers_of(
    plan: Plan, trainings: list[Training], data: FundusOCTDataModule, device: torch.device
) -> list[Answer]:
    """The rows of the first seed as answers, by the rows' names; those that draw no volume are left out."""
    training_eyes = TrainingEyes(data, device)
    found = []
    for training in trainings[: len(plan.entries)]:
        model = load_model(training.checkpoint, device=device).eval()
        if model.draws_volumes:
            given = model_answers({training.answer: model}, {}, training.seed)
        else:
            assert isinstance(model, PredictsSurfaces)
            given = surface_answers(training.answer, model, training_eyes, training.seed)
        by_name = {answer.name: answer for answer in given}
        rows = plan.entries[training.name].rows or {training.name: ""}
        found += [replace(by_name[training.answer + end], name=row) for row, end in rows.items()]
    return found


if __name__ == "__main__":
    main()
