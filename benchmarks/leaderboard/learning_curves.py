"""Train variants on few and many eyes under one budget, and draw what each is worth.

    python benchmarks/leaderboard/learning_curves.py [PLAN.yaml] [KEY=VALUE ...]

PLAN.yaml is `curves.yaml` beside this file, or your own: as for the leaderboard, with `sizes`, the numbers of
training eyes. Each smaller set is part of the larger ones, and all are judged on the same test eyes. What is
done is not done again. Models and reports go to `runs/learning_curves` (`--out`), the table to
`docs/results/learning_curves.txt` and the picture to `docs/images` (`--docs`).
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

from checks import check_plan
from figures import draw_learning_curves, save
from judging import eyes_of, judge
from measures import ANATOMY, REALISM
from plan import Plan, PlanError, asked, run
from tables import learning_table
from trainings import train_plan, trainings_of

from fund2oct.evaluation.answers.borrowed import BORROWED, RETRIEVAL

_PICTURE = "![Each measure over the number of training eyes](images/learning_curves.webp)"
DRAWN = ("thickness/error_um", "epithelium/correlation", "lesions", "shadow/agreement", "image", "sharpness")


def main(words: list[str] | None = None) -> None:
    """Train, judge and write."""
    plan, out, docs = asked(words, __doc__, "curves.yaml", "runs/learning_curves")
    check_rows(plan)
    check_plan(plan, out)  # it warns, of eyes of another version
    warnings.filterwarnings("ignore")
    sized = of_sizes(plan, out)
    trainings = train_plan(sized, out)
    curves = {
        row: {size: f"{name}-{size} {{seed}}{end}" for size in plan.sizes}
        for name, entry in plan.entries.items()
        for row, end in (entry.rows or {name: ""}).items()
    }
    answers = [answer for sizes in curves.values() for answer in sizes.values()]
    standings = judge(sized, trainings, out / "reports", answers)
    measures = [one for one in (*ANATOMY, *REALISM) if one.key in DRAWN]
    told = (
        f"{plan.minutes:g} minutes for each training, seeds: {len(plan.seeds)}, "
        f"{standings.n_eyes} test eyes, which are the same for all."
    )
    table = docs / "results" / "learning_curves.txt"
    table.parent.mkdir(parents=True, exist_ok=True)
    lost = [f"* `{one.answer}` is left out: {one.failure}." for one in trainings if one.failure]
    parts = [told], learning_table(standings, curves, measures), lost, [_PICTURE]
    text = [line for part in parts if part for line in (*part, "")][:-1]
    table.write_text("\n".join(text) + "\n", encoding="utf-8")
    picture = docs / "images" / "learning_curves.webp"
    save(draw_learning_curves(standings, curves, measures), picture)
    print(f"{table}, {picture}")


def check_rows(plan: Plan) -> None:
    """Refuse rows that look up training eyes: one report holds all sizes, and they would look among all eyes.

    Raises:
        PlanError: if there are some; the message names the first.
    """
    for name, entry in plan.entries.items():
        for row, end in entry.rows.items():
            if end.endswith((RETRIEVAL, BORROWED)):
                raise PlanError(
                    f"{name}: row {row}: expected an answer that needs no training eyes, found {end!r}, "
                    "which looks among the eyes of the largest size whatever the model was trained on"
                )


def of_sizes(plan: Plan, out: Path) -> Plan:
    """The plan with an entry for each variant and each number of training eyes."""
    data = eyes_of(trainings_of(plan, out)[0])
    train, val, test = (list(each.keys) for each in (data.train_dataset, data.val_dataset, data.test_dataset))
    if not plan.sizes or max(plan.sizes) > len(train):
        raise PlanError(f"sizes: expected some of at most {len(train)} training eyes, found {plan.sizes}")
    entries = {}
    for size in plan.sizes:
        # The two eyes of a patient are neighbours in the file.
        split = json.dumps({"train": train[:size], "val": val, "test": test})
        for name, entry in plan.entries.items():
            settings = [*entry.settings, f"data.init_args.split={split}"]
            entries[f"{name}-{size}"] = replace(entry, settings=settings)
    return replace(plan, entries=entries)


if __name__ == "__main__":
    run(main)
