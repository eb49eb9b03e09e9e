"""Who is judged, by which eyes, and when what was judged is judged anew."""

import json
import os
from dataclasses import replace

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


def test_a_report_of_another_way_or_other_models_is_made_again(trained, plan, tmp_path, monkeypatch):
    folder, as_planned = tmp_path / "reports", Plan.read(plan)
    folder.mkdir()
    (folder / "metrics.json").write_text("{}")
    assert not judging.is_judged(folder, [trained], as_planned, ["a"])  # nobody knows what it was asked for
    (folder / "asked.json").write_text(json.dumps(judging.asked_of([trained], as_planned, ["a"])))
    assert judging.is_judged(folder, [trained], as_planned, ["a"])
    assert not judging.is_judged(folder, [trained], as_planned, ["a", "b"])
    monkeypatch.setattr(judging, "WAY", judging.WAY + 1)
    assert not judging.is_judged(folder, [trained], as_planned, ["a"])  # another search or error since
    monkeypatch.undo()
    for change in ("distances=[image]", "thorough=true"):
        assert not judging.is_judged(folder, [trained], Plan.read(plan, [change]), ["a"])
    assert not judging.is_judged(folder, [trained, trained], as_planned, ["a"])
    later = folder.stat().st_mtime + 60
    os.utime(trained.checkpoint, (later, later))
    assert not judging.is_judged(folder, [trained], as_planned, ["a"])
