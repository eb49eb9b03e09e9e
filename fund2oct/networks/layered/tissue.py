"""Tissue between the surfaces: brightness of each row of the layer frame, and pockets of fluid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.known import Known
from fund2oct.networks.lines import LineEncoder, place_features
from fund2oct.precision import no_autocast

_FLUID_LOGIT, _RARE_LOGIT = -2.5, -4.0
N_LAYERS = 2
"""Convolutions along the slice that the features of an A-scan go through."""
_CRISP = 4.0
"""Factor of the logits of fluid that makes the drawn edge of a pocket sharper."""


class Tissue(NamedTuple):
    """Tissue in the layer frame, without noise.

    Args:
        columns: logits of the intensities where there is no fluid, shape ``(B, 1, S, n_rows, X)``.
        pockets: logits of the probability that a voxel of the inner band is fluid, shape
            ``(B, 1, S, rows of the band, X)``.
        fluid: logit of the intensity of fluid, a scalar.

    Example:
        >>> columns = torch.zeros(1, 1, 1, 4, 1)  # grey tissue in four rows of one A-scan
        >>> pockets = torch.tensor([-9.0, 9.0]).view(1, 1, 1, 2, 1)  # the band's second row is fluid
        >>> Tissue(columns, pockets, fluid=torch.tensor(-2.5)).drawn(top=1).sigmoid().flatten()
        tensor([0.5000, 0.5000, 0.0759, 0.5000])
    """

    columns: Tensor
    pockets: Tensor
    fluid: Tensor

    def drawn(self, top: int, pockets: Tensor | None = None) -> Tensor:
        """Draw the pockets of fluid into the columns.

        Args:
            top: first row of the inner band.
            pockets: share of each voxel that is fluid, in [0, 1], same shape as the attribute ``pockets``.
                None draws fluid where its predicted probability is above one half.

        Returns:
            Logits of the intensities, shape ``(B, 1, S, n_rows, X)``.
        """
        # A probability drawn as a brightness would be grey where it is uncertain.
        share = (_CRISP * self.pockets.detach()).sigmoid() if pockets is None else pockets
        below = self.columns.shape[3] - top - share.shape[3]
        share = F.pad(share, (0, 0, top, below))
        return self.columns + share * (self.fluid - self.columns)


class TissueDecoder(nn.Module):
    """Draw the tissue under each A-scan from its features, without noise.

    In the layer frame the surfaces are flat. So the whole column of an A-scan is one linear function of its
    features: the layers, the shadow of a vessel, the light that atrophy lets through, and the pockets of
    fluid.

    Args:
        encoder: the module that makes the features. It is called by subclasses and by users of this class.
        n_rows: number of rows of the layer frame.
        n_inner: number of rows of its inner band, which can hold pockets of fluid.
        n_surfaces: number of surfaces. Their heights are an input, for the tissue depends on them.
        width: number of channels of the features of an A-scan.

    Example:
        >>> decoder = TissueDecoder(nn.Identity(), n_rows=84, n_inner=28, n_surfaces=4, width=16)
        >>> tissue = decoder.draw(torch.rand(1, 16, 6, 40))
        >>> tissue.columns.shape, tissue.pockets.shape
        (torch.Size([1, 1, 6, 84, 40]), torch.Size([1, 1, 6, 28, 40]))
    """

    depth_axes: ClassVar[dict[str, int]] = dict.fromkeys(
        ("columns.weight", "columns.bias", "pockets.weight", "pockets.bias"), 0
    )

    def __init__(self, encoder: nn.Module, n_rows: int, n_inner: int, n_surfaces: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heights = nn.Conv2d(2 * n_surfaces, width, 1)
        self.columns = nn.Conv2d(width, n_rows, 1)
        self.pockets = nn.Conv2d(width, n_inner, 1)
        self.fluid = nn.Parameter(torch.tensor(_FLUID_LOGIT))
        with torch.no_grad():
            self.pockets.weight.mul_(0.1)
            self.pockets.bias.fill_(_RARE_LOGIT)  # type: ignore[union-attr]

    def told(self, increments_um: Tensor) -> Tensor:
        """Features ``(B, width, S, X)`` of the surfaces' increments ``(B, n, S, X)``."""
        # A druse of 30 um and a detachment of 300 um are both to be seen in the input.
        return self.heights(torch.cat([increments_um / 100, (increments_um / 30).tanh()], 1))

    def draw(self, features: Tensor) -> Tissue:
        """Draw the tissue from features ``(B, width, S, X)``."""
        with no_autocast(features.device):
            columns, pockets = (
                head(features.float()).transpose(1, 2)[:, None] for head in (self.columns, self.pockets)
            )
        return Tissue(columns, pockets, self.fluid)


class TissueNetwork(TissueDecoder):
    """Draw the tissue under each A-scan from the photo, see :class:`TissueDecoder`.

    Args:
        map_channels: number of channels of each of the photo encoder's maps.
        n_rows: number of rows of the layer frame.
        n_inner: number of rows of its inner band, which can hold pockets of fluid.
        n_surfaces: number of surfaces. Their heights are an input, for the tissue depends on them.
        width: number of channels of the features of an A-scan.
        n_known: numbers of scalars and of masks that it may be told, see
            :class:`~fund2oct.networks.lines.LineEncoder`.

    Example:
        >>> network = TissueNetwork(map_channels=(8,), n_rows=84, n_inner=28, n_surfaces=4)
        >>> photo, grid = torch.rand(1, 3, 32, 32), torch.zeros(1, 6, 40, 2)
        >>> tissue = network(photo, [torch.rand(1, 8, 16, 16)], grid, torch.zeros(1, 4, 6, 40))
        >>> tissue.columns.shape, tissue.pockets.shape
        (torch.Size([1, 1, 6, 84, 40]), torch.Size([1, 1, 6, 28, 40]))
    """

    def __init__(
        self,
        map_channels: Sequence[int],
        n_rows: int,
        n_inner: int,
        n_surfaces: int,
        width: int = 128,
        n_known: tuple[int, int] = (0, 0),
    ) -> None:
        reader = LineEncoder(map_channels, width, n_layers=N_LAYERS, n_known=n_known)
        super().__init__(reader, n_rows, n_inner, n_surfaces, width)

    def features(
        self,
        fundus: Tensor,
        maps: Sequence[Tensor],
        grid: Tensor,
        increments_um: Tensor,
        whole: Tensor | None = None,
        known: Known | None = None,
        beside: Tensor | None = None,
    ) -> Tensor:
        """Features of the A-scans, ``(B, width, S, X)``; ``beside`` are others that are added before.

        The other arguments are those of :meth:`forward`.
        """
        told = self.told(increments_um)
        where = place_features(grid, None if whole is None else whole.mean((1, 2)))
        features: Tensor = self.encoder(
            fundus, maps, grid, where, told if beside is None else told + beside, known, whole
        )
        return features

    def forward(
        self,
        fundus: Tensor,
        maps: Sequence[Tensor],
        grid: Tensor,
        increments_um: Tensor,
        whole: Tensor | None = None,
        known: Known | None = None,
    ) -> Tissue:
        """Draw the tissue.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            maps: the encoder's maps of the photos, each of shape ``(B, C_l, H_l, W_l)``.
            grid: positions of the A-scans, see :class:`~fund2oct.networks.lines.LineEncoder`, shape
                ``(B, S, X, 2)``.
            increments_um: surfaces in micrometres, see
                :class:`~fund2oct.networks.layered.surfaces.SurfaceDistribution`, shape ``(B, n, S, X)``.
            whole: positions of all A-scans of the scan, where ``grid`` holds others, see
                :class:`~fund2oct.networks.lines.LineEncoder`; their mean is the scan's centre. Shape
                ``(B, S', X', 2)``.
            known: what is known of the eyes beside their photos.

        Returns:
            The tissue.
        """
        return self.draw(self.features(fundus, maps, grid, increments_um, whole, known))
