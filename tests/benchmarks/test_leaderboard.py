"""A leaderboard from its plan to its page, on small simulated eyes; and learning curves, likewise."""

import json
import re
import shutil

import figures
import judging
import leaderboard
import learning_curves
import pytest
import torch
import trainings
import yaml
from checks import check_plan
from matplotlib.text import Text
from plan import DOCS, HERE, Plan, run
from small_plans import OWN, SURFACES, VOXELS
from trainings import trainings_of

from fund2oct.data import EyeReader, PhantomDataModule
from fund2oct.models.training.finite import NotFiniteError
from fund2oct.retina import layers
from fund2oct.run.config import load_experiment
from fund2oct.run.train import build


def test_a_plan_says_what_it_does_not_know(plan):
    (plan.parent / "slip.yaml").write_text("entries:\n  mine: {tuning: two rates: a}\n")
    with pytest.raises(ValueError, match=r"slip\.yaml: while parsing a flow mapping"):
        Plan.read(plan.parent / "slip.yaml")
    with pytest.raises(
        ValueError, match=r"small\.yaml: while parsing a flow sequence".replace("small", plan.stem)
    ):
        Plan.read(plan, ["seeds=[0"])
    with pytest.raises(ValueError, match="minuets"):
        Plan.read(plan, ["minuets=3"])
    with pytest.raises(ValueError, match=r"distances: expected some of image, video, .* found image/kernel"):
        Plan.read(plan, ["distances=[image,image/kernel]"])
    assert list(Plan.read(plan).entries) == ["regression", "surfaces"]
    assert Plan.read(plan, ["minutes=90"]).minutes == 90
    for name in ("reports", "pretrained", "a/b"):
        with pytest.raises(ValueError, match=f"{name}: an entry's folder has its name"):
            Plan.read(plan, [f"entries.{name}.experiment=regression"])


def test_an_entry_of_your_own_is_trained_beside_what_is_there(tmp_path):
    page = (DOCS / "leaderboard.md").read_text("utf-8")
    own = "".join(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    (tmp_path / "mine.yaml").write_text((HERE / "small.yaml").read_text("utf-8") + own)
    mine, small = Plan.read(tmp_path / "mine.yaml"), Plan.read(HERE / "small.yaml")
    assert list(mine.entries) == [*small.entries, "mine", "pix2vol_own"]
    others = [one for one in trainings_of(mine, tmp_path) if one.name in small.entries]
    assert others == trainings_of(small, tmp_path)  # which are done where those are
    load_experiment("pix2vol", mine.entries["pix2vol_own"].settings)


def test_what_features_are_worth_is_told_beside_the_same_entry_without_them(tmp_path):
    plan = Plan.read(HERE / "features.yaml", ["seeds=[0]"])
    config = {one.name: load_experiment(one.experiment, one.settings) for one in trainings_of(plan, tmp_path)}
    for name, without in (("pix2vol", "pix2vol_own"), ("regression_imagenet", "regression")):
        model, other = (config[one]["model"]["init_args"] for one in (name, without))
        assert {key for key in model | other if model.get(key) != other.get(key)} <= {
            "encoder",
            "feature_width",
        }
        assert config[name]["data"] == config[without]["data"]


def test_each_entry_at_full_size_has_what_augmentation_is_exact_for_it(tmp_path):
    grid_readers = {"fund2oct.models.Pix2Vol", "fund2oct.models.SurfaceModel", "fund2oct.models.VoxelGAN"}
    for training in trainings_of(Plan.read(HERE / "full.yaml", ["seeds=[0]"]), tmp_path):
        config = load_experiment(training.experiment, training.settings)
        given = config["data"]["init_args"]
        assert given["symmetries"] == "all", training.name
        assert given.get("photo_maps", 0) == 0.5 * (config["model"]["class_path"] in grid_readers), (
            training.name
        )
        assert "photometric" not in given  # the class's own, for all
    assert load_experiment("regression")["data"]["init_args"]["photo_maps"] == 0.5


def test_the_table_says_how_the_training_eyes_were_augmented(plan, tmp_path):
    first, second = trainings_of(Plan.read(plan), tmp_path)
    told = [leaderboard.augmentation_of(judging.eyes_of(one)) for one in (first, second)]
    assert told == ["symmetries: flips; maps: 0.5; light: 0.3", "symmetries: none; maps: 0.5; light: 0.15"]


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


def test_a_training_of_an_experiment_that_changed_is_not_taken_for_done(plan, tmp_path):
    experiment = tmp_path / "mine.yaml"
    experiment.write_text("model: {init_args: {learning_rate: 0.001}}\n")
    changed = [f"entries.regression.experiment={experiment}", "entries.regression.settings=[]"]
    mine, _ = trainings_of(Plan.read(plan, changed), tmp_path)
    mine.write({"steps": 3})
    assert mine.is_done
    experiment.write_text("model: {init_args: {learning_rate: 0.002}}\n")
    with pytest.raises(ValueError, match="regression/1: was trained with other settings"):
        _ = mine.is_done


def test_a_training_of_other_code_or_other_weights_is_not_taken_for_done(plan, tmp_path, monkeypatch):
    (tmp_path / "own_training.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    begun = tmp_path / "begun.ckpt"
    own = ["model.class_path=own_training.Own", f"model.init_args.init_from=[{begun}]"]
    given = yaml.safe_load(plan.read_text())
    given["entries"] = {"mine": {"experiment": "pix2vol", "settings": own}}
    plan.write_text(yaml.safe_dump(given))
    (mine,) = trainings_of(Plan.read(plan), tmp_path)
    for file in (begun, tmp_path / "own_training.py"):
        begun.write_bytes(b"weights")
        mine.write({"steps": 3})
        assert mine.is_done
        file.write_text(OWN + "\n# changed since\n")
        with pytest.raises(ValueError, match=r"mine/1: was trained with .* other code of your own or other"):
            _ = mine.is_done


def test_the_rest_is_not_trained_on_another_machine(plan, tmp_path, monkeypatch):
    first, second = trainings_of(Plan.read(plan), tmp_path)
    trained = []
    monkeypatch.setattr(trainings, "try_one", lambda training: trained.append(training) or "")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    first.write({"device": "cpu", "threads": 1})
    with pytest.raises(
        ValueError, match=r"regression/1: expected .* on cpu, threads: 2, .* on cpu, threads: 1, .*;"
    ):
        trainings.train_all([first, second], at_once=1)
    first.write({"device": "cuda:0", "threads": 2})
    with pytest.raises(ValueError, match=r"found one on cuda, threads: 2, .*;"):
        trainings.train_all([first, second], at_once=1)
    for other, told in (({"at_once": 8}, "side by side: 8"), ({"machine": "64 cores of X"}, "64 cores of X")):
        first.write({"device": "cpu", "threads": 2, **other})
        with pytest.raises(ValueError, match=f"found one on cpu, threads: 2, .*{told}"):
            trainings.train_all([first, second], at_once=1)
    assert trained == []
    first.write({"device": "cpu", "threads": 2})
    trainings.train_all([first, second], at_once=1)
    first.write({"failed": "step 7: not a finite number: l1"})
    trainings.train_all([first, second], at_once=1)
    assert trained == [second, second]


def test_a_training_of_other_eyes_is_not_taken_for_done(plan, tiny_eyes, make_file, tmp_path):
    path = tmp_path / "made_anew.h5"
    given = yaml.safe_load(plan.read_text())
    given["settings"].append(f"data.init_args.path={path}")
    plan.write_text(yaml.safe_dump(given))
    first, _ = trainings_of(Plan.read(plan), tmp_path)
    shutil.copy(tiny_eyes, path)
    first.write({"failed": "step 7: not a finite number: l1"})  # there is no model that says of which eyes
    assert first.is_done
    shutil.copy(make_file(), path)
    with pytest.raises(ValueError, match=r"regression/1: was trained on other eyes than .*made_anew\.h5"):
        _ = first.is_done


@pytest.mark.parametrize("command", [leaderboard, learning_curves], ids=lambda command: command.__name__)
def test_eyes_of_another_version_are_told_of_before_the_trainings(command, plan, tmp_path, monkeypatch):
    def train(*_):
        raise RuntimeError("the trainings begin")

    monkeypatch.setattr(PhantomDataModule, "_has_changed", lambda *_: True)
    monkeypatch.setattr(command, "train_plan", train)
    given = yaml.safe_load(plan.read_text())
    del given["entries"]["surfaces"]  # one entry is built in half the time
    plan.write_text(yaml.safe_dump(given))
    with (
        pytest.warns(UserWarning, match="another version of fund2oct simulated these eyes"),
        pytest.raises(RuntimeError, match="the trainings begin"),
    ):
        command.main([str(plan), "sizes=[4]", "--out", str(tmp_path / "runs")])


def test_what_a_command_refuses_is_told_in_words_alone(plan, tmp_path):
    first, _ = trainings_of(Plan.read(plan), tmp_path)
    first.write({"steps": 3})
    with pytest.raises(SystemExit, match="regression/1: was trained with other settings or minutes"):
        run(lambda: leaderboard.main([str(plan), "minutes=2", "--out", str(tmp_path)]))
    with pytest.raises(ZeroDivisionError):  # a mistake of the program keeps its traceback
        run(lambda: 1 / 0)


def failing(kind):
    """A training of which the first entry fails, as in the middle of its first step."""

    def train(training):
        if training.name == "regression":
            raise kind("step 7: not a finite number: l1; lower the learning rate")
        training.write({"steps": 3})

    return train


def test_a_training_that_diverges_is_kept_and_does_not_stop_the_others(plan, tmp_path, monkeypatch):
    first, second = both = trainings_of(Plan.read(plan), tmp_path)
    monkeypatch.setattr(trainings, "train_one", failing(NotFiniteError))
    trainings.train_all(both, 1)
    assert first.is_done and first.failure == "step 7: not a finite number: l1"
    assert second.is_done and second.failure == "" and second.known()["steps"] == 3
    monkeypatch.setattr(trainings, "train_one", None)  # nothing is trained again
    trainings.train_all(both, 1)
    two_seeds = Plan.read(plan, ["seeds=[1,2]"])
    more = trainings_of(two_seeds, tmp_path)
    for training in more[2:]:
        training.write({"steps": 3})
    told = "failed in 1 of 2 seeds, and has no rank: step 7: not a finite number: l1."
    assert leaderboard.failures(two_seeds, more) == {"regression": told}


def test_a_training_that_fails_otherwise_is_to_be_run_again(plan, tmp_path, monkeypatch):
    first, second = both = trainings_of(Plan.read(plan), tmp_path)
    monkeypatch.setattr(trainings, "train_one", failing(OSError))
    with pytest.raises(RuntimeError, match=r"1 of 2 trainings failed.*: regression 1: OSError: step 7"):
        trainings.train_all(both, 1)
    assert not first.is_done and second.is_done


def test_what_a_plan_needs_is_looked_for_before_its_trainings(plan, tmp_path, monkeypatch):
    def missing(name):
        raise FileNotFoundError(f"weights {name}: run: fund2oct weights fetch {name}")

    monkeypatch.setattr("fund2oct.networks.encoder.find_weights", missing)
    check_plan(Plan.read(plan), tmp_path)  # has encoders of its own, which need none
    given = yaml.safe_load(plan.read_text())
    del given["entries"]["regression"]  # each entry takes a second or two to build
    given["entries"]["surfaces"]["settings"] = SURFACES[1:]
    plan.write_text(yaml.safe_dump(given))
    with pytest.raises(ValueError, match="surfaces: would be another model, the photo encoder starts from"):
        check_plan(Plan.read(plan), tmp_path)
    given["entries"]["surfaces"] |= {"settings": SURFACES, "rows": {"surfaces": ", median surface"}}
    plan.write_text(yaml.safe_dump(given))
    with pytest.raises(ValueError, match=r"surfaces: rows: expected ends of answers .*median surfaces"):
        check_plan(Plan.read(plan), tmp_path)
    monkeypatch.setattr("fund2oct.evaluation.distances.load_feature_network", missing)
    with pytest.raises(FileNotFoundError, match="fund2oct weights fetch i3d"):
        check_plan(Plan.read(plan, ["distances=[video]"]), tmp_path)


def test_learning_curves_have_no_row_that_looks_among_training_eyes(plan):
    with pytest.raises(ValueError, match="surfaces: row retrieval: expected an answer that needs no"):
        learning_curves.check_rows(Plan.read(plan))


def test_the_picture_shows_the_first_test_eye_of_a_diagnosis(plan, tmp_path):
    data = judging.eyes_of(trainings_of(Plan.read(plan), tmp_path)[0])
    with EyeReader(data.path) as reader:
        told = {key: reader.info(key).diagnosis for key in data.test_dataset.keys}
    rare = [*told.values()][-1]
    first = next(key for key, diagnosis in told.items() if diagnosis == rare)
    for asked, key in ((rare, first), ("no such diagnosis", next(iter(told)))):
        drawn = figures.draw_eye(data, [], asked, torch.device("cpu"))
        title = f"{key}, {told[key]}: kept for the test"
        texts = [text.get_text() for text in drawn.findobj(Text)]
        assert any(title in text for text in texts) and "2 of 6 slices" in texts


def test_the_picture_shows_the_slice_through_the_lesion_and_the_one_across_it():
    surfaces_um = torch.full((len(layers.SURFACES), 6, 9), 300.0)
    surfaces_um[layers.SURFACES.index("BM")] = 330
    surfaces_um[layers.SURFACES.index("RPE"), 4, 3:6] -= (
        120  # a detachment; the retina above it is lifted too
    )
    assert figures.slices_through_the_lesion(surfaces_um) == [1, 4]
    assert figures.slices_through_the_lesion(surfaces_um[:, 4:5]) == [0]
    many = torch.full((len(layers.SURFACES), 61, 9), torch.nan)
    many[:, ::12] = surfaces_um  # slices 0, 12, 24, 36, 48 and 60 were searched
    assert figures.slices_through_the_lesion(many) == [12, 48]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "full", "curves", "features"])
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
    given = yaml.safe_load(plan.read_text())
    del given["entries"]["surfaces"]["rows"]["retrieval"]
    plan.write_text(yaml.safe_dump(given))
    words = [str(plan), "sizes=[4,8]", "--out", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    learning_curves.main(words)
    table = (tmp_path / "docs/results/learning_curves.txt").read_text()
    rows = [f"| `{row}` | {size} |" for row in ("regression", "surfaces") for size in (4, 8)]
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
