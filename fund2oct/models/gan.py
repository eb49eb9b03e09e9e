"""The training loop of models with adversaries."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import nn

from fund2oct.models.base import Batch, Fake, Losses, VolumeModel
from fund2oct.models.training.optimisation import (
    as_list,
    check_optimizers,
    each_step,
    last_share,
)


class VolumeGAN(VolumeModel):
    r"""Base class of models with discriminators: a generator, its discriminators, and the training loop.

    A subclass defines :meth:`~VolumeModel.build_generator` and :meth:`build_discriminators`, and
    :meth:`generator_losses` and :meth:`discriminator_losses`. It may also override
    ``configure_optimizers``.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        discriminator_learning_rate: step size of Adam for the discriminators.
        adversaries_from: share of the training, in [0, 1), after which the discriminators are used. Before,
            the generator learns the anatomy from the other losses.
        betas: the two decay rates of Adam, for both sides. GANs need less momentum than classifiers.
        options: further arguments, those of :class:`VolumeModel`.

    Example:
        A small GAN of your own, ready to be trained:

        >>> from fund2oct.losses import HingeLoss
        >>> from fund2oct.networks.adversaries.discriminators import BScanPatchDiscriminator
        >>> from fund2oct.networks.voxels.generator import VolumeGenerator
        >>> class SmallGAN(VolumeGAN):
        ...     def build_generator(self):
        ...         return VolumeGenerator(*self.shape[:2])
        ...
        ...     def build_discriminators(self):
        ...         return nn.ModuleDict({"bscan": BScanPatchDiscriminator(n_layers=2)})
        ...
        ...     def generator_losses(self, batch, fake):
        ...         scores = self.discriminators["bscan"](fake.volume, batch["lines"])
        ...         return {"adversarial": HingeLoss().generator([scale.logits for scale in scores])}
        ...
        ...     def discriminator_losses(self, batch, fake):
        ...         judge = self.discriminators["bscan"]
        ...         sides = batch["volume"], fake.volume
        ...         real, generated = (
        ...             [scale.logits for scale in judge(side, batch["lines"])] for side in sides
        ...         )
        ...         return {"bscan": HingeLoss().discriminator(real, generated)}
        >>> model = SmallGAN(shape=(6, 32, 48))
        >>> model(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    without_end: ClassVar[str] = "set adversaries_from: 0"
    """What else can be done where the end of the training is not known, for a message."""
    for_want_of: str = ""
    """What is missing on this machine, so that a discriminator was not built; empty where none is."""
    discriminators: nn.ModuleDict

    def __init__(
        self,
        shape: tuple[int, int, int],
        discriminator_learning_rate: float = 5e-4,
        adversaries_from: float = 0.0,
        betas: tuple[float, float] = (0.5, 0.99),
        **options: Any,
    ) -> None:
        super().__init__(shape, betas=betas, **options)
        self.discriminator_learning_rate = discriminator_learning_rate
        self.adversaries_from = adversaries_from

    def configure_training(self) -> None:
        """Build the discriminators. It is not called when a model is loaded for use."""
        if not hasattr(self, "discriminators"):
            self.discriminators = self.build_discriminators()

    def build_discriminators(self) -> nn.ModuleDict:
        """Return the discriminators by name; none by default, so that only the other losses train."""
        return nn.ModuleDict()

    def generator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Return the weighted terms of the generator's loss by name; their sum is optimised.

        Args:
            batch: the batch, see :meth:`VolumeModel.losses`.
            fake: generated volumes. Use a discriminator only if :attr:`adversaries_joined`.

        Returns:
            Scalar tensors by name.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its generator's losses are")

    def discriminator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Return the weighted terms of the discriminators' loss by name; their sum is optimised.

        Args:
            batch: the batch, see :meth:`VolumeModel.losses`.
            fake: generated volumes, without a gradient into the generator.

        Returns:
            Scalar tensors by name.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its discriminators' losses are")

    def losses(self, batch: Batch, fake: Fake) -> Losses:
        """The losses of the generator, see :meth:`generator_losses`."""
        return self.generator_losses(batch, fake)

    def configure_optimizers(self) -> Any:
        """Adam for each side, with a rate that falls linearly after ``decay_from`` of the training.

        A subclass returns one optimiser of all weights, or two, the generator's first.
        """
        optimizers, schedules = super().configure_optimizers()
        if self.discriminators:
            judging = torch.optim.Adam(self.judging(), self.discriminator_learning_rate, self.betas)
            optimizers.append(judging)
            schedules.append(each_step(judging, self.rate_factor))
        return optimizers, schedules

    @property
    def adversaries_joined(self) -> bool:
        """Whether the discriminators are trained, and used by the generator, in this batch."""
        return bool(self.discriminators) and self.share_done() >= self.adversaries_from

    def on_fit_start(self) -> None:
        """Refuse what would leave something untrained."""
        judging = self.judging()
        check_optimizers(self.trainer.optimizers, 2 if self.discriminators else 1, judging)
        self.begin(self.generator, self.discriminators)
        if self.discriminators and not 0 <= self.adversaries_from < 1:  # NaN is in no range
            raise ValueError(
                f"adversaries_from: expected a share in [0, 1), found {self.adversaries_from}; to train "
                "without adversaries, leave their terms out of the weights"
            )
        if self.discriminators and self.adversaries_from > last_share(self.trainer):
            raise ValueError(
                f"adversaries_from: the adversaries join at {self.adversaries_from:g} of a training whose "
                "end is not known; set trainer.max_steps, max_epochs or max_time (a loader without a length "
                f"needs max_steps or max_time), or {self.without_end}"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Step the discriminators, then the generator, on one and the same fake batch."""
        seen = self.prepare(self.training_batch(batch))
        # Asked anew in each batch: what was frozen meanwhile stays frozen.
        judging = self.judging()
        try:
            _set_trained(judging, False)
            fake = self.generate(self.generator, seen, self.step_noise())
            if self.adversaries_joined:
                _set_trained(judging, True)
                self._step_discriminators(self.discriminator_losses(seen, fake.detach()))
                _set_trained(judging, False)
            losses, waiting = self.generator_losses(seen, fake), not self.adversaries_joined
            if losses or not (waiting and self.discriminators):
                self.step_generator(losses)
        finally:  # a step that is interrupted leaves nothing frozen for the next training
            _set_trained(judging, True)
        if not losses and waiting:
            rank_zero_warn("the generator has nothing to learn before the adversaries join: they join now")
            self.adversaries_from = 0.0
            self.training_step(batch, batch_idx)

    def _step_discriminators(self, losses: Losses) -> None:
        last = as_list(self.optimizers())[-1]
        last.zero_grad()
        self.backward_of("discriminator", losses, self.discriminators)
        # Past Lightning's wrapper, which would count a second global step for this batch.
        self.trainer.strategy.optimizer_step(last.optimizer, lambda: None)

    def judging(self) -> list[nn.Parameter]:
        """The discriminators' weights that are trained."""
        return [weight for weight in self.discriminators.parameters() if weight.requires_grad]


def _set_trained(weights: list[nn.Parameter], trained: bool) -> None:
    for weight in weights:
        weight.requires_grad_(trained)
