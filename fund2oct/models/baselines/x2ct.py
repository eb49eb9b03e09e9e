"""X2CT-GAN for one photo and a volume that is no cube."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.losses import LeastSquaresLoss, projection_loss
from fund2oct.losses.masking import check_pair
from fund2oct.models.base import Batch, Fake, Losses
from fund2oct.models.gan import VolumeGAN
from fund2oct.networks.baselines.x2ct import X2CTGenerator
from fund2oct.networks.baselines.x2ct_discriminator import X2CTDiscriminator


def three_projections_loss(fake: Tensor, real: Tensor) -> Tensor:
    r"""L1 between the projections of two volumes along each of their three axes.

    .. math:: \tfrac13 \sum_{a \in \{s, z, x\}} E \, |P_a \hat V - P_a V|

    for the mean :math:`P_a` over an axis. :func:`fund2oct.losses.projection_loss` leaves the slow axis out,
    along which a radial scan has nothing to project.

    Args:
        fake: generated volume in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: if the shapes differ.

    References:
        Ying et al., X2CT-GAN, CVPR 2019, arXiv:1905.06902, section 3, the projection loss.

    Example:
        >>> import torch
        >>> dark, bright = torch.zeros(1, 1, 2, 4, 3), torch.ones(1, 1, 2, 4, 3)
        >>> three_projections_loss(dark, bright)
        tensor(1.)
    """
    check_pair(fake, real)
    across_slices = F.l1_loss(fake.mean(2), real.mean(2))
    return (2 * projection_loss(fake, real) + across_slices) / 3


class X2CT(VolumeGAN):
    r"""X2CT-GAN, single view: a dense 2D encoder, a 3D decoder, and a least-squares GAN on 3D patches.

    .. math::
        \min_D \lambda_1 L_{LSGAN}(D), \qquad
        \min_G \lambda_1 L_{LSGAN}(G) + \lambda_2 E (\hat V - V)^2 + \lambda_3 L_{projection}

    with the paper's least squares, :class:`fund2oct.losses.LeastSquaresLoss`, a discriminator that also sees
    the photo, and :func:`~fund2oct.models.baselines.x2ct.three_projections_loss`. The defaults are the
    paper's; sizes that it leaves open are those of its authors' published configuration. What differs,
    because a star of six B-scans is no cube and a fundus photo no projection of it:

    * Single view (figure 3). The photo has three channels and is resized to the plane of a slice. Its rows
      and columns are rows and A-scans of every slice, where an X-ray's are two axes of the volume.
    * Encoder, decoder, discriminator (figures 3 and 4). An axis is halved as long as four samples remain, so
      that six slices stay six. No kernel is longer than the volume. The last convolution is followed by a
      sigmoid, for volumes lie in [0, 1].
    * Losses. Reconstruction and projections compare in the aligned frame, the discriminator judges the
      volumes at the poses of the real scans, as everywhere in this library.
    * Training. The averaged generator is used, gradients are clipped, and the discriminator is stepped before
      the generator, as everywhere in this library. Learning rates, Adam's decay rates and the linear decay
      over the second half are the paper's. Initial weights are those of PyTorch; the published code draws
      them with a standard deviation of 0.02. Normalisation uses an eye's own mean and variance, also once it
      is trained; the published code then uses running ones.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        stem: number of channels of the encoder's first convolution.
        dense_layers: number of layers of each dense block, finest first: the number of levels.
        growth: number of channels that a dense layer adds.
        channels: numbers of channels of the decoder, finest first, one more than there are levels.
        n_blocks: number of further 3D blocks at each of these sizes, finest first.
        dropout: share of the values of connection A that is set to 0 in training, in [0, 1).
        head_kernel: size of the generator's last convolution, an odd number.
        discriminator_width: number of channels of the discriminator's first layer.
        weights: :math:`\lambda_1, \lambda_2, \lambda_3`, of the adversarial loss, the reconstruction and the
            projections. Without the first there is no discriminator, as in the paper's X2CT-CNN.
        learning_rate: step size of Adam for the generator.
        discriminator_learning_rate: step size of Adam for the discriminator.
        options: further arguments, those of :class:`fund2oct.models.VolumeGAN`.

    References:
        Ying et al., X2CT-GAN, CVPR 2019, arXiv:1905.06902, section 3 (losses) and figures 3 and 4 (networks).

    Example:
        >>> import torch
        >>> sizes = {"stem": 8, "dense_layers": (2, 3), "growth": 4}
        >>> model = X2CT(shape=(6, 32, 48), channels=(4, 4, 8), n_blocks=(1, 1, 0), **sizes)
        >>> model(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    reads_grid = False

    def __init__(
        self,
        shape: tuple[int, int, int],
        stem: int = 64,
        dense_layers: Sequence[int] = (6, 12, 24, 16, 6),
        growth: int = 32,
        channels: Sequence[int] = (16, 16, 32, 64, 128, 256),
        n_blocks: Sequence[int] = (1, 2, 2, 2, 2, 0),
        dropout: float = 0.5,
        head_kernel: int = 7,
        discriminator_width: int = 64,
        weights: tuple[float, float, float] = (0.1, 10.0, 10.0),
        learning_rate: float = 2e-4,
        discriminator_learning_rate: float = 2e-4,
        **options: Any,
    ) -> None:
        super().__init__(
            shape,
            learning_rate=learning_rate,
            discriminator_learning_rate=discriminator_learning_rate,
            **options,
        )
        self.sizes = {
            "stem": stem, "dense_layers": tuple(dense_layers), "growth": growth, "channels": tuple(channels),
            "n_blocks": tuple(n_blocks), "dropout": dropout, "head_kernel": head_kernel,
        }  # fmt: skip
        self.discriminator_width = discriminator_width
        self.weights = tuple(weights)
        self.adversarial = LeastSquaresLoss()

    def build_generator(self) -> nn.Module:
        """Build a :class:`fund2oct.networks.baselines.x2ct.X2CTGenerator`."""
        return X2CTGenerator(self.shape, **self.sizes)  # type: ignore[arg-type]

    def build_discriminators(self) -> nn.ModuleDict:
        """Build one over 3D patches, unless its weight is 0."""
        if not self.weights[0]:
            return nn.ModuleDict()
        return nn.ModuleDict({"volume": X2CTDiscriminator(self.shape, self.discriminator_width)})

    def generator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """The three terms of the generator."""
        adversarial, reconstruction, projections = self.weights
        losses = {
            "reconstruction": reconstruction * F.mse_loss(fake.aligned, batch["aligned"]),
            "projections": projections * three_projections_loss(fake.aligned, batch["aligned"]),
        }
        if self.adversaries_joined:
            scores = self.discriminators["volume"](fake.volume, batch["fundus"])
            losses["adversarial"] = adversarial * self.adversarial.generator([scores])
        return losses

    def discriminator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """The discriminator's least squares."""
        judge = self.discriminators["volume"]
        real, generated = (judge(volume, batch["fundus"]) for volume in (batch["volume"], fake.volume))
        return {"volume": self.weights[0] * self.adversarial.discriminator([real], [generated])}
