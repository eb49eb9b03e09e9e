"""The generator of pix2pixHD, which draws all slices as the channels of one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.baselines.plane import photo_plane
from fund2oct.networks.blocks import Recomputing
from fund2oct.networks.noise import NoiseSource
from fund2oct.precision import no_autocast


class ConvBlock(nn.Sequential):
    """The paper's ``c7s1-k`` (kernel 7, stride 1) and ``dk`` (kernel 3, stride 2), ``k`` the channels.

    A convolution with reflection padding, instance normalisation and ReLU.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> None:
        # The normalisation takes the mean out, so that a bias would do nothing.
        super().__init__(
            nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
        )


class ResidualBlock(nn.Module):
    """The paper's ``Rk``: two convolutions of 3 x 3, each normalised, beside the identity.

    References:
        Johnson et al., ECCV 2016, arXiv:1603.08155.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        *second, _ = ConvBlock(channels, channels, 3)  # without the ReLU
        self.layers = nn.Sequential(ConvBlock(channels, channels, 3), *second)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return x + self.layers(x)


class UpBlock(nn.Module):
    """The paper's ``uk``: a fractionally strided convolution of 3 x 3, instance normalisation, ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, channels, 3, 2, 1, bias=False)
        self.norm = nn.InstanceNorm2d(channels)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Double ``(B, C, h, w)`` to a ``size`` that is halved to it."""
        return F.relu(self.norm(self.up(x, output_size=list(size))))


class ImageLayer(nn.Conv2d):
    """The last convolution, 7 x 7, and tanh as Johnson et al. have it, moved to [0, 1]."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, channels, 7, padding=3, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        """Draw ``(B, channels, H, W)`` in [0, 1]."""
        with no_autocast(x.device):  # in bfloat16 a bright pixel has steps of 1/256
            return (torch.tanh(super().forward(x.float())) + 1) / 2


class GlobalGenerator(Recomputing):
    r"""The global generator :math:`G_1`, which draws an image at half the size.

    With the paper's ``width`` 64, four halvings and nine blocks: ``c7s1-64, d128, d256, d512, d1024, R1024``
    x 9, ``u512, u256, u128, u64, c7s1-k``.

    Args:
        channels: numbers of channels of the input and of the image.
        width: number of channels of the first layer.
        n_halvings: number of strided layers.
        n_blocks: number of residual blocks.

    References:
        Wang et al., pix2pixHD, CVPR 2018, arXiv:1711.11585, section 3.2 and the appendix on generators.

    Example:
        >>> generator = GlobalGenerator(channels=(3, 6), width=8, n_halvings=2, n_blocks=1)
        >>> generator(torch.rand(1, 3, 16, 24)).shape
        torch.Size([1, 6, 16, 24])
    """

    def __init__(self, channels: tuple[int, int], width: int, n_halvings: int, n_blocks: int) -> None:
        super().__init__()
        widths = [width * 2**number for number in range(n_halvings + 1)]
        self.first = ConvBlock(channels[0], width, 7)
        self.down = nn.ModuleList(ConvBlock(fine, coarse, 3, 2) for fine, coarse in pairwise(widths))
        self.blocks = nn.ModuleList(ResidualBlock(widths[-1]) for _ in range(n_blocks))
        self.up = nn.ModuleList(UpBlock(coarse, fine) for coarse, fine in pairwise(widths[::-1]))
        self.last = ImageLayer(width, channels[1])

    def features(self, photo: Tensor) -> Tensor:
        """The last feature map before the image, ``(B, width, H, W)``, of photos ``(B, 3, H, W)``."""
        x = self.part(self.first, photo)
        sizes = []
        for layer in self.down:
            sizes.append(x.shape[-2:])
            x = self.part(layer, x)
        for block in self.blocks:
            x = self.part(block, x)
        for layer in self.up:
            x = self.part(layer, x, sizes.pop())
        return x

    def forward(self, photo: Tensor) -> Tensor:
        """Draw images in [0, 1], shape ``(B, channels, H, W)``, of photos in [-1, 1], ``(B, 3, H, W)``."""
        drawn: Tensor = self.last(self.features(photo))
        return drawn


class LocalEnhancer(Recomputing):
    r"""The local enhancer :math:`G_2`, which adds its own features to those of the global generator.

    With the paper's ``width`` 64: ``c7s1-32, d64``, the sum with the features of :math:`G_1`, ``R64`` x 3,
    ``u32, c7s1-k``.

    Args:
        channels: numbers of channels of the input and of the image.
        width: number of channels of the features of the global generator.
        n_blocks: number of residual blocks.

    References:
        Wang et al., pix2pixHD, CVPR 2018, arXiv:1711.11585, section 3.2 and the appendix on generators.

    Example:
        >>> enhancer = LocalEnhancer(channels=(3, 6), width=8, n_blocks=1)
        >>> enhancer(torch.rand(1, 3, 32, 48), torch.rand(1, 8, 16, 24)).shape
        torch.Size([1, 6, 32, 48])
    """

    def __init__(self, channels: tuple[int, int], width: int, n_blocks: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels[0], width // 2, 7)
        self.down = ConvBlock(width // 2, width, 3, 2)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(n_blocks))
        self.up = UpBlock(width, width // 2)
        self.last = ImageLayer(width // 2, channels[1])

    def forward(self, photo: Tensor, features: Tensor) -> Tensor:
        """Draw images in [0, 1].

        Args:
            photo: photos in [-1, 1], shape ``(B, 3, H, W)``.
            features: last features of the global generator, shape ``(B, width, H / 2, W / 2)``.

        Returns:
            Images, shape ``(B, channels, H, W)``.
        """
        x = self.part(self.down, self.part(self.first, photo)) + features
        for block in self.blocks:
            x = self.part(block, x)
        drawn: Tensor = self.last(self.part(self.up, x, photo.shape[-2:]))
        return drawn


class CoarseToFineGenerator(nn.Module):
    """Generator that draws the slices of a volume as the channels of one image, of pix2pixHD.

    The photo is resized to the rows and A-scans of a slice, as it is. It is not told where the scan lies, and
    has to learn by heart which channel belongs to which line of the photo. There is no noise.

    Args:
        n_slices: number of slices S. It draws this number only.
        n_depth: number of rows Z, where the call does not give it.
        width: number of channels of the global generator's first layer.
        n_halvings: number of strided layers of the global generator.
        n_blocks: number of residual blocks of the global generator.
        n_local_blocks: number of residual blocks of the local enhancer.

    References:
        Wang et al., pix2pixHD, CVPR 2018, arXiv:1711.11585, section 3.2 and figure 3.

    Example:
        >>> generator = CoarseToFineGenerator(n_slices=6, n_depth=32, width=8, n_halvings=2, n_blocks=1)
        >>> generator(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    local_joined: Tensor

    def __init__(
        self,
        n_slices: int,
        n_depth: int,
        width: int = 64,
        n_halvings: int = 4,
        n_blocks: int = 9,
        n_local_blocks: int = 3,
    ) -> None:
        super().__init__()
        self.n_slices, self.n_depth = n_slices, n_depth
        channels = (3, n_slices)
        self.coarse = GlobalGenerator(channels, width, n_halvings, n_blocks)
        self.local = LocalEnhancer(channels, width, n_local_blocks)
        # Whether the local enhancer has been trained; before, the coarse image is the answer.
        self.register_buffer("local_joined", torch.tensor(False))
        begin_as_gaussian(self)

    def photos(self, fundus: Tensor, grid: Tensor, n_depth: int) -> tuple[Tensor, Tensor]:
        """Photos in [-1, 1] at the size of a slice and at half of it.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: positions of the A-scans, shape ``(B, S, X, 2)``; only the shape is used.
            n_depth: number of rows Z.

        Returns:
            The two, shape ``(B, 3, Z, X)`` and ``(B, 3, Z / 2, X / 2)``.

        Raises:
            ValueError: if the number of slices is another than the generator was built for.
        """
        if grid.shape[1] != self.n_slices:
            raise ValueError(
                f"generator: built for {self.n_slices} slices, found {grid.shape[1]}; its slices are the "
                "channels of one image"
            )
        photo = photo_plane(fundus, n_depth, grid.shape[2])
        return 2 * photo - 1, 2 * halved(photo) - 1

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
            spacing_z_mm: not used.
            n_depth: number of rows Z of the volume; None takes that of the constructor.
            rng: not used; it draws without noise.

        Returns:
            Volumes in [0, 1], shape ``(B, 1, S, Z, X)``.

        Raises:
            ValueError: if the number of slices is another than the generator was built for.
        """
        photo, small = self.photos(fundus, grid, n_depth or self.n_depth)
        if self.local_joined:
            drawn = self.local(photo, self.coarse.features(small))
        else:
            drawn = F.interpolate(self.coarse(small), photo.shape[-2:], mode="bilinear", align_corners=False)
        return drawn[:, None]


def halved(image: Tensor) -> Tensor:
    """Means of 2 x 2 pixels: ``(B, C, H, W)`` to ``(B, C, H / 2, W / 2)``, rounded up."""
    return F.interpolate(image, [-(-size // 2) for size in image.shape[-2:]], mode="area")


def begin_as_gaussian(network: nn.Module) -> None:
    """Draw the weights of all convolutions from N(0, 0.02), as the paper does."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0, 0.02)
