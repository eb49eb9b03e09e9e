"""The baseline `slices`: the parts of its training, its losses by the equations, its way to a report."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tiny_models import quick_trainer

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.evaluation.checkpoints import evaluate_checkpoints
from fund2oct.evaluation.distances import Wanted
from fund2oct.models import load_model
from fund2oct.models.baselines import Pix2PixHD
from fund2oct.models.batch import Fake
from fund2oct.networks.adversaries.discriminators import DiscriminatorOutput
from fund2oct.networks.noise import NoNoise
from fund2oct.run.train import build

SHAPE = (6, 32, 48)
TINY = {
    "width": 4, "n_halvings": 2, "n_blocks": 1, "n_local_blocks": 1, "discriminator_width": 4, "n_scales": 2,
}  # fmt: skip


def built(**options):
    model = Pix2PixHD(SHAPE, **(TINY | options))
    model.configure_model()
    model.configure_training()
    return model


def weights(module):
    return {name: value.clone() for name, value in module.named_parameters()}


def moved(before, module, part):
    """That part of the names of the weights that changed."""
    return {
        name.split(".")[part]
        for name, value in module.named_parameters()
        if not torch.equal(before[name], value)
    }


class Parts(pl.Callback):
    """What moves in each step, and how the average follows."""

    def __init__(self):
        self.stages, self.generator, self.scales, self.copied = [], [], [], []

    def on_train_batch_start(self, trainer, module, *_):
        self.stages.append(module.stage)
        self._before = weights(module.generator), weights(module.discriminators)

    def on_train_batch_end(self, trainer, module, *_):
        self.generator.append(moved(self._before[0], module.generator, 0))
        self.scales.append(moved(self._before[1], module.discriminators, 2))
        local = module.generator.local.up.up.weight, module.generator_ema.module.local.up.up.weight
        self.copied.append(torch.equal(*local))


@pytest.fixture(scope="module")
def trained(tiny_eyes, tmp_path_factory):
    """Five steps of the shipped experiment in small, what moved in each, and its checkpoint."""
    parts = Parts()
    small = [f"model.init_args.{name}={value}" for name, value in TINY.items()]
    trainer, model, data = build(
        "slices",
        [
            *small, f"data.init_args.path={tiny_eyes}", "data.init_args.n_eyes=24",
            "data.init_args.batch_size=2", "model.init_args.shape=[6,32,48]",
            "trainer.accelerator=cpu", "trainer.devices=1", "trainer.callbacks=null",
            "trainer.max_steps=5", "trainer.max_epochs=-1", "trainer.limit_val_batches=0",
            "trainer.enable_checkpointing=false",
            f"trainer.default_root_dir={tmp_path_factory.mktemp('run')}",
            "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false",
        ],
    )  # fmt: skip
    trainer.callbacks.append(parts)
    trainer.fit(model, datamodule=data)
    path = tmp_path_factory.mktemp("slices") / "slices.ckpt"
    trainer.save_checkpoint(path)
    return parts, path


def test_the_global_generator_is_trained_alone_then_the_local_enhancer_then_both(trained):
    parts, _ = trained
    assert parts.stages == ["global", "global", "local", "joint", "joint"]
    assert parts.generator == [{"coarse"}] * 2 + [{"local"}] + [{"coarse", "local"}] * 2
    assert parts.scales == [{"1"}] * 2 + [{"0", "1"}] * 3
    assert parts.copied[2]  # the average holds nothing of the local enhancer's random start


@pytest.mark.usefixtures("no_twins")
def test_it_is_evaluated(trained, tiny_eyes, tmp_path, monkeypatch):
    # The pictures of a report take longer than all else here, and have tests of their own.
    monkeypatch.setattr("fund2oct.evaluation.checkpoints.write_report", lambda *given: given[4].eyes)
    _, path = trained
    model = load_model(path)
    assert type(model) is Pix2PixHD and model.generator_ema.module.local_joined
    found = evaluate_checkpoints([str(path)], str(tiny_eyes), tmp_path, distances=Wanted((), True, False))
    own, other, mean = (
        found[name][0]["aligned/l1"] for name in ("slices", "slices, shuffled photos", "mean volume")
    )
    assert np.isfinite(own) and own != other and own != mean


def test_it_predicts(trained, tiny_eyes):
    _, path = trained
    with EyeReader(tiny_eyes) as reader:
        photo = reader.read(reader.keys[0]).fundus
    eye = load_model(path).predict(photo)
    assert eye.volume.shape == SHAPE and eye.volume.std() > 0


def outputs(*logits, features=((1.0, 3.0), (0.5,))):
    """Made-up outputs of two scales, with two layers of the first and one of the second."""
    layers = [[torch.full((2, 3), value) for value in values] for values in features]
    return [DiscriminatorOutput(torch.tensor(one), many) for one, many in zip(logits, layers, strict=True)]


def test_losses_are_the_sums_of_the_papers_equations():
    model = built()
    model.share_done = lambda step=None: 1.0
    volume = torch.zeros(1, 1, *SHAPE)
    batch = {"volume": volume, "fundus": torch.zeros(1, 3, 48, 48)}
    fake = Fake(volume + 1, volume + 1)
    real, generated = outputs([1.0, 0.0], [0.5]), outputs([0.5, 0.5], [0.0], features=((2.0, 3.5), (1.5,)))
    model.discriminators["slices"].forward = lambda image, photo, finest: generated if image.any() else real
    found = model.generator_losses(batch, fake)
    # Least squares, equation 3: half of (0.25 + 0.25) / 2, and half of 1.
    assert found["adversarial"].item() == pytest.approx(0.125 + 0.5)
    # Equation 4 summed over the scales: |1 - 2| + |3 - 3.5|, and |0.5 - 1.5|; its weight of equation 5 is 10.
    assert found["feature_matching"].item() == pytest.approx(10 * (1.0 + 0.5 + 1.0))
    # Real: half of (0 + 1) / 2, half of 0.25. Generated: half of (0.25 + 0.25) / 2, 0.
    assert model.discriminator_losses(batch, fake)["slices"].item() == pytest.approx(0.25 + 0.125 + 0.125)


def test_losses_of_its_own_discriminators_by_another_way(tiny_eyes):
    """Equation 5 once more, layer by layer in NumPy, from what each discriminator says of an image."""
    model = built(feature_matching=3.0)
    model.share_done = lambda step=None: 1.0
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    data.setup()
    batch = model.prepare(next(iter(data.train_dataloader())))
    fake = model.generate(model.generator, batch, NoNoise())
    photo = torch.nn.functional.interpolate(batch["fundus"], SHAPE[1:], mode="bilinear", antialias=True)
    adversarial = matching = 0.0
    for k, layers in enumerate(model.discriminators["slices"].scales):
        seen = []
        for volume in (batch["volume"], fake.volume):
            x = 2 * torch.cat([volume[:, 0], photo], 1) - 1
            for _ in range(k):
                x = torch.nn.functional.avg_pool2d(x, 2)
            seen.append([])
            for layer in layers:
                x = layer(x)
                seen[-1].append(x.detach().numpy().astype(np.float64))
        (*real, _), (*generated, logits) = seen
        adversarial += ((logits - 1) ** 2).mean() / 2
        matching += sum(np.abs(a - b).mean() for a, b in zip(real, generated, strict=True))
    found = model.generator_losses(batch, fake)
    assert found["adversarial"].item() == pytest.approx(adversarial, rel=1e-4)
    assert found["feature_matching"].item() == pytest.approx(3 * matching, rel=1e-4)


def test_the_global_image_is_compared_with_the_real_one_at_half_its_size(tiny_eyes):
    """Real volumes in place of what the global generator draws are real at half the size too."""
    model = built()
    model.share_done = lambda step=None: 0.0
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    data.setup()
    batch = model.prepare(next(iter(data.train_dataloader())))
    pooled = torch.nn.functional.avg_pool3d(batch["aligned"], (1, 2, 2))
    model.generator.coarse.forward = lambda photo: pooled[:, 0]
    fake = model.generate(model.generator, batch, NoNoise())
    real = torch.nn.functional.avg_pool3d(batch["volume"], (1, 2, 2))
    assert fake.volume.shape == real.shape == (2, 1, 6, 16, 24)
    judged = []
    model.discriminators["slices"].forward = lambda image, photo, finest: (
        judged.append((image, photo.shape, finest)) or outputs([0.0], [0.0])
    )
    model.discriminator_losses(batch, fake)
    (seen, size, finest), (drawn, _, _) = judged
    torch.testing.assert_close(seen, real[:, 0])
    assert size == (2, 3, 16, 24) and finest == 1
    # Moved there and back by whole and half rows: alike, and not when moved otherwise.
    near = (drawn - seen).abs().mean()
    assert near < 0.5 * (drawn.roll(1, 2) - seen).abs().mean()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_halvings": 4}, "4 halvings and 2 scales need at least 33 rows and A-scans, found 32 and 48"),
        ({"n_scales": 3}, "need at least 64 rows"),
        ({"n_scales": 1}, "n_scales: expected at least 2, found 1"),
        ({"local_from": 40, "joint_from": 60}, r"shares of the training in \[0, 1\], .* found 40 and 60"),
        ({"local_from": 0.7}, "found 0.7 and 0.6"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        built(**options)


def test_a_training_without_an_end_that_would_train_the_global_generator_alone_is_refused(tiny_eyes):
    def fit(**shares):
        trainer = quick_trainer(
            max_epochs=-1,
            limit_train_batches=1,
            limit_val_batches=0,
            callbacks=[pl.callbacks.LambdaCallback(on_train_start=stop)],
        )
        trainer.fit(
            Pix2PixHD(SHAPE, **TINY, **shares), datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2)
        )

    def stop(trainer, model):
        trainer.should_stop = True

    with pytest.raises(ValueError, match=r"changes at 0.4 and 0.6 of a training whose end is not known"):
        fit()
    fit(local_from=0.0, joint_from=0.0)
