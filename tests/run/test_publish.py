"""From a run to a folder, its card, its place in the package, and a prediction with it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import EyeReader
from fund2oct.models import CheckpointError, load_model
from fund2oct.outputs import OutputError
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.run.publishing import publish
from fund2oct.run.publishing.listing import models_at_hand
from fund2oct.run.publishing.record import RunRecord


@pytest.fixture(scope="module")
def run(tiny_checkpoint, tmp_path_factory):
    """The folder of a run, as far as publishing looks at it."""
    folder = tmp_path_factory.mktemp("runs") / "runs/pix2vol/001"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(tiny_checkpoint, folder / "checkpoints/last.ckpt")
    (folder / "run.json").write_text(json.dumps({"hours": 1.25, "device": "cpu"}))
    value = {"mean": 19.43, "standard_error": 1.0, "n_eyes": 4}
    unknown = {"mean": None, "standard_error": None, "n_eyes": 0}
    summary = {
        "floor: one twin": {"thickness/error_um": {**value, "mean": 14.9}, "aligned/psnr": unknown},
        "model": {"thickness/error_um": value, "aligned/psnr": {**value, "mean": 20.5}},
        "mean volume": {"posed/psnr": value},
    }
    (folder / "report").mkdir()
    report = {"protocol": {"n_eyes": 4}, "summary": summary}
    (folder / "report/metrics.json").write_text(json.dumps(report))
    Image.new("RGB", (8, 4)).save(folder / "report/median-model.png")
    return folder


@pytest.fixture(scope="module")
def published(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "pix2vol"
    publish(run, folder, half=True, with_encoder=True, licence="apache-2.0")
    return folder


@pytest.fixture
def shipped(published, monkeypatch):
    """An installation with a model in it."""
    monkeypatch.setattr("fund2oct.models.published.shipped._SHIPPED", published.parent)


@pytest.fixture
def nothing_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr("fund2oct.models.published.shipped._SHIPPED", tmp_path / "nothing")


@pytest.fixture
def not_compared(monkeypatch):
    """Publications that draw nothing to compare with the checkpoint, for tests of what stands beside them."""
    monkeypatch.setattr("fund2oct.run.publishing.writing._compare", lambda *_: "")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "eye.png"
    fundus = simulate_eye(0, 5, PhantomConfig(fundus_px=96, n_depth=32, n_ascans=48)).fundus
    Image.fromarray(fundus).save(path)
    return str(path)


def test_the_card_says_what_it_is_and_what_it_is_not(published):
    card = (published / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: fund2oct\n") and "license: apache-2.0\n" in card
    assert (
        "Trained on tiny.h5 (18 eyes): trained on simulated eyes; a demonstration of the machinery." in card
    )
    assert "never seen a real eye" in card and "no basis for a diagnosis" in card
    assert "6 slices, 32 rows and 48 A-scans, over\nlines of 8.8 mm and a depth of 1.92 mm" in card
    assert "| answer | thickness error, µm ↓ | PSNR aligned, dB ↑ |" in card
    assert "| floor: one twin | 14.9 | - |\n| **model** | 19.4 | 20.50 |\n" in card
    assert "mean volume" not in card, "of which nothing of this was measured"
    assert "1.25 hours of training on cpu" in card and "float16" in card and "![" in card
    assert "It is a `Pix2Vol` of fund2oct" in card and 'load_model("pix2vol")' in card
    assert "`model.safetensors` holds all weights that use needs." in card and "--model" not in card
    assert {path.name for path in published.iterdir()} == {
        "README.md", "config.json", "eye.webp", "model.safetensors",
    }  # fmt: skip
    assert Image.open(published / "eye.webp").size == (8, 4)
    assert "/tmp" not in card and "/tmp" not in (published / "config.json").read_text()


def test_a_checkpoint_alone_is_published_without_figures(tiny_checkpoint, tmp_path):
    made = publish(tiny_checkpoint, tmp_path / "alone")
    assert "99.9% of the voxels by at most 0 of 255 grey levels" in made.check
    assert "Its run has no report: nobody knows." in (tmp_path / "alone/README.md").read_text()
    assert made.n_bytes == sum(path.stat().st_size for path in (tmp_path / "alone").iterdir())


def _with_report(run, folder, data, **renamed):
    """A copy of a run whose report has other names."""
    shutil.copytree(run, folder)
    path = folder / "report/metrics.json"
    report = json.loads(path.read_text())
    report["summary"] = {renamed.get(name, name): values for name, values in report["summary"].items()}
    report["protocol"]["data"] = data
    path.write_text(json.dumps(report))
    return folder


@pytest.mark.usefixtures("not_compared")
def test_a_report_that_was_made_later_on_other_eyes_is_known(run, tmp_path):
    # `fund2oct evaluate CHECKPOINT --data other.h5 --out RUN/report` names the model by its run.
    other = _with_report(run, tmp_path / "runs/pix2vol/002", "/some/other.h5", model="pix2vol 002")
    publish(other, tmp_path / "other")
    card = (tmp_path / "other/README.md").read_text()
    assert "Of 4 eyes of `other.h5`." in card and "/some" not in card
    assert not (tmp_path / "other/eye.webp").exists(), "the other eyes may be patients"
    assert "| **model** | 19.4 | 20.50 |" in card


@pytest.mark.usefixtures("not_compared")
def test_a_later_report_of_eyes_of_the_same_name_shows_none(run, tmp_path):
    # Where the report was made, eyes.h5 may have been another file than in the training.
    trained_on = Path(load_model(run / "checkpoints/last.ckpt").task.seen.path).name
    other = _with_report(run, tmp_path / "runs/pix2vol/004", trained_on, model="pix2vol 004")
    publish(other, tmp_path / "other")
    assert not (tmp_path / "other/eye.webp").exists()
    assert f"Of 4 eyes of `{trained_on}`." in (tmp_path / "other/README.md").read_text()


def test_a_report_is_known_from_wherever_its_run_is_named(run, tmp_path, monkeypatch):
    other = _with_report(run, tmp_path / "runs/pix2vol/005", "/some/other.h5", model="pix2vol 005")
    for folder, name in ((other.parent, "005"), (other, "."), (other / "checkpoints", "last.ckpt")):
        monkeypatch.chdir(folder)
        assert RunRecord.read(Path(name)).about["figures"]["thickness/error_um"] == 19.43


@pytest.mark.usefixtures("not_compared")
def test_a_report_of_another_run_is_not_taken_for_this_one(run, tmp_path):
    other = _with_report(run, tmp_path / "runs/pix2vol/003", "/some/other.h5", model="pix2vol 001")
    publish(other, tmp_path / "other")
    assert "nobody knows" in (tmp_path / "other/README.md").read_text()


@pytest.mark.usefixtures("not_compared")
def test_no_eye_of_a_comparison_of_files_is_pictured(run, tmp_path):
    # `fund2oct evaluate --real A --fake B --out RUN/report` names no data, and A may be patients.
    files = _with_report(run, tmp_path / "files", "", model="generated")
    path = files / "report/metrics.json"
    report = json.loads(path.read_text())
    del report["protocol"]["data"]
    path.write_text(json.dumps(report))
    publish(files, tmp_path / "published")
    assert not (tmp_path / "published/eye.webp").exists()


@pytest.mark.usefixtures("not_compared")
def test_a_model_that_draws_no_volume_has_figures(run, tmp_path):
    flat = _with_report(run, tmp_path / "flat", "eyes.h5", model="model, median surfaces")
    publish(flat, tmp_path / "published")
    assert "| **model, median surfaces** | 19.4 | 20.50 |" in (tmp_path / "published/README.md").read_text()


@pytest.mark.usefixtures("not_compared")
def test_figures_are_those_of_the_weights_that_the_training_ended_with(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    last, early = (tmp_path / f"run/checkpoints/{name}.ckpt" for name in ("last", "epoch=3"))
    contents = torch.load(last, weights_only=True)
    torch.save(contents | {"global_step": contents["global_step"] + 1}, early)
    # The run of an earlier version does not tell: the newest checkpoint counts.
    assert "figures" in RunRecord.read(early).about and "figures" not in RunRecord.read(last).about
    told = {"hours": 1.25, "device": "cpu", "global_step": contents["global_step"]}
    (tmp_path / "run/run.json").write_text(json.dumps(told))
    ended, other = RunRecord.read(last), RunRecord.read(early)
    assert ended.about["figures"]["thickness/error_um"] == 19.43 and ended.about["hours"] == 1.25
    assert ended.picture is not None and not ended.why_no_figures
    assert other.about == {"device": "cpu"} and not other.answers and other.picture is None
    publish(early, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "is about the weights at the end of the training, not about these: nobody knows." in card
    assert "thickness error" not in card and "hours of training" not in card and "![" not in card


@pytest.mark.usefixtures("not_compared")
def test_no_patient_is_pictured(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run/checkpoints/last.ckpt"
    contents = torch.load(path, weights_only=True)
    assert contents["fund2oct"]["task"]["real"] is False
    contents["fund2oct"]["task"]["real"] = True  # as of simulated eyes mixed with scanned ones
    torch.save(contents, path)
    publish(tmp_path / "run", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert not (tmp_path / "out/eye.webp").exists() and "![" not in card
    assert "Some of the eyes that it was trained on are simulated" in card and "never seen" not in card


@pytest.mark.usefixtures("not_compared")
def test_nothing_else_is_replaced(run, tiny_checkpoint, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(OutputError, match=r"holds other files already, and no config.json"):
        publish(run, tmp_path, overwrite=True)
    with pytest.raises(OutputError, match=r"holds the run that is to be published"):
        publish(run, run)
    publish(tiny_checkpoint, tmp_path / "one")
    with pytest.raises(OutputError, match=r"holds a config.json already"):
        publish(tiny_checkpoint, tmp_path / "one")
    (tmp_path / "one/notes.txt").touch()
    publish(run, tmp_path / "one", overwrite=True)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"README.md", "config.json", "eye.webp", "model.safetensors", "notes.txt"}
    publish(tiny_checkpoint, tmp_path / "one", overwrite=True)
    assert not (tmp_path / "one/eye.webp").exists(), "which is of another model"


def test_a_model_of_others_is_not_replaced(run, tmp_path):
    foreign = {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"mine", "README.md": b"mine"}
    for name, content in foreign.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(OutputError, match=r"config.json: expected class, .*; choose another folder"):
        publish(run, tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == foreign


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such run; expected the folder of a run"),
        (lambda folder: folder.mkdir(), r"holds no checkpoints/\*.ckpt; expected the folder of a run"),
    ],
)
def test_what_is_no_run_is_refused(make, message, tmp_path):
    make(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        publish(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_float16_that_can_be_seen_is_refused(run, tmp_path, monkeypatch):
    publish(run, tmp_path / "earlier")
    before = {path.name: path.read_bytes() for path in (tmp_path / "earlier").iterdir()}
    monkeypatch.setattr("fund2oct.run.publishing.writing._MOST_GREY", -1.0)
    message = r"float16 changes 99.9% of the voxels by .*; publish without --half"
    with pytest.raises(ValueError, match=message):
        publish(run, tmp_path / "out", half=True)
    assert not [*(tmp_path / "out").iterdir()]
    with pytest.raises(ValueError, match=message):
        publish(run, tmp_path / "earlier", half=True, overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "earlier").iterdir()} == before


def test_a_push_to_a_version_is_refused_before_anything_is_written(run, tmp_path, capsys):
    assert main(["publish", str(run), str(tmp_path / "out"), "--push", "hf://owner/eyes@v2"]) == 1
    assert "hf://owner/eyes@v2: an upload makes a new version" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stopped_push_leaves_the_folder_and_says_so(run, tmp_path, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fund2oct.models.published.hub.check_upload", lambda _: None)
    monkeypatch.setattr("fund2oct.models.published.push_to_hub", stopped)
    out = tmp_path / "out"
    assert main(["publish", str(run), str(out), "--push", "hf://owner/eyes"]) == 130
    assert f"{out} is written and not pushed; run it again with --overwrite" in capsys.readouterr().err
    assert load_model(out).shape == (6, 32, 48)


@pytest.mark.usefixtures("plain_pictures")
def test_a_photo_alone_is_translated_by_the_shipped_model(shipped, published, photo, tmp_path, capsys):
    assert main(["predict", photo, "--out", str(tmp_path / "alone")]) == 0
    assert "1 of 1 photos translated" in capsys.readouterr().out
    assert main(["predict", str(published), photo, "--out", str(tmp_path / "named")]) == 0
    assert main(["predict", photo, "--checkpoint", str(published), "--out", str(tmp_path / "option")]) == 0
    volumes = []
    for folder in ("alone", "named", "option"):
        with EyeReader(tmp_path / folder / "eye.h5") as reader:
            volumes.append(reader.read("eye").volume)
    assert np.array_equal(volumes[0], volumes[1]) and np.array_equal(volumes[0], volumes[2])
    assert load_model().shape == (6, 32, 48)
    capsys.readouterr()
    assert main(["predict", str(published), "--out", str(tmp_path / "nothing")]) == 1
    assert f"expected photos after the model {published}" in capsys.readouterr().err


def test_an_installation_without_a_model_says_so(nothing_shipped, photo, tmp_path, capsys):
    assert main(["predict", photo, "--out", str(tmp_path / "out")]) == 1
    assert "no model was named, and none came with this installation: name one" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="none came with this installation"):
        load_model()
    assert main(["models", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no model at hand: train one with fund2oct train pix2vol\n"


def test_the_models_at_hand_are_listed(shipped, run, capsys):
    assert main(["models", "--runs", str(run.parents[1])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pix2vol  (in the package; predict takes it where no model is named)"
    assert lines[1].startswith("    Pix2Vol, 1.") and lines[1].endswith(" MB")
    assert lines[2].startswith("    Trained on tiny.h5 (18 eyes): trained on simulated eyes")
    figures = "1.25 hours of training; on 4 test eyes: thickness error, µm ↓ 19.4, PSNR aligned, dB ↑ 20.50"
    assert lines[3] == f"    {figures}"
    assert lines[4:] == [f"{run}/checkpoints/last.ckpt  (a run of yours)", f"    {figures}"]


def test_runs_are_found_from_wherever_they_are_named(nothing_shipped, run, tmp_path, capsys):
    for folder in (run.parents[1], run.parent, run):
        assert [model.name for model in models_at_hand(folder)] == [f"{run}/checkpoints/last.ckpt"]
    assert main(["models", "--runs", str(tmp_path / "nope")]) == 1
    assert "nope: no such folder; name a folder of runs" in capsys.readouterr().err


def test_a_broken_run_is_left_out_of_the_list(nothing_shipped, run, tmp_path):
    shutil.copytree(run, tmp_path / "pix2vol/001")
    (tmp_path / "pix2vol/001/report/metrics.json").write_text("{")
    (tmp_path / "pix2vol/002").mkdir()
    (tmp_path / "pix2vol/002/run.json").write_text("{}")
    assert models_at_hand(tmp_path) == []
    with pytest.raises(ValueError, match=r"metrics.json: damaged .*; remove it, or copy the run anew"):
        publish(tmp_path / "pix2vol/001", tmp_path / "out")


def test_a_folder_writes_a_submission(published, photo, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    shutil.move(photo, tmp_path / "photos")
    assert main(["submit", str(published), str(tmp_path / "photos"), "--out", str(tmp_path / "a.zip")]) == 0
    assert main(["submit", "--check", str(tmp_path / "a.zip"), str(tmp_path / "photos")]) == 0
