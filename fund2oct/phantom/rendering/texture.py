"""Random texture of an eye: what no anatomy names, yet every photo and every B-scan shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fund2oct.phantom.grid import Array, PhotoGrid, spline_basis

_GRAIN_UM = (30.0, 70.0)


@dataclass(frozen=True)
class Texture:
    """Random maps over the retina, each ``(M, M)``, of mean 0 and variance 1 unless said otherwise.

    Attributes:
        outer: thickness of the outer layers.
        inner: thickness of the inner layers.
        depth: thickness of the choroid.
        residual: what is left of Bruch's membrane beside the pose.
        small_lumens: vessels of the inner choroid, in [0, 1].
        lumens: large choroidal vessels, in [0, 1]; the photo shows the same.
        streaks: what the epithelium lets through.
        mottle: fine unevenness of the pigment.
        clouds: broad unevenness of the pigment.
    """

    outer: Array
    inner: Array
    depth: Array
    residual: Array
    small_lumens: Array
    lumens: Array
    streaks: Array
    mottle: Array
    clouds: Array

    @classmethod
    def sample(cls, rng: np.random.Generator, grid: PhotoGrid) -> Texture:
        """Draw the maps of an eye."""
        return cls(
            outer=grid.noise(rng, 1.4),
            inner=grid.noise(rng, 1.8),
            depth=grid.noise(rng, 1.0),
            residual=grid.noise(rng, 2.0),
            small_lumens=_network(grid.noise(rng, 0.2), 0.55),
            lumens=_network(grid.noise(rng, 0.45), 0.6),
            streaks=grid.noise(rng, 0.14),
            mottle=grid.noise(rng, 0.11),
            clouds=grid.noise(rng, 0.8),
        )


def _network(noise: Array, width: float) -> Array:
    """A net of vessels: the zero lines of a random map, 1 along them and 0 beside."""
    return np.maximum(1 - np.abs(noise) / width, 0)


def tissue_grain(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing_um: tuple[float, float]
) -> Array:
    """Unevenness within the tissue, ``(S, Z, X)`` of variance 1, in grains of 30 by 70 micrometres.

    No speckle: it belongs to the eye and stays from one scan to the next.

    Args:
        rng: source of randomness.
        shape: ``(S, Z, X)``.
        spacing_um: height and width of a pixel.
    """
    slices, *size = shape
    down, along = (
        spline_basis(count, max(2, round(count * step / grain)))
        for count, step, grain in zip(size, spacing_um, _GRAIN_UM, strict=True)
    )
    lattice = rng.standard_normal((slices, down.shape[1], along.shape[1]), dtype=np.float32)
    return down @ lattice @ along.T


def ascan_gain(rng: np.random.Generator, n_slices: int, n_ascans: int) -> Array:
    """Displayed brightness added to each A-scan, ``(S, X)``: slices differ, and their ends are darker."""
    u = np.linspace(-1, 1, n_ascans, dtype=np.float32)
    level = rng.normal(0, 0.015, (n_slices, 1)) + rng.normal(0, 0.02)
    slope = rng.normal(0, 0.02, (n_slices, 1))
    return (level + slope * u - rng.uniform(0, 0.06) * u**4).astype(np.float32)
