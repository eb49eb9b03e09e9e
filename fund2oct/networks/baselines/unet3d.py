"""A plain 3D U-Net on a photo that is repeated in every slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fund2oct.networks.baselines.plane import Shape, check_fits, level_strides, photo_plane, repeated
from fund2oct.networks.noise import NoiseSource
from fund2oct.precision import no_autocast


def find_unet() -> Any:
    """MONAI's class.

    Raises:
        ImportError: if MONAI is not installed; the message says how to get it.
    """
    try:
        from monai.networks.nets import UNet
    except ImportError as error:
        raise ImportError(f'unet3d needs MONAI: pip install "fund2oct[monai]" ({error})') from None
    return UNet


class RepeatedUNet(nn.Module):
    """MONAI's 3D U-Net with residual units, from the photo in every slice to the volume.

    It knows nothing of the scan. All slices of its input are equal; it tells them apart by how far they are
    from the ends of the volume alone, where convolutions see zeros.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        channels: numbers of channels of the levels, finest first. Each level but the first is strided.
        n_residual: number of convolutions of each residual unit.

    Raises:
        ImportError: if MONAI is not installed; the message says how to get it.

    References:
        Çiçek et al., 3D U-Net, MICCAI 2016, arXiv:1606.06650, section 2; Kerfoot et al., Left-ventricle
        quantification using residual U-Net, STACOM 2018, doi:10.1007/978-3-030-12029-0_40 (MONAI's residual
        units).

    Example:
        >>> generator = RepeatedUNet((6, 32, 48), channels=(4, 8, 8))  # with the extra "monai" installed
        >>> generator(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    def __init__(self, shape: Shape, channels: Sequence[int] = (16, 32, 64, 128, 256), n_residual: int = 2):
        super().__init__()
        unet = find_unet()
        self.shape = shape
        # MONAI takes a stride for each axis, and says that it takes one for all.
        strides: Any = level_strides(shape, len(channels) - 1)
        # What is halved has to be even at every level: the network draws a little more, which is cut off.
        steps = [math.prod(along) for along in zip(*strides, strict=True)]
        self.inner = [step * -(-size // step) for size, step in zip(shape, steps, strict=True)]
        self.network = unet(3, 3, 1, channels, strides, num_res_units=n_residual)

    def forward(
        self,
        fundus: Tensor,
        grid: Tensor,
        spacing_z_mm: Tensor | float = math.nan,
        n_depth: int | None = None,
        rng: NoiseSource | None = None,
    ) -> Tensor:
        """Draw the retina in the aligned frame.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: positions of the A-scans, shape ``(B, S, X, 2)``; only the shape is used.
            spacing_z_mm: not used. Other generators need it.
            n_depth: number of rows Z of the volume; None takes that of the constructor.
            rng: not used: nothing is drawn from noise.

        Returns:
            Volumes in [0, 1], shape ``(B, 1, S, Z, X)``.

        Raises:
            ValueError: if another shape is asked for than the network was built for.
        """
        check_fits(fundus, grid, n_depth, self.shape)
        n_slices, n_rows, n_columns = self.inner
        logits = self.network(repeated(photo_plane(fundus, n_rows, n_columns), n_slices))
        s, z, x = self.shape
        # In bfloat16 a bright pixel has steps of 1/256.
        with no_autocast(logits.device):
            return torch.sigmoid(logits[:, :, :s, :z, :x].float())
