"""Train variants on few and many eyes under one budget, and draw what each is worth.

    python benchmarks/leaderboard/learning_curves.py [PLAN.yaml] [KEY=VALUE ...]

PLAN.yaml is `curves.yaml` beside this file, or your own: as for the leaderboard, with `sizes`, the numbers of
training eyes. Each smaller set is part of the larger ones, and all are judged on the same test eyes. What is
done is not done again. Models and reports go to `runs/learning_curves` (`--out`), the table to
`docs/results/learning_curves.txt` and the picture to `docs/images` (`--docs`).
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

from figures import draw_learning_curves
from judging import eyes_of, judge
from leaderboard import DOCS, HERE
from measures import ANATOMY, REALISM
from plan import Plan
from tables import learning_table
from trainings import train_all, trainings_of

_PICTURE = "![Each measure over the number of training eyes](images/learning_curves.webp)"
DRAWN = ("thickness/error_um", "epithelium/correlation", "lesions", "shadow/agreement", "image", "sharpness")


def main(words: list[str] | None = None) -> None:
    """Train, judge and write."""
    as_written = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    options.add_argument("plan", nargs="?", default=str(HERE / "curves.yaml"), metavar="PLAN.yaml")
    options.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    options.add_argument("--out", type=Path, default=Path("runs/learning_curves"))
    options.add_argument("--docs", type=Path, default=DOCS)
    given = options.parse_args(words)
    changes, path = given.changes, given.plan
    if "=" in path:  # no plan, and the first change in its place
        changes, path = [path, *changes], str(HERE / "curves.yaml")
    plan = Plan.read(path, changes)
    warnings.filterwarnings("ignore")
    sized = of_sizes(plan, given.out)
    trainings = trainings_of(sized, given.out)
    train_all(trainings, sized.at_once)
    standings = judge(sized, trainings, given.out / "reports")
    curves = {
        row: {size: f"{name}-{size} {{seed}}{end}" for size in plan.sizes}
        for name, entry in plan.entries.items()
        for row, end in (entry.rows or {name: ""}).items()
    }
    measures = [one for one in (*ANATOMY, *REALISM) if one.key in DRAWN]
    told = (
        f"{plan.minutes:g} minutes for each training, seeds: {len(plan.seeds)}, "
        f"{standings.n_eyes} test eyes, which are the same for all."
    )
    table = given.docs / "results" / "learning_curves.txt"
    table.parent.mkdir(parents=True, exist_ok=True)
    text = [told, "", *learning_table(standings, curves, measures), "", _PICTURE]
    table.write_text("\n".join(text) + "\n", encoding="utf-8")
    picture = given.docs / "images" / "learning_curves.webp"
    picture.parent.mkdir(exist_ok=True)
    sys.path.append(str(DOCS))
    from figure_files import save_webp  # of the documentation

    save_webp(draw_learning_curves(standings, curves, measures), picture)
    print(f"{table}, {picture}")


def of_sizes(plan: Plan, out: Path) -> Plan:
    """The plan with an entry for each variant and each number of training eyes."""
    data = eyes_of(trainings_of(plan, out)[0])
    train, val, test = (list(each.keys) for each in (data.train_dataset, data.val_dataset, data.test_dataset))
    if not plan.sizes or max(plan.sizes) > len(train):
        raise ValueError(f"sizes: expected some of at most {len(train)} training eyes, found {plan.sizes}")
    entries = {}
    for size in plan.sizes:
        # The two eyes of a patient are neighbours in the file.
        split = json.dumps({"train": train[:size], "val": val, "test": test})
        for name, entry in plan.entries.items():
            settings = [*entry.settings, f"data.init_args.split={split}"]
            entries[f"{name}-{size}"] = replace(entry, settings=settings)
    return replace(plan, entries=entries)


if __name__ == "__main__":
    main()
