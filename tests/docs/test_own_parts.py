"""What the page on a user's own parts shows is run as it is shown, and is as short as it promises."""

import ast
import importlib
import json
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.evaluation import evaluate_checkpoints
from fund2oct.evaluation.distances import Wanted
from fund2oct.models import CheckpointError, load_model
from fund2oct.run.train import build, train

pytestmark = pytest.mark.usefixtures("memory_not_estimated")
PAGE = Path(__file__).parents[2] / "docs/tutorials/own_model.md"
LONGEST = {
    "my_model": 8, "my_losses": 8, "my_encoder": 15, "my_voxels": 15, "my_judge": 15, "my_regression": 20,
    "my_flow": 50, "my_data": 15, "my_loaders": 15, "my_transform": 8, "my_measure": 10, "my_control": 10,
    "my_distance": 10, "my_import": 20, "my_scan": 15,
}  # fmt: skip
"""Lines of each file; those of a network, which is the user's own science, do not count but in a flow."""


def blocks():
    """The code of each file of the page, by its name."""
    files = {}
    for language, code in re.findall(r"```(python|yaml)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        name = re.match(r"# (\S+\.(?:py|yaml))\n", code)[1]
        assert name.endswith({"python": "py", "yaml": "yaml"}[language])
        files[name] = files.get(name, "") + code
    return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that holds the page's files, from which they can be imported."""
    made = tmp_path_factory.mktemp("own")
    for name, code in blocks().items():
        (made / name).write_text(code)
    sys.path.append(str(made))
    yield made
    sys.path.remove(str(made))
    for name in LONGEST:
        sys.modules.pop(name, None)


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def n_lines(code, networks_count):
    tree = ast.parse(code)
    networks = [
        number
        for node in tree.body
        if isinstance(node, ast.ClassDef) and "nn.Module" in map(ast.unparse, node.bases)
        for number in range(node.lineno, node.end_lineno + 1)
    ]
    lines = enumerate(code.splitlines(), start=1)
    written = [n for n, line in lines if line.strip() and not line.startswith("#")]
    return len(written) if networks_count else len(set(written) - set(networks))


def test_each_part_is_as_short_as_promised():
    files = {name[:-3]: code for name, code in blocks().items() if name.endswith(".py")}
    assert set(files) == set(LONGEST)
    long = {name: n_lines(code, name == "my_flow") for name, code in files.items()}
    assert {name: n for name, n in long.items() if n > LONGEST[name]} == {}


NO_PANELS = "trainer.callbacks=[{class_path: fund2oct.callbacks.PanelCallback, init_args: {n_eyes: 0}}]"
QUICK = [
    NO_PANELS, "trainer.max_steps=1", "trainer.limit_val_batches=0", "trainer.enable_checkpointing=false",
    "trainer.enable_model_summary=false",
]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "my_model.Smoother",
        "my_voxels.WithMyLift",
        pytest.param("my_encoder.WithViT", marks=pytest.mark.slow),
        pytest.param("my_judge.WithMyJudge", marks=pytest.mark.slow),
        pytest.param("my_voxels.WithMyDecoder", marks=pytest.mark.slow),
    ],
)
def test_each_model_takes_a_step(name, here, tiny_overrides, tiny_layers, tiny_voxels):
    options = tiny_voxels if "voxels" in name else [*tiny_layers, "model.init_args.adversaries_from=0"]
    model_of = f"model.class_path={name}"
    trainer, model, datamodule = build("pix2vol", [model_of, *tiny_overrides, *options, *QUICK])
    assert f"{type(model).__module__}.{type(model).__name__}" == name
    trainer.fit(model, datamodule=datamodule)
    assert trainer.global_step == 1
    part = {"my_encoder.WithViT": "SmallViT", "my_judge.WithMyJudge": "Small"}.get(name, "")
    assert not part or part in {type(one).__name__ for one in model.modules()}


@pytest.mark.slow
def test_a_loss_is_named_among_the_weights(here, tiny_overrides, tiny_layers):
    trainer, model, datamodule = build("variation.yaml", [*tiny_overrides, *tiny_layers, *QUICK])
    trainer.fit(model, datamodule=datamodule)
    assert trainer.logged_metrics["train/generator/my_losses.variation"] > 0
    misspelt = "model.init_args.weights={tissue: 1, my_losses.varation: 1}"
    trainer, model, datamodule = build("variation.yaml", [*tiny_overrides, *tiny_layers, *QUICK, misspelt])
    with pytest.raises(ValueError, match=r"weights: 'my_losses.varation': expected an importable"):
        trainer.fit(model, datamodule=datamodule)


def own_report(overrides):
    """Overrides that put the page's ``report:`` into another experiment."""
    parts = ("measures=[my_measure.brightness_error]", "controls=[my_control.grey]")
    return [*overrides, *(f"report.{part}" for part in parts), "report.distances=[my_distance.brightness]"]


def small(tiny_overrides):
    return [
        *(one for one in tiny_overrides if "bscan_width" not in one),
        NO_PANELS,
        "trainer.limit_train_batches=2",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("plain_pictures", "no_twins")
def test_a_flow_is_trained_used_and_evaluated(here, tiny_eyes, tiny_overrides, tmp_path, monkeypatch):
    # Its report is asked for by itself below.
    monkeypatch.setattr("fund2oct.run.train._has_test_eyes", lambda datamodule: False)
    with EyeReader(tiny_eyes) as reader:
        keys, photo = reader.keys, reader.read(reader.keys[0]).fundus
    split = f"data.init_args.split={{train: {[*keys[4:]]}, val: {[*keys[2:4]]}, test: {[*keys[:2]]}}}"
    overrides = ["model.class_path=my_flow.Flow", split, *small(tiny_overrides)]
    run = train("darker.yaml", overrides, tmp_path / "run")
    assert "transform: my_transform.darker" in (run / "config.yaml").read_text()

    checkpoint = next((run / "checkpoints").glob("last*.ckpt"))
    with pytest.raises(CheckpointError, match=r"my_flow.Flow, which is not part of fund2oct"):
        load_model(checkpoint)
    model = load_model(checkpoint, importlib.import_module("my_flow").Flow)
    wide = np.zeros((60, 90, 3), np.uint8)
    wide[6:54, 21:69] = photo
    eye = model.predict(wide)
    assert eye.volume.shape == (6, 32, 48) and eye.scan == model.task.scan
    assert np.array_equal(eye.volume, model.predict(wide).volume)
    assert not np.array_equal(eye.volume, model.predict(wide, rng=1).volume)
    with pytest.raises(DataError, match=r"photo: expected RGB bytes, .* found float64 \(60, 90, 3\)"):
        model.predict(wide / 255)

    report = evaluate_checkpoints(
        [str(checkpoint)], str(tiny_eyes), tmp_path / "report", ["my_flow.Flow"], Wanted.parse(["none"])
    )
    assert report["summary"][f"{tmp_path.name} run"]["posed/l1"]["n_eyes"] == 2


@pytest.mark.usefixtures("plain_pictures")
def test_own_data_train_a_regression_and_are_reported(here, tiny_overrides, tmp_path):
    kept = [one for one in small(tiny_overrides) if not one.startswith("data.init_args.n_eyes")]
    overrides = own_report(["model.class_path=my_regression.Regression", *kept])
    run = train("my_data.yaml", overrides, tmp_path / "run")
    report = json.loads((run / "report/metrics.json").read_text())
    assert report["protocol"]["data"] == "MyData" and report["protocol"]["n_eyes"] == 2
    assert set(report["summary"]) == {"grey", "model", "model, noise off", "model, shuffled photos"}
    loaded = load_model(
        next((run / "checkpoints").glob("last*.ckpt")), importlib.import_module("my_regression").Regression
    )
    assert [len(loaded.task.seen.parts[part]) for part in ("train", "val")] == [20, 2]

    # What the experiment adds to the report.
    assert "brightness_error" in (run / "config.yaml").read_text()
    errors = report["summary"]["grey"]["own/brightness_error"]
    assert errors["n_eyes"] == 2 and 0 < errors["mean"] < 0.5
    (distance,) = report["distances"]["model"]
    assert distance["name"] == "video_distance/Brightness-features/32x48/native6/between_means"
    text = (run / "report/report.md").read_text()
    assert "## Measures of your own" in text and "Absolute difference of the mean intensities." in text


def test_plain_loaders(here, tiny_eyes):
    options = {"encoder": "own", "surface_width": 8, "tissue_width": 8, "texture": (8,), "feature_width": 0}
    trainer = importlib.import_module("my_loaders").train(str(tiny_eyes), bscan_width=8, **options)
    assert trainer.global_step == 2 and trainer.lightning_module.task.fundus_px == 48


def test_an_importer_goes_on_and_reports(here, tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        for key in reader.keys[:2]:
            eye = reader.read(key)
            photo = np.pad(eye.fundus, ((8, 8), (20, 20), (0, 0)))
            spacing = (np.nan, *eye.spacing_mm[1:])
            np.savez(tmp_path / f"{key}.npz", photo=photo, volume=eye.volume, spacing_mm=spacing)
    (tmp_path / "broken.npz").write_bytes(b"")
    options = ImportOptions(ScanOptions(radial=True), fundus_px=48)
    run = importlib.import_module("my_import").run
    report = run(tmp_path, tmp_path / "eyes.h5", options, workers=1)
    assert len(report.imported) == 2 and [name for name, _ in report.skipped] == ["broken"]
    assert (tmp_path / "eyes.import.csv").is_file()
    assert run(tmp_path, tmp_path / "eyes.h5", options, workers=1).unchanged


def test_a_scan_pattern_lies_where_its_shares_lie(here):
    import torch

    spiral = importlib.import_module("my_scan").Spiral()
    points = spiral.points(torch.empty(5, device="meta", dtype=torch.float64))
    assert (points.device.type, points.dtype, points.shape) == ("meta", torch.float64, (3, 5, 2))
    assert spiral.coordinates(4)[2].norm(dim=-1).tolist() == pytest.approx([1.7, 1.9, 2.1, 2.3])


@pytest.mark.slow
def test_a_training_begins_with_weights_from_elsewhere(
    here, tiny_overrides, tiny_layers, tiny_checkpoint, caplog
):
    import torch
    from safetensors.torch import save_file

    state = torch.load(tiny_checkpoint, weights_only=True)["state_dict"]
    save_file({name: value.contiguous() for name, value in state.items()}, here / "weights.safetensors")
    with caplog.at_level("INFO"):
        trainer, model, datamodule = build("fine_tuned.yaml", [*tiny_overrides, *tiny_layers, *QUICK])
        trainer.fit(model, datamodule=datamodule)
    (line,) = [one.message for one in caplog.records if one.message.startswith("init_from")]
    n_weights = len(model.generator.state_dict()) + len(model.discriminators.state_dict())
    n_taken = len([name for name in state if not name.startswith("generator.")])
    assert f"{n_taken} of {n_weights} weights taken" in line


def test_the_command_finds_what_lies_beside_it(folder, tiny_overrides, tmp_path, monkeypatch, capfd):
    for name in ("my_model.py", "smoother.yaml"):
        shutil.copy(folder / name, tmp_path)
    # As the shell calls it, in a folder that nothing else has put on Python's path.
    command = ["fund2oct", "train", "smoother.yaml", *tiny_overrides, "model.init_args.variaton=1"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", str(folder))])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main() == 1
    # The class was found, and what it does not take was refused.
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "variaton" in line and "my_model.Smoother" in line
    assert Path(sys.modules["my_model"].__file__).parent == tmp_path
