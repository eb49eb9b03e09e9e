"""The training loop, through the same door as the command line."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tiny_models import quick_trainer

from fund2oct.cli import main
from fund2oct.data import FundusOCTDataModule, PhantomDataModule
from fund2oct.evaluation.answers.borrowed import RETRIEVAL
from fund2oct.models import Pix2Vol, VoxelGAN, load_model
from fund2oct.models.task import TASK_KEY
from fund2oct.run import train as first_start
from fund2oct.run.train import build, train

pytestmark = pytest.mark.usefixtures("memory_not_estimated")
SHAPE = (6, 32, 48)


def small_model(**options):
    options = {"channels": (8, 8, 16), "bscan_width": 8, "n_layers": 2} | options
    return VoxelGAN(SHAPE, **options)


def fit(model, path, n_batches, **options):
    datamodule = FundusOCTDataModule(str(path), batch_size=2)
    options = {"max_steps": n_batches, "max_epochs": -1, "limit_val_batches": 0} | options
    trainer = quick_trainer(**options)
    pl.seed_everything(0, verbose=False)
    trainer.fit(model, datamodule=datamodule)
    return trainer


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("options", [{}, {"weights": {"l1": 1.0}}])
def test_a_global_step_is_a_batch(tiny_eyes, options):
    model = small_model(**options)
    trainer = fit(model, tiny_eyes, 5)
    assert trainer.global_step == 5
    assert trainer.fit_loop.epoch_loop.total_batch_idx + 1 == 5
    assert bool(model.discriminators) == (not options)


def test_both_sides_learn_and_the_average_follows(tiny_eyes):
    model = small_model()
    model.configure_model()
    model.configure_training()
    before = [weights(part) for part in (model.generator, model.discriminators, model.generator_ema.module)]
    fit(model, tiny_eyes, 3)
    after = [weights(part) for part in (model.generator, model.discriminators, model.generator_ema.module)]
    for old, new in zip(before, after, strict=True):
        moved = [not torch.equal(old[name], new[name]) for name in old]
        # The bias of the last layer rests while every logit is within the hinge.
        assert sum(moved) >= 0.9 * len(moved)
    assert any(not torch.equal(after[0][name], after[2][name]) for name in after[0])


def test_the_average_is_that_of_the_formula(tiny_eyes):
    model = small_model(ema_decay=0.5)
    seen = []

    class Record(pl.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            seen.append(module.generator.encoder.stem.weight.detach().clone())

    fit(model, tiny_eyes, 4, callbacks=[Record()])
    average = seen[0]
    for number, weight in enumerate(seen[1:], start=1):
        decay = min(0.5, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(model.generator_ema.module.encoder.stem.weight, average)


def test_the_logged_parts_add_up_to_the_total(tiny_eyes):
    terms = {"adversarial": 1.0, "local_mean": 3.0, "l1": 2.0, "charbonnier": 1.0, "ssim": 0.5}
    terms |= {"projection": 4.0, "feature_matching": 2.0}
    model = small_model(weights=terms, r1_gamma=0.1, volume_width=8)
    logged = fit(model, tiny_eyes, 1).logged_metrics
    for side, names in {
        "generator": {
            "adversarial/bscan", "adversarial/volume", "feature_matching/bscan", "feature_matching/volume",
            "local_mean", "l1", "charbonnier", "ssim", "projection",
        },
        "discriminator": {"bscan", "bscan/r1", "volume", "volume/r1"},
    }.items():  # fmt: skip
        parts = {key: value for key, value in logged.items() if key.startswith(f"train/{side}/")}
        total = parts.pop(f"train/{side}/total")
        assert set(parts) == {f"train/{side}/{name}" for name in names}
        torch.testing.assert_close(sum(parts.values()), total)


def test_the_rate_falls_to_zero_over_the_last_part(tiny_eyes):
    model = small_model(learning_rate=1e-3, decay_from=0.5)
    rates = []

    class Record(pl.Callback):
        def on_train_batch_start(self, trainer, module, *_):
            rates.append(module.optimizers()[0].param_groups[0]["lr"])

    fit(model, tiny_eyes, 8, callbacks=[Record()])
    np.testing.assert_allclose(rates, [1e-3] * 5 + [0.75e-3, 0.5e-3, 0.25e-3], rtol=1e-6)


def test_the_adversaries_join_when_they_are_told(tiny_eyes):
    model = small_model(adversaries_from=0.5)
    logged, moved = [], []

    class Record(pl.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            logged.append("train/discriminator/total" in trainer.callback_metrics)
            moved.append(next(module.discriminators.parameters()).detach().clone())

    fit(model, tiny_eyes, 4, callbacks=[Record()])
    assert torch.equal(moved[0], moved[1]) and not torch.equal(moved[1], moved[2])
    assert logged == [False, False, True, True]


def test_bfloat16_trains_and_is_measured_in_full_precision(tiny_eyes):
    drawn = []

    class Record(pl.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, *_):
            drawn.append(outputs["volume"])

    model = small_model()
    options = {"max_steps": -1, "max_epochs": 1, "limit_val_batches": 1.0, "callbacks": [Record()]}
    trainer = fit(model, tiny_eyes, 0, precision="bf16-mixed", **options)
    assert all(value.isfinite() for value in trainer.logged_metrics.values())
    half = {name: float(value) for name, value in trainer.logged_metrics.items() if name.startswith("val/")}
    assert all(volume.dtype == torch.float32 for volume in drawn)
    # The same network in float32 draws nearly the same, so that it measures nearly the same.
    whole = quick_trainer()
    (full,) = whole.validate(
        model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2), verbose=False
    )
    assert half.keys() == full.keys()
    for name in ("aligned/l1", "aligned/psnr", "aligned/ssim", "posed/ssim", "aligned/retina_local_mean"):
        assert half[f"val/{name}"] == pytest.approx(full[f"val/{name}"], rel=0.02, abs=0.002), name


@pytest.mark.usefixtures("plain_pictures")
def test_resume_equals_uninterrupted(tiny_overrides, tiny_layers, tiny_checkpoint, tmp_path):
    begin = shutil.copy(tiny_checkpoint, tmp_path / "begin.ckpt")
    # What is set as a share of the training depends on its length. Without test eyes there is no report.
    constant = [
        *tiny_overrides, *tiny_layers, "model.init_args.decay_from=1.0",
        "model.init_args.adversaries_from=0.0", "trainer.limit_train_batches=3",
        "data.init_args.test_fraction=0", f"model.init_args.init_from={begin}",
    ]  # fmt: skip
    twice = [*constant, "trainer.max_epochs=2"]
    train("pix2vol", twice, tmp_path / "once")
    train("pix2vol", constant, tmp_path / "first")
    begin.unlink()  # what it began with is in the checkpoint
    train("pix2vol", twice, tmp_path / "resumed", resume=tmp_path / "first/checkpoints/last.ckpt")
    once, resumed = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)
        for name in ("once", "resumed")
    )
    assert once["global_step"] == resumed["global_step"] > 0
    assert set(once["state_dict"]) == set(resumed["state_dict"])
    for name, value in once["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    seen = [one[TASK_KEY]["task"]["seen"] for one in (once, resumed)]
    assert seen[0] == seen[1] and len(seen[0]["before"]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("few_twins")
def test_a_run_leaves_all_that_made_it(tiny_overrides, tiny_layers, tmp_path, monkeypatch):
    for draws in ("_MAX_DRAWS", "_MIN_DRAWS"):  # the intervals of its distances are not looked at
        monkeypatch.setattr(f"fund2oct.evaluation.distances.{draws}", 2)
    short = ["trainer.limit_train_batches=2", "trainer.log_every_n_steps=1"]
    run = train("pix2vol", [*tiny_overrides, *tiny_layers, *short], tmp_path / "run")
    assert {"config.yaml", "run.json", "metrics.csv", "checkpoints", "panels", "report"} <= {
        path.name for path in run.iterdir()
    }
    record = json.loads((run / "run.json").read_text())
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert record["global_step"] == last["global_step"] > 0
    assert record["seed"] == "0" and record["versions"]["torch"] == torch.__version__
    report = json.loads((run / "report/metrics.json").read_text())
    assert {"floor: rescan", "mean volume", "nearest training photo", "model"} <= set(report["summary"])
    assert "model, shuffled photos" in (run / "report/report.md").read_text()
    page = (run / "report/report.html").read_text()
    assert page.count("<img ") == 8 and "data:image/gif;base64," in page
    assert (
        "trained on simulated eyes; a demonstration of the machinery"
        in load_model(run / "checkpoints/last.ckpt").task.provenance()
    )
    assert list((run / "panels").glob("*.png")) and (run / "report/scatter.png").is_file()


# The next test takes a step of "voxels" too.
@pytest.mark.parametrize(
    ("name", "lift"),
    [
        pytest.param("voxels", "geometry", marks=pytest.mark.slow),
        ("regression", "geometry"),
        pytest.param("lift_repeat", "repeat", marks=pytest.mark.slow),
        pytest.param("lift_channels", "channels", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("plain_pictures")
def test_each_voxel_experiment_runs_a_step(name, lift, tiny_overrides, tiny_voxels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = [*tiny_overrides, *tiny_voxels, "trainer.fast_dev_run=1"]
    trainer, model, datamodule = build(name, overrides)
    trainer.fit(model, datamodule=datamodule)
    assert trainer.global_step == 1
    assert isinstance(model, VoxelGAN) and model.lift == lift


@pytest.mark.usefixtures("plain_pictures")
def test_a_trial_of_one_step_ends_well(tiny_overrides, tiny_voxels, tmp_path, monkeypatch, capsys):
    """Lightning writes no configuration then."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", "voxels", *tiny_overrides, *tiny_voxels, "trainer.fast_dev_run=1"]) == 0
    assert "The run lies in runs/voxels/001." in "".join(capsys.readouterr())


@pytest.mark.usefixtures("plain_pictures")
def test_the_main_experiment_runs_a_step(tiny_overrides, tiny_layers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer, model, datamodule = build("pix2vol", [*tiny_overrides, *tiny_layers, "trainer.fast_dev_run=1"])
    trainer.fit(model, datamodule=datamodule)
    assert trainer.global_step == 1 and isinstance(model, Pix2Vol)


@pytest.mark.usefixtures("few_twins", "plain_pictures")
def test_surfaces_alone_are_trained_and_reported(tiny_overrides, tmp_path):
    own = [line for line in tiny_overrides if "bscan_width" not in line]
    small = ["model.init_args.encoder=own", "model.init_args.surface_width=16"]
    short = ["trainer.limit_train_batches=3", "report.distances=[none]"]
    run = train("surfaces", [*own, *small, *short], tmp_path / "run")
    assert {"config.yaml", "run.json", "checkpoints", "report"} <= {path.name for path in run.iterdir()}
    record = json.loads((run / "run.json").read_text())
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert record["global_step"] == last["global_step"] > 0
    assert record["seed"] == "0" and record["versions"]["torch"] == torch.__version__
    report = json.loads((run / "report/metrics.json").read_text())
    assert {"model, median surfaces", "median surfaces, no photo"} <= set(report["summary"])
    retrieval, shuffled = f"model, {RETRIEVAL}", f"model, {RETRIEVAL}, shuffled photos"
    own, others = (report["summary"][name]["thickness/error_um"] for name in (retrieval, shuffled))
    assert own != others
    assert "model" not in report["summary"]
    covered = report["summary"]["model, median surfaces"]["thickness/covered"]["mean"]
    assert 0 <= covered <= 1


def test_each_process_of_a_first_start_finds_the_simulated_eyes(tmp_path, monkeypatch):
    """As the tasks of Slurm, of which none starts the others."""
    rank = threading.local()
    monkeypatch.setattr(first_start, "is_first_process", lambda: rank.is_first)

    def start(is_first):
        rank.is_first = is_first
        sizes = {"n_eyes": 6, "n_depth": 32, "n_ascans": 48, "simulated_fundus_px": 48}
        data = PhantomDataModule(str(tmp_path / "new.h5"), **sizes)
        first_start._prepare_data(data)
        return data.n_eyes_of("train")

    monkeypatch.setattr("fund2oct.data.modules.phantom_datamodule.n_cores", lambda: 1)
    with ThreadPoolExecutor(2) as tasks:
        found = list(tasks.map(start, [False, True]))
    assert found[0] == found[1] > 0
    # What a datamodule of the user's prepares may bear to be done once alone.
    mine = pl.LightningDataModule()
    mine.prepare_data = lambda: pytest.fail("prepared by the second process")
    rank.is_first = False
    first_start._prepare_data(mine)
