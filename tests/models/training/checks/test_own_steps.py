"""Steps of one's own: those that train the network in use are taken, and those that train nothing are not."""

import warnings

import pytest
import torch
from tiny_models import quick_trainer
from torch import nn

from fund2oct.data import FundusOCTDataModule
from fund2oct.models import VoxelGAN

SHAPE = (6, 32, 48)


def tiny(kind):
    return kind(SHAPE, channels=(8, 8), weights={"l1": 1.0})


def fit(model, path, **options):
    """Train two batches."""
    usual = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 0, "num_sanity_val_steps": 0}
    trainer = quick_trainer(**(usual | options))
    trainer.fit(model, datamodule=FundusOCTDataModule(str(path), batch_size=2))
    return trainer


class Returning(VoxelGAN):
    """A step as Lightning's own pages show it."""

    n_batches = 0

    def training_step(self, batch, batch_idx):
        self.n_batches += 1
        batch = self.prepare(batch)
        return sum(self.losses(batch, self.generate(self.generator, batch, self.step_noise())).values())


class Stepping(Returning):
    """A step that steps the optimiser by itself, and not the average."""

    def training_step(self, batch, batch_idx):
        loss, optimizer = super().training_step(batch, batch_idx), self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class SteppingRaw(Returning):
    """The same with the optimiser of torch, whose steps Lightning does not count."""

    def training_step(self, batch, batch_idx):
        loss, optimizer = super().training_step(batch, batch_idx), self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class SteppingBoth(Stepping):
    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        self.generator_ema.update(self.generator, 0.9)


class Seldom(VoxelGAN):
    """The generator is stepped in every second batch."""

    def training_step(self, batch, batch_idx):
        if batch_idx % 2:
            super().training_step(batch, batch_idx)


def test_a_loss_that_a_step_returns_is_refused_after_the_first_batch(tiny_eyes):
    model = tiny(Returning)
    message = r"Returning\.training_step: .* did not follow any step; end .* self\.step_generator\(\{"
    with pytest.raises(ValueError, match=message):
        fit(model, tiny_eyes)
    assert model.n_batches == 1


@pytest.mark.parametrize(("kind", "n_validated"), [(Stepping, 0), (Stepping, 1), (SteppingRaw, 0)])
def test_steps_that_the_average_does_not_follow_are_refused_before_it_is_measured(
    kind, n_validated, tiny_eyes
):
    model, measured = tiny(kind), []
    model.configure_model()
    model.generator_ema.update(model.generator, 0.0)  # as a training that begins with weights of a file does
    model.measure = lambda *given: measured.append(given)
    with pytest.raises(ValueError, match=r"Stepping(Raw)?\.training_step: .* did not follow any step"):
        fit(model, tiny_eyes, limit_val_batches=n_validated)
    assert model.n_batches == 2 and not measured
    # What is there can still be looked at.
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    quick_trainer(limit_val_batches=1).validate(model, datamodule=data, verbose=False)
    assert len(measured) == 1


def test_lightning_is_not_left_to_step(tiny_eyes):
    model = tiny(Returning)
    model.automatic_optimization = True
    with pytest.raises(ValueError, match="Returning: automatic_optimization: expected False, found True"):
        fit(model, tiny_eyes)
    assert model.n_batches == 0


def test_a_training_that_ends_before_its_first_step_is_no_mistake_of_the_step(tiny_eyes):
    assert fit(tiny(Seldom), tiny_eyes, limit_train_batches=1).global_step == 0


class Growing(VoxelGAN):
    """Its generator makes a buffer when it is called."""

    persistent = True

    def build_generator(self):
        made = super().build_generator()
        made.register_forward_hook(
            lambda network, given, drawn: network.register_buffer("seen", torch.zeros(2), self.persistent)
        )
        return made


def test_what_no_checkpoint_could_give_back_is_refused_after_the_first_batch(tiny_eyes):
    with pytest.raises(ValueError, match=r"Growing: generator\.seen: a call .* persistent=False"):
        fit(tiny(Growing), tiny_eyes)
    model = tiny(Growing)
    model.persistent = False
    assert fit(model, tiny_eyes).global_step == 2


@pytest.mark.parametrize(("kind", "n_steps"), [(SteppingBoth, 2), (Seldom, 1)])
def test_a_step_of_ones_own_that_the_average_follows_is_taken(kind, n_steps, tiny_eyes):
    model = tiny(kind)
    model.configure_model()
    before = [weight.clone() for weight in model.generator_ema.parameters()]
    assert fit(model, tiny_eyes, limit_val_batches=1).global_step == n_steps
    after = model.generator_ema.parameters()
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))


class Beside(VoxelGAN):
    """A module beside the generator, which the loss reads."""

    def configure_model(self):
        super().configure_model()
        if not hasattr(self, "level"):
            self.level = nn.Linear(1, 1)

    def generator_losses(self, batch, fake):
        wrong = self.level(fake.aligned.mean().view(1)) - batch["aligned"].mean()
        return {"level": wrong.square().mean()}


class Optimised(Beside):
    def optimised_networks(self):
        return nn.ModuleList([self.generator, self.level])


@pytest.mark.parametrize(("kind", "is_trained"), [(Beside, False), (Optimised, True)])
def test_weights_that_no_optimiser_holds_are_named(kind, is_trained, tiny_eyes):
    model = tiny(kind)
    model.configure_model()
    before = model.level.weight.detach().clone()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(model, tiny_eyes)
    said = [str(one.message) for one in told if "no optimiser holds" in str(one.message)]
    assert len(said) == (not is_trained)
    assert is_trained or "Beside: no optimiser holds level.weight, level.bias, which" in said[0]
    assert torch.equal(before, model.level.weight) != is_trained
