"""Light and dark brought to one level: photos under any lamp, scans of any device."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image
from scipy import ndimage

from fund2oct.eye import Array, Plain
from fund2oct.retina.working import find_fill

LIGHT = ("light", "evened")
"""What an eye's history says of a photo whose illumination was evened out already."""
LEVELS = ("levels", "evened")
"""What it says of a volume that was brought to the levels that all devices share."""

_WORK_PX = 96
_WINDOW = 1 / 8
_LEVEL = 110.0
_GAINS = (1 / 4, 4.0)
_UNUSUAL = 1.0

_FLOOR, _BRIGHT = 24.0, 200.0
_LEAST_RANGE = 8.0
_BLACK = 8
"""Up to this level fill may be that was written as 0 and compressed."""
_MOST_VOXELS = 2_000_000


def even_light(photo: Array) -> Array:
    r"""Even out a photo's illumination and bring it to one brightness, hue and black surround kept.

    .. math:: P'(x, y, c) = P(x, y, c) \cdot 110 / L(x, y)

    where :math:`L` is the smooth part of the luminance of the background, that is of the retina
    without its disc, vessels and lesions. The gain, which all three channels share, stays between a
    quarter and four.

    Args:
        photo: RGB uint8, shape ``(rows, columns, 3)``, best cropped to the circle of the retina.

    Returns:
        RGB uint8 of the same shape.

    Raises:
        ValueError: if it is no RGB picture of bytes.

    References:
        Foracchia, Grisan, Ruggeri: Luminosity and contrast normalization in retinal images,
        Medical Image Analysis 9 (2005); its estimate of the luminosity, here as a factor.

    Example:
        >>> bright = np.asarray(Image.open("photo.png"))
        >>> dark = bright // 2  # half the light
        >>> bool(abs(even_light(dark).mean() - even_light(bright).mean()) < 1)
        True
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"photo: expected RGB uint8 (rows, columns, 3), found {photo.dtype} {photo.shape}")
    rows, columns = photo.shape[:2]
    scale = min(1.0, _WORK_PX / max(rows, columns))
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX)).astype(np.float32)
    level = small.max(-1)
    # The edge of the circle mixes retina with its surround.
    retina = ndimage.binary_erosion(level > max(8.0, 0.12 * np.percentile(level, 95)), iterations=2)
    if not retina.any():
        return photo
    gain = (_LEVEL / _background(small.mean(-1), retina)).clip(*_GAINS)
    full = np.asarray(Image.fromarray(gain).resize((columns, rows), Image.Resampling.BILINEAR))
    return (photo * full[..., None] + 0.5).clip(0, 255).astype(np.uint8)


def even_levels(volume: Array) -> Array:
    r"""Bring a volume's noise floor and bright band to levels that all devices share.

    .. math:: V' = 24 + (V - f) \cdot 176 / (b - f)

    with the floor :math:`f`, the lower quartile of what was measured, and the band :math:`b`, the
    median over the A-scans of their brightest tissue, which is the outer retina's whatever the height
    of the frame. Voxels of 0 stay 0, since devices write them where they measured nothing.

    Args:
        volume: uint8, shape ``(S, Z, X)``.

    Returns:
        uint8 of the same shape; a volume without contrast comes back as it is.

    Raises:
        ValueError: if it is no volume of bytes.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> volume = EyeReader("eyes.h5").read("sim3-0000000-OD").volume
        >>> dark = volume // 2  # as of a device that shows everything half as bright
        >>> bool(abs(even_levels(dark).mean() - even_levels(volume).mean()) < 1)
        True
    """
    if volume.ndim != 3 or volume.dtype != np.uint8:
        raise ValueError(f"volume: expected uint8 (S, Z, X), found {volume.dtype} {volume.shape}")
    # Levels need a sample of the slices, not all of them.
    every = max(1, volume.size // _MOST_VOXELS)
    sample = volume[::every].astype(np.float32)
    measured = ~find_fill(sample / np.float32(255))
    if not measured.any():
        return volume
    # A vitreous without noise, as of denoised scans, is as uniform as fill, but grey: it was measured too.
    measured |= (sample > _BLACK) & (sample <= _lower_quartile(sample[measured]))
    floor = _lower_quartile(sample[measured])
    smooth = ndimage.uniform_filter(np.where(measured, sample, floor), (0, 3, 5))
    bright = float(np.median(smooth.max(1)[measured.any(1)]))
    if bright - floor < _LEAST_RANGE:
        return volume
    level = np.arange(256, dtype=np.float32)
    table = (_FLOOR + (level - floor) * (_BRIGHT - _FLOOR) / (bright - floor) + 0.5).clip(0, 255)
    table[0] = 0
    return table.astype(np.uint8)[volume]


def _lower_quartile(values: Array) -> float:
    return float(np.percentile(values[:: 1 + values.size // _MOST_VOXELS], 25))


def _background(luminance: Array, retina: Array) -> Array:
    """Smooth luminance of the retina, of what lies within a deviation of its surroundings."""
    sigma = _WINDOW * max(luminance.shape)
    mean = _smooth(luminance, retina, sigma)
    deviation = np.sqrt(_smooth((luminance - mean) ** 2, retina, sigma))
    usual = retina & (np.abs(luminance - mean) <= _UNUSUAL * deviation + 1)
    return np.maximum(_smooth(luminance, usual, sigma), 1.0).astype(np.float32)


def _smooth(values: Array, kept: Array, sigma: float) -> Array:
    """Mean over a Gaussian window of the kept pixels alone; far from any, that of all of them."""
    weight = ndimage.gaussian_filter(kept.astype(np.float32), sigma, mode="constant")
    total = ndimage.gaussian_filter(np.where(kept, values, 0).astype(np.float32), sigma, mode="constant")
    trust = 1e-3
    return (total + trust * values[kept].mean()) / (weight + trust)


def is_done(history: Mapping[str, Plain], what: tuple[str, str]) -> bool:
    """Tell whether a photo's light was evened out, or a volume brought to common levels, already.

    Args:
        history: what was done to the eye.
        what: :data:`LIGHT` or :data:`LEVELS`.

    Returns:
        Whether the history says so.
    """
    return history.get(what[0]) == what[1]
