"""The library's own model: surfaces and tissue regressed from the photo, texture taught by an adversary."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.losses import adversarial_loss, shadow_loss, slab_loss
from fund2oct.models.base import Batch, Fake, Losses
from fund2oct.models.gan import VolumeGAN
from fund2oct.models.surface_model import (
    SURFACE_WEIGHTS,
    heights_above_pose,
    surface_losses,
)
from fund2oct.models.training.optimisation import each_step, falling
from fund2oct.models.training.terms import chosen_weights, own_terms
from fund2oct.networks.adversaries.discriminators import BScanPatchDiscriminator, VolumePatchDiscriminator
from fund2oct.networks.adversaries.feature_discriminator import FeatureDiscriminator
from fund2oct.networks.encoder import available_encoder
from fund2oct.networks.layered.generator import LayeredGenerator, PredictedAnatomy, Real
from fund2oct.networks.layered.surfaces import SurfaceDistribution
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import unalign

WEIGHTS = {
    **SURFACE_WEIGHTS,
    "tissue": 1000.0,
    "pockets": 100.0,
    "slab": 200.0,
    "shadow": 20000.0,
    "adversarial": 1.0,
}
"""Weights of the terms of :class:`Pix2Vol`, by name."""

_CONDITION = 4
"""Channels of what the patch discriminators compare with: the photo's colours and the anatomy."""
_PER_SLICE = {
    "volume": 2, "rescan": 2, "grid": 1, "pose_um": 1, "surfaces_um": 2, "surface_confidence": 1,
    "boundaries_um": 2,
}  # fmt: skip
"""Entries of a batch that have a slice dimension, and which it is."""


class Pix2Vol(VolumeGAN):
    r"""A GAN from a photo to a volume, of which all that a photo decides is regressed.

    A training has two parts. In the first the *anatomy* is learned: where the surfaces lie, as a
    distribution, and how bright the tissue between them is. The terms are

    * ``surfaces``, a Huber loss of the median heights;
    * ``energy`` and ``crps``, proper scores of the heights' distribution, in micrometres;
    * ``tissue``, the squared difference from the real volume in the aligned frame, of tissue that is
      drawn between the *real* surfaces;
    * ``pockets``, the cross entropy of where fluid lies within the retina;
    * ``slab`` and ``shadow``, the light from below the epithelium, broad and narrow.

    In the second part the anatomy rests, and the *texture* is learned from the adversaries alone, on
    some slices of each eye: ``adversarial``, by discriminators of frozen features, of patches of
    B-scans, or of patches of volumes; the latter two see photo and anatomy beside the image. Real and
    generated volumes have the same surfaces there, so that the discriminators judge tissue.

    Args:
        shape: slices, depth and A-scans ``(S, Z, X)``.
        encoder: ``"efficientnet_lite0"``, pre-trained on ImageNet; ``"own"``, which starts from nothing;
            or ``"auto"``, the first if its weights are at hand.
        fine_tune: whether a pre-trained encoder is trained too.
        encoder_px: the width in pixels at which a pre-trained encoder sees the photo.
        surface_width: channels of an A-scan's features in the surface network.
        tissue_width: likewise in the tissue network.
        texture: widths of the texture's levels, finest first.
        weights: of the terms, by name, in place of the usual ones; a name left out weighs nothing, and the
            import path of a loss of your own is a name too, see
            :func:`fund2oct.models.training.terms.own_terms`; it counts in both parts.
            Without an adversarial one the whole training is one of anatomy.
        adversarial: ``"hinge"``, ``"least_squares"`` or ``"non_saturating"``.
        feature_width: channels of the feature discriminator's heads; 0 leaves it out.
        bscan_width: channels of the B-scan patch discriminator's first layer; 0 leaves it out.
        volume_width: likewise of the volume patch discriminator, which needs all slices.
        judged_slices: slices of each eye that the adversaries see in a step; 0 shows all.
        anatomy_learning_rate: Adam's step size for the anatomy; it falls linearly to 0 over the second
            half of the first part.
        anatomy_betas: Adam's two decay rates for the anatomy.
        adversaries_from: share of the training that is spent on the anatomy.
        learning_rate: Adam's step size for the texture, which falls to 0 likewise.
        options: as :class:`VolumeGAN`.

    References:
        Isola et al., pix2pix, CVPR 2017, arXiv:1611.07004; Sauer et al., Projected GANs, NeurIPS 2021,
        arXiv:2111.01007.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        encoder: str = "auto",
        fine_tune: bool = False,
        encoder_px: int = 192,
        surface_width: int = 96,
        tissue_width: int = 128,
        texture: Sequence[int] = (16, 24, 32),
        weights: dict[str, float] | None = None,
        adversarial: str = "hinge",
        feature_width: int = 48,
        bscan_width: int = 32,
        volume_width: int = 0,
        judged_slices: int = 2,
        anatomy_learning_rate: float = 1.5e-3,
        anatomy_betas: tuple[float, float] = (0.9, 0.99),
        adversaries_from: float = 0.6,
        learning_rate: float = 1e-3,
        discriminator_learning_rate: float = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(
            shape,
            adversaries_from=adversaries_from,
            learning_rate=learning_rate,
            discriminator_learning_rate=discriminator_learning_rate,
            **options,
        )
        # What was chosen belongs to the checkpoint: another machine may have other weights at hand.
        self.encoder = self.hparams["encoder"] = available_encoder(encoder)
        self.fine_tune = fine_tune
        self.encoder_px = encoder_px
        self.surface_width = surface_width
        self.tissue_width = tissue_width
        self.texture = tuple(texture)
        self.weights = chosen_weights(weights, WEIGHTS)
        self.adversarial = adversarial_loss(adversarial)
        self.feature_width = feature_width
        self.bscan_width = bscan_width
        self.volume_width = volume_width
        self.judged_slices = judged_slices
        self.anatomy_learning_rate = anatomy_learning_rate
        self.anatomy_betas = anatomy_betas

    def build_generator(self) -> nn.Module:
        """Surfaces, tissue and texture, see :class:`fund2oct.networks.layered.generator.LayeredGenerator`."""
        return LayeredGenerator(
            self.shape[1],
            self.encoder,
            self.fine_tune,
            self.encoder_px,
            self.surface_width,
            self.tissue_width,
            self.texture,
        )

    def build_discriminators(self) -> nn.ModuleDict:
        """A discriminator of each kind that has a width, as far as its weights are at hand.

        Raises:
            ModuleNotFoundError: if the frozen features are missing, and no other discriminator is wanted.
        """
        found = nn.ModuleDict()
        if "adversarial" not in self.weights:
            return found
        if self.feature_width:
            try:
                found["features"] = FeatureDiscriminator(self.feature_width)
            except ModuleNotFoundError as error:
                if not (self.bscan_width or self.volume_width):
                    raise
                warnings.warn(f"trained without the feature discriminator, for want of {error}", stacklevel=2)
        if self.bscan_width:
            found["bscan"] = BScanPatchDiscriminator(_CONDITION, self.bscan_width, n_scales=1)
        if self.volume_width:
            found["volume"] = VolumePatchDiscriminator(_CONDITION, self.volume_width, n_scales=1)
        return found

    def configure_training(self) -> None:
        """Build the discriminators, and import losses of the user's own."""
        super().configure_training()
        self.own_terms = own_terms(self.weights)

    def configure_optimizers(self) -> Any:
        """Adam; the anatomy's rate falls to 0 before the adversaries join, the others' at the end."""
        network = self.generator
        assert isinstance(network, LayeredGenerator)
        texture = [each for each in network.texture.parameters() if each.requires_grad]
        of_texture = {id(each) for each in texture}
        anatomy = [each for each in network.parameters() if each.requires_grad and id(each) not in of_texture]
        first = torch.optim.Adam(
            [
                {"params": anatomy, "lr": self.anatomy_learning_rate, "betas": self.anatomy_betas},
                {"params": texture, "lr": self.learning_rate, "betas": self.betas},
            ]
        )
        optimizers, schedules = [first], [each_step(first, [self._anatomy_factor, self._texture_factor])]
        if self.discriminators:
            judging = torch.optim.Adam(self.judging(), self.discriminator_learning_rate, self.betas)
            optimizers.append(judging)
            schedules.append(each_step(judging, self._texture_factor))
        return optimizers, schedules

    def _anatomy_factor(self, step: int) -> float:
        whole = self.adversaries_from if self.discriminators else 1.0
        return falling(self.share_done(step) / max(whole, 1e-9), 0, self.decay_from)

    def _texture_factor(self, step: int) -> float:
        start = self.adversaries_from if self.discriminators else 1.0
        return falling(self.share_done(step), start, self.decay_from)

    def forward(
        self,
        fundus: Tensor,
        grid: Tensor,
        n_depth: int | None = None,
        rng: NoiseSource | None = None,
        draw_surfaces: bool = False,
    ) -> Tensor:
        """As that of :class:`VolumeGAN`; between the median surfaces, or between drawn ones.

        The median surfaces are the best single answer. Drawn ones spread as those of real eyes do.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: A-scan positions in grid units, shape ``(B, S, X, 2)``.
            n_depth: axial samples; those of ``shape`` when absent.
            rng: source of the noise; torch's own when absent.
            draw_surfaces: whether to draw the surfaces too.
        """
        self.configure_model()
        n_depth = n_depth or self.shape[1]
        spacing_z_mm = self.spacing_z_mm(n_depth)
        drawn: Tensor = self.generator_ema(fundus, grid, spacing_z_mm, n_depth, rng, draw_surfaces)
        return drawn

    def surfaces(self, fundus: Tensor, grid: Tensor) -> SurfaceDistribution:
        """Predict the surfaces alone, with the averaged network; the arguments are those of ``forward``."""
        self.configure_model()
        network = self.generator_ema.module
        assert isinstance(network, LayeredGenerator)
        return network.surfaces(fundus, network.encoder(fundus), grid)

    def anatomy(self, fundus: Tensor, grid: Tensor, spacing_z_mm: Tensor | float) -> PredictedAnatomy:
        """Surfaces and tissue without noise, of the averaged network, in the aligned frame."""
        self.configure_model()
        network = self.generator_ema.module
        assert isinstance(network, LayeredGenerator)
        return network.anatomy(fundus, grid, spacing_z_mm)

    def training_batch(self, batch: Batch) -> Batch:
        """Once the adversaries have joined, keep the slices that they see."""
        if not self.adversaries_joined or not self.judged_slices or self.volume_width:
            return batch
        n_slices = batch["volume"].shape[2]
        rng = torch.Generator().manual_seed(self.seed + self.global_step)
        chosen = torch.randperm(n_slices, generator=rng)[: self.judged_slices]
        chosen = chosen.to(self.device, non_blocking=True)
        entries: dict[str, Any] = dict(batch)
        entries |= {
            name: entries[name].index_select(dim, chosen)
            for name, dim in _PER_SLICE.items()
            if name in entries
        }
        return cast(Batch, entries | {"centre": batch["grid"].mean((1, 2))})

    def generate(self, network: nn.Module, batch: Batch, rng: NoiseSource) -> Fake:
        """Draw a batch; in training between the real surfaces, and only the part that is learned."""
        if network is not self.generator:
            return super().generate(network, batch, rng)
        assert isinstance(network, LayeredGenerator) and self.task is not None
        dressed = self.adversaries_joined
        with torch.set_grad_enabled(not dressed):
            anatomy = network.anatomy(
                batch["fundus"], batch["grid"], batch["spacing_z_mm"], batch["volume"].shape[3],
                real=Real(heights_above_pose(batch), batch["aligned"], self.task.spacing_mm[2]),
                centre=batch.get("centre"),
            )  # fmt: skip
        aligned = network.dress(anatomy, rng) if dressed else anatomy.image
        return Fake(aligned, unalign(aligned, batch["pose_um"], batch["spacing_z_mm"]), anatomy)

    def generator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """The terms of the part of the training that it is in."""
        losses = self._adversarial(batch, fake) if self.adversaries_joined else self._anatomy(batch, fake)
        losses |= {name: loss(batch, fake) for name, loss in self.own_terms.items()}
        return {
            name: self.weights[name.partition("/")[0]] * loss
            for name, loss in losses.items()
            if name.partition("/")[0] in self.weights
        }

    def discriminator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Each discriminator's adversarial loss."""
        losses = {}
        condition = _condition(batch, fake)
        for name, discriminator in self.discriminators.items():
            real = [scale.logits for scale in discriminator(batch["volume"], condition)]
            generated = [scale.logits for scale in discriminator(fake.volume, condition)]
            losses[name] = self.adversarial.discriminator(real, generated)
        return losses

    def _anatomy(self, batch: Batch, fake: Fake) -> Losses:
        assert fake.anatomy is not None
        losses = surface_losses(fake.anatomy.surfaces, heights_above_pose(batch), self.step_noise())
        assert fake.anatomy.real_pockets is not None
        losses["pockets"] = F.binary_cross_entropy_with_logits(
            fake.anatomy.pockets, fake.anatomy.real_pockets
        )
        losses["tissue"] = (fake.aligned - batch["aligned"]).square().mean()
        light = fake.aligned, batch["aligned"], batch["spacing_z_mm"]
        return losses | {"slab": slab_loss(*light), "shadow": shadow_loss(*light)}

    def _adversarial(self, batch: Batch, fake: Fake) -> Losses:
        condition = _condition(batch, fake)
        return {
            f"adversarial/{name}": self.adversarial.generator(
                [scale.logits for scale in discriminator(fake.volume, condition)]
            )
            for name, discriminator in self.discriminators.items()
        }


def _condition(batch: Batch, fake: Fake) -> Tensor:
    """The photo above and the anatomy at each voxel, ``(B, 4, S, Z, X)``."""
    assert fake.anatomy is not None
    anatomy = unalign(fake.anatomy.image.detach(), batch["pose_um"], batch["spacing_z_mm"])
    photo = batch["lines"].unsqueeze(3).expand(-1, -1, -1, anatomy.shape[3], -1)
    return torch.cat([photo, anatomy], 1)
