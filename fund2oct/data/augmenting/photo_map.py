"""Exact augmentation by any map of the photo: the A-scans' places move with it, the volume stays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.data.augmenting.symmetry import move_sample
from fund2oct.geometry import Symmetry
from fund2oct.geometry.symmetry import put_beside

_TURN_DEG = 30.0
_SHIFT = 0.06
_ZOOM = 1.1
_BEND = 0.04
_N_WAVES = 2
_ITERATIONS = 12

Wave = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class PhotoMap:
    r"""A turn, zoom, shift and mild bend of a photo, in its grid units.

    It is defined by where each place :math:`q` of the moved photo lay before,

    .. math:: p(q) = \frac{1}{z} R(-\varphi) (q - t) + \sum_i a_i \sin(k_i \cdot q + \phi_i)

    so that the photo is sampled once. Places are moved by the inverse, which is found by iteration to
    far less than a pixel: a wave bends by at most 4% of half the photo's width, over no less than its
    whole width, so that the map folds nowhere and each step has a seventh of the error of the one before.

    Args:
        turn_deg: turn in degrees, clockwise as displayed.
        zoom: above 1 enlarges what the photo shows.
        shift: where the centre of the photo moves to, in grid units ``(x, y)``.
        waves: the bend, a sum of waves, each ``(k_x, k_y, phase, a_x, a_y)``: wave vector
            :math:`k_i`, phase :math:`\phi_i` in radians and amplitude :math:`a_i` in grid units.

    Example:
        >>> photo_map = PhotoMap(turn_deg=90.0)
        >>> fundus = torch.rand(1, 3, 8, 8)
        >>> bool(torch.allclose(photo_map.apply_to_fundus(fundus), fundus.rot90(-1, (2, 3)), atol=1e-5))
        True
        >>> photo_map.place(torch.tensor([1.0, 0.0])).round().tolist()  # from the right edge to the lower one
        [0.0, 1.0]
    """

    turn_deg: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    waves: tuple[Wave, ...] = ()

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float) -> PhotoMap:
        """Draw a map: at full strength up to 30 degrees, 10% of zoom, 6% of shift and 4% of bend.

        Args:
            rng: random numbers.
            strength: in [0, 1]; at 0 nothing moves.
        """
        turn, zoom, *shift = strength * rng.uniform(-1, 1, 4)
        share = rng.dirichlet(np.ones(_N_WAVES)) * rng.uniform()
        waves = [
            (
                *_vector(rng, rng.uniform(math.pi / 2, math.pi)),
                rng.uniform(0, 2 * math.pi),
                *_vector(rng, size),
            )
            for size in strength * _BEND * share
        ]
        return cls(
            _TURN_DEG * float(turn),
            float(_ZOOM**zoom),
            (_SHIFT * float(shift[0]), _SHIFT * float(shift[1])),
            tuple(tuple(map(float, wave)) for wave in waves),  # type: ignore[misc]
        )

    def source(self, places: Tensor) -> Tensor:
        """Where places ``(..., 2)`` of the moved photo lay before, in grid units."""
        turn = math.radians(self.turn_deg)
        cos, sin = math.cos(turn) / self.zoom, math.sin(turn) / self.zoom
        x, y = (places - put_beside(places, self.shift)).unbind(-1)
        return torch.stack([cos * x + sin * y, cos * y - sin * x], -1) + self._bend(places)

    def place(self, points: Tensor) -> Tensor:
        """Where points ``(..., 2)`` of the photo come to lie: the inverse of :meth:`source`."""
        turn = math.radians(self.turn_deg)
        cos, sin = math.cos(turn) * self.zoom, math.sin(turn) * self.zoom
        exact = points.double()
        places = exact
        for _ in range(_ITERATIONS):
            x, y = (exact - self._bend(places)).unbind(-1)
            places = torch.stack([cos * x - sin * y, cos * y + sin * x], -1)
            places = places + put_beside(places, self.shift)
        return places.to(points)

    def apply_to_fundus(self, fundus: Tensor, after: Symmetry | None = None) -> Tensor:
        """Move photos ``(B, C, H, H)``; what comes from outside is 0.

        Args:
            fundus: the photos.
            after: a symmetry that moves them before, by the same resampling.
        """
        identity = torch.eye(2, 3, dtype=fundus.dtype, device=fundus.device)[None]
        size = [1, 1, *fundus.shape[-2:]]
        positions = self.source(F.affine_grid(identity, size, align_corners=False))
        if after is not None:
            positions = positions @ put_beside(positions, after.matrix)  # of rows: the inverse
        return F.grid_sample(fundus, positions.expand(len(fundus), -1, -1, -1), align_corners=False)

    def _bend(self, places: Tensor) -> Tensor:
        bend = torch.zeros_like(places)
        x, y = places.unbind(-1)
        for k_x, k_y, phase, a_x, a_y in self.waves:
            bend = bend + torch.sin(k_x * x + k_y * y + phase)[..., None] * put_beside(places, (a_x, a_y))
        return bend


def check_strength(strength: float) -> None:
    """Refuse a strength of :meth:`PhotoMap.draw` that is out of its range.

    Args:
        strength: what was given; sound in [0, 1].

    Raises:
        ValueError: if it is not in [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"photo_maps: expected a strength in [0, 1], found {strength}")


def _vector(rng: np.random.Generator, length: float) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * math.pi)
    return length * math.cos(angle), length * math.sin(angle)


def moved_sample(
    sample: dict[str, Any], symmetry: Symmetry | None, photo_map: PhotoMap | None
) -> dict[str, Any]:
    """Move all of a sample but its pictures, by a symmetry and then by a map of the photo.

    A loader moves the pictures themselves later, all of a batch at once and on the device.

    Args:
        sample: what :class:`~fund2oct.data.loading.dataset.FundusOCTDataset` returns, without ``fundus`` and
            ``volume``.
        symmetry: a symmetry of the sample's scan; None leaves the order of slices and A-scans.
        photo_map: how the photo is moved after that; None leaves it.

    Returns:
        A new sample, whose ``grid`` says where each A-scan lies on the moved photo.

    Example:
        >>> sample = {"grid": torch.zeros(6, 48, 2)}  # every A-scan at the centre of the photo
        >>> moved = moved_sample(sample, None, PhotoMap(shift=(0.5, 0.0)))
        >>> moved["grid"][0, 0].tolist()  # halfway from the centre to the right edge
        [0.5, 0.0]
    """
    if symmetry is not None:
        sample = move_sample(sample, symmetry)
    if photo_map is not None and "grid" in sample:
        sample = sample | {"grid": photo_map.place(sample["grid"])}
    return sample
