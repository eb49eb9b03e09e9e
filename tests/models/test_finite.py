"""A training that diverges stops, says where, and leaves its last good checkpoint."""

import doctest
import math
from types import SimpleNamespace

import pytest
import torch
from tiny_models import quick_trainer

from fund2oct.cli import main
from fund2oct.data import FundusOCTDataModule
from fund2oct.models import VoxelGAN, load_model
from fund2oct.models.training import finite
from fund2oct.models.training.finite import FiniteWatch, NotFiniteError

DIVERGING = """
import math

import torch

from fund2oct.models import VoxelGAN


class Term(VoxelGAN):
    def generator_losses(self, batch, fake):
        losses = super().generator_losses(batch, fake)
        value = math.nan if self.global_step >= self.seed else 0.0
        losses["bad"] = fake.aligned.mean() * value
        return losses


class Gradient(VoxelGAN):
    # Finite itself: the derivative of a root at zero is not.
    def generator_losses(self, batch, fake):
        losses = super().generator_losses(batch, fake)
        zero = 0.0 if self.global_step >= self.seed else 1.0
        losses["bad"] = (fake.aligned * zero).square().sum().sqrt() * 1e-6
        return losses


class Weights(VoxelGAN):
    # Past the losses and the gradients.
    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        if self.global_step == self.seed:
            with torch.no_grad():
                self.generator.encoder.stem.weight[0] = math.inf
"""


def test_the_examples_run():
    assert doctest.testmod(finite).failed == 0


def test_the_first_step_counts_and_the_terms_may_change():
    watch = FiniteWatch()
    good, bad = torch.tensor(1.0), torch.tensor(math.inf)
    watch.note(3, {"a": good, "b": good})
    assert watch.first() is None
    watch.check()
    watch.note(5, {"a": bad, "b": good, "c": good})
    watch.note(6, {"a": good, "b": bad})
    watch.note(9, {"a": bad, "b": bad, "c": bad})
    assert watch.first() == (5, ["a"])
    with pytest.raises(NotFiniteError, match="step 5: not a finite number: a; do this"):
        watch.check("do this")


@pytest.mark.usefixtures("plain_pictures", "memory_not_estimated")
@pytest.mark.parametrize(
    "name, step, found",
    [
        ("Term", 3, "step 3: not a finite number: the generator's term bad, the gradient of the generator"),
        pytest.param(
            "Gradient",
            3,
            "step 3: not a finite number: the gradient of the generator;",
            marks=pytest.mark.slow,
        ),
        ("Weights", 4, "step 4: not a finite number: generator.encoder.stem.weight;"),
    ],
)
def test_a_diverged_training_stops_and_keeps_the_last_good_checkpoint(
    name, step, found, tiny_overrides, tmp_path, monkeypatch, capsys
):
    (tmp_path / "diverging.py").write_text(DIVERGING)
    monkeypatch.syspath_prepend(tmp_path)
    overrides = [
        *tiny_overrides, f"model.class_path=diverging.{name}", "model.init_args.shape=[6,32,48]",
        "model.init_args.channels=[8,8,16]", "model.init_args.weights.l1=1", f"model.init_args.seed={step}",
        "trainer.max_epochs=4", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1",
    ]  # fmt: skip
    overrides = [one for one in overrides if "bscan_width" not in one and "n_layers" not in one]
    assert main(["train", "regression", "--out", str(tmp_path / "run"), *overrides]) == 1
    error = capsys.readouterr().err
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert found in error and f"its last good checkpoint is {last}" in error
    assert not (tmp_path / "run" / "report").exists()
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        import diverging

        model = load_model(path, getattr(diverging, name))
        assert all(weight.isfinite().all() for weight in model.parameters())
    assert torch.load(last, weights_only=True)["global_step"] == 2


def test_what_one_process_met_stops_all():
    """Two processes of one training, each of which tells the other what it found."""
    found = {0: torch.tensor(1.0), 1: torch.tensor(math.nan)}
    told = []

    def reduce(value, reduce_op):
        assert reduce_op == "max"
        told.append(float(value))
        return value.fill_(1.0)  # in its place, as Lightning does it

    strategy = SimpleNamespace(reduce=reduce, root_device=torch.device("cpu"))
    for rank, message in (
        (0, "another process of this training met"),
        (1, "step 7: not a finite number: l1"),
    ):
        model = VoxelGAN((6, 32, 48), channels=(8, 8, 16), n_layers=2)
        model._finite.note(7, {"l1": found[rank]})
        model._trainer = SimpleNamespace(world_size=2, strategy=strategy, checkpoint_callbacks=[])
        with pytest.raises(NotFiniteError, match=message):
            model._check_finite()
    assert told == [0.0, 1.0]


def test_a_step_reads_nothing_from_the_device_for_it(tiny_eyes):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += "scalar_dense" in str(func)
            return func(*args, **(kwargs or {}))

    watch = FiniteWatch()
    values = {name: torch.rand(()) for name in ("l1", "ssim", "gradient")}
    with Reads() as reads:
        for step in range(4):
            watch.note(step, values)
    assert reads.count == 0


def test_a_model_with_bad_weights_is_not_saved(tiny_eyes, tmp_path):
    model = VoxelGAN((6, 32, 48), channels=(8, 8, 16), weights={"l1": 1.0})
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    with torch.no_grad():
        model.generator_ema.module.encoder.stem.bias[0] = math.nan
    with pytest.raises(
        NotFiniteError, match=r"generator_ema.module.encoder.stem.bias.*nothing was saved yet"
    ):
        trainer.save_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "bad.ckpt").exists()


class Interrupted(VoxelGAN):
    """A model whose first step ends in an error, with its discriminators frozen."""

    def step_generator(self, losses, *others):
        if self.global_step == 0 and not self.interrupted:
            self.interrupted = True
            raise RuntimeError("out of memory")
        super().step_generator(losses, *others)


def test_what_an_earlier_training_left_does_not_end_the_next_one(tiny_eyes):
    def fit(model):
        trainer = quick_trainer(max_steps=2, limit_val_batches=0)
        trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))

    model = Interrupted((6, 32, 48), channels=(8, 8, 16), n_layers=2)
    model.interrupted = False
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(model)
    assert all(weight.requires_grad for weight in model.discriminators.parameters())
    before = [weight.clone() for weight in model.discriminators.parameters()]
    model._finite.note(0, {"l1": torch.tensor(math.nan)})  # of a training that diverged
    model.eval()  # to look at what it draws
    fit(model)
    assert any(not torch.equal(*pair) for pair in zip(before, model.discriminators.parameters(), strict=True))
    assert model.training and model.generator.training


def test_a_gradient_that_is_never_finite_is_told_where_a_scaler_skips_its_steps():
    for scale, is_told in ((2.0**16, False), (2.0**-15, True)):
        model = VoxelGAN((6, 32, 48), channels=(8, 8, 16), n_layers=2)
        scaler = SimpleNamespace(get_scale=lambda scale=scale: scale)
        model._trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler), global_step=0)
        model.manual_backward = lambda total: None
        model.log_dict = lambda values: None
        weight = torch.nn.Linear(1, 1)
        weight.weight.grad = torch.full((1, 1), math.nan)
        model.backward_of("generator", {"l1": torch.tensor(1.0)}, weight)
        assert (model._finite.first() == (0, ["the gradient of the generator"])) is is_told
