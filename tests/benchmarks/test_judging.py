"""Who is judged, by which eyes, and when what was judged is judged anew."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import judging
import leaderboard
import pytest
import torch
import yaml
from plan import Plan
from small_plans import OWN
from tables import CONTROLS, FLOORS
from trainings import trainings_of


def test_models_of_other_eyes_are_not_compared(trained, tiny_eyes, make_file, tmp_path):
    judging.check_same_eyes([trained], str(tiny_eyes))
    others = str(make_file())
    with pytest.raises(ValueError, match=r"others than regression 1 had.*delete .*regression/1 and run"):
        judging.check_same_eyes([trained], others)
    other = replace(trained, seed=2, folder=tmp_path / "other")
    contents = torch.load(trained.checkpoint, weights_only=True)
    parts = contents["fund2oct"]["task"]["seen"]["parts"]
    parts["train"].append(parts["test"].pop())
    other.checkpoint.parent.mkdir(parents=True)
    torch.save(contents, other.checkpoint)
    with pytest.raises(ValueError, match=r"same test eyes .* others for regression 2 than for regression 1"):
        judging.check_same_eyes([trained, other], str(tiny_eyes))
    parts["test"].append(parts["train"].pop())
    left_out = parts["train"].pop()
    torch.save(contents, other.checkpoint)
    with pytest.raises(ValueError, match=r"same training eyes .* found others for regression 2 than"):
        judging.check_same_eyes([trained, other], str(tiny_eyes))
    judging.check_same_eyes([trained, other], str(tiny_eyes), sizes=[3, 4])
    parts["train"] += [left_out, parts["test"][0]]
    torch.save(contents, other.checkpoint)
    with pytest.raises(
        ValueError, match=r"that no training saw, found \d names .* both parts of regression 2"
    ):
        judging.check_same_eyes([trained, other], str(tiny_eyes), sizes=[3, 4])


@pytest.mark.usefixtures("few_twins", "plain_pictures", "one_eye_measured")
def test_a_model_of_your_own_is_judged_as_those_of_the_package(
    plan, tmp_path, tiny_checkpoint, tiny_layers, monkeypatch
):
    (tmp_path / "own_entry.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    own = ["model.class_path=own_entry.Own", *tiny_layers, "model.init_args.shape=[6,32,48]"]
    given = yaml.safe_load(plan.read_text())
    given["entries"] = {"mine": {"experiment": "pix2vol", "settings": own}, "tiny": {"experiment": "pix2vol"}}
    plan.write_text(yaml.safe_dump(given))
    as_planned = Plan.read(plan)
    both = trainings_of(as_planned, tmp_path)
    contents = torch.load(tiny_checkpoint, weights_only=True)
    for training, name in zip(both, ("own_entry.Own", "fund2oct.models.pix2vol.Pix2Vol"), strict=True):
        training.write({"steps": 3})
        contents["fund2oct"]["class"] = name
        training.checkpoint.parent.mkdir()
        torch.save(contents, training.checkpoint)
    assert judging.own_classes(both) == ["own_entry.Own"]
    standings = judging.judge(as_planned, both, tmp_path / "reports", ["mine {seed}", "tiny {seed}"])
    # Of the models what the table shows, and nothing else.
    assert set(standings.reports[1]["eyes"]) == {"mine 1", "tiny 1", *FLOORS, *CONTROLS}
    models = leaderboard.models_of({"mine": both[:1], "tiny": both[1:]}, torch.device("cpu"))
    assert [type(model).__name__ for model in models.values()] == ["Own", "Pix2Vol"]


@pytest.fixture
def evaluated(monkeypatch):
    """Reports are made up, and what is asked of each evaluation is kept."""
    asked = []

    def evaluate(checkpoints, path, folder, *, only, **how):
        folder.mkdir(parents=True, exist_ok=True)
        asked.append((sorted(Path(each).parts[-4] for each in checkpoints), only, folder.name))
        rows = {name: [{"key": "a", "patient": "p", "made": len(asked)}] for name in only}
        report = {"eyes": rows, "sets": {name: {} for name in only}, "distances": {}}
        (folder / "metrics.json").write_text(json.dumps(report))

    monkeypatch.setattr(judging, "evaluate_checkpoints", evaluate)
    return asked


def test_what_is_judged_is_not_judged_again(trained, plan, tmp_path, evaluated, monkeypatch):
    out, floors = tmp_path / "reports", [*FLOORS, *CONTROLS]
    other = replace(trained, name="mine", folder=tmp_path / "mine" / "1")
    shutil.copytree(trained.folder, other.folder)

    def made(models, answers, changes=()):
        plan_now = Plan.read(plan, changes)
        report = judging.judge_seed(plan_now, models, "eyes.h5", out, [*floors, *answers])
        assert list(report["eyes"]) == [*floors, *answers]
        return [report["eyes"][name][0]["made"] for name in (floors[0], *answers)]

    first = ["regression 1", "regression 1, shuffled photos"]
    assert made([trained], first) == [1, 1, 1]
    assert made([trained], first) == [1, 1, 1]
    assert evaluated == [(["regression"], [*floors, *first], "1")]
    # An entry more: it alone is judged.
    assert made([trained, other], [*first, "mine 1"]) == [1, 1, 1, 2]
    assert evaluated[1:] == [(["mine"], ["mine 1"], "1-2")]
    assert made([trained, other], [*first, "mine 1"]) == [1, 1, 1, 2]
    # An answer more of a model that is judged.
    assert made([trained, other], [*first, "mine 1", "mine 1, noise off"]) == [1, 1, 1, 2, 3]
    # A model that was trained again: its answers alone.
    later = time.time() + 60
    os.utime(other.checkpoint, (later, later))
    assert made([trained, other], [*first, "mine 1"]) == [1, 1, 1, 4]
    assert evaluated[-1] == (["mine"], ["mine 1"], "1-4")
    os.utime(other.checkpoint, (0, 0))
    # Floors are those of other eyes where no model beside them is the same.
    os.utime(trained.checkpoint, (later, later))
    assert made([trained, other], [*first, "mine 1"]) == [5, 5, 5, 4]
    os.utime(trained.checkpoint, (0, 0))
    # Another search or error since, or other distances: everything.
    for number, change in enumerate(("distances=[image]", "thorough=true"), 6):
        assert made([trained], first, [change]) == [number] * 3
    monkeypatch.setattr(judging, "WAY", judging.WAY + 1)
    assert made([trained], first) == [8] * 3
    # A report that was stopped holds nothing, and is replaced.
    (out / evaluated[-1][2] / "asked.json").unlink()
    assert made([trained], first) == [9] * 3
    assert evaluated[-1][2] == evaluated[-2][2]


def test_an_answer_belongs_to_its_training(trained):
    assert judging.is_of("regression 1", trained)
    assert judging.is_of("regression 1, shuffled photos", trained)
    assert not judging.is_of("regression 10", trained)
    assert not judging.is_of("my regression 1", trained)
