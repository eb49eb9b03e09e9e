"""The training loop of models with adversaries."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fund2oct.models.base import Batch, Fake, Losses, VolumeModel


class VolumeGAN(VolumeModel):
    r"""A generator of OCT volumes, its discriminators, and the loop that trains them.

    A model is a subclass that overrides what it does differently:

    * :meth:`build_generator` and :meth:`build_discriminators`,
    * :meth:`generator_losses` and :meth:`discriminator_losses`,
    * :meth:`configure_optimizers`.

    Args:
        shape: slices, depth and A-scans ``(S, Z, X)`` of the volumes.
        discriminator_learning_rate: Adam's step size for the discriminators.
        adversaries_from: share of the training after which the discriminators join. Before, the
            generator learns anatomy from the other losses, which a beginner's speckle would disturb.
        betas: Adam's two decay rates, for both sides; GANs train with less momentum than classifiers do.
        options: as :class:`VolumeModel`.
    """

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
        """Build what training alone needs; a model that is loaded for use does without."""
        if not hasattr(self, "discriminators"):
            self.discriminators = self.build_discriminators()

    def build_discriminators(self) -> nn.ModuleDict:
        """Return the discriminators by name; without any, the model is trained on its losses alone."""
        return nn.ModuleDict()

    def generator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Return the weighted terms of the generator's loss by name; their sum is optimised.

        As :meth:`VolumeModel.losses`. Ask a discriminator only if :attr:`adversaries_joined`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its generator's losses are")

    def discriminator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Return the weighted terms of the discriminators' loss by name; ``fake`` has no gradient."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its discriminators' losses are")

    def losses(self, batch: Batch, fake: Fake) -> Losses:
        """The generator's."""
        return self.generator_losses(batch, fake)

    def configure_optimizers(self) -> Any:
        """Adam for each side, with a rate that falls linearly after ``decay_from`` of the training."""
        optimizers, schedulers = super().configure_optimizers()
        if self.discriminators:
            judging = torch.optim.Adam(self._judging(), self.discriminator_learning_rate, self.betas)
            optimizers.append(judging)
            schedulers.append(torch.optim.lr_scheduler.LambdaLR(judging, self.rate_factor))
        return optimizers, schedulers

    @property
    def adversaries_joined(self) -> bool:
        """Whether the discriminators train, and judge the generator, in this batch."""
        n_batches = self.trainer.estimated_stepping_batches
        return bool(self.discriminators) and self.global_step >= self.adversaries_from * n_batches

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Step the discriminators, then the generator, on one and the same fake batch."""
        batch = self.prepare(self.training_batch(batch))
        judging = self._judging()
        _set_trained(judging, False)
        fake = self.generate(self.generator, batch, self.step_noise())
        if self.adversaries_joined:
            _set_trained(judging, True)
            self._step_discriminators(self.discriminator_losses(batch, fake.detach()))
            _set_trained(judging, False)
        self.step_generator(self.generator_losses(batch, fake))
        _set_trained(judging, True)

    def _step_discriminators(self, losses: Losses) -> None:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        optimizers[1].zero_grad()
        self.backward_of("discriminator", losses, self.discriminators)
        # Past Lightning's wrapper, which would count a second global step for this batch.
        self.trainer.strategy.optimizer_step(optimizers[1].optimizer, lambda: None)

    def _judging(self) -> list[nn.Parameter]:
        """The discriminators' weights that are trained; frozen features stay frozen."""
        if not hasattr(self, "_judges"):
            self._judges = [weight for weight in self.discriminators.parameters() if weight.requires_grad]
        return self._judges


def _set_trained(weights: list[nn.Parameter], trained: bool) -> None:
    for weight in weights:
        weight.requires_grad_(trained)
