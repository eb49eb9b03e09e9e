"""What every model shares: the task, the averaged generator, the training step, checkpoints."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fund2oct.metrics.validation import ValidationMetrics
from fund2oct.models.finite import FiniteWatch, NotFiniteError, first_not_finite
from fund2oct.models.task import TASK_KEY, Task
from fund2oct.networks.average import AveragedNetwork
from fund2oct.networks.layered.generator import Anatomy
from fund2oct.networks.lift import sample_lines
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import align, aligned_mask, unalign

Batch = dict[str, Any]
Losses = dict[str, Tensor]


class Fake(NamedTuple):
    """What the generator made for a batch.

    Args:
        aligned: the retina in the aligned frame, as the generator draws it, ``(B, 1, S, Z, X)``.
        volume: the same, put back at the pose of the real scan, ``(B, 1, S, Z, X)``.
        anatomy: what the generator knew before it drew texture, where it tells the two apart.
    """

    aligned: Tensor
    volume: Tensor
    anatomy: Anatomy | None = None

    def detach(self) -> Fake:
        """The volumes without their gradient."""
        return Fake(self.aligned.detach(), self.volume.detach(), self.anatomy)


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
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.shape = shape[0], shape[1], shape[2]
        self.learning_rate = learning_rate
        self.betas = betas
        self.decay_from = decay_from
        self.ema_decay = ema_decay
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.task: Task | None = None
        self.from_file = False
        """Whether the hyper-parameters were read from a checkpoint, and name nothing to import."""
        self._finite = FiniteWatch()

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
        """Beginnings of the names of weights that :meth:`build_generator` brings along each time.

        Such weights, those of a frozen encoder from a package, as ``("generator.encoder.network.",)``, are
        neither saved in checkpoints nor read from them.
        """
        return ()

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
        """Adam, with a rate that falls linearly after ``decay_from`` of the training."""
        trained = [weight for weight in self.generator.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(trained, self.learning_rate, self.betas)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate_factor)]

    def rate_factor(self, step: int) -> float:
        """Share of the learning rate at a step: 1, then linearly to 0."""
        return falling(step, 0, self.trainer.estimated_stepping_batches, self.decay_from)

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
        where = batch["pose_um"], batch["spacing_z_mm"]
        return batch | {
            "aligned": align(batch["volume"], *where),
            "mask": aligned_mask(batch["volume"], *where),
            "lines": sample_lines(batch["fundus"], batch["grid"]),
        }

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
        optimizers = self.optimizers()
        first = optimizers[0] if isinstance(optimizers, list) else optimizers
        first.zero_grad()
        self.backward_of("generator", losses, self.generator)
        first.step()
        self.generator_ema.update(self.generator, self._decay(self.global_step - 1))
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if scheduler is not None:
                scheduler.step()
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._check_finite()

    def on_train_epoch_end(self) -> None:
        """Stop where the training diverged."""
        self._check_finite()

    def on_validation_start(self) -> None:
        """Stop where the training diverged, before it is measured."""
        self._check_finite()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Measure the averaged generator, as the volumes lie and in the aligned frame."""
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
        self.log_dict({f"val/{name}": metric for name, metric in named.items()}, batch_size=len(fake.volume))
        return fake._asdict()

    def setup(self, stage: str) -> None:
        """Take from the data what the model has to know of them, once, to be used without them."""
        if stage == "fit":
            self.configure_model()
            self.configure_training()
        datamodule = getattr(self.trainer, "datamodule", None)
        # Photos alone, or unpaired, are no translation yet.
        if datamodule is None or getattr(datamodule, "content", "pairs") != "pairs":
            return
        if tuple(datamodule.shape) != self.shape:
            found, own = (list(shape) for shape in (datamodule.shape, self.shape))
            raise ValueError(
                f"model: its shape is {own}, but the data's volumes are {found} (slices, rows, A-scans); "
                f"set model.init_args.shape={found}, or data.init_args.volume_shape={own} to resize them"
            )
        if stage == "fit" or self.task is None:
            self.task = Task.of(datamodule)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the class and the task beside the weights; refuse to save what diverged."""
        self._check_finite()
        if name := first_not_finite(self.named_parameters()):
            raise NotFiniteError(f"step {self.global_step}: not a finite number: {name}; {self._advice()}")
        checkpoint["state_dict"] = {
            name: value for name, value in checkpoint["state_dict"].items() if not self._is_rebuilt(name)
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
        } | {name: value for name, value in own.items() if self._is_rebuilt(name)}
        stored = checkpoint[TASK_KEY]["task"]
        task = Task.from_dict(stored) if stored else None
        if task and self.task and task.seen.parts != self.task.seen.parts:
            raise ValueError(
                f"the checkpoint was trained on another split ({task.seen.path}, {task.seen.split}) than "
                f"this training's ({self.task.seen.path}, {self.task.seen.split}); resume with the same data "
                "and split, or its test eyes become training eyes"
            )
        self.task = task

    def backward_of(self, side: str, losses: Losses, network: nn.Module) -> None:
        """Give a network the clipped gradient of its losses, and log these as ``train/SIDE/NAME``."""
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
        self._finite.check(self._advice())

    def _advice(self) -> str:
        paths = [getattr(saver, "last_model_path", "") for saver in self.trainer.checkpoint_callbacks]
        saved = next(
            (f"its last good checkpoint is {path}" for path in paths if path), "nothing was saved yet"
        )
        return (
            f"the training stops, {saved}; lower the learning rate or the term's weight, clip "
            "gradients, or use precision 32-true"
        )

    def _is_rebuilt(self, name: str) -> bool:
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


def falling(step: int, start: float, end: float, decay_from: float) -> float:
    """Share of a rate at a step: 1, and linearly to 0 from a share of the way between two steps on.

    Example:
        >>> [falling(step, 0, 8, decay_from=0.5) for step in (0, 4, 6, 8)]
        [1.0, 1.0, 0.5, 0.0]
    """
    if decay_from >= 1:
        return 1.0
    share = (step - start) / max(end - start, 1)
    return min(1.0, max(0.0, (1 - share) / (1 - decay_from)))
