"""Controls and the report, on small simulated eyes."""

import math

import numpy as np
import pytest
import torch

from fund2oct.controls import controls, model_candidates
from fund2oct.data import FundusOCTDataModule
from fund2oct.evaluation import evaluate, evaluate_checkpoints, measure
from fund2oct.metrics import retinal_thickness_um
from fund2oct.models import Fake, VolumeGAN, load_model


@pytest.fixture(scope="module")
def datamodule(tiny_eyes):
    datamodule = FundusOCTDataModule(str(tiny_eyes), test_fraction=0.4)
    datamodule.setup()
    return datamodule


@pytest.fixture(scope="module")
def held_out(datamodule):
    return [VolumeGAN.prepare(batch) for batch in datamodule.test_dataloader()]


def test_the_controls_are_what_they_are_called(datamodule, held_out):
    found = {one.name: one.answer for one in controls(datamodule, held_out, torch.device("cpu"))}
    batch = held_out[0]
    assert torch.equal(found["floor: second rendering"](batch).volume, batch["second"])
    mean = found["mean volume"](batch).aligned
    assert torch.equal(mean[0], mean[-1])
    train = []
    for index in range(len(datamodule.train_dataset)):
        eye = datamodule.train_dataset[index]
        tensors = {name: value[None] for name, value in eye.items() if isinstance(value, torch.Tensor)}
        train.append(VolumeGAN.prepare(tensors))
    voxel = (0, 0, 2, 19, 17)
    seen = [float(eye["aligned"][voxel]) for eye in train if eye["mask"][voxel]]
    assert float(mean[voxel]) == pytest.approx(np.mean(seen), abs=1e-4)
    own = {**batch, "fundus": torch.cat([eye["fundus"] for eye in train[: len(batch["fundus"])]])}
    nearest = found["nearest training photo"](own).aligned
    expected = torch.cat([eye["aligned"] for eye in train[: len(nearest)]])
    torch.testing.assert_close(nearest, expected, atol=1 / 255, rtol=0)


def test_no_shuffled_photo_is_of_the_same_patient(tiny_checkpoint, datamodule, held_out):
    model = load_model(tiny_checkpoint)
    given = []
    model.forward = lambda fundus, *_, **__: given.append(fundus) or torch.zeros(len(fundus), 1, 6, 32, 48)
    _, shuffled = model_candidates({"model": model}, held_out, seed=0)
    for batch in held_out:
        shuffled.answer(batch)
    photos = torch.cat([batch["fundus"] for batch in held_out])
    keys = [key for batch in held_out for key in batch["key"]]
    for key, photo in zip(keys, torch.cat(given), strict=True):
        source = keys[int((photos - photo).flatten(1).abs().sum(1).argmin())]
        assert int(source[4:11]) // 2 != int(key[4:11]) // 2


def test_the_real_volume_itself_has_no_error(held_out):
    batch = held_out[0]
    x_mm = 8.8 / 48
    thickness_um = retinal_thickness_um(batch["volume"], batch["spacing_z_mm"], x_mm)
    for row in measure(Fake(batch["aligned"], batch["volume"]), batch, thickness_um, x_mm):
        assert row["thickness_um"] == row["aligned_l1"] == row["lying_l1"] == row["retina_local_mean"] == 0
        assert row["lying_ssim"] == pytest.approx(1) and row["aligned_psnr"] == math.inf
        assert row["energy"] == row["real_energy"]


def test_the_report_ranks_floor_before_mean_before_nothing(datamodule, tiny_checkpoint, tmp_path):
    class Black(VolumeGAN):
        def forward(self, fundus, grid, n_depth=None, generator=None):
            return torch.zeros(len(fundus), 1, *self.shape)

    result = evaluate({"black": Black((6, 32, 48))}, datamodule, tmp_path)
    summary = result["summary"]
    for metric in ("retina_local_mean", "aligned_l1"):
        values = [summary[name][metric] for name in ("floor: second rendering", "mean volume", "black")]
        assert values == sorted(values)
    assert summary["floor: second rendering"]["sharpness"] == pytest.approx(1, abs=0.05)
    assert summary["mean volume"]["sharpness"] < 0.5
    assert summary["black"]["sharpness"] == 0
    for name in ("metrics.json", "report.md", "scatter.png", "median-black.png", "worst-black.png"):
        assert (tmp_path / name).is_file()


def test_checkpoints_are_compared_in_one_table(tiny_checkpoint, tiny_eyes, tmp_path):
    evaluate_checkpoints([str(tiny_checkpoint)] * 2, str(tiny_eyes), tmp_path)
    table = (tmp_path / "report.md").read_text()
    assert "| tiny |" in table and "| tiny (2), shuffled photos |" in table
