"""The estimate of a step's memory against what torch's allocator really gave out."""

import logging
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from tiny_models import TINY_PIX2VOL, quick_trainer

from fund2oct.callbacks import MemoryCallback
from fund2oct.callbacks.memory import memory_line
from fund2oct.data import FundusOCTDataModule
from fund2oct.models import Pix2Vol, VoxelGAN
from fund2oct.models.training.memory import StepMemory, batch_without_values, step_memory

SHAPE, BATCH = (6, 32, 48), 4


class Allocated(pl.Callback):
    """The most that was allocated in each batch, beside what was there before it."""

    def __init__(self):
        self.most = []

    def on_train_batch_start(self, trainer, module, batch, number):
        if number:  # in the first one the optimisers make their moments
            self._profile = torch.profiler.profile(profile_memory=True)
            self._profile.__enter__()

    def on_train_batch_end(self, trainer, module, outputs, batch, number):
        if number:
            self._profile.__exit__(None, None, None)
            events = self._profile.profiler.kineto_results.events()
            changes = [(each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]"]
            self.most.append(max(torch.tensor([size for _, size in sorted(changes)]).cumsum(0)).item())


@pytest.mark.parametrize("adversaries_from", [0.0, pytest.param(0.9, marks=pytest.mark.slow)])
def test_the_estimate_is_what_a_step_takes(tiny_eyes, adversaries_from, caplog):
    real = Allocated()
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=BATCH)
    model = Pix2Vol(SHAPE, adversaries_from=adversaries_from, **TINY_PIX2VOL)
    trainer = quick_trainer(max_steps=2, limit_val_batches=0, callbacks=[real, MemoryCallback()])
    with caplog.at_level(logging.INFO):
        trainer.fit(model, datamodule=data)
    assert "memory: about 0.5 GiB of main memory a process: weights 0.0" in caplog.text
    numbers = torch.get_rng_state()
    state = model.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    batch = batch_without_values(data.train_dataset, BATCH)
    found = step_memory(model, batch)
    sizes = [value.nbytes for value in batch.values() if isinstance(value, torch.Tensor)]
    assert found.step == pytest.approx(real.most[0] + sum(sizes), rel=0.03)
    begun = step_memory(model, batch, shares=[0.0])  # the step that was really made
    assert begun.step == pytest.approx(real.most[0] + sum(sizes), rel=0.03)
    weights = sum(value.numel() * value.element_size() for value in state.values() if value.ndim)
    assert found.weights == pytest.approx(weights, rel=0.1)
    # And the model is as it was, on its own device, and will draw what it would have drawn.
    assert torch.equal(numbers, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_without_discriminators_is_estimated_too(tiny_eyes):
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=BATCH)
    data.setup()
    model = VoxelGAN(SHAPE, channels=(8, 8), weights={"l1": 1.0})
    model.configure_model()
    model.configure_training()
    batch = batch_without_values(data.train_dataset, BATCH)
    # At least the batch and one map of the finest level.
    held = sum(value.nbytes for value in batch.values() if isinstance(value, torch.Tensor))
    assert step_memory(model, batch).step > held + BATCH * 8 * 6 * 32 * 48 * 4


class Reading(Pix2Vol):
    def training_step(self, batch, batch_idx):
        return float(batch["volume"].mean())


def test_a_step_that_cannot_be_estimated_is_trained_all_the_same(tiny_eyes, caplog):
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=BATCH)
    trainer = SimpleNamespace(datamodule=data)
    with caplog.at_level(logging.INFO):
        MemoryCallback().on_train_start(trainer, Reading(SHAPE, **TINY_PIX2VOL))
    assert "memory: not estimated (" in caplog.text and "Error: " in caplog.text


class Noting(VoxelGAN):
    """A model that logs in its step a number and a tensor, and keeps what it saw in a list."""

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        light = batch["volume"].mean()
        self.lights.append(light)
        self.log("train/gap", 0.25)
        self.log_dict({"train/light": light})


class Scheduling(VoxelGAN):
    """A model whose step steps its schedule once more."""

    def training_step(self, batch, batch_idx):
        self.lr_schedulers().step()
        super().training_step(batch, batch_idx)


@pytest.mark.parametrize(("kind", "estimated"), [(Noting, True), (Scheduling, False)])
def test_an_estimate_changes_nothing_of_the_training(kind, estimated, tiny_eyes, caplog):
    model = kind(SHAPE, channels=(8, 8), weights={"l1": 1.0})
    model.lights = []
    trainer = quick_trainer(
        max_epochs=1, limit_train_batches=2, limit_val_batches=0, callbacks=[MemoryCallback()]
    )
    with caplog.at_level(logging.INFO):
        trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    assert ("memory: about" in caplog.text) is estimated
    assert ("memory: not estimated (RuntimeError: " in caplog.text) is not estimated
    if estimated:
        assert [light.device.type for light in model.lights] == ["cpu", "cpu"]
        logged = trainer.callback_metrics
        assert float(logged["train/gap"]) == 0.25
        assert float(logged["train/light"]) == pytest.approx(float(model.lights[-1]))
        assert not [name for name in trainer.logged_metrics if name.startswith("on_train_start")]
    else:  # in each of two steps by the library and by the model
        assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 4


def test_a_gpu_and_the_main_memory_are_told_apart():
    gib = 2**30
    line = memory_line(StepMemory(gib, gib, 4 * gib), torch.device("cuda", 0), 2, n_workers=3, ahead=gib)
    assert line == (
        "memory: about 6.0 GiB of cuda:0 a process (weights 1.00, gradients and moments 1.00, a step of 2 "
        "eyes 4.00), and 3.0 GiB of main memory (Python and libraries 2.0, 3 workers' batches 1.0)"
    )
