"""A generator that draws voxels without knowing surfaces: the baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from fund2oct.networks.blocks import unfold
from fund2oct.networks.encoder import FundusEncoder
from fund2oct.networks.lift import LIFTS, coarsen
from fund2oct.networks.noise import NoiseSource
from fund2oct.networks.voxels.decoder import VolumeDecoder


class VolumeGenerator(nn.Module):
    """Generator that encodes the photo, lifts each level of features onto the scan, and decodes the volume.

    Args:
        n_slices: number of slices S. The repeat and the channel lift work for this number only.
        n_depth: number of rows Z of the volumes that it is trained on.
        channels: numbers of channels of the levels of encoder and decoder, finest first.
        lift: ``"geometry"``, ``"repeat"`` or ``"channels"``; or a class of your own, built for each level as
            ``lift(channels, n_slices, n_depth)`` and called like
            :class:`fund2oct.networks.lift.GeometryLift`.
        mixed_levels: number of decoder levels, counted from the coarsest, that exchange features between the
            slices.
        encoder: a photo encoder of your own, see :class:`~fund2oct.networks.encoder.FundusEncoder`. Level l
            takes its map l. If it has fewer maps than there are levels, as a transformer with a single one,
            the other levels take the last map.
        decoder: a decoder of your own, built as ``decoder(lifted_channels, channels)`` and called like
            :class:`~fund2oct.networks.voxels.decoder.VolumeDecoder`.

    Raises:
        ValueError: if there is no lift of this name.

    Example:
        >>> import torch
        >>> generator = VolumeGenerator(n_slices=6, n_depth=32, channels=(8, 16))
        >>> photo, grid = torch.rand(1, 3, 32, 32), torch.zeros(1, 6, 48, 2)
        >>> generator(photo, grid).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    def __init__(
        self,
        n_slices: int,
        n_depth: int,
        channels: Sequence[int] = (8, 24, 48, 64, 96),
        lift: str | Callable[[int, int, int], nn.Module] = "geometry",
        mixed_levels: int = 2,
        encoder: nn.Module | None = None,
        decoder: Callable[[Sequence[int], Sequence[int]], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(lift, str) and lift not in LIFTS:
            raise ValueError(f"lift: expected one of {sorted(LIFTS)}, found {lift!r}")
        self.n_depth = n_depth
        self.n_levels = len(channels)
        self.encoder = encoder or FundusEncoder(channels)
        widths = tuple[int, ...](self.encoder.channels)  # type: ignore[arg-type]
        self.maps = tuple(min(level, len(widths) - 1) for level in range(self.n_levels))
        lifted = [widths[number] for number in self.maps]
        make = LIFTS[lift] if isinstance(lift, str) else lift
        self.lifts = nn.ModuleList(
            make(width, n_slices, _halved(n_depth, level)) for level, width in enumerate(lifted)
        )
        if decoder is None:
            self.decoder: nn.Module = VolumeDecoder(lifted, channels, mixed_levels)
        else:
            self.decoder = decoder(lifted, channels)

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
            grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
                ``(B, S, X, 2)``.
            spacing_z_mm: not used. Other generators need it.
            n_depth: number of rows Z of the volume; None takes that of the constructor.
            rng: source of the noise; None takes torch's global generator.

        Returns:
            Volumes in [0, 1], shape ``(B, 1, S, Z, X)``.

        Raises:
            ValueError: if the grid does not belong to the photos or the volume is too small.
        """
        n_depth = self.n_depth if n_depth is None else n_depth
        if grid.ndim != 4 or grid.shape[-1] != 2 or len(grid) != len(fundus):
            raise ValueError(f"grid: expected ({len(fundus)}, S, X, 2), found {tuple(grid.shape)}")
        n_slices, n_ascans = grid.shape[1:3]
        smallest = 2 ** (self.n_levels - 1)
        if min(n_depth, n_ascans) < smallest:
            raise ValueError(
                f"volume: {self.n_levels} levels need at least {smallest} samples along Z and X, "
                f"found {n_depth} x {n_ascans}; ask for a larger volume or fewer channels"
            )
        maps = self.encoder(fundus)
        lifted = [
            lift(maps[number], coarsen(grid, _halved(n_ascans, level)), _halved(n_depth, level))
            for level, (lift, number) in enumerate(zip(self.lifts, self.maps, strict=True))
        ]
        return unfold(self.decoder(lifted, n_slices, rng), n_slices)


def _halved(size: int, times: int) -> int:
    """Half the size as often as asked, rounded up."""
    return -(-size // 2**times)
