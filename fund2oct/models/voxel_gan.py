"""A baseline that draws voxels without knowing surfaces, with conditional discriminators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from fund2oct.losses import (
    PerceptualLoss,
    adversarial_loss,
    charbonnier_loss,
    feature_matching_loss,
    l1_loss,
    local_mean_loss,
    local_square_loss,
    projection_loss,
    r1_penalty,
    ssim_loss,
)
from fund2oct.models.base import Batch, Fake, Losses
from fund2oct.models.gan import VolumeGAN
from fund2oct.models.training.terms import check_judged, chosen_weights, own_terms
from fund2oct.networks.adversaries.discriminators import (
    BScanPatchDiscriminator,
    DiscriminatorOutput,
    VolumePatchDiscriminator,
)
from fund2oct.networks.features import MEASURES, load_feature_network
from fund2oct.networks.lift import LIFTS
from fund2oct.networks.voxels.generator import VolumeGenerator

RECONSTRUCTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "local_square": local_square_loss,
    "local_mean": local_mean_loss,
    "l1": l1_loss,
    "charbonnier": charbonnier_loss,
    "ssim": ssim_loss,
    "projection": projection_loss,
}
"""Losses in the aligned frame, called with the generated volume and the real one."""

WEIGHTS = {"adversarial": 1.0, "local_square": 1000.0}
TERMS = ("adversarial", "feature_matching", "perceptual", *RECONSTRUCTION)


class VoxelGAN(VolumeGAN):
    r"""A conditional GAN that draws the voxels of a volume from a photo, like pix2pix and X2CT-GAN.

    It is a baseline for :class:`Pix2Vol`, and knows nothing of surfaces. The generator's loss is the weighted
    sum of the terms that ``weights`` names:

    * ``adversarial`` and ``feature_matching``: by the discriminators, on volumes at the poses of the real
      scans;
    * ``local_square``, ``local_mean``, ``l1``, ``charbonnier``, ``ssim`` and ``projection``: losses of
      ``fund2oct.losses``, in the aligned frame;
    * ``perceptual``: :class:`fund2oct.losses.PerceptualLoss`, in the aligned frame.

    Without a weight of ``adversarial`` or ``feature_matching`` there are no discriminators.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        channels: numbers of channels of the generator's levels, finest first.
        encoder: photo encoder: ``"own"``, with random weights and the widths of ``channels``, or another
            name, see :class:`Pix2Vol`, as the four arguments that follow.
        fine_tune: what of a pre-trained encoder is trained too.
        lora_rank: rank of trained low-rank changes of a foundation encoder; 0 for none.
        encoder_px: width in pixels to which photos are resized for it; None takes that of its weights.
        encoder_learning_rate: step size of Adam for pre-trained weights.
        lift: ``"geometry"``, ``"repeat"`` or ``"channels"``, see :data:`fund2oct.networks.lift.LIFTS`.
        weights: weights of the generator's terms by name, instead of the default ones. A term that is left
            out is not used. A name can also be the import path of a loss of your own, see
            :func:`fund2oct.models.training.terms.own_terms`.
        adversarial: ``"hinge"``, ``"least_squares"`` or ``"non_saturating"``, see
            :data:`fund2oct.losses.ADVERSARIAL`.
        r1_gamma: weight of the R1 penalty on real volumes, see :func:`fund2oct.losses.r1_penalty`; 0 for
            none.
        bscan_width: number of channels of the first layer of the B-scan discriminator; 0 for none.
        volume_width: number of channels of the first layer of the volume discriminator; 0 for none.
        n_layers: number of strided layers of each discriminator.
        n_scales: number of scales of each discriminator.
        perceptual: name or import path of the network of the perceptual term, one of images, see
            :func:`fund2oct.networks.features.load_feature_network`. Another one than the network of the image
            distance, EfficientNet-Lite0: a generator could learn to please that.
        options: further arguments, those of :class:`VolumeGAN`.

    Raises:
        ValueError: if there is no lift, adversarial loss or term of that name, the encoder has more maps than
            there are ``channels`` or no use for an argument, or, in training, a term needs a discriminator
            and there is none, or the network of the perceptual term is none of images.

    References:
        Isola et al., pix2pix, CVPR 2017, arXiv:1611.07004, equation 4; Ying et al., X2CT-GAN, CVPR 2019,
        arXiv:1905.06902, equation 6.

    Example:
        >>> import torch
        >>> model = VoxelGAN(shape=(6, 32, 48), weights={"adversarial": 1.0, "l1": 100.0})
        >>> model(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    encodes_photos = True

    def __init__(
        self,
        shape: tuple[int, int, int],
        channels: Sequence[int] = (8, 24, 48, 64, 96),
        encoder: str = "own",
        fine_tune: bool | int = False,
        lora_rank: int = 0,
        encoder_px: int | None = None,
        encoder_learning_rate: float = 1e-4,
        lift: str = "geometry",
        weights: dict[str, float] | None = None,
        adversarial: str = "hinge",
        r1_gamma: float = 0.0,
        bscan_width: int = 24,
        volume_width: int = 0,
        n_layers: int = 3,
        n_scales: int = 1,
        perceptual: str = "efficientnet_lite1",
        **options: Any,
    ) -> None:
        super().__init__(shape, **options)
        self.channels = tuple(channels)
        self.choose_encoder(encoder, fine_tune, encoder_px, lora_rank)
        self.encoder_learning_rate = encoder_learning_rate
        self.lift = lift
        self.reads_grid &= lift == "geometry"
        self.weights = chosen_weights(WEIGHTS if weights is None else weights, dict.fromkeys(TERMS, 0.0))
        if lift not in LIFTS:
            raise ValueError(f"lift: expected one of {', '.join(LIFTS)}, found {lift!r}")
        self.adversarial = adversarial_loss(adversarial)
        self.r1_gamma = r1_gamma
        self.bscan_width = bscan_width
        self.volume_width = volume_width
        self.n_layers = n_layers
        self.n_scales = n_scales
        self.perceptual = perceptual

    def configure_training(self) -> None:
        """Build the discriminators, and the frozen network of the perceptual term where it is used."""
        super().configure_training()
        check_judged(self.weights, self.discriminators, "bscan_width or volume_width")
        self.own_terms = own_terms(self.weights)
        if "perceptual" in self.weights and not hasattr(self, "perceptual_loss"):
            if self.perceptual == MEASURES["image"]:
                rank_zero_warn(
                    f"perceptual: {self.perceptual} also measures the image distance and the perceptual "
                    "distance of a report, which then say nothing of how real volumes look; take "
                    "efficientnet_lite1"
                )
            self.perceptual_loss = PerceptualLoss(load_feature_network(self.perceptual))

    def build_generator(self) -> nn.Module:
        """Encoder, lift and decoder."""
        n_slices, n_depth, _ = self.shape
        encoder = None if self.encoder == "own" else self.chosen_encoder()
        n_maps = 0 if encoder is None else len(tuple(encoder.channels))  # type: ignore[arg-type]
        if len(self.channels) < n_maps:
            raise ValueError(
                f"channels: encoder {self.encoder!r} has {n_maps} maps, the coarsest of which "
                f"{len(self.channels)} levels would not read; expected at least {n_maps} channels"
            )
        return VolumeGenerator(n_slices, n_depth, self.channels, self.lift, encoder=encoder)

    def build_discriminators(self) -> nn.ModuleDict:
        """A patch discriminator over B-scans, one over volumes, or both."""
        kinds = {
            "bscan": (BScanPatchDiscriminator, self.bscan_width),
            "volume": (VolumePatchDiscriminator, self.volume_width),
        }
        if not {"adversarial", "feature_matching"} & set(self.weights):
            return nn.ModuleDict()
        return nn.ModuleDict(
            {
                name: kind(width=width, n_layers=self.n_layers, n_scales=self.n_scales)
                for name, (kind, width) in kinds.items()
                if width
            }
        )

    def generator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """The terms that have a weight."""
        # Beyond what was scanned the aligned volume repeats vitreous or deep choroid. That is a target
        # as well: left without one, the generator draws lines there, which a pose brings into view.
        losses = {
            name: loss(fake.aligned, batch["aligned"])
            for name, loss in RECONSTRUCTION.items()
            if name in self.weights
        }
        losses |= {name: loss(batch, fake) for name, loss in self.own_terms.items()}
        if "perceptual" in self.weights:
            losses["perceptual"] = self.perceptual_loss(fake.aligned, batch["aligned"], batch["mask"])
        for name, discriminator in self.discriminators.items() if self.adversaries_joined else ():
            outputs: list[DiscriminatorOutput] = discriminator(fake.volume, batch["lines"])
            if "adversarial" in self.weights:
                loss = self.adversarial.generator([scale.logits for scale in outputs])
                losses[f"adversarial/{name}"] = loss
            if "feature_matching" in self.weights:
                real = discriminator(batch["volume"], batch["lines"])
                losses[f"feature_matching/{name}"] = feature_matching_loss(
                    [scale.features for scale in outputs], [scale.features for scale in real]
                )
        return {name: self.weights[name.partition("/")[0]] * loss for name, loss in losses.items()}

    def discriminator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Each discriminator's adversarial loss, and its R1 penalty where it has a weight."""
        losses = {}
        for name, discriminator in self.discriminators.items():
            volume = batch["volume"].detach()
            if self.r1_gamma:
                volume.requires_grad_()
            real = [scale.logits for scale in discriminator(volume, batch["lines"])]
            generated = [scale.logits for scale in discriminator(fake.volume, batch["lines"])]
            losses[name] = self.adversarial.discriminator(real, generated)
            if self.r1_gamma:
                losses[f"{name}/r1"] = r1_penalty(real, volume, self.r1_gamma)
        return losses
