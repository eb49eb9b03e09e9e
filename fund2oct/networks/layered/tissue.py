"""Tissue between the surfaces: how bright each row of the layer frame is, and where it is fluid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.lines import LineEncoder

_FLUID_LOGIT, _RARE_LOGIT = -2.5, -4.0
_CRISP = 4.0
"""How much steeper than its probability a pocket's edge is drawn."""


class Tissue(NamedTuple):
    """Tissue in the layer frame, without noise.

    Args:
        columns: logits of the intensities where there is no fluid, ``(B, 1, S, n_rows, X)``.
        pockets: logits of the probability that a voxel of the inner band is fluid,
            ``(B, 1, S, rows of the band, X)``.
        fluid: logit of the intensity of fluid, a scalar.
    """

    columns: Tensor
    pockets: Tensor
    fluid: Tensor

    def drawn(self, top: int, pockets: Tensor | None = None) -> Tensor:
        """Lay the pockets into the columns.

        Args:
            top: first row of the inner band.
            pockets: share of each voxel that is fluid, where it is known, shaped as ``pockets``; else a
                voxel is fluid where that is likelier than not.

        Returns:
            Logits of the intensities, ``(B, 1, S, n_rows, X)``.
        """
        # Where fluid begins is a number, not a brightness: a mean over what it may be would be grey.
        share = (_CRISP * self.pockets.detach()).sigmoid() if pockets is None else pockets
        below = self.columns.shape[3] - top - share.shape[3]
        share = F.pad(share, (0, 0, top, below))
        return self.columns + share * (self.fluid - self.columns)


class TissueNetwork(nn.Module):
    """Draw each A-scan's column of tissue, without noise.

    In the layer frame the surfaces are flat, so that a column is one answer of the features under its
    A-scan: layers, the shadow of a vessel along the whole column, light that atrophy lets through, and
    the pockets of fluid in it.

    Args:
        map_channels: channels of the photo encoder's maps.
        n_rows: rows of the layer frame.
        n_inner: rows of its inner band, in which there may be pockets of fluid.
        n_surfaces: surfaces, whose heights the tissue depends on.
        width: channels of the features of an A-scan.
    """

    depth_axes: ClassVar[dict[str, int]] = dict.fromkeys(
        ("columns.weight", "columns.bias", "pockets.weight", "pockets.bias"), 0
    )

    def __init__(
        self, map_channels: Sequence[int], n_rows: int, n_inner: int, n_surfaces: int, width: int = 128
    ) -> None:
        super().__init__()
        self.encoder = LineEncoder(map_channels, width, n_layers=2)
        self.heights = nn.Conv2d(2 * n_surfaces, width, 1)
        self.columns = nn.Conv2d(width, n_rows, 1)
        self.pockets = nn.Conv2d(width, n_inner, 1)
        self.fluid = nn.Parameter(torch.tensor(_FLUID_LOGIT))
        with torch.no_grad():
            self.pockets.weight.mul_(0.1)
            self.pockets.bias.fill_(_RARE_LOGIT)  # type: ignore[union-attr]

    def forward(
        self,
        fundus: Tensor,
        maps: Sequence[Tensor],
        grid: Tensor,
        increments_um: Tensor,
        centre: Tensor | None = None,
    ) -> Tissue:
        """Draw the tissue.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            maps: of the photo, each ``(B, C_l, H_l, W_l)``.
            grid: A-scan positions in grid units, shape ``(B, S, X, 2)``.
            increments_um: of the surfaces, see :mod:`fund2oct.networks.layered.surfaces`, ``(B, n, S, X)``.
            centre: of the scan, see :class:`~fund2oct.networks.lines.LineEncoder`.
        """
        # A druse of 30 um and a detachment of 300 um are both to be seen in the input.
        heights = torch.cat([increments_um / 100, (increments_um / 30).tanh()], 1)
        features = self.encoder(fundus, maps, grid, centre, beside=self.heights(heights))
        columns, pockets = (
            head(features).transpose(1, 2)[:, None].float() for head in (self.columns, self.pockets)
        )
        return Tissue(columns, pockets, self.fluid)
