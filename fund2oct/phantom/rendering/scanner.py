"""The scanner: point spread, speckle, noise floor and log compression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fund2oct.phantom.grid import Array

DYNAMIC_RANGE_DB = 36.0
"""Decibels between black and white of a B-scan as displayed."""

_NOISE_LOOKS = 3
_LEAST_SIGMA_PX = 0.3


@dataclass(frozen=True)
class Optics:
    """The simulated scanner: how sharp it sees, and how much speckle and noise it adds.

    Args:
        axial_um: axial point spread, full width at half maximum.
        lateral_um: lateral point spread, full width at half maximum.
        looks: number of independent speckle patterns that are averaged in each B-scan.
        noise_floor: brightness of the noise alone as displayed, in [0, 0.5).
        roll_off_db: loss of sensitivity from the top to the bottom of the frame.

    Raises:
        ValueError: if a width is not positive, or a number is out of its range.

    Example:
        >>> from fund2oct.phantom import PhantomConfig, simulate_eye
        >>> clean = PhantomConfig(optics=Optics(looks=64, noise_floor=0.0))  # hardly any speckle
        >>> simulate_eye(0, 0, clean).volume.shape
        (6, 80, 112)
    """

    axial_um: float = 7.0
    lateral_um: float = 18.0
    looks: int = 4
    noise_floor: float = 0.05
    roll_off_db: float = 4.0

    def __post_init__(self) -> None:
        if not (self.axial_um > 0 and self.lateral_um > 0):
            raise ValueError(
                f"optics: expected positive point spreads, found {self.axial_um} and {self.lateral_um} um"
            )
        if self.looks < 1:
            raise ValueError(f"looks: expected at least one speckle pattern, found {self.looks}")
        if not 0 <= self.noise_floor < 0.5:
            raise ValueError(f"noise_floor: expected a value in [0, 0.5), found {self.noise_floor}")


def acquire(rng: np.random.Generator, signal: Array, dz_um: float, dx_um: float, optics: Optics) -> Array:
    """One scan of a mean signal ``(S, Z, X)``: speckle, noise, log compression; uint8.

    The rescan of an eye is this function with another ``rng``.

    Speckle is the power of circular complex Gaussian fields as wide as the point spread, averaged
    over ``optics.looks`` of them (Schmitt, Xiang and Yung, J Biomed Opt 1999).
    """
    sigma = _sigma(optics.axial_um, dz_um), _sigma(optics.lateral_um, dx_um)
    signal = ndimage.gaussian_filter1d(signal, max(sigma[1], 0.35), axis=2, truncate=2.5)
    noise = _speckle(rng, signal.shape, sigma, _NOISE_LOOKS)
    power = signal * _speckle(rng, signal.shape, sigma, optics.looks)
    power += noise * np.float32(linear(optics.noise_floor))
    display = np.log10(power) * np.float32(10 / DYNAMIC_RANGE_DB * 255)
    return np.clip(display + 0.5, 0, 255).astype(np.uint8)


def _speckle(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, float], looks: int
) -> Array:
    if max(sigma) < _LEAST_SIGMA_PX:
        # Every pixel is a grain of its own: the sum of exponentials is a gamma variable.
        return rng.standard_gamma(looks, shape, dtype=np.float32) * np.float32(1 / looks)
    power = np.zeros(shape, np.float32)
    for _ in range(2 * looks):
        field = rng.standard_normal(shape, dtype=np.float32)
        for axis, width in enumerate(sigma, 1):
            if width >= _LEAST_SIGMA_PX:
                field = ndimage.gaussian_filter1d(field, width, axis=axis, truncate=3)
        power += field * field
    # The filters take power away by the same factor everywhere.
    return power / power.mean()


def _sigma(full_width_um: float, pixel_um: float) -> float:
    return full_width_um / 2.355 / pixel_um


def linear(display: float | Array) -> Array:
    """Power that is displayed at a brightness in [0, 1], 1 being that of black."""
    return np.float32(10) ** (np.asarray(display, np.float32) * np.float32(DYNAMIC_RANGE_DB / 10))
