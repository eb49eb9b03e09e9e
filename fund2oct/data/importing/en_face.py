"""A picture of the retina that stands in for a photo: the en face projection of a raster volume."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fund2oct.eye import Array, DataError
from fund2oct.geometry import Placement, ScanPattern

_MOST_OFF_MM = 0.02
_PERCENTILES = (1.0, 99.0)
_DARK, _LIGHT = 0.15, 0.9
_UNSCANNED = 0.25
"""Share of the median A-scan's mean below which an A-scan holds nothing, as beside a registered B-scan."""
_COLOUR = (0.92, 0.56, 0.30)
"""Red, green and blue of a bright retina, about those of a colour photo."""
_ABSORBED = (0.35, 1.0, 1.1)
"""Powers of the brightness in each colour: blood and pigment take green and blue light, and little red."""


def en_face_photo(volume: Array, scan: ScanPattern, size_px: int) -> tuple[Array, Placement]:
    """Draw the en face projection of a raster volume like a photo of its retina.

    The A-scans' means are freed of the brightness of each B-scan, laid out where they were scanned, and
    coloured like a retina. What the raster does not cover is black, as the surround of a photo. Vessels,
    whose shadows darken the A-scans below them, are dark as in a photo; the disc is dark, where a photo shows
    it bright.

    Args:
        volume: B-scans, uint8, shape ``(S, Z, X)``.
        scan: where they lie: parallel lines, equally far apart.
        size_px: width of the picture.

    Returns:
        RGB, uint8, shape ``(size_px, size_px, 3)``, and the place of the scan on it: in the middle, at the
        scale of a usual photo, or smaller where the raster is wider than that.

    Raises:
        DataError: if the B-scans are no raster.

    Example:
        >>> from fund2oct.geometry import RasterScan
        >>> volume = np.random.default_rng(0).integers(0, 256, (25, 40, 60), np.uint8)
        >>> picture, placement = en_face_photo(volume, RasterScan(25, 6.0, 6.0), size_px=64)
        >>> picture.shape, placement.half_width_mm, int(picture[0, 0].max())  # the corner was not scanned
        ((64, 64, 3), 6.5, 0)
    """
    n_slices, _, n_ascans = volume.shape
    places = scan.coordinates(n_ascans).numpy().astype(float)
    origin, to_slice, to_ascan = _axes(places)
    usual = Placement()
    placement = Placement(half_width_mm=max(usual.half_width_mm, scan.reach_mm))
    pixel_mm = 2 * placement.half_width_mm / size_px
    centres = (np.arange(size_px) + 0.5) * pixel_mm - placement.half_width_mm
    x, y = np.meshgrid(centres, centres)
    # Slice and A-scan under each pixel.
    inverse = np.linalg.inv(np.stack([to_slice, to_ascan], 1))
    offsets = np.stack([x - origin[0], y - origin[1]])
    under = np.einsum("ij,jyx->iyx", inverse, offsets)
    steps_mm = np.hypot(*to_slice), np.hypot(*to_ascan)
    # No finer than a pixel.
    sigmas = [max(0.0, 0.4 * pixel_mm / step_mm - 0.3) for step_mm in steps_mm]
    blurred = ndimage.gaussian_filter(_evened(volume.mean(1)), sigmas)
    drawn = ndimage.map_coordinates(blurred, under, order=1, mode="nearest")
    last = np.array([n_slices - 1, n_ascans - 1])[:, None, None]
    covered = ((under >= -0.5) & (under <= last + 0.5)).all(0)
    light = np.where(covered, drawn, 0)
    colours = [base * light**power for base, power in zip(_COLOUR, _ABSORBED, strict=True)]
    return (255 * np.stack(colours, -1)).round().astype(np.uint8), placement


def _axes(places: Array) -> tuple[Array, Array, Array]:
    """Place of the first A-scan, and the steps to the next slice and to the next A-scan, in millimetres."""
    n_slices, n_ascans, _ = places.shape
    if n_slices > 1 and n_ascans > 1:
        origin = places[0, 0]
        to_slice = (places[-1, 0] - origin) / (n_slices - 1)
        to_ascan = (places[0, -1] - origin) / (n_ascans - 1)
        grid = np.arange(n_slices)[:, None, None] * to_slice + np.arange(n_ascans)[:, None] * to_ascan
        off_mm = np.abs(origin + grid - places).max()
        across = abs(to_slice[0] * to_ascan[1] - to_slice[1] * to_ascan[0])
        if off_mm <= _MOST_OFF_MM and across > 0:
            return origin, to_slice, to_ascan
    raise DataError(
        f"en face: expected parallel B-scans, equally far apart, found {n_slices} others; only a raster "
        "covers an area that can stand in for a photo"
    )


def _evened(light: Array) -> Array:
    """Means of the A-scans ``(S, X)``, each B-scan as bright as its neighbours, from dark to light."""
    middle = np.median(light, 1, keepdims=True)
    even = light / np.maximum(middle, 1) * np.median(middle)
    scanned = even > _UNSCANNED * np.median(even)
    if not scanned.any():
        return np.zeros_like(even)
    low, high = np.percentile(even[scanned], _PERCENTILES)
    share = np.clip((even - low) / max(high - low, 1e-6), 0, 1)
    return np.where(scanned, _DARK + (_LIGHT - _DARK) * share, 0)
