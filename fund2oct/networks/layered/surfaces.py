r"""Where the retina's surfaces lie, as a distribution given the photo.

A surface is a height above the pose's surface at each A-scan. The network gives increments from the
deepest surface inwards, all but the first of them at least 0, so that the surfaces never cross:

.. math:: h_n = m_n + b_n \cdot z, \qquad h_k = h_{k+1} + \max(m_k + b_k \cdot z, 0)

with the median :math:`m`, one standard normal vector :math:`z` an eye, and loadings :math:`b` that
say together how uncertain each increment is at each A-scan, and what goes with what.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fund2oct.networks.lines import LineEncoder
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina.layers import SURFACES

_UM = 100.0
"""Micrometres of an output of 1, so that weights and heights are of like size."""
_LOADING_UM = 30.0
_USUAL_UM = {"ILM": 265.0, "OS": 0.0, "RPE": 26.0, "BM": 0.0}
"""Where the increments start: near a healthy eye's, or the first hundreds of steps go by finding them."""


@dataclass(frozen=True, eq=False)
class SurfaceDistribution:
    """Surfaces of eyes, given their photos.

    Args:
        increments_um: medians, from the deepest surface inwards: its height above the pose's surface,
            then the distance of each next surface from it, shape ``(B, n, S, X)``.
        loadings_um: how each increment moves with each of the eye's ``k`` random numbers, shape
            ``(B, n, k, S, X)``.
    """

    increments_um: Tensor
    loadings_um: Tensor

    @property
    def median_um(self) -> Tensor:
        """Heights above the pose's surface, vitreous to choroid, shape ``(B, n, S, X)``."""
        return pile_up(self.increments_um)

    @property
    def free_um(self) -> Tensor:
        """As :attr:`median_um`, but not kept from crossing: what a loss sees, for a limit has no slope."""
        return self.increments_um.cumsum(1).flip(1)

    def draw(self, rng: NoiseSource) -> Tensor:
        """Draw the surfaces of each eye from one random vector; as :attr:`median_um`.

        Args:
            rng: source of the noise.
        """
        n_eyes, _, n_numbers = self.loadings_um.shape[:3]
        z = rng.randn((n_eyes, n_numbers), self.loadings_um.device)
        return pile_up(self.increments_um + torch.einsum("bk,bnksx->bnsx", z, self.loadings_um))

    def distance_um(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Median and standard deviation of the distance between two surfaces.

        Args:
            first: number of the surface on the vitreous side, as in :attr:`median_um`.
            last: number of the deeper one, greater than ``first``.

        Returns:
            Both in micrometres, each of shape ``(B, S, X)``.
        """
        n_surfaces = self.increments_um.shape[1]
        if not 0 <= first < last < n_surfaces:
            raise ValueError(f"surfaces: expected 0 <= first < last < {n_surfaces}, found {first} and {last}")
        heights = self.median_um
        between = slice(n_surfaces - last, n_surfaces - first)
        deviation = self.loadings_um[:, between].sum(1).square().sum(1).sqrt()
        return heights[:, first] - heights[:, last], deviation


def pile_up(increments_um: Tensor) -> Tensor:
    """Heights from increments ``(B, n, S, X)``: summed from the deepest inwards, vitreous first."""
    upwards = torch.cat([increments_um[:, :1], increments_um[:, 1:].clamp(min=0)], 1)
    return upwards.cumsum(1).flip(1)


def increments_of(heights_um: Tensor) -> Tensor:
    """Increments from heights ``(B, n, S, X)``, the inverse of :func:`pile_up`; NaN stays NaN."""
    upwards = heights_um.flip(1)
    return torch.cat([upwards[:, :1], upwards.diff(dim=1)], 1)


class SurfaceNetwork(nn.Module):
    """From the photo's maps to the distribution of the surfaces.

    Args:
        map_channels: channels of the photo encoder's maps.
        names: of the surfaces, vitreous to choroid.
        width: channels of the features of an A-scan.
        n_numbers: random numbers of an eye.
    """

    def __init__(
        self,
        map_channels: Sequence[int],
        names: Sequence[str] = SURFACES,
        width: int = 96,
        n_numbers: int = 16,
    ) -> None:
        super().__init__()
        self.n_numbers = n_numbers
        self.encoder = LineEncoder(map_channels, width)
        self.median = nn.Conv2d(width, len(names), 1)
        self.loading = nn.Conv2d(width, len(names) * n_numbers, 1)
        usual = torch.tensor([_USUAL_UM.get(name, 0.0) for name in reversed(names)]) / _UM
        with torch.no_grad():
            self.median.weight.mul_(0.1)
            self.median.bias.copy_(usual)  # type: ignore[union-attr]
            self.loading.weight.mul_(0.3)
            self.loading.bias.mul_(0.1)  # type: ignore[union-attr]

    def forward(
        self, fundus: Tensor, maps: Sequence[Tensor], grid: Tensor, centre: Tensor | None = None
    ) -> SurfaceDistribution:
        """Predict the surfaces; the arguments are those of :class:`~fund2oct.networks.lines.LineEncoder`."""
        features = self.encoder(fundus, maps, grid, centre)
        loadings = self.loading(features).unflatten(1, (-1, self.n_numbers))
        return SurfaceDistribution(_UM * self.median(features).float(), _LOADING_UM * loadings.float())


def thickness_um(found: SurfaceDistribution) -> tuple[Tensor, Tensor]:
    """Thickness of the retina, from inner limiting membrane to pigment epithelium.

    Args:
        found: distribution of :data:`fund2oct.retina.SURFACES`.

    Returns:
        Median and standard deviation in micrometres, each of shape ``(B, S, X)``.
    """
    return found.distance_um(SURFACES.index("ILM"), SURFACES.index("RPE"))


def thickness_interval_um(found: SurfaceDistribution, share: float = 0.8) -> Tensor:
    """Interval of the :func:`thickness_um` at each A-scan.

    Args:
        found: distribution of :data:`fund2oct.retina.SURFACES`.
        share: share of the eyes that are expected within it.

    Returns:
        Lower and upper end in micrometres, shape ``(B, 2, S, X)``.
    """
    median, deviation = thickness_um(found)
    reach = normal_quantile(0.5 + share / 2) * deviation
    return torch.stack([(median - reach).clamp(min=0), median + reach], 1)


def normal_quantile(share: float) -> float:
    """The standard normal distribution's quantile, as 1.2816 of 0.9."""
    return math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * share - 1, dtype=torch.float64)))
