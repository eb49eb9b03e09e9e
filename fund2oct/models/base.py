"""What every model shares: the task, the averaged generator, the training step, checkpoints."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import Metric

from fund2oct.by_path import values_of_a_file
from fund2oct.metrics.validation import ValidationMetrics
from fund2oct.models.batch import Batch, Fake, Losses, frozen_features, prepare_batch
from fund2oct.models.task import TASK_KEY, Task
from fund2oct.models.training.finite import FiniteWatch, NotFiniteError, advice, first_not_finite
from fund2oct.models.training.init_from import start_from
from fund2oct.models.training.optimisation import (
    Progress,
    as_list,
    check_optimizers,
    each_step,
    falling,
    rest_frozen,
    step_plateaus,
    step_schedules,
    training_dataset,
    warn_without_end,
)
from fund2oct.models.training.terms import check_terms
from fund2oct.networks.average import AveragedNetwork
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import unalign


class VolumeModel(pl.LightningModule):
    """What training, evaluation, prediction and checkpoints need of any model.

    A model is a subclass that says what its network is, :meth:`build_generator`, and what it minimises,
    :meth:`losses`; it may also override :meth:`generate` and :meth:`configure_optimizers`. One with
    adversaries is a :class:`fund2oct.models.VolumeGAN`.

    Constructor arguments are plain values, and are saved in the checkpoint.

    Args:
        shape: slices, depth and A-scans ``(S, Z, X)`` of the volumes.
        learning_rate: step size of Adam.
        betas: Adam's two decay rates.
        decay_from: share of the training after which the rate falls linearly to zero; 1 keeps it
            constant.
        ema_decay: decay, in batches, of the averaged generator that is validated and saved for use.
        gradient_clip: largest norm of a network's gradient; 0 turns it off.
        seed: seed of the noise: in training by step and process, in validation by the eye's key.
        init_from: file of weights to begin a training with, as far as names and shapes agree, see
            :func:`fund2oct.models.training.init_from.init_from`.

    Example:
        A regression model, whole::

            class Regression(VolumeModel):
                def build_generator(self):
                    return VolumeGenerator(*self.shape[:2])

                def losses(self, batch, fake):
                    return {"l1": l1_loss(fake.aligned, batch["aligned"])}
    """

    draws_volumes: ClassVar[bool] = True
    """False for a model of which only ``surfaces`` is to be asked."""
    monitored: ClassVar[str] = "val/aligned/l1"
    """What a ``ReduceLROnPlateau`` of :meth:`configure_optimizers` watches."""
    generator: nn.Module

    def __init__(
        self,
        shape: tuple[int, int, int],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        decay_from: float = 0.5,
        ema_decay: float = 0.995,
        gradient_clip: float = 5.0,
        seed: int = 0,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        # Where a training began is not part of the model: no checkpoint names a file to open.
        self.save_hyperparameters(ignore=["init_from"])
        self.automatic_optimization = False
        self.shape = shape[0], shape[1], shape[2]
        self.learning_rate = learning_rate
        self.betas = betas
        self.decay_from = decay_from
        self.ema_decay = ema_decay
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.init_from = init_from
        self.task: Task | None = None
        self.from_file = ""
        """The checkpoint that the hyper-parameters were read from, which then name nothing to import."""
        self._finite = FiniteWatch()
        self._progress = Progress()

    def configure_model(self) -> None:
        """Build what use and validation need, once the subclass's constructor is done."""
        if hasattr(self, "generator_ema"):
            return
        self.generator = self.build_generator()
        self.generator_ema = AveragedNetwork(self.generator)
        self.validation_metrics = ValidationMetrics()

    def configure_training(self) -> None:
        """Build what training alone needs; a model that is loaded for use does without."""

    def rebuilt(self) -> tuple[str, ...]:
        """Beginnings of the names of weights that come along each time the model is built.

        They are neither saved in checkpoints nor read from them. By default these are the frozen
        :class:`fund2oct.networks.features.FeatureNetwork` parts, whose weights lie in packages.
        """
        return frozen_features(self)

    def build_generator(self) -> nn.Module:
        """Return a module called as ``generator(fundus, grid, spacing_z_mm, n_depth, rng=noise)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to build its generator")

    def losses(self, batch: Batch, fake: Fake) -> Losses:
        """Return the weighted terms of the generator's loss by name; their sum is optimised.

        Args:
            batch: what the datamodule gives and, added here: ``aligned``, the real volume in the aligned
                frame, ``mask``, the aligned voxels that were scanned, and ``lines``, the photo under each
                A-scan, shape ``(B, 3, S, X)``.
            fake: what :meth:`generate` made of it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its losses are")

    def configure_optimizers(self) -> Any:
        """Adam, with a rate that falls linearly after ``decay_from`` of the training.

        A subclass returns what Lightning takes, with or without schedules. A schedule is stepped after
        every epoch, or after every batch with ``"interval": "step"``, and a ``ReduceLROnPlateau`` after
        every validation, by :attr:`monitored`.
        """
        trained = [weight for weight in self.generator.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(trained, self.learning_rate, self.betas)
        return [optimizer], [each_step(optimizer, self.rate_factor)]

    def rate_factor(self, step: int) -> float:
        """Share of the learning rate at a step: 1, then linearly to 0."""
        return falling(self.share_done(step), 0, self.decay_from)

    def share_done(self, step: int | None = None) -> float:
        """Share of the training that is done at a step, by default this one.

        It is 0 as long as the training has no known end.
        """
        return self._progress.share_done(self.trainer, self.global_step if step is None else step)

    def forward(
        self,
        fundus: Tensor,
        grid: Tensor,
        n_depth: int | None = None,
        rng: NoiseSource | None = None,
    ) -> Tensor:
        """Draw volumes in the aligned frame with the averaged generator.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: A-scan positions in grid units, shape ``(B, S, X, 2)``.
            n_depth: axial samples; those of ``shape`` when absent.
            rng: source of the noise; torch's own when absent, which cannot be repeated.

        Returns:
            Aligned volumes in [0, 1], shape ``(B, 1, S, Z, X)``. :func:`fund2oct.retina.unalign`
            puts them at a pose.
        """
        self.configure_model()
        n_depth = n_depth or self.shape[1]
        return self.generator_ema(fundus, grid, self.spacing_z_mm(n_depth), n_depth, rng=rng)

    def spacing_z_mm(self, n_depth: int) -> float:
        """Distance of the rows of a volume of so many; NaN while the model knows nothing of its data."""
        return self.task.spacing_mm[1] * self.shape[1] / n_depth if self.task else math.nan

    def training_batch(self, batch: Batch) -> Batch:
        """What of a batch a training step is to see; all of it unless a subclass says otherwise."""
        return batch

    @staticmethod
    def prepare(batch: Batch) -> Batch:
        """Add what losses and discriminators compare with, see :meth:`generator_losses`."""
        return prepare_batch(batch)

    def generate(self, network: nn.Module, batch: Batch, rng: NoiseSource) -> Fake:
        """Draw a batch with ``network`` and put it at the poses of the real scans."""
        n_depth = batch["volume"].shape[3]
        aligned = network(batch["fundus"], batch["grid"], batch["spacing_z_mm"], n_depth, rng=rng).float()
        return Fake(aligned, unalign(aligned, batch["pose_um"], batch["spacing_z_mm"]))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Draw a batch and step the generator."""
        batch = self.prepare(self.training_batch(batch))
        fake = self.generate(self.generator, batch, self.step_noise())
        self.step_generator(self.losses(batch, fake))

    def step_generator(self, losses: Losses) -> None:
        """Step the generator, its average and the schedules."""
        first = as_list(self.optimizers())[0]
        first.zero_grad()
        self.backward_of("generator", losses, self.generator)
        first.step()
        self.generator_ema.update(self.generator, self._decay(self.global_step - 1))
        step_schedules(self.trainer, "step")
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._check_finite()

    def on_fit_start(self) -> None:
        """Refuse optimisers that would leave something untrained, and say what has no end to wait for."""
        check_optimizers(self.trainer.optimizers, 1, [])
        self.begin(self.generator)

    def begin(self, *networks: nn.Module) -> None:
        """Put what is frozen into evaluation mode, and learn of plain loaders what they tell."""
        warn_without_end(self.trainer, self.decay_from)
        rest_frozen(*networks)
        if self.task is None and getattr(self.trainer, "datamodule", None) is None:
            self.task = Task.of(training_dataset(self.trainer), self.shape)

    def on_train_epoch_end(self) -> None:
        """Step the schedules; stop where the training diverged."""
        step_schedules(self.trainer, "epoch")
        self._check_finite()

    def on_validation_end(self) -> None:
        """Show what was measured to schedules that wait for a plateau."""
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            step_plateaus(self.trainer, self.monitored)

    def on_validation_start(self) -> None:
        """Stop where the training diverged, before it is measured."""
        self._check_finite()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Measure the averaged generator, as the volumes lie and in the aligned frame."""
        return self.measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The same on the test eyes, as ``test/...``."""
        return self.measure(batch, "test")

    def measure(self, batch: Batch, part: str) -> dict[str, Tensor]:
        """Measure the averaged generator on a batch of a part; returns what it drew."""
        batch = self.prepare(batch)
        fake = self.generate(
            self.generator_ema, batch, NoiseSource.of_keys(batch["key"], self.seed, self.device)
        )
        self.validation_metrics.update(
            fake.volume, batch["volume"], fake.aligned, batch["aligned"], batch["mask"],
            batch["spacing_z_mm"], batch["spacing_x_mm"],
        )  # fmt: skip
        named = self.validation_metrics.named()
        # Lightning reads the metrics, and resets them, at the end of the epoch.
        logged = {f"{part}/{name}": metric for name, metric in named.items()}
        self.log_dict(logged, batch_size=len(fake.volume))
        return fake._asdict()

    def setup(self, stage: str) -> None:
        """Take from the data what the model has to know of them, once, to be used without them."""
        if stage == "fit":
            with values_of_a_file(self.from_file):
                self.configure_model()
                self.configure_training()
            if self.init_from and not self.from_file:
                start_from(self.init_from, self, self.rebuilt())
                self.init_from = None  # once: a second fit() goes on from the first
            # What an earlier validation left lies in inference mode, where nothing can be added to.
            for metric in self.modules():
                if isinstance(metric, Metric):
                    metric.reset()
        datamodule = getattr(self.trainer, "datamodule", None)
        # Photos alone, or unpaired, are no translation yet.
        if datamodule is None or getattr(datamodule, "content", "pairs") != "pairs":
            return
        if stage == "fit" or self.task is None:
            self.task = Task.of(datamodule, self.shape)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the class and the task beside the weights; refuse to save what diverged."""
        self._check_finite()
        if name := first_not_finite(self.named_parameters()):
            raise NotFiniteError(
                f"step {self.global_step}: not a finite number: {name}; {advice(self.trainer)}"
            )
        checkpoint["state_dict"] = {
            name: value for name, value in checkpoint["state_dict"].items() if not self.is_rebuilt(name)
        }
        checkpoint[TASK_KEY] = {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "task": self.task.to_dict() if self.task else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the task, and leave to :meth:`load_state_dict` the weights of the parts that are built."""
        own = self.state_dict()
        saved = checkpoint["state_dict"]
        checkpoint["state_dict"] = {
            name: value for name, value in saved.items() if name.partition(".")[0] in self._modules
        } | {name: value for name, value in own.items() if self.is_rebuilt(name)}
        stored = checkpoint[TASK_KEY]["task"]
        task = Task.from_dict(stored) if stored else None
        if task and self.task:
            task.check_same_split(self.task)
        self.task = task

    def backward_of(self, side: str, losses: Losses, network: nn.Module) -> None:
        """Give a network the clipped gradient of its losses, and log these as ``train/SIDE/NAME``."""
        check_terms(side, losses)
        total = torch.stack(list(losses.values())).sum()
        self.manual_backward(total)
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.gradient_clip or math.inf)
        noted = {f"the {side}'s term {name}": value for name, value in losses.items()}
        # A gradient scaler skips the steps of infinite gradients by itself.
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            noted[f"the gradient of the {side}"] = norm
        self._finite.note(self.global_step, noted)
        logged = {f"train/{side}/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(logged | {f"train/{side}/total": total.detach()})

    def _check_finite(self) -> None:
        self._finite.check(advice(self.trainer))

    def is_rebuilt(self, name: str) -> bool:
        """Whether a weight of this name is brought along by the network, see :meth:`rebuilt`."""
        return name.replace("generator_ema.module.", "generator.", 1).startswith(self.rebuilt())

    def _decay(self, n_averaged: int) -> float:
        # A young average follows quickly, so that it holds nothing of the random start.
        if n_averaged < 1:
            return 0.0
        return min(self.ema_decay, (1 + n_averaged) / (10 + n_averaged))

    def step_noise(self) -> NoiseSource:
        """The noise of a training step, by step and process: a resumed run draws what it would have drawn."""
        seed = (self.seed * 1_000_003 + self.global_step) * 4096 + self.global_rank
        return NoiseSource([torch.Generator(self.device).manual_seed(seed)])
