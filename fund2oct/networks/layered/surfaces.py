r"""Distribution of the heights of the retina's surfaces, given the photo.

A surface is a height above the pose's surface at each A-scan. The network predicts the height of the deepest
surface, and the distance from each surface to the next one inwards. A distance is at least 0, so that the
surfaces never cross:

.. math:: h_n = m_n + b_n \cdot z, \qquad h_k = h_{k+1} + \max(m_k + b_k \cdot z, 0)

with the median :math:`m`, one standard normal vector :math:`z` for each eye, and the loadings :math:`b`. The
loadings tell how uncertain each increment is at each A-scan, and which of them vary together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor, nn

from fund2oct.networks.known import Known
from fund2oct.networks.lines import N_PLACE, LineEncoder, place_features
from fund2oct.networks.noise import NoiseSource
from fund2oct.precision import no_autocast
from fund2oct.retina.layers import EPITHELIUM_UM, SURFACES

_UM = 100.0
"""Micrometres for an output of 1, so that outputs are about as large as weights."""
_LOADING_UM = 30.0
_SHARED_WIDTH = 64
_USUAL_UM = {"ILM": 265.0, "OS": 0.0, "RPE": EPITHELIUM_UM, "BM": 0.0}
"""Increments of a healthy eye, from which the training starts; from 0 it takes hundreds of steps more."""


@dataclass(frozen=True, eq=False)
class SurfaceDistribution:
    """Distribution of the surfaces of eyes, given their photos.

    Args:
        increments_um: medians in micrometres, shape ``(B, n, S, X)``: first the height of the deepest surface
            above the pose's surface, then the distance from each surface to the next one inwards.
        loadings_um: change of each increment with each of the eye's ``k`` standard normal numbers, in
            micrometres, shape ``(B, n, k, S, X)``.

    Example:
        >>> increments_um = torch.tensor([0.0, 26.0, 280.0]).view(1, 3, 1, 1)  # three surfaces at one A-scan
        >>> loadings_um = torch.tensor([5.0, 2.0, 20.0]).view(1, 3, 1, 1, 1)
        >>> found = SurfaceDistribution(increments_um, loadings_um)
        >>> found.median_um.flatten()  # from vitreous to choroid
        tensor([306.,  26.,   0.])
        >>> found.distance_um(0, 1)  # median and standard deviation of the thickness
        (tensor([[[280.]]]), tensor([[[20.]]]))
    """

    increments_um: Tensor
    loadings_um: Tensor

    @property
    def median_um(self) -> Tensor:
        """Median heights above the pose's surface in micrometres, vitreous to choroid, ``(B, n, S, X)``."""
        return pile_up(self.increments_um)

    @property
    def free_um(self) -> Tensor:
        """Like :attr:`median_um`, but the surfaces can cross; for losses, as the limit has no gradient."""
        return self.increments_um.cumsum(1).flip(1)

    def draw(self, rng: NoiseSource) -> Tensor:
        """Draw the surfaces of each eye, all from one random vector.

        Args:
            rng: source of the noise.

        Returns:
            Heights in micrometres, in the form of :attr:`median_um`.
        """
        n_eyes, _, n_numbers = self.loadings_um.shape[:3]
        z = rng.randn((n_eyes, n_numbers), self.loadings_um.device)
        with no_autocast(z.device):
            off = torch.einsum("bk,bnksx->bnsx", z, self.loadings_um)
        return pile_up(self.increments_um + off)

    @property
    def deviation_um(self) -> Tensor:
        """Standard deviations of the heights in micrometres, where no surfaces touch, ``(B, n, S, X)``."""
        return self.loadings_um.cumsum(1).flip(1).square().sum(2).sqrt()

    def distance_um(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Median and standard deviation of the distance between two surfaces.

        Args:
            first: index, in :attr:`median_um`, of the surface on the vitreous side.
            last: index of the deeper surface, greater than ``first``.

        Returns:
            Both in micrometres, each of shape ``(B, S, X)``.

        Raises:
            ValueError: if there are no such surfaces.
        """
        n_surfaces = self.increments_um.shape[1]
        if not 0 <= first < last < n_surfaces:
            raise ValueError(f"surfaces: expected 0 <= first < last < {n_surfaces}, found {first} and {last}")
        heights = self.median_um
        between = slice(n_surfaces - last, n_surfaces - first)
        deviation = self.loadings_um[:, between].sum(1).square().sum(1).sqrt()
        return heights[:, first] - heights[:, last], deviation


def pile_up(increments_um: Tensor) -> Tensor:
    """Heights from increments ``(B, n, S, X)``: their sums from the deepest surface on, vitreous first."""
    upwards = torch.cat([increments_um[:, :1], increments_um[:, 1:].clamp(min=0)], 1)
    return upwards.cumsum(1).flip(1)


def increments_of(heights_um: Tensor) -> Tensor:
    """Increments from heights ``(B, n, S, X)``, the inverse of :func:`pile_up`; NaN stays NaN."""
    upwards = heights_um.flip(1)
    return torch.cat([upwards[:, :1], upwards.diff(dim=1)], 1)


def usual_heights_um(device: torch.device | str = "cpu") -> Tensor:
    """Heights of a healthy eye's surfaces, for where none was found, shape ``(1, n, 1, 1)``.

    Example:
        >>> usual_heights_um().flatten()
        tensor([291.,  26.,  26.,   0.])
    """
    return pile_up(_usual_increments(SURFACES).to(device).view(1, -1, 1, 1))


def _usual_increments(names: Sequence[str]) -> Tensor:
    return torch.tensor([_USUAL_UM.get(name, 0.0) for name in reversed(names)])


class SurfaceNetwork(nn.Module):
    """Predict the distribution of the surfaces from the maps of a photo encoder.

    Args:
        map_channels: number of channels of each of the encoder's maps.
        names: names of the surfaces, from vitreous to choroid.
        width: number of channels of the features of an A-scan.
        n_numbers: number of random numbers from which the surfaces of an eye are drawn.
        n_known: numbers of scalars and of masks that it may be told, see
            :class:`~fund2oct.networks.lines.LineEncoder`.
        position: places that an attention across the scan is told, likewise; None has no attention.

    Example:
        >>> network = SurfaceNetwork(map_channels=(8,))
        >>> photo, grid = torch.rand(1, 3, 32, 32), torch.zeros(1, 6, 40, 2)
        >>> found = network(photo, [torch.rand(1, 8, 16, 16)], grid)
        >>> found.median_um.shape, thickness_um(found)[0].shape
        (torch.Size([1, 4, 6, 40]), torch.Size([1, 6, 40]))
    """

    def __init__(
        self,
        map_channels: Sequence[int],
        names: Sequence[str] = SURFACES,
        width: int = 96,
        n_numbers: int = 16,
        n_known: tuple[int, int] = (0, 0),
        position: str | None = None,
    ) -> None:
        super().__init__()
        self.n_numbers = n_numbers
        self.encoder = LineEncoder(map_channels, width, n_known=n_known, position=position)
        self.median = nn.Conv2d(width, len(names), 1)
        self.loading = nn.Conv2d(width, len(names) * n_numbers, 1)
        # The shape that all eyes share, the pit above all: it need not be told apart from photos.
        self.shared = nn.Sequential(
            nn.Conv2d(N_PLACE, _SHARED_WIDTH, 1), nn.SiLU(), nn.Conv2d(_SHARED_WIDTH, len(names), 1)
        )
        usual = _usual_increments(names) / _UM
        with torch.no_grad():
            self.median.weight.mul_(0.1)
            self.median.bias.copy_(usual)  # type: ignore[union-attr]
            self.shared[-1].weight.mul_(0.1)  # type: ignore[operator]
            self.shared[-1].bias.zero_()  # type: ignore[operator]
            self.loading.weight.mul_(0.3)
            self.loading.bias.mul_(0.1)  # type: ignore[union-attr]

    def forward(
        self,
        fundus: Tensor,
        maps: Sequence[Tensor],
        grid: Tensor,
        whole: Tensor | None = None,
        known: Known | None = None,
    ) -> SurfaceDistribution:
        """Predict the surfaces.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            maps: the encoder's maps of the photos, each of shape ``(B, C_l, H_l, W_l)``.
            grid: positions of the A-scans, see :class:`~fund2oct.networks.lines.LineEncoder`, shape
                ``(B, S, X, 2)``.
            whole: positions of all A-scans of the scan, where ``grid`` holds others, see
                :class:`~fund2oct.networks.lines.LineEncoder`; their mean is the scan's centre. Shape
                ``(B, S', X', 2)``.
            known: what is known of the eyes beside their photos.

        Returns:
            The distribution.
        """
        where = place_features(grid, None if whole is None else whole.mean((1, 2)))
        features = self.encoder(fundus, maps, grid, where, known=known, whole=whole)
        with no_autocast(features.device):  # in bfloat16 a height of 300 um has steps of 2 um
            features, where = features.float(), where.float()
            loadings = self.loading(features).unflatten(1, (-1, self.n_numbers))
            median = self.median(features) + self.shared(where)
        return SurfaceDistribution(_UM * median, _LOADING_UM * loadings)


def thickness_um(found: SurfaceDistribution) -> tuple[Tensor, Tensor]:
    """Thickness of the retina, from inner limiting membrane to pigment epithelium.

    Args:
        found: distribution of :data:`fund2oct.retina.SURFACES`.

    Returns:
        Median and standard deviation in micrometres, each of shape ``(B, S, X)``.

    Example:
        >>> increments_um = torch.tensor([0.0, 26.0, 10.0, 270.0]).view(1, 4, 1, 1)
        >>> found = SurfaceDistribution(increments_um, torch.full((1, 4, 1, 1, 1), 10.0))
        >>> thickness_um(found)
        (tensor([[[280.]]]), tensor([[[20.]]]))
    """
    return found.distance_um(SURFACES.index("ILM"), SURFACES.index("RPE"))


def thickness_interval_um(found: SurfaceDistribution, share: float = 0.8) -> Tensor:
    """Interval that holds the thickness of the retina with a given probability, at each A-scan.

    Args:
        found: distribution of :data:`fund2oct.retina.SURFACES`.
        share: the probability, in (0, 1).

    Returns:
        Lower and upper end in micrometres, shape ``(B, 2, S, X)``.

    Example:
        >>> increments_um = torch.tensor([0.0, 26.0, 10.0, 270.0]).view(1, 4, 1, 1)
        >>> found = SurfaceDistribution(increments_um, torch.full((1, 4, 1, 1, 1), 10.0))
        >>> thickness_interval_um(found, share=0.9).flatten().round()
        tensor([247., 313.])
    """
    median, deviation = thickness_um(found)
    reach = NormalDist().inv_cdf(0.5 + share / 2) * deviation
    return torch.stack([(median - reach).clamp(min=0), median + reach], 1)


def surface_intervals_um(found: SurfaceDistribution, share: float = 0.8) -> Tensor:
    """Interval that holds the height of each surface with a given probability, at each A-scan.

    Args:
        found: distribution of the surfaces.
        share: the probability, in (0, 1).

    Returns:
        Lower and upper end in micrometres above the pose's surface, shape ``(B, n, 2, S, X)``.

    Example:
        >>> increments_um = torch.tensor([0.0, 280.0]).view(1, 2, 1, 1)
        >>> found = SurfaceDistribution(increments_um, torch.tensor([6.0, 8.0]).view(1, 2, 1, 1, 1))
        >>> surface_intervals_um(found, share=0.9).flatten(1).round()  # of the inner surface, then the outer
        tensor([[257., 303., -10.,  10.]])
    """
    reach = NormalDist().inv_cdf(0.5 + share / 2) * found.deviation_um
    return torch.stack([found.median_um - reach, found.median_um + reach], 2)
