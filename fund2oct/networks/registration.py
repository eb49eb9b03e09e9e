"""Where a scan lies on a photo, corrected by what the photo shows there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.geometry import Placement
from fund2oct.networks.lift import coarsen, sample_lines
from fund2oct.precision import full_precision

_WIDTH = 64
_ALONG = 16
"""A-scans of a slice that vote; more of them say the same."""
_STEP = 0.1
"""Grid units for a vote of 1, so that votes are about as large as weights."""
_LEAST_SPREAD = 1e-3


class Similarity(NamedTuple):
    """A turn and scale around a centre, and a shift, of positions on the photos of a batch.

    Args:
        centre: what is turned around, in grid units, shape ``(B, 2)``.
        shift: where the centre moves, in grid units, shape ``(B, 2)``.
        turn: scale times cosine and sine of the angle, clockwise as displayed, shape ``(B, 2)``.

    Example:
        >>> quarter = Similarity(torch.zeros(1, 2), torch.tensor([[0.5, 0.0]]), torch.tensor([[0.0, 1.0]]))
        >>> quarter.moved(torch.tensor([0.2, 0.0]).view(1, 1, 1, 2)).flatten()  # turned down, then shifted
        tensor([0.5000, 0.2000])
    """

    centre: Tensor
    shift: Tensor
    turn: Tensor

    def moved(self, grid: Tensor) -> Tensor:
        """Positions ``(B, S, X, 2)`` after turn, scale and shift."""
        x, y = (grid - self.centre[:, None, None]).unbind(-1)
        cos, sin = (part[:, None, None] for part in self.turn.unbind(-1))
        turned = torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
        return turned + (self.centre + self.shift)[:, None, None]

    def moved_placement(self, placement: Placement) -> Placement:
        """The placement of the scan of one photo after turn, scale and shift.

        Args:
            placement: where the scan was said to lie.

        Returns:
            Where it lies.

        Example:
            >>> found = Similarity(torch.zeros(1, 2), torch.tensor([[0.1, 0.0]]), torch.tensor([[0.0, 2.0]]))
            >>> found.moved_placement(Placement((0.5, 0.0)))  # turned to the right, and twice as large
            Placement(shift=(0.1, 1.0), rotation_deg=90.0, half_width_mm=3.25)
        """
        cos, sin = self.turn[0].double().tolist()
        x, y = self.moved(self.centre.new_tensor(placement.shift).view(1, 1, 1, 2)).flatten().tolist()
        turned = placement.rotation_deg + math.degrees(math.atan2(sin, cos))
        return Placement((round(x, 6), round(y, 6)), turned, placement.half_width_mm / math.hypot(cos, sin))

    @classmethod
    @full_precision
    def fitted(cls, grid: Tensor, moves: Tensor, weights: Tensor) -> Similarity:
        r"""The similarity that fits displacements best, by weighted least squares.

        With positions :math:`p_i` and displacements :math:`u_i` as complex numbers, and their weighted means
        subtracted, the turn and scale are :math:`1 + \sum w_i \bar p_i u_i / \sum w_i |p_i|^2`.

        Args:
            grid: positions, in grid units, shape ``(B, N, 2)``.
            moves: how far each is to move, same shape.
            weights: weight of each, positive, of sum 1 for each eye, shape ``(B, N)``.

        Returns:
            The similarity around the weighted mean of the positions.
        """
        weights = weights[..., None]
        centre, shift = (weights * grid).sum(1), (weights * moves).sum(1)
        x, y = (grid - centre[:, None]).unbind(-1)
        u, v = (moves - shift[:, None]).unbind(-1)
        spread = (weights[..., 0] * (x * x + y * y)).sum(1) + _LEAST_SPREAD
        along = (weights[..., 0] * (x * u + y * v)).sum(1) / spread
        across = (weights[..., 0] * (x * v - y * u)).sum(1) / spread
        return cls(centre, shift, torch.stack([1 + along, across], -1))


def registered(
    network: RegistrationNetwork | None, maps: Sequence[Tensor], grid: Tensor, whole: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Positions of A-scans, and of all A-scans of their scan, after their correction.

    Args:
        network: finds the correction; None, or one that is not active, leaves the positions as they are.
        maps: the encoder's maps of the photos, each of shape ``(B, C_l, H_l, W_l)``.
        grid: positions of the A-scans in grid units, shape ``(B, S, X, 2)``.
        whole: positions of all A-scans of the scan, by which it is registered, where ``grid`` holds others;
            shape ``(B, S', X', 2)``.

    Returns:
        Positions, shape ``(B, S, X, 2)``, and those of all, shape ``(B, S', X', 2)``; None where ``whole``
        is None and they are the same.

    Example:
        >>> grid = 0.5 * torch.rand(2, 6, 40, 2)
        >>> some, whole = registered(None, [], grid[:, :2], whole=grid)  # without a correction
        >>> some.shape, whole.equal(grid)
        (torch.Size([2, 2, 40, 2]), True)
    """
    if network is None or not network.active:
        return grid, whole
    correction: Similarity = network(maps, grid if whole is None else whole)
    return correction.moved(grid), None if whole is None else correction.moved(whole)


@contextmanager
def at_given_places(model: object) -> Iterator[None]:
    """Have a model take the places of scans as they are given, for those that it corrected already.

    Args:
        model: any model; nothing happens to one that does not register scans.

    Returns:
        A context manager; the model corrects places again when its block ends.

    Example:
        >>> network = RegistrationNetwork(map_channels=(8,))
        >>> with at_given_places(network):
        ...     network.active
        False
    """
    modules = model.modules() if isinstance(model, nn.Module) else []
    networks = [one for one in modules if isinstance(one, RegistrationNetwork) and one.active]
    for network in networks:
        network.active = False
    try:
        yield
    finally:
        for network in networks:
            network.active = True


class RegistrationNetwork(nn.Module):
    """Correct where a scan lies on a photo: shift, turn and scale.

    Each A-scan says, by the photo's features under it, how far it should move on the photo, and how sure that
    is. The similarity that fits all of them best moves the scan. It is learned with the rest of a model, from
    the loss of what the model predicts at the corrected positions. It begins with no move, and takes no
    random number from others: a network with and without begins with the same weights.

    Args:
        map_channels: number of channels of each of the photo encoder's maps.

    References:
        Jaderberg et al., Spatial transformer networks, NeurIPS 2015, arXiv:1506.02025, section 3.

    Example:
        >>> network = RegistrationNetwork(map_channels=(16, 24))
        >>> maps = [torch.rand(2, 16, 16, 16), torch.rand(2, 24, 8, 8)]
        >>> grid = 0.5 * torch.rand(2, 6, 40, 2)
        >>> bool(network(maps, grid).moved(grid).allclose(grid))  # before it is trained
        True
    """

    active = True
    """Whether scans are corrected, see :func:`at_given_places`."""

    def __init__(self, map_channels: Sequence[int]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.projections = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for channels in map_channels)
            self.position = nn.Conv2d(4, _WIDTH, 1)
            self.own, self.others = nn.Conv2d(_WIDTH, _WIDTH, 1), nn.Conv2d(_WIDTH, _WIDTH, 1)
            self.vote = nn.Conv2d(_WIDTH, 3, 1)
        nn.init.zeros_(self.vote.weight)
        nn.init.zeros_(self.vote.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor], grid: Tensor) -> Similarity:
        """Find the correction.

        Args:
            maps: the encoder's maps of the photos, each of shape ``(B, C_l, H_l, W_l)``.
            grid: positions of all A-scans of the scan as given, -1 to 1 from one edge of the photo to the
                other, as (x, y), shape ``(B, S, X, 2)``.

        Returns:
            The similarity that moves them to where the scan lies.
        """
        grid = coarsen(grid, min(_ALONG, grid.shape[2]))
        offset = grid - grid.mean((1, 2), keepdim=True)
        where = torch.cat([grid, offset], -1).permute(0, 3, 1, 2)
        read = [sample_lines(each, grid) for each in maps]
        scales = [project(each) for project, each in zip(self.projections, read, strict=True)]
        x = F.silu(torch.stack(scales).mean(0) + self.position(where))
        x = F.silu(self.own(x) + self.others(x.mean((2, 3), keepdim=True)))
        votes = self.vote(x).float().flatten(2)
        moves, weights = _STEP * votes[:, :2].transpose(1, 2), votes[:, 2].softmax(1)
        return Similarity.fitted(grid.flatten(1, 2), moves, weights)
