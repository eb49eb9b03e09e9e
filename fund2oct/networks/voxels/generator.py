"""The generator: a photo and a scan's geometry to a volume in the aligned frame."""

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
    """Encode the photo, lift each level of its pyramid onto the scan, decode the volume.

    Args:
        n_slices: slices the repeat and channel lifts are built for; the geometry lift takes any.
        n_depth: axial samples that the axial profiles are learned at.
        channels: widths of the levels of encoder and decoder, finest first.
        lift: ``"geometry"``, ``"repeat"`` or ``"channels"``; or a class of your own, made for
            each level as ``lift(channels, n_slices, n_depth)`` and called as
            :class:`fund2oct.networks.lift.GeometryLift`.
        mixed_levels: how many of the coarsest decoder levels look across slices.
        encoder: another photo encoder, see :class:`~fund2oct.networks.encoder.FundusEncoder`. The levels
            take its maps in their order; where there are fewer, as of a transformer
            with one, the others take the last.
        decoder: another decoder, made as ``decoder(lifted_channels, channels)`` and called as
            :class:`~fund2oct.networks.voxels.decoder.VolumeDecoder`.
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
            grid: A-scan positions in the photo's grid units, shape ``(B, S, X, 2)``.
            spacing_z_mm: not looked at: this generator draws voxels, whatever their size.
            n_depth: axial samples of the volume; the network's own when absent.
            rng: source of the noise; torch's own when absent, which cannot be repeated.

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
