"""Tissue between the surfaces: how bright each row of the layer frame is, given the photo."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fund2oct.networks.lines import LineEncoder


class TissueNetwork(nn.Module):
    """Draw each A-scan's column of tissue, without noise.

    In the layer frame the surfaces are flat, so that a column is one answer of the features under its
    A-scan: layers, the shadow of a vessel along the whole column, light that atrophy lets through.

    Args:
        map_channels: channels of the photo encoder's maps.
        n_rows: rows of the layer frame.
        n_surfaces: surfaces, whose heights the tissue depends on.
        width: channels of the features of an A-scan.
    """

    def __init__(self, map_channels: Sequence[int], n_rows: int, n_surfaces: int, width: int = 128) -> None:
        super().__init__()
        self.encoder = LineEncoder(map_channels, width, n_layers=2)
        self.heights = nn.Conv2d(2 * n_surfaces, width, 1)
        self.columns = nn.Conv2d(width, n_rows, 1)

    def forward(
        self,
        fundus: Tensor,
        maps: Sequence[Tensor],
        grid: Tensor,
        increments_um: Tensor,
        centre: Tensor | None = None,
    ) -> Tensor:
        """Draw the tissue.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            maps: of the photo, each ``(B, C_l, H_l, W_l)``.
            grid: A-scan positions in grid units, shape ``(B, S, X, 2)``.
            increments_um: of the surfaces, see :mod:`fund2oct.networks.layered.surfaces`, ``(B, n, S, X)``.
            centre: of the scan, see :class:`LineEncoder`.

        Returns:
            Logits of the intensities in the layer frame, shape ``(B, 1, S, n_rows, X)``.
        """
        # A druse of 30 um and a detachment of 300 um are both to be seen in the input.
        heights = torch.cat([increments_um / 100, (increments_um / 30).tanh()], 1)
        features = self.encoder(fundus, maps, grid, centre, beside=self.heights(heights))
        return self.columns(features).transpose(1, 2)[:, None].float()
