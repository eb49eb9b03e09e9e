"""Models between their floor and their controls, on small simulated eyes."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from fund2oct.cli import main
from fund2oct.data import EyeReader, EyeWriter, FundusOCTDataModule
from fund2oct.evaluation.answers.answer import Answer, Given
from fund2oct.evaluation.answers.controls import controls, model_answers
from fund2oct.evaluation.answers.floors import rescan
from fund2oct.evaluation.answers.training_eyes import TrainingEyes
from fund2oct.evaluation.checkpoints import _chosen, _unique_name, evaluate, evaluate_checkpoints
from fund2oct.evaluation.distances import Wanted
from fund2oct.evaluation.held_out import HeldOutEyes
from fund2oct.evaluation.measuring import EyeTask, measure_eye
from fund2oct.geometry import RadialScan
from fund2oct.metrics import KINDS
from fund2oct.models import SurfaceModel, VolumeGAN, load_model

pytestmark = pytest.mark.usefixtures("few_twins")
NOTHING = Wanted((), required=True, thorough=False)
CPU = torch.device("cpu")


def test_the_eyes_are_those_of_the_file(eyes, tiny_eyes):
    batches = list(eyes.batches())
    assert len(batches) == eyes.n_batches
    assert tuple(key for batch in batches for key in batch["key"]) == eyes.keys
    key = eyes.keys[3]
    with EyeReader(tiny_eyes) as reader:
        eye = reader.read(key)
    one = eyes.batch(key)
    assert one["key"] == [key] and one["diagnosis"] == [eye.diagnosis]
    assert np.array_equal((one["volume"][0, 0] * 255).round().byte().numpy(), eye.volume)
    assert np.array_equal(one["lesions"][0].numpy(), eye.lesions)
    assert float(one["spacing_x_mm"]) == pytest.approx(8.8 / 48)


def test_some_eyes_are_of_many_patients_and_the_report_says_how_many(datamodule, eyes):
    some = HeldOutEyes(datamodule, CPU, most=3)
    assert len(some.keys) == 3 and set(some.keys) < set(eyes.keys) and len(set(some.patients)) == 3
    assert some.notes[-1].startswith(f"These are 3 of the {len(eyes.keys)} test eyes")
    assert [key for batch in some.batches() for key in batch["key"]] == [*some.keys]
    assert torch.equal(some.batch(some.keys[2])["volume"], eyes.batch(some.keys[2])["volume"])
    assert HeldOutEyes(datamodule, CPU, most=500).keys == eyes.keys and not eyes.notes


def test_the_controls_are_what_they_are_called(datamodule, eyes):
    found = {one.name: one.give for one in controls(TrainingEyes(datamodule, CPU))}
    batch = next(eyes.batches())
    assert torch.equal(rescan().give(batch).volume, batch["rescan"])
    mean = found["mean volume"](batch).aligned
    sides = batch["laterality"]
    assert all(torch.equal(one, mean[sides.index(side)]) for one, side in zip(mean, sides, strict=True))
    train = []
    for index in range(len(datamodule.train_dataset)):
        eye = datamodule.train_dataset[index]
        tensors = {name: value[None] for name, value in eye.items() if isinstance(value, torch.Tensor)}
        train.append(VolumeGAN.prepare(tensors | {"key": [eye["key"]], "laterality": [eye["laterality"]]}))
    # Left for right: the lines follow each other the other way round, and each is read from its other end.
    voxels = {"OD": (0, 0, 2, 19, 17), "OS": (0, 0, 4, 19, 30)}
    at = [(eye, voxels[eye["laterality"][0]]) for eye in train]
    seen = [float(eye["aligned"][voxel]) for eye, voxel in at if eye["mask"][voxel]]
    for number, side in enumerate(sides):
        assert float(mean[number][voxels[side][1:]]) == pytest.approx(np.mean(seen), abs=1e-4)
    own = {**batch, "fundus": torch.cat([eye["fundus"] for eye in train[: len(batch["fundus"])]])}
    nearest = found["nearest training photo"](own).aligned
    expected = torch.cat([eye["aligned"] for eye in train[: len(nearest)]])
    torch.testing.assert_close(nearest, expected, atol=1 / 255, rtol=0)


def test_a_shuffled_photo_is_of_another_patient_and_of_the_same_side(tiny_checkpoint, datamodule, eyes):
    model = load_model(tiny_checkpoint)
    given = []
    model.forward = lambda fundus, *_, **__: given.append(fundus) or torch.zeros(len(fundus), 1, 6, 32, 48)
    *_, shuffled = model_answers({"model": model}, eyes.photo_of_another, seed=0)
    for batch in eyes.batches():
        shuffled.give(batch)
    photos = torch.stack([datamodule.test_dataset[number]["fundus"] for number in range(len(eyes.keys))])
    with EyeReader(datamodule.path) as reader:
        known = [reader.info(key) for key in eyes.keys]
    for own, photo in zip(known, torch.cat(given), strict=True):
        distances = (photos - photo).flatten(1).abs().sum(1)
        source = known[int(distances.argmin())]
        assert float(distances.min()) == 0
        assert source.patient != own.patient and source.laterality == own.laterality


def test_the_real_volume_itself_has_no_error(eyes):
    batch = next(eyes.batches())
    for number in range(len(batch["key"])):
        given = {"real": Given(batch["volume"], batch["aligned"]).eye(number)}
        row = measure_eye(EyeTask.of(batch, number, given, eyes.scan))["real"]
        for name in ("thickness/error_um", "aligned/l1", "posed/l1", "aligned/retina_local_mean"):
            assert row[name] == 0
        assert row["posed/ssim"] == pytest.approx(1) and row["aligned/psnr"] == math.inf
        assert row["energy/fake"] == row["energy/real"]
        assert row["fluid/error_mm3"] == 0 and row["ilm/truth_error_um"] < 40
        assert all(row[f"{kind}/fake_mm"] == row[f"{kind}/both_mm"] for kind in KINDS)


class Constant(VolumeGAN):
    """Answers every photo with one value."""

    value = 0.0

    def forward(self, fundus, grid, n_depth=None, rng=None):
        return torch.full((len(fundus), 1, *self.shape), self.value)


class Broken(Constant):
    value = math.nan


def test_the_report_ranks_floor_before_mean_before_nothing(few, tmp_path):
    names = ("floor: rescan", "mean volume", "black")
    models = {"black": Constant((6, 32, 48))}
    summary = evaluate(models, few, tmp_path, distances=NOTHING, only=names)["summary"]
    for metric in ("aligned/retina_local_mean", "aligned/l1"):
        values = [summary[name][metric]["mean"] for name in names]
        assert values == sorted(values)
    assert summary["floor: rescan"]["sharpness"]["mean"] == pytest.approx(1, abs=0.05)
    assert summary["mean volume"]["sharpness"]["mean"] < 0.5
    assert summary["black"]["sharpness"]["mean"] == 0
    assert summary["black"]["thickness/error_um"]["n_eyes"] == 0
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {
        "metrics.json", "report.html", "report.md",
        "scatter.png", "best-black.png", "median-black.png", "worst-black.png",
    }  # fmt: skip
    rows = [
        line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| black |")
    ]
    assert "| - |" in rows[1]


@pytest.mark.usefixtures("plain_pictures")
def test_a_report_on_surfaces_alone_says_nothing_of_lesions(datamodule, tmp_path):
    loader = DataLoader(Subset(datamodule.test_dataset, [0, 1]), batch_size=2)
    own = SimpleNamespace(test_dataloader=lambda: loader)
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)
    result = evaluate({"thick": model}, own, tmp_path, distances=NOTHING)
    assert result["lesions"] == {} and "## Lesions" not in (tmp_path / "report.md").read_text()
    assert result["summary"]["thick, median surfaces"]["thickness/error_um"]["n_eyes"] == 2
    assert (tmp_path / "report.html").is_file()


@pytest.mark.usefixtures("plain_pictures", "one_eye_measured")
def test_a_diverged_model_takes_nobody_else_with_it(few, tmp_path, monkeypatch):
    monkeypatch.setattr("fund2oct.evaluation.distances._perceptual", lambda *_: None)
    wanted = Wanted(("image:tiny_network:build",), required=True)
    models = {"black": Constant((6, 32, 48)), "diverged": Broken((6, 32, 48))}
    result = evaluate(models, few, tmp_path, distances=wanted)
    assert "black" in result["distances"] and "mean volume" in result["distances"]
    assert "diverged" not in result["distances"]
    notes = result["protocol"]["notes"]
    assert any(note.startswith("No distances of diverged: fake eye 'sim3-") for note in notes)
    assert any("B-scans of black are of one grey value" in note for note in notes)
    written = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert written["summary"]["diverged"]["aligned/l1"]["mean"] is None
    assert written["seed"] == 0 and {"fund2oct", "torch"} <= written["versions"].keys()
    distance = written["distances"]["floor: rescan"][0]
    assert distance["n_real"] == len(written["eyes"]["black"]) and distance["unit"] == "eyes"
    assert distance["value"] == distance["rescan_floor"]


@pytest.mark.usefixtures("plain_pictures", "one_eye_measured")
def test_checkpoints_are_compared_in_one_table(tiny_checkpoint, tiny_eyes, tmp_path):
    evaluate_checkpoints([str(tiny_checkpoint)] * 2, str(tiny_eyes), tmp_path, distances=NOTHING)
    table = (tmp_path / "report.md").read_text()
    assert "| tiny |" in table and "| tiny (2), shuffled photos |" in table
    # Two checkpoints of one run have its name.
    for name in ("tiny", "tiny (2)"):
        assert f"* *{name}* is the checkpoint `{tiny_checkpoint}`." in table


CLASSES = """
from fund2oct.models import Pix2Vol


class First(Pix2Vol):
    def forward(self, *args, **options):
        return super().forward(*args, **options) * 0 + 0.25


class Second(Pix2Vol):
    def forward(self, *args, **options):
        return super().forward(*args, **options) * 0 + 0.5
"""


@pytest.mark.usefixtures("plain_pictures")
def test_models_of_different_classes_are_compared_in_one_table(
    tiny_checkpoint, tiny_eyes, tmp_path, monkeypatch, capsys
):
    (tmp_path / "two_classes.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(tmp_path)
    contents = torch.load(tiny_checkpoint, weights_only=True)
    for name in ("First", "Second"):
        contents["fund2oct"]["class"] = f"two_classes.{name}"
        torch.save(contents, tmp_path / f"{name.lower()}.ckpt")
    paths = [str(path) for path in (tmp_path / "first.ckpt", tiny_checkpoint, tmp_path / "second.ckpt")]
    command = ["evaluate", *paths, "--data", str(tiny_eyes), "--distances", "none"]
    command += ["--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*command, "--model", "two_classes.Second"]) == 1
    assert "first.ckpt: holds a two_classes.First, which is not part of fund2oct" in capsys.readouterr().err
    # As the command does it; what else stands in a report of three models takes most of its time.
    names = ("first", "tiny", "second")
    asked = partial(evaluate_checkpoints, only=names)
    monkeypatch.setattr("fund2oct.evaluation.evaluate_checkpoints", asked)
    assert main([*command, "--model", "two_classes.Second", "--model", "two_classes.First"]) == 0
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    l1 = {name: report["summary"][name]["posed/l1"]["mean"] for name in names}
    # Each drew with a class of its own: grey of 0.25, grey of 0.5, and what the network draws.
    with EyeReader(tiny_eyes) as reader:
        volumes = [reader.read(row["key"]).volume / 255 for row in report["eyes"]["first"]]
    for name, grey in (("first", 0.25), ("second", 0.5)):
        assert l1[name] == pytest.approx(np.mean([np.abs(one - grey).mean() for one in volumes]), abs=1e-4)
    assert l1["tiny"] not in (l1["first"], l1["second"])


@pytest.mark.usefixtures("plain_pictures")
def test_answers_that_are_chosen_have_the_values_of_the_whole_report(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        keys = list(reader.keys)
    split = {"train": keys[:14], "val": [], "test": [keys[14], keys[16]]}  # two right eyes of two patients
    two = FundusOCTDataModule(str(tiny_eyes), split=split)
    two.setup()
    models = {"black": Constant((6, 32, 48))}
    whole = evaluate(models, two, tmp_path / "whole", distances=NOTHING)
    some = ["black, shuffled photos", "mean volume"]
    found = evaluate(models, two, tmp_path / "some", distances=NOTHING, only=some)
    assert sorted(found["eyes"]) == sorted(some) and found["reliability"] == {}
    # Text, because what could not be measured is not equal to itself.
    assert [str(found["eyes"][name]) for name in some] == [str(whole["eyes"][name]) for name in some]
    with pytest.raises(ValueError, match=r"only: expected names of answers out of 'floor: rescan', .*'whit'"):
        evaluate(models, two, tmp_path / "none", distances=NOTHING, only=["whit"])


def test_where_a_choice_is_made_no_answer_to_shuffled_photos_is_compared_as_a_set():
    answers = [Answer(name, lambda batch: None, as_set=True) for name in ("a", "a, shuffled photos")]
    assert [one.as_set for one in _chosen(answers, [one.name for one in answers])] == [True, False]
    assert _chosen(answers, None) == answers


@pytest.mark.usefixtures("plain_pictures")
def test_lesions_of_eyes_with_lines_of_different_length_have_no_volume_in_common(tiny_eyes, tmp_path):
    path = tmp_path / "lines.h5"
    with EyeReader(tiny_eyes) as reader, EyeWriter(path) as writer:
        keys = reader.keys[:6]
        for number, key in enumerate(keys):
            eye, length_mm = reader.read(key), 9.0 if number == 1 else 6.0
            scan, spacing_mm = RadialScan(length_mm=length_mm), (*eye.spacing_mm[:2], length_mm / 48)
            writer.add(replace(eye, scan=scan, spacing_mm=spacing_mm))

    def of(*test):
        split = {"train": list(keys[4:]), "test": list(test)}
        return FundusOCTDataModule(str(path), batch_size=2, split=split)

    assert HeldOutEyes(of(keys[0], keys[2]), CPU).scan == RadialScan(length_mm=6.0)
    # The training eyes have other lines: those of the test count.
    assert HeldOutEyes(of(keys[1]), CPU).scan == RadialScan(length_mm=9.0)
    data = of(*keys[:2])
    data.setup()
    result = evaluate(
        {"black": Constant((6, 32, 48))}, data, tmp_path / "out", distances=NOTHING, only=["floor: rescan"]
    )
    (*_, note, alone) = result["protocol"]["notes"]
    assert note == "The eyes were scanned along different lines: volumes of lesions are left out."
    # Both eyes are of one patient, of whom there is no standard error.
    assert alone.startswith("**There is no other patient: rows of what is *shuffled*")
    assert "± nan" not in (tmp_path / "out" / "report.md").read_text()
    values = result["eyes"]["floor: rescan"][0]
    assert "PED/real_mm" in values and not [name for name in values if name.endswith("_mm3")]


def test_a_published_folder_is_called_by_its_whole_name(tmp_path):
    (tmp_path / "net-v1.2").mkdir()
    (tmp_path / "net-v1.2.ckpt").touch()
    for checkpoint in (tmp_path / "net-v1.2", tmp_path / "net-v1.2.ckpt", Path("hf://owner/net-v1.2")):
        assert _unique_name(checkpoint, {}) == "net-v1.2"
