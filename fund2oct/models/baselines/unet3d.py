"""The plainest baseline in 3D: a U-Net that is trained on the absolute difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from fund2oct.losses import l1_loss
from fund2oct.models.base import Batch, Fake, Losses, VolumeModel
from fund2oct.networks.baselines.unet3d import RepeatedUNet, find_unet


class UNet3D(VolumeModel):
    """MONAI's 3D U-Net from the photo, repeated in every slice, to the volume, with the L1 loss alone.

    It has no adversary and no noise, so that it draws one blurred volume of each photo: the median over all
    volumes that fit it.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        channels: numbers of channels of the levels, finest first.
        n_residual: number of convolutions of each residual unit.
        options: further arguments, those of :class:`fund2oct.models.VolumeModel`.

    Raises:
        ImportError: if MONAI is not installed; the message says how to get it.

    References:
        Çiçek et al., 3D U-Net, MICCAI 2016, arXiv:1606.06650, section 2.

    Example:
        >>> import torch
        >>> model = UNet3D(shape=(6, 32, 48), channels=(4, 8, 8))  # with the extra "monai" installed
        >>> model(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    reads_grid = False

    def __init__(
        self,
        shape: tuple[int, int, int],
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        n_residual: int = 2,
        **options: Any,
    ) -> None:
        find_unet()  # said before eyes are simulated and a folder is made
        super().__init__(shape, **options)
        self.channels = tuple(channels)
        self.n_residual = n_residual

    def build_generator(self) -> nn.Module:
        """Build a :class:`fund2oct.networks.baselines.unet3d.RepeatedUNet`."""
        return RepeatedUNet(self.shape, self.channels, self.n_residual)

    def losses(self, batch: Batch, fake: Fake) -> Losses:
        """The mean absolute difference in the aligned frame."""
        return {"l1": l1_loss(fake.aligned, batch["aligned"])}
