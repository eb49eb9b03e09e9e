"""The base of every model: its task, the averaged generator, the training step, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor, nn
from torchmetrics import Metric

from fund2oct.by_path import import_path_of, values_of_a_file, without_strange_paths
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.data.tables.eyes import GivenLines
from fund2oct.eye import Array, Eye, Plain
from fund2oct.geometry import Placement
from fund2oct.metrics.validation import ValidationMetrics
from fund2oct.models.arguments import settle_arguments
from fund2oct.models.batch import Batch, Fake, Losses, prepare_batch
from fund2oct.models.predicting.generate import predict
from fund2oct.models.task import TASK_KEY, check_shape, tells
from fund2oct.models.training.beginning import check_same_weights, start_from
from fund2oct.models.training.finite import NotFiniteError, advice, first_not_finite
from fund2oct.models.training.going_on import eyes_of_a_step
from fund2oct.models.training.knowing import KnowingModule
from fund2oct.networks.average import AveragedNetwork
from fund2oct.networks.blocks import set_recompute
from fund2oct.networks.known import Known
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import unalign


class VolumeModel(KnowingModule):
    """Base class of all models: what training, evaluation, prediction and checkpoints need of a model.

    A subclass defines its network, :meth:`build_generator`, and what it minimises, :meth:`losses`. It may
    also override :meth:`generate` and ``configure_optimizers``. For a model with discriminators, subclass
    :class:`fund2oct.models.VolumeGAN`. Of a network that does not read ``grid`` set ``reads_grid = False``.

    The arguments of a constructor have to be plain values. They are saved in the checkpoint.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        learning_rate: step size of Adam.
        betas: the two decay rates of Adam.
        decay_from: share of the training, in [0, 1], after which the learning rate falls linearly to 0. With
            1 it stays constant.
        ema_decay: share of the old average that the averaged generator keeps at each batch, in [0, 1). The
            averaged generator is the one that is validated and used.
        gradient_clip: largest norm of the gradient of a network; larger ones are scaled down. 0 does not
            clip.
        seed: seed of the noise. In training the noise also depends on step and process, in validation on the
            key of the eye.
        init_from: file of weights with which a training begins, or several, where names and shapes agree,
            see :func:`fund2oct.models.training.init_from.init_from`.
        recompute: whether to compute the parts of the networks once more in the backward pass in place of
            keeping all of them: a third more time, and less memory. It does not reach networks of others.

    Example:
        A regression model of your own, ready to be trained:

        >>> import torch
        >>> from fund2oct.losses import l1_loss
        >>> from fund2oct.networks.voxels.generator import VolumeGenerator
        >>> class Regression(VolumeModel):
        ...     def build_generator(self):
        ...         return VolumeGenerator(*self.shape[:2])
        ...
        ...     def losses(self, batch, fake):
        ...         return {"l1": l1_loss(fake.aligned, batch["aligned"])}
        >>> model = Regression(shape=(6, 32, 48))
        >>> model(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    generator_class: ClassVar[type[nn.Module]] = nn.Module
    """What :meth:`build_generator` has to return. A class that asks or trains parts of it names its own."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        decay_from: float = 0.5,
        ema_decay: float = 0.995,
        gradient_clip: float = 5.0,
        seed: int = 0,
        init_from: str | list[str] | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__(shape, learning_rate, betas, decay_from, ema_decay, gradient_clip, seed)
        # No checkpoint names a file to open.
        self.save_hyperparameters(ignore=["init_from", "mask_networks"])
        self.init_from = [init_from] if isinstance(init_from, str) else init_from
        self.recompute = recompute
        self.from_file, self.arguments_read = "", dict[str, Any]()
        """The checkpoint that it was loaded from, and the arguments in it, which name nothing to import."""

    def configure_model(self) -> None:
        """Build the networks that prediction and validation need; refuse a generator of another kind."""
        if hasattr(self, "generator_ema"):
            return
        built = self.build_generator()
        if not isinstance(built, self.generator_class):
            raise ValueError(
                f"{type(self).__name__}.build_generator: expected a {import_path_of(self.generator_class)}, "
                f"neither compiled nor wrapped, found a {type(built).__name__}; put networks of your own "
                "into one, or subclass VolumeGAN or VolumeModel, which take any module"
            )
        self.generator = built
        self.generator_ema = AveragedNetwork(self.generator)
        self.validation_metrics = ValidationMetrics()
        self.note_trained()

    def configure_training(self) -> None:
        """Build what only training needs. It is not called when a model is loaded for use."""

    def build_generator(self) -> nn.Module:
        """Return a module called as ``generator(fundus, grid, spacing_z_mm, n_depth, rng=noise)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to build its generator")

    def losses(self, batch: Batch, fake: Fake) -> Losses:
        """Return the weighted terms of the generator's loss by name; their sum is optimised.

        Args:
            batch: the batch of the datamodule, to which were added: ``aligned``, the real volume in the
                aligned frame; ``mask``, the aligned voxels that were scanned; and ``lines``, the photo under
                each A-scan, shape ``(B, 3, S, X)``.
            fake: volumes that :meth:`generate` drew for it.

        Returns:
            Scalar tensors by name.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its losses are")

    def forward(
        self,
        fundus: Tensor,
        grid: Tensor,
        n_depth: int | None = None,
        rng: NoiseSource | None = None,
        *,
        known: Known | None = None,
    ) -> Tensor:
        """Draw volumes in the aligned frame with the averaged generator.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
                ``(B, S, X, 2)``.
            n_depth: number of rows Z; None takes that of ``shape``.
            rng: source of the noise; None takes torch's global generator.
            known: what is known of the eyes beside their photos; None for a generator that is told nothing.

        Returns:
            Aligned volumes in [0, 1], shape ``(B, 1, S, Z, X)``. :func:`fund2oct.retina.unalign`
            puts them at a pose.
        """
        self.configure_model()
        n_depth = n_depth or self.shape[1]
        told = {} if known is None else {"known": known}
        return self.generator_ema(fundus, grid, self.spacing_z_mm(n_depth), n_depth, rng=rng, **told)

    def predict(
        self,
        photo: str | Path | Array | Image.Image,
        placement: Placement | PhotoPlacement | None = None,
        rng: int = 0,
        draw: bool = False,
        lines: GivenLines | None = None,
        metadata: Mapping[str, Plain] | None = None,
        masks: Mapping[str, str | Path] | None = None,
    ) -> Eye:
        """Generate the volume of one photo.

        Args:
            photo: a picture file, or an array, RGB, uint8, shape ``(rows, columns, 3)``, or an image of
                Pillow in RGB, as it came from the camera. It is prepared like the photos of the training.
            placement: where the scan lies on the square around the circle of retina; None puts its centre in
                that of the square, and a ``PhotoPlacement`` estimates it from the photo.
            rng: seed of the speckle and of the pose, which also depend on the name of the file.
            draw: True draws the surfaces from their distribution; False takes the median, the best one.
            lines: where the B-scans lie, as many as the model has slices; None takes those of the training.
            metadata: what is known of the eye, of the model's ``conditions``, as ``{"age_years": 63}``.
            masks: files of the model's ``masks``, drawn on the photo, as ``{"disc": "disc.png"}``.

        Returns:
            The prepared photo, and the volume, if the model draws any, at a pose drawn from the training's.

        Raises:
            DataError: if the file is absent or damaged, or it is no fundus photograph.
            ValueError: if the model was not trained.

        Example::

            eye = fund2oct.load_model("last.ckpt").predict("photo.jpg")
            eye.volume[0]  # the first B-scan, uint8 (Z, X)
        """
        return predict(self, photo, placement, rng, draw, lines, metadata, masks)

    def spacing_z_mm(self, n_depth: int) -> float:
        """Distance of two rows, in millimetres, of a volume of ``n_depth`` rows; NaN before training."""
        return self.task.spacing_mm[1] * self.shape[1] / n_depth if self.task else math.nan

    def training_batch(self, batch: Batch) -> Batch:
        """Choose the part of a batch that a training step uses; all of it, unless overridden."""
        return batch

    @staticmethod
    def prepare(batch: Mapping[str, Any]) -> Batch:
        """Add to a batch the tensors that losses and discriminators compare with, see :class:`Batch`."""
        return prepare_batch(batch)

    def generate(self, network: nn.Module, batch: Batch, rng: NoiseSource) -> Fake:
        """Draw volumes for a batch and move them to the poses of the real scans.

        Args:
            network: the generator or its average.
            batch: the batch, see :meth:`losses`.
            rng: source of the noise.

        Returns:
            The volumes.
        """
        given = batch["fundus"], batch["grid"], batch["spacing_z_mm"], batch["volume"].shape[3]
        known = self.known(batch, withhold=network is self.generator)
        aligned = network(*given, rng=rng, **known).float()
        return Fake(aligned, unalign(aligned, batch["pose_um"], batch["spacing_z_mm"]))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Draw a batch and step the generator."""
        batch = self.prepare(self.training_batch(batch))
        fake = self.generate(self.generator, batch, self.step_noise())
        self.step_generator(self.losses(batch, fake))

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Measure the averaged generator, as the volumes lie and in the aligned frame."""
        return self.measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """The same on the test eyes, as ``test/...``."""
        return self.measure(batch, "test")

    def measure(self, batch: Batch, part: str) -> dict[str, Tensor]:
        """Measure the averaged generator on a batch of a part, ``"val"`` or ``"test"``; returns what it drew.

        A subclass that measures something else logs it here, as ``PART/NAME``.
        """
        batch = self.prepare(batch)
        noise = NoiseSource.of_keys(batch["key"], self.seed, self.device)
        fake = self.generate(self.generator_ema, batch, noise)
        self.validation_metrics.update(
            fake.volume, batch["volume"], fake.aligned, batch["aligned"], batch["mask"],
            batch["spacing_z_mm"], batch["spacing_x_mm"],
        )  # fmt: skip
        return fake._asdict()

    def on_validation_start(self) -> None:
        """Start processes to measure in, where there is enough to measure and a core for them."""
        super().on_validation_start()
        self._begin_measuring(self.trainer.num_val_batches)

    def on_test_start(self) -> None:
        """The same for the test eyes."""
        self._begin_measuring(self.trainer.num_test_batches)

    def on_validation_epoch_end(self) -> None:
        """Wait for what is still being measured, and log it as ``val/...``."""
        self._end_measuring("val")

    def on_test_epoch_end(self) -> None:
        """The same, as ``test/...``."""
        self._end_measuring("test")

    def _begin_measuring(self, n_batches: list[int | float]) -> None:
        batch_size = getattr(getattr(self.trainer, "datamodule", None), "batch_size", 1)
        n_eyes = min(sum(n_batches) * batch_size, 1e9)  # a loader without a length has infinitely many
        if self.draws_volumes:
            self.validation_metrics.start(int(n_eyes), math.prod(self.shape), self.trainer.num_devices)

    def _end_measuring(self, part: str) -> None:
        self.validation_metrics.finish()
        # Lightning reads the metrics and resets them. Logged in a step they would be read too early.
        if self.validation_metrics.sharpness.update_called:
            named = self.validation_metrics.named()
            self.log_dict({f"{part}/{name}": metric for name, metric in named.items()})

    def setup(self, stage: str) -> None:
        """Take from the data what the model has to know of them, once, to be used without them."""
        if stage == "fit":
            settle_arguments(self, getattr(self.trainer, "datamodule", None))
            with values_of_a_file(self.from_file, self.arguments_read):
                self.configure_model()
                self.configure_training()
            self.note_trained()
            self._goes_on_from = None  # of a training that ended before it had begun
            if self.from_file:  # load_model left it in evaluation mode
                self.train()
            set_recompute(self, self.recompute)
            if self.init_from and not self.from_file:
                self.begun, self.init_from = start_from(self.init_from, self, self.rebuilt()), None  # once
            # What an earlier validation left lies in inference mode, where nothing can be added to.
            for metric in self.modules():
                if isinstance(metric, Metric):
                    metric.reset()
        data = getattr(self.trainer, "datamodule", None)
        if not tells(data):
            return  # its loaders are asked when the training begins
        pairs = getattr(data, "content", "pairs") == "pairs"  # photos alone, or unpaired, are no translation
        if not pairs:
            check_shape(data, self.shape)
        elif stage == "fit" or self.task is None:
            self.learn_task(data)
        if stage == "fit":
            self.remember(self.task if pairs else data)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the class and the task beside the weights; refuse to save what diverged."""
        self._check_finite()
        if name := first_not_finite(self.named_parameters()):
            found = f"step {self.global_step}: not a finite number: {name}"
            raise NotFiniteError(f"{found}; {advice(self.trainer)}")
        self.know_photos()
        rebuilt, state = self.rebuilt_names(), checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name not in rebuilt}
        checkpoint[TASK_KEY] = {
            "class": import_path_of(type(self)),
            "task": self.task.to_dict() if self.task else None,
            "eyes_of_a_step": eyes_of_a_step(self.trainer),
        }
        if self.task is None and self.seen_eyes:  # of photos or volumes alone
            checkpoint[TASK_KEY] |= {"seen": self.seen_eyes.to_dict(), "fundus_px": self.photos_px}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the task, and leave to ``load_state_dict`` the weights of the parts that are built."""
        states = checkpoint.get("callbacks", {})
        states.update({name: without_strange_paths(state) for name, state in states.items()})
        own, saved, rebuilt = self.state_dict(), checkpoint["state_dict"], self.rebuilt_names()
        # What was built stays, but where the file holds it too. What only a training builds is left out.
        checkpoint["state_dict"] = {name: value for name, value in own.items() if name in rebuilt} | {
            name: value
            for name, value in saved.items()
            if name in own or name.partition(".")[0] in self._modules
        }
        check_same_weights(checkpoint.get("hyper_parameters", {}), self, rebuilt - saved.keys())
        if not checkpoint.get("with_encoder"):  # in which what comes along was published with the rest
            self.note_read(rebuilt & saved.keys())
        self.go_on_from(checkpoint)
