"""The training loop that every model shares."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fund2oct.metrics.validation import ValidationMetrics
from fund2oct.models.task import TASK_KEY, Task
from fund2oct.networks.layered import Anatomy
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
        return Fake(self.aligned.detach(), self.volume.detach())


class VolumeGAN(pl.LightningModule):
    r"""A generator of OCT volumes, its discriminators, and the loop that trains them.

    A model is a subclass that overrides what it does differently:

    * :meth:`build_generator` and :meth:`build_discriminators`,
    * :meth:`generator_losses` and :meth:`discriminator_losses`,
    * :meth:`configure_optimizers`.

    Constructor arguments are plain values, and are saved in the checkpoint.

    Args:
        shape: slices, depth and A-scans ``(S, Z, X)`` of the volumes.
        learning_rate: of the generator.
        discriminator_learning_rate: of the discriminators.
        betas: of Adam, for both; GANs train with less momentum than classifiers do.
        decay_from: share of the training after which both rates fall linearly to zero; 1 keeps
            them constant.
        adversaries_from: share of the training after which the discriminators join. Before, the
            generator learns anatomy from the other losses, which a beginner's speckle would disturb.
        ema_decay: decay, in batches, of the averaged generator that is validated and saved for use.
        gradient_clip: largest norm of each network's gradient; 0 turns it off.
        seed: of the noise: in training by step and process, in validation by the eye's key.
    """

    generator: nn.Module
    discriminators: nn.ModuleDict

    def __init__(
        self,
        shape: tuple[int, int, int],
        learning_rate: float = 1e-3,
        discriminator_learning_rate: float = 5e-4,
        betas: tuple[float, float] = (0.5, 0.99),
        decay_from: float = 0.5,
        adversaries_from: float = 0.0,
        ema_decay: float = 0.995,
        gradient_clip: float = 5.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.shape = shape[0], shape[1], shape[2]
        self.learning_rate = learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.betas = betas
        self.decay_from = decay_from
        self.adversaries_from = adversaries_from
        self.ema_decay = ema_decay
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.task: Task | None = None

    def configure_model(self) -> None:
        """Build the networks, once the subclass's constructor is done."""
        if hasattr(self, "generator_ema"):
            return
        self.generator = self.build_generator()
        self.discriminators = self.build_discriminators()
        self.generator_ema = AveragedModel(self.generator, avg_fn=self._average).requires_grad_(False)
        self.validation_metrics = ValidationMetrics()

    def build_generator(self) -> nn.Module:
        """Return a module called as ``generator(fundus, grid, spacing_z_mm, n_depth, rng=noise)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to build its generator")

    def build_discriminators(self) -> nn.ModuleDict:
        """Return the discriminators by name; without any, the model is trained on its losses alone."""
        return nn.ModuleDict()

    def generator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Return the weighted terms of the generator's loss by name; their sum is optimised.

        ``batch`` is what the datamodule gives and, added here: ``aligned``, the real volume in the
        aligned frame, ``mask``, the aligned voxels that were scanned, and ``lines``, the photo
        under each A-scan, shape ``(B, 3, S, X)``. Ask a discriminator only if
        :attr:`adversaries_joined`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its generator's losses are")

    def discriminator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Return the weighted terms of the discriminators' loss by name; ``fake`` has no gradient."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its discriminators' losses are")

    def configure_optimizers(self) -> Any:
        """Adam for each side, with a rate that falls linearly after ``decay_from`` of the training."""
        optimizers = [torch.optim.Adam(self.generator.parameters(), self.learning_rate, self.betas)]
        if self.discriminators:
            optimizers.append(
                torch.optim.Adam(
                    self.discriminators.parameters(), self.discriminator_learning_rate, self.betas
                )
            )
        n_batches = self.trainer.estimated_stepping_batches

        def factor(step: int) -> float:
            if self.decay_from >= 1 or step < self.decay_from * n_batches:
                return 1.0
            return max(0.0, (n_batches - step) / ((1 - self.decay_from) * n_batches))

        schedulers = [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in optimizers]
        return optimizers, schedulers

    @property
    def adversaries_joined(self) -> bool:
        """Whether the discriminators train, and judge the generator, in this batch."""
        n_batches = self.trainer.estimated_stepping_batches
        return bool(self.discriminators) and self.global_step >= self.adversaries_from * n_batches

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
        height_mm = self.task.spacing_mm[1] * self.shape[1] if self.task else math.nan
        return self.generator_ema(fundus, grid, height_mm / n_depth, n_depth, rng=rng)

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
        aligned = network(batch["fundus"], batch["grid"], batch["spacing_z_mm"], n_depth, rng=rng)
        return Fake(aligned, unalign(aligned, batch["pose_um"], batch["spacing_z_mm"]))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Step the discriminators, then the generator, on one and the same fake batch."""
        batch = self.prepare(self.training_batch(batch))
        optimizers = self.optimizers()
        if not isinstance(optimizers, list):
            optimizers = [optimizers]
        self.discriminators.requires_grad_(False)
        fake = self.generate(self.generator, batch, self._step_noise())
        if self.adversaries_joined:
            self.discriminators.requires_grad_(True)
            losses = self.discriminator_losses(batch, fake.detach())
            optimizers[1].zero_grad()
            self._backward("discriminator", losses, self.discriminators)
            # Past Lightning's wrapper, which would count a second global step for this batch.
            self.trainer.strategy.optimizer_step(optimizers[1].optimizer, lambda: None)
            self.discriminators.requires_grad_(False)
        losses = self.generator_losses(batch, fake)
        optimizers[0].zero_grad()
        self._backward("generator", losses, self.generator)
        optimizers[0].step()
        self.discriminators.requires_grad_(True)
        self.generator_ema.update_parameters(self.generator)
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()  # type: ignore[union-attr]

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
        """Store the class and the task beside the weights."""
        checkpoint[TASK_KEY] = {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "task": self.task.to_dict() if self.task else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the task."""
        stored = checkpoint[TASK_KEY]["task"]
        task = Task.from_dict(stored) if stored else None
        if task and self.task and task.seen.parts != self.task.seen.parts:
            raise ValueError(
                f"the checkpoint was trained on another split ({task.seen.path}, {task.seen.split}) than "
                f"this training's ({self.task.seen.path}, {self.task.seen.split}); resume with the same data "
                "and split, or its test eyes become training eyes"
            )
        self.task = task

    def _backward(self, side: str, losses: Losses, network: nn.Module) -> None:
        total = torch.stack(list(losses.values())).sum()
        self.manual_backward(total)
        if self.gradient_clip:
            nn.utils.clip_grad_norm_(network.parameters(), self.gradient_clip)
        logged = {f"train/{side}/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(logged | {f"train/{side}/total": total.detach()})

    def _average(self, averaged: Tensor, current: Tensor, n_averaged: Tensor | int) -> Tensor:
        # A young average follows quickly, as in Karras et al. 2018, so that it holds nothing of
        # the random start.
        decay = min(self.ema_decay, (1 + float(n_averaged)) / (10 + float(n_averaged)))
        return torch.lerp(current, averaged, decay)

    def _step_noise(self) -> NoiseSource:
        # By step and rank: a resumed run draws what the uninterrupted one would have drawn.
        seed = (self.seed * 1_000_003 + self.global_step) * 4096 + self.global_rank
        return NoiseSource([torch.Generator(self.device).manual_seed(seed)])
