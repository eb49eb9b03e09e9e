"""The baseline `slices`: the slices of a volume as the channels of one image, by pix2pixHD."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fund2oct.losses import LeastSquaresLoss, feature_matching_loss
from fund2oct.models.base import Batch, Fake, Losses
from fund2oct.models.gan import VolumeGAN
from fund2oct.models.training.optimisation import last_share
from fund2oct.networks.adversaries.discriminators import DiscriminatorOutput
from fund2oct.networks.baselines.coarse_to_fine import CoarseToFineGenerator, halved
from fund2oct.networks.baselines.multi_scale import MultiScaleDiscriminator
from fund2oct.networks.baselines.plane import photo_plane
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import unalign


class Pix2PixHD(VolumeGAN):
    r"""pix2pixHD, which translates the photo as it is to one image with a channel for each slice.

    The photo is resized to the rows and A-scans of a slice. Nothing tells the network which line of the photo
    a slice belongs to: it has to learn that by heart, and can do so only where the scan lies at about the
    same place of every photo. Leave ``data.init_args.photo_maps`` at 0: a map moves the photo and tells the
    grid alone, which is not read here. The symmetries of the scan move photo and slices together.

    **Generator.** A global generator :math:`G_1` draws the image at half the size, and a local enhancer
    :math:`G_2` at the whole size from the photo and the last features of :math:`G_1`. :math:`G_1` is trained
    alone first, then :math:`G_2`, then both.

    **Loss.** With discriminators :math:`D_k` at ``n_scales`` scales, each with the hidden layers
    :math:`D_k^{(i)}` of :math:`N_i` values, the photo :math:`s` and the real slices :math:`x`,

    .. math:: \min_G \; \sum_k L_{GAN}(G, D_k) + \lambda \sum_k \sum_i
        \frac{1}{N_i} \| D_k^{(i)}(s, x) - D_k^{(i)}(s, G(s)) \|_1

    where :math:`L_{GAN}` is that of least squares.

    **Departures from the paper.** The image is drawn in the aligned frame and judged at the pose of the real
    scan. An average of the generator is validated and used. No instance maps (section 3.3), no features of
    instances (3.4), no loss on VGG features: the paper's variant without it. The paper does not say how long
    each part of the training is, nor what judges :math:`G_1` alone: the shares are ours, and it is judged by
    the discriminators of its own size and of coarser ones.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        width: number of channels of the global generator's first layer; the paper has 64.
        n_halvings: number of strided layers of the global generator; the paper has 4.
        n_blocks: number of residual blocks of the global generator; the paper has 9.
        n_local_blocks: number of residual blocks of the local enhancer; the paper has 3.
        discriminator_width: number of channels of a discriminator's first layer; the paper has 64.
        n_scales: number of discriminators; the paper has 3.
        feature_matching: weight :math:`\lambda` of the feature matching; the paper has 10.
        local_from: share of the training, in [0, 1], after which the local enhancer is trained, and the
            global generator rests. With 0 the global generator is never trained alone.
        joint_from: share of the training, in [0, 1], after which both are trained together.
        learning_rate: step size of Adam, which falls linearly to 0 over the second half.
        discriminator_learning_rate: the same for the discriminators.
        betas: the two decay rates of Adam, for both sides.
        gradient_clip: largest norm of the gradient of a network; 0 does not clip.
        options: further arguments, those of :class:`fund2oct.models.VolumeGAN`.

    Raises:
        ValueError: if the volumes are too small for the layers, there are fewer than two scales, or
            ``local_from`` and ``joint_from`` are no shares of the training, in this order.

    References:
        Wang et al., High-resolution image synthesis and semantic manipulation with conditional GANs
        (pix2pixHD), CVPR 2018, arXiv:1711.11585, section 3.2, equations 3 to 5, and the appendix; Mao et al.,
        Least Squares GAN, ICCV 2017, arXiv:1611.04076, equation 9.

    Example:
        >>> model = Pix2PixHD((6, 32, 48), width=8, n_halvings=2, n_blocks=1, n_scales=2)
        >>> model(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    reads_grid = False
    generator_class = CoarseToFineGenerator

    def __init__(
        self,
        shape: tuple[int, int, int],
        width: int = 64,
        n_halvings: int = 4,
        n_blocks: int = 9,
        n_local_blocks: int = 3,
        discriminator_width: int = 64,
        n_scales: int = 3,
        feature_matching: float = 10.0,
        local_from: float = 0.4,
        joint_from: float = 0.6,
        learning_rate: float = 2e-4,
        discriminator_learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        gradient_clip: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(
            shape,
            learning_rate=learning_rate,
            discriminator_learning_rate=discriminator_learning_rate,
            betas=betas,
            gradient_clip=gradient_clip,
            **options,
        )
        least = max(2 ** (n_halvings + 1) + 1, 2 ** (n_scales + 3))
        if min(self.shape[1:]) < least:
            raise ValueError(
                f"shape: {n_halvings} halvings and {n_scales} scales need at least {least} rows and A-scans, "
                f"found {self.shape[1]} and {self.shape[2]}; use fewer n_halvings or n_scales"
            )
        if n_scales < 2:
            raise ValueError(
                f"n_scales: expected at least 2, found {n_scales}: the second one judges the global "
                "generator, whose image has half the size"
            )
        if not 0 <= local_from <= joint_from <= 1:
            raise ValueError(
                "local_from, joint_from: expected shares of the training in [0, 1], the first not above the "
                f"second, found {local_from} and {joint_from}"
            )
        self.width = width
        self.n_halvings = n_halvings
        self.n_blocks = n_blocks
        self.n_local_blocks = n_local_blocks
        self.discriminator_width = discriminator_width
        self.n_scales = n_scales
        self.feature_matching = feature_matching
        self.local_from = local_from
        self.joint_from = joint_from
        self.adversarial = LeastSquaresLoss()

    def on_fit_start(self) -> None:
        """Refuse a training in which the local enhancer would never be trained."""
        super().on_fit_start()
        if self.joint_from > last_share(self.trainer):
            raise ValueError(
                f"local_from, joint_from: what is trained changes at {self.local_from:g} and "
                f"{self.joint_from:g} of a training whose end is not known; set trainer.max_steps, "
                "max_epochs or max_time (a loader without a length needs max_steps or max_time), or set both "
                "to 0, to train all of it from the start"
            )

    def build_generator(self) -> nn.Module:
        """Global generator and local enhancer."""
        return CoarseToFineGenerator(
            *self.shape[:2], self.width, self.n_halvings, self.n_blocks, self.n_local_blocks
        )

    def build_discriminators(self) -> nn.ModuleDict:
        """The discriminators of all scales, as one part."""
        channels = 3 + self.shape[0]
        judge = MultiScaleDiscriminator(channels, self.discriminator_width, self.n_scales)
        return nn.ModuleDict({"slices": judge})

    @property
    def stage(self) -> Literal["global", "local", "joint"]:
        """What of the generator is trained in this batch."""
        done = self.share_done()
        if done < self.local_from:
            return "global"
        return "local" if done < self.joint_from else "joint"

    def _decay(self, n_averaged: int) -> float:
        # Young again when the local enhancer joins, so that it holds nothing of its random start.
        done = self.share_done()
        if 0 < self.local_from <= done:
            n_averaged = int(n_averaged * (1 - self.local_from / done))
        return super()._decay(n_averaged)

    def generate(self, network: nn.Module, batch: Batch, rng: NoiseSource) -> Fake:
        """Draw volumes for a batch; in training by what is trained, at half the size by the global generator.

        Args:
            network: the generator or its average.
            batch: the batch, see :meth:`fund2oct.models.VolumeModel.losses`.
            rng: not used.

        Returns:
            The volumes.
        """
        if network is not self.generator:
            return super().generate(network, batch, rng)
        assert isinstance(network, CoarseToFineGenerator)
        n_depth = batch["volume"].shape[3]
        photo, small = network.photos(batch["fundus"], batch["grid"], n_depth)
        if self.stage == "global":
            drawn = network.coarse(small)
        else:
            network.local_joined.fill_(True)
            with torch.set_grad_enabled(self.stage == "joint"):
                features = network.coarse.features(small)
            drawn = network.local(photo, features)
        aligned = drawn[:, None]
        spacing_z_mm = batch["spacing_z_mm"] * (n_depth / aligned.shape[3])
        return Fake(aligned, unalign(aligned, batch["pose_um"], spacing_z_mm))

    def generator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Equation 5, the sums over scales and layers as the paper writes them."""
        if not self.adversaries_joined:
            return {}
        real, generated = self._judge(batch, batch["volume"], fake), self._judge(batch, fake.volume, fake)
        features = [scale.features for scale in generated]
        matching = feature_matching_loss(features, [scale.features for scale in real])
        return {
            "adversarial": len(generated) * self.adversarial.generator([scale.logits for scale in generated]),
            "feature_matching": self.feature_matching * sum(map(len, features)) * matching,
        }

    def discriminator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Equation 3, the sum over the scales."""
        real, generated = (
            [scale.logits for scale in self._judge(batch, volume, fake)]
            for volume in (batch["volume"], fake.volume)
        )
        return {"slices": len(real) * self.adversarial.discriminator(real, generated)}

    def _judge(self, batch: Batch, volume: Tensor, fake: Fake) -> list[DiscriminatorOutput]:
        """Judge real or generated slices at the size of the generated ones, beside the photo as it is."""
        size = fake.volume.shape[-2], fake.volume.shape[-1]
        slices = volume[:, 0]
        if slices.shape[-2:] != size:
            slices = halved(slices)
        finest = 0 if size == batch["volume"].shape[-2:] else 1
        judged: list[DiscriminatorOutput] = self.discriminators["slices"](
            slices, photo_plane(batch["fundus"], *size), finest
        )
        return judged
