"""X2CT-GAN and the U-Net: their losses by hand, their experiments, and all that a trained model is for."""

import numpy as np
import pytest
import torch
from tiny_models import quick_trainer
from torch import nn

from fund2oct.data import FundusOCTDataModule
from fund2oct.evaluation.answers.controls import model_answers
from fund2oct.evaluation.checkpoints import HeldOutEyes
from fund2oct.evaluation.measuring import EyeTask, measure_eye
from fund2oct.models import Fake, load_model
from fund2oct.models.baselines.unet3d import UNet3D
from fund2oct.models.baselines.x2ct import X2CT, three_projections_loss
from fund2oct.run.train import build

SHAPE = (6, 32, 48)
SMALL = {
    X2CT: {
        "stem": 8, "dense_layers": (1, 2), "growth": 4, "channels": (4, 4, 8), "n_blocks": (1, 1, 0),
        "discriminator_width": 4,
    },
    UNet3D: {"channels": (4, 8, 8), "n_residual": 1},
}  # fmt: skip


def test_projections_are_compared_along_all_three_axes():
    fake, real = torch.rand(2, 1, 3, 5, 7), torch.rand(2, 1, 3, 5, 7)
    a, b = fake.double().numpy(), real.double().numpy()
    expected = np.mean([np.abs(a.mean(axis) - b.mean(axis)).mean() for axis in (2, 3, 4)])
    assert float(three_projections_loss(fake, real)) == pytest.approx(expected, rel=1e-5)
    # One bright voxel is seen in three projections, by 1/5, 1/3 and 1/7 of each pixel's brightness.
    dark = torch.zeros(1, 1, 3, 5, 7)
    bright = dark.clone()
    bright[0, 0, 2, 1, 4] = 1
    assert float(three_projections_loss(bright, dark)) == pytest.approx(1 / 105)
    with pytest.raises(ValueError, match="of one shape"):
        three_projections_loss(fake, real[..., :6])


class Judge(nn.Module):
    """Gives every volume its mean as the one score, and notes the photos."""

    def forward(self, volume, fundus):
        self.fundus = fundus
        return volume.mean((1, 2, 3, 4))


def test_the_losses_are_those_of_the_paper():
    model = X2CT(SHAPE, **SMALL[X2CT])
    model.configure_training()
    model.discriminators = nn.ModuleDict({"volume": Judge()})
    model.share_done = lambda step=None: 1.0
    real, fake, posed_real, posed_fake = (torch.rand(2, 1, *SHAPE) * scale for scale in (1, 0.8, 0.6, 0.5))
    batch = {"aligned": real, "volume": posed_real, "fundus": torch.rand(2, 3, 40, 40)}
    found = model.generator_losses(batch, Fake(fake, posed_fake))
    a, b = fake.double().numpy(), real.double().numpy()
    score = posed_fake.double().numpy().mean((1, 2, 3, 4))
    expected = {
        "adversarial": 0.1 * 0.5 * np.mean((score - 1) ** 2),
        "reconstruction": 10 * np.mean((a - b) ** 2),
        "projections": 10 * np.mean([np.abs(a.mean(axis) - b.mean(axis)).mean() for axis in (2, 3, 4)]),
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-4)
    assert model.discriminators["volume"].fundus is batch["fundus"]
    (judged,) = model.discriminator_losses(batch, Fake(fake, posed_fake)).values()
    of_real = posed_real.double().numpy().mean((1, 2, 3, 4))
    expected = 0.1 * (0.5 * np.mean((of_real - 1) ** 2) + 0.5 * np.mean(score**2))
    assert float(judged) == pytest.approx(expected, rel=1e-4)


def test_without_a_weight_of_the_adversary_there_is_none():
    model = X2CT(SHAPE, **SMALL[X2CT], weights=(0.0, 10.0, 10.0))
    assert len(model.build_discriminators()) == 0


def test_the_network_learns_from_the_absolute_difference():
    real, fake = torch.rand(1, 1, *SHAPE), torch.rand(1, 1, *SHAPE)
    (found,) = UNet3D(SHAPE, **SMALL[UNet3D]).losses({"aligned": real}, Fake(fake, fake)).values()
    assert float(found) == pytest.approx(np.abs(fake.numpy() - real.numpy()).mean(), rel=1e-5)


@pytest.mark.usefixtures("memory_not_estimated", "plain_pictures")
@pytest.mark.parametrize(
    ("name", "kind"), [("x2ct", X2CT), pytest.param("unet3d", UNet3D, marks=pytest.mark.slow)]
)
def test_each_experiment_steps_all_that_it_trains(name, kind, tiny_overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [
        f"model.init_args.{key}={list(value) if isinstance(value, tuple) else value}"
        for key, value in SMALL[kind].items()
    ]
    own = [line for line in tiny_overrides if "bscan_width" not in line]
    trainer, model, data = build(name, [*own, *small, "trainer.fast_dev_run=1"])
    assert type(model) is kind
    model.configure_model()
    model.configure_training()
    before = {key: value.clone() for key, value in model.named_parameters() if value.requires_grad}
    trainer.fit(model, datamodule=data)
    assert trainer.global_step == 1
    after = dict(model.named_parameters())
    still = [key for key, value in before.items() if torch.equal(value, after[key])]
    assert [key for key in still if not key.endswith("bias")] == []


def test_trained_models_predict_and_are_measured(tiny_eyes, tmp_path):
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, test_fraction=0.1)
    models = {}
    for kind, small in SMALL.items():
        trainer = quick_trainer(max_steps=1, limit_val_batches=0)
        trainer.fit(kind(SHAPE, **small), datamodule=data)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        models[kind.__name__] = loaded = load_model(tmp_path / "last.ckpt")
        assert type(loaded) is kind and not loaded.training
        photo = (255 * data.test_dataset[0]["fundus"].permute(1, 2, 0)).byte().numpy()
        one, other = (loaded.predict(photo, rng=0).volume for _ in range(2))
        assert one.shape == SHAPE and one.dtype == np.uint8 and (one == other).all()
    # One eye as an evaluation measures it; floors and controls, which take most of its time, need no model.
    eyes = HeldOutEyes(data, torch.device("cpu"))
    batch = eyes.batch(eyes.keys[0])
    given = {
        answer.name: answer.give(batch).eye(0)
        for answer in model_answers(models, eyes.photo_of_another, seed=0)
    }
    assert {name for name in given if "shuffled photos" in name} and set(models) <= set(given)
    measured = measure_eye(EyeTask.of(batch, 0, given, eyes.scan))
    for name in models:
        assert 0 < measured[name]["aligned/l1"] < 1
