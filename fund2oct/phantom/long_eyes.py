"""Long eyes: a steep wall, staphylomas, tilted discs with a crescent, and what floats in the vitreous.

Short-sighted eyes are long. Their wall is steep under a wide scan and may sink locally in a staphyloma
(Spaide, in Pathologic Myopia, 2014); the choroid is thin; the disc is oval and tilted, with a crescent
at its temporal side where the pigment epithelium ends (Jonas et al., Invest Ophthalmol Vis Sci 2012);
the posterior hyaloid comes off the retina early.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import legendre

from fund2oct.geometry import RadialScan
from fund2oct.phantom.anatomy import Anatomy
from fund2oct.phantom.grid import Array, PhotoGrid, smoothstep
from fund2oct.phantom.pose import MOTION_UM
from fund2oct.phantom.rendering.oct import VitreousLine
from fund2oct.retina.pose import N_POSE

LONG_SCAN = RadialScan(length_mm=12.0)
"""The wide star under which the shape of a long eye shows."""
LONG_HALF_WIDTH_MM = 8.0

_STAPHYLOMA_SHARE, _CRESCENT_SHARE, _HYALOID_SHARE = 0.75, 0.8, 0.6


@dataclass(frozen=True)
class LongEye:
    """What makes an eye long, in nasal millimetres around the fovea and micrometres.

    Attributes:
        height: depth of the wall under the fovea, share of the frame.
        slope_um: rise of the wall for a millimetre in x and y.
        bend_um: quadratic part of the wall in x and y, for a square millimetre; negative is a bowl.
        staphyloma_um: depth of the staphyloma, 0 for none.
        centre_mm: its centre.
        sigma_mm: its half axes, one sigma of a Gaussian.
        turn: angle of its first axis.
        crescent_mm: width of the crescent, 0 for none.
        hyaloid_um: height of the detached hyaloid above the inner surface far from the disc, 0 where it
            is attached.
    """

    height: float
    slope_um: tuple[float, float]
    bend_um: tuple[float, float]
    staphyloma_um: float
    centre_mm: tuple[float, float]
    sigma_mm: tuple[float, float]
    turn: float
    crescent_mm: float
    hyaloid_um: float

    def wall_um(self, x: Array, y: Array, depth_um: float) -> Array:
        """Depth of Bruch's membrane in a frame of some height, shaped like ``x``."""
        u, v = x - self.centre_mm[0], y - self.centre_mm[1]
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        a, b = (cos * u + sin * v) / self.sigma_mm[0], (cos * v - sin * u) / self.sigma_mm[1]
        bowl = self.slope_um[0] * x + self.slope_um[1] * y + self.bend_um[0] * x**2 + self.bend_um[1] * y**2
        return self.height * depth_um + bowl + self.staphyloma_um * np.exp(-(a * a + b * b) / 2)

    def pose(self, rng: np.random.Generator, x: Array, y: Array, depth_um: float) -> tuple[Array, Array]:
        """Pose of each slice ``(S, K)``, with motion, and what of the wall it leaves over ``(S, X)``."""
        wall = self.wall_um(x, y, depth_um)
        u = (2 * np.arange(x.shape[1]) + 1) / x.shape[1] - 1
        pose = legendre.legfit(u, wall.T, N_POSE - 1).T
        rest = wall - legendre.legval(u, pose.T)
        pose[:, : len(MOTION_UM)] += rng.normal(0, 1, (len(x), len(MOTION_UM))) * MOTION_UM
        return pose.astype(np.float32), rest.astype(np.float32)

    def crescent(self, grid: PhotoGrid, anatomy: Anatomy) -> Array:
        """Map ``(M, M)`` of where the pigment epithelium ends before the disc; 1 there."""
        if not self.crescent_mm:
            return np.zeros_like(grid.x)
        across, down = (radius + self.crescent_mm / 2 for radius in anatomy.disc_radii)
        x = (grid.x - anatomy.disc[0] + self.crescent_mm / 2) / across
        distance = np.hypot(x, (grid.y - anatomy.disc[1]) / down)
        return (1 - smoothstep(distance, 0.94, 1.06)).astype(np.float32)

    def vitreous(
        self, rng: np.random.Generator, x: Array, y: Array, above_um: Array
    ) -> tuple[VitreousLine, ...]:
        """The detached hyaloid and reflections; ``above_um`` is the inner surface's height, ``(S, X)``."""
        lines = []
        u = np.linspace(-1, 1, x.shape[1], dtype=np.float32)
        if self.hyaloid_um:
            # Still attached at the disc, and taut: it does not enter the pit.
            off = smoothstep(np.hypot(x - 4.6, y), 0.8, 6.0)
            height = np.maximum(above_um + 5, 330 + self.hyaloid_um * off)
            patchy = smoothstep(
                np.sin(3.1 * x + rng.uniform(0, 6)) + np.sin(2.3 * y + rng.uniform(0, 6)), -1.6, -0.6
            )
            lines.append(VitreousLine(height, patchy * (height > above_um + 25), rng.uniform(0.38, 0.62)))
        for _ in range(rng.integers(0, 4)):
            # A reflection is a short, nearly level line, each time in one slice.
            slice_ = rng.integers(0, len(x))
            middle, half = rng.uniform(-0.8, 0.8), rng.uniform(0.08, 0.35)
            height = 330 + rng.uniform(120, 700) + rng.normal(0, 60) * (u - middle)
            there = np.zeros_like(above_um)
            there[slice_] = (np.abs(u - middle) < half) * (height > above_um[slice_] + 40)
            lines.append(VitreousLine(np.broadcast_to(height, x.shape), there, rng.uniform(0.35, 0.8)))
        return tuple(lines)

    @property
    def history(self) -> dict[str, str | float]:
        """What the eye has, as stored with it."""
        return {
            "population": "long",
            "staphyloma_um": self.staphyloma_um,
            "crescent_mm": self.crescent_mm,
            "hyaloid_um": self.hyaloid_um,
        }


def sample_long_eye(rng: np.random.Generator) -> LongEye:
    """Draw what makes an eye long."""
    has = rng.random(3) < (_STAPHYLOMA_SHARE, _CRESCENT_SHARE, _HYALOID_SHARE)
    depth, width, lift = rng.uniform((100, 0.25, 60), (420, 0.9, 420)) * has
    # At the posterior pole, around the disc, or below it.
    centre = np.array([(0.5, 0.0), (4.0, 0.0), (1.5, 2.5)])[rng.integers(0, 3)] + rng.normal(0, 0.5, 2)
    return LongEye(
        height=float(rng.normal(0.6, 0.05)),
        slope_um=_pair(rng.normal(0, 45, 2)),
        bend_um=_pair(-rng.gamma(9.0, 1.3, 2)),
        staphyloma_um=float(depth),
        centre_mm=_pair(centre),
        sigma_mm=_pair(rng.uniform(1.8, 3.2, 2)),
        turn=float(rng.uniform(0, math.pi)),
        crescent_mm=float(width),
        hyaloid_um=float(lift),
    )


def lengthen(rng: np.random.Generator, anatomy: Anatomy) -> Anatomy:
    """The anatomy of an eye that grew long: thin choroid, little pigment, an oval and tilted disc."""
    return replace(
        anatomy,
        choroid_um=max(60.0, anatomy.choroid_um * float(rng.uniform(0.25, 0.6))),
        pigment=anatomy.pigment * float(rng.uniform(0.3, 0.7)),
        disc_radii=(float(rng.uniform(0.55, 0.72)), float(rng.uniform(0.9, 1.08))),
        cup_um=0.5 * anatomy.cup_um,
        disc_tilt_um=float(rng.uniform(30, 110)),
    )


def _pair(values: Array) -> tuple[float, float]:
    return float(values[0]), float(values[1])
