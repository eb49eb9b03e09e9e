"""The thickness map of one eye over its photo."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from fund2oct.eye import Array
from fund2oct.models.thickness import RINGS_MM, ThicknessMap

_RANGE_UM = (150.0, 500.0)
_COVER = 0.72


def draw_thickness(fundus: Array, found: ThicknessMap, title: str = "", footer: str = "") -> Figure:
    """Draw the photo, the thickness on it with the ETDRS fields' means, and how sure it is.

    Args:
        fundus: RGB, uint8, shape ``(H, H, 3)``.
        found: the map, see :func:`fund2oct.models.thickness.predict_thickness`.
        title: above.
        footer: below, in small letters.

    Returns:
        A matplotlib figure.
    """
    figure = Figure(figsize=(13.2, 4.9), dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 3)
    size = fundus.shape[0]
    for each in axes:
        each.imshow(fundus)
        each.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        each.axis("off")
    axes[0].set_title("photo", fontsize=10)
    to_px = _to_pixels(found, size)
    low, high = _colour_range(found.median_um)
    shown = _lay_over(axes[1], found, found.median_um, to_px, cmap="viridis", vmin=low, vmax=high)
    axes[1].set_title("retinal thickness, median", fontsize=10)
    figure.colorbar(shown, ax=axes[1], label="µm", shrink=0.85)
    width = _lay_over(axes[2], found, found.high_um - found.low_um, to_px, cmap="magma", vmin=0)
    axes[2].set_title("width of its 80% interval", fontsize=10)
    figure.colorbar(width, ax=axes[2], label="µm", shrink=0.85)
    _draw_fields(axes[1], to_px, found.fields_um())
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    if footer:
        figure.supxlabel(footer, fontsize=7, x=0.01, ha="left", color="0.35")
    return figure


def _colour_range(median_um: Array) -> tuple[float, float]:
    """The usual range, wider where the eye needs it, so that eyes can be compared."""
    known = median_um[np.isfinite(median_um)]
    if not known.size:
        return _RANGE_UM
    low, high = np.percentile(known, (1, 99))
    return min(_RANGE_UM[0], float(low)), max(_RANGE_UM[1], float(high))


def _to_pixels(found: ThicknessMap, size_px: int) -> Affine2D:
    """The map from millimetres around the fovea to the photo's pixels: a turn, a scale and a shift."""
    points = found.points_mm.reshape(-1, 2)
    pixels = (found.grid.reshape(-1, 2) + 1) * size_px / 2 - 0.5
    (a, b), (c, d), (e, f) = np.linalg.lstsq(
        np.column_stack([points, np.ones(len(points))]), pixels, rcond=None
    )[0]
    return Affine2D.from_values(a, b, c, d, e, f)


def _lay_over(axes, found: ThicknessMap, values_um: Array, to_px: Affine2D, **options: Any):  # type: ignore[no-untyped-def]
    reach = len(values_um) * found.pitch_mm / 2
    return axes.imshow(
        np.ma.masked_invalid(values_um), extent=(-reach, reach, reach, -reach), alpha=_COVER,
        transform=to_px + axes.transData, interpolation="nearest", **options,
    )  # fmt: skip


def _draw_fields(axes, to_px: Affine2D, fields_um: dict[str, float]) -> None:  # type: ignore[no-untyped-def]
    """The ETDRS grid, which lies in millimetres."""

    def place(x: Array | float, y: Array | float) -> Array:
        return to_px.transform(np.column_stack([np.atleast_1d(x), np.atleast_1d(y)]))

    turn = np.linspace(0, 2 * np.pi, 100)
    for radius in RINGS_MM:
        axes.plot(*place(radius * np.sin(turn), radius * np.cos(turn)).T, color="white", lw=0.8)
    for angle in np.radians([45, 135, 225, 315]):
        ends = np.array([RINGS_MM[0], RINGS_MM[-1]])
        axes.plot(*place(ends * np.sin(angle), ends * np.cos(angle)).T, color="white", lw=0.8)
    places = {"centre": (0.0, 0.0)}
    for ring, radius in (("inner", 1.0), ("outer", 2.25)):
        places |= {
            f"{ring} up": (0, -radius), f"{ring} right": (radius, 0), f"{ring} down": (0, radius),
            f"{ring} left": (-radius, 0),
        }  # fmt: skip
    for name, (x, y) in places.items():
        if np.isfinite(fields_um.get(name, np.nan)):
            axes.text(
                *place(x, y)[0], f"{fields_um[name]:.0f}", color="white", fontsize=8, ha="center",
                va="center", fontweight="bold",
            )  # fmt: skip
