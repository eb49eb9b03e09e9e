"""A leaderboard from its plan to its page, on small simulated eyes; and learning curves, likewise."""

import json

import leaderboard
import learning_curves
import pytest
import yaml
from plan import HERE, Plan
from trainings import trainings_of

from fund2oct.run.train import build

VOXELS = ["model.init_args.channels=[8,8,16]", "model.init_args.shape=[6,32,48]"]
SURFACES = [
    "model.init_args.encoder=own",
    "model.init_args.surface_width=16",
    "model.init_args.shape=[6,32,48]",
]


@pytest.fixture
def plan(tiny_eyes, tmp_path):
    """Two entries, one seed, two seconds each."""
    path = tmp_path / "plan.yaml"
    entries = {
        "regression": {"experiment": "regression", "settings": VOXELS, "tuning": "none at all"},
        "surfaces": {
            "experiment": "surfaces",
            "settings": SURFACES,
            "rows": {
                "surfaces": ", median surfaces",
                "retrieval": ", nearest eye warped to its surfaces",
            },
        },
        "missing": {"experiment": "x2ct", "needs": "no_such_package"},
    }
    settings = [
        f"data.init_args.path={tiny_eyes}", "data.init_args.n_eyes=24", "data.init_args.batch_size=2",
        "data.init_args.test_fraction=0.4", "trainer.accelerator=cpu",
    ]  # fmt: skip
    plan = {"minutes": 0.03, "seeds": [1], "distances": [], "settings": settings, "entries": entries}
    path.write_text(yaml.safe_dump(plan))
    return path


def test_a_plan_says_what_it_does_not_know(plan):
    with pytest.raises(ValueError, match="minuets"):
        Plan.read(plan, ["minuets=3"])
    assert list(Plan.read(plan).entries) == ["regression", "surfaces"]
    assert Plan.read(plan, ["minutes=90"]).minutes == 90
    for name in ("reports", "pretrained", "a/b"):
        with pytest.raises(ValueError, match=f"{name}: an entry's folder has its name"):
            Plan.read(plan, [f"entries.{name}.experiment=regression"])


def test_a_training_ends_by_the_clock_and_looks_at_no_other_eye(plan, tmp_path):
    first, second = trainings_of(Plan.read(plan, ["minutes=1565"]), tmp_path)
    assert (first.answer, first.folder) == ("regression 1", tmp_path / "regression" / "1")
    # 26 hours and 5 minutes; days first.
    assert {"trainer.max_time=01:02:05:00", "trainer.limit_val_batches=0"} < {*first.settings}
    seeds = {f"{where}seed={1}" for where in ("model.init_args.", "data.init_args.")} | {"seed_everything=1"}
    assert seeds < {*first.settings} and set(VOXELS) < {*first.settings} and seeds < {*second.settings}


def test_a_training_of_other_settings_is_not_taken_for_done(plan, tmp_path):
    first, _ = trainings_of(Plan.read(plan), tmp_path)
    assert not first.is_done
    first.folder.mkdir(parents=True)
    settings = {"settings": [first.experiment, *first.settings]}
    (first.folder / "training.json").write_text(json.dumps(settings))
    assert first.is_done
    longer, _ = trainings_of(Plan.read(plan, ["minutes=2"]), tmp_path)
    with pytest.raises(ValueError, match="regression/1: was trained with other settings or minutes"):
        _ = longer.is_done


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "full", "curves"])
def test_each_training_of_a_shipped_plan_can_be_built(name, tmp_path):
    plan = Plan.read(HERE / f"{name}.yaml", ["seeds=[0]"])
    for training in trainings_of(plan, tmp_path):
        trainer, model, _ = build(training.experiment, [*training.settings, "trainer.precision=32"])
        assert trainer.max_epochs == -1 and model.shape[0] == 6


@pytest.mark.slow
def test_a_leaderboard_is_made_and_goes_on(plan, tmp_path):
    words = [str(plan), "--out", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    leaderboard.main(words)
    table = (tmp_path / "docs/results/leaderboard.txt").read_text().splitlines()
    named = [line.split("|")[1].strip() for line in table if line.startswith("| `")]
    assert sorted(named[:3]) == ["`regression`", "`retrieval`", "`surfaces`"] and named[2] == "`surfaces`"
    assert [line for line in table if line.startswith("| floor: one twin")]
    text = "".join(table)
    assert "none at all" in text and "`missing`" not in text
    pictures = {path.name for path in (tmp_path / "docs/images").iterdir()}
    assert pictures == {"leaderboard.webp", "leaderboard_eye.webp"}
    known = json.loads((tmp_path / "runs/surfaces/1/training.json").read_text())
    assert known["steps"] > 0 and known["discriminators"] == 0
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    leaderboard.main(words)
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.slow
def test_learning_curves_are_of_the_same_test_eyes(plan, tmp_path):
    words = [str(plan), "sizes=[4,8]", "--out", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    learning_curves.main(words)
    table = (tmp_path / "docs/results/learning_curves.txt").read_text()
    rows = [f"| `{row}` | {size} |" for row in ("regression", "surfaces", "retrieval") for size in (4, 8)]
    assert [row for row in rows if row not in table] == []
    assert {path.name for path in (tmp_path / "docs/images").iterdir()} == {"learning_curves.webp"}
    split = [
        yaml.safe_load((tmp_path / f"runs/regression-{n}/1/config.yaml").read_text())["data"]["init_args"]
        for n in (4, 8)
    ]
    few, many = (one["split"] for one in split)
    assert set(few["train"]) < set(many["train"]) and few["test"] == many["test"]
    assert (len(few["train"]), len(many["train"])) == (4, 8)
    assert not set(many["train"]) & set(many["test"])
