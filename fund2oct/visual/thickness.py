"""The thickness map of one eye over its photo."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from fund2oct.data.schema import Array
from fund2oct.thickness import RINGS_MM, ThicknessMap

_RANGE_UM = (150.0, 500.0)
_COVER = 0.62


def draw_thickness(fundus: Array, found: ThicknessMap, title: str = "", footer: str = "") -> Figure:
    """Draw the photo, the thickness on it with the ETDRS fields' means, and how sure it is.

    Args:
        fundus: RGB, uint8, shape ``(H, H, 3)``.
        found: the map, see :func:`fund2oct.thickness.predict_thickness`.
        title: above.
        footer: below, in small letters.

    Returns:
        A matplotlib figure.
    """
    figure = Figure(figsize=(13.2, 4.9), dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 3)
    size = fundus.shape[0]
    column, row = ((found.grid[..., axis] + 1) * size / 2 - 0.5 for axis in (0, 1))
    for each in axes:
        each.imshow(fundus)
        each.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        each.axis("off")
    axes[0].set_title("photo", fontsize=10)
    low, high = _colour_range(found.median_um)
    shown = axes[1].pcolormesh(
        column, row, np.ma.masked_invalid(found.median_um), cmap="viridis", vmin=low, vmax=high, alpha=_COVER,
        shading="nearest", rasterized=True, linewidth=0,
    )  # fmt: skip
    axes[1].set_title("retinal thickness, median", fontsize=10)
    figure.colorbar(shown, ax=axes[1], label="µm", shrink=0.85)
    width = axes[2].pcolormesh(
        column, row, np.ma.masked_invalid(found.high_um - found.low_um), cmap="magma", vmin=0, alpha=_COVER,
        shading="nearest", rasterized=True, linewidth=0,
    )  # fmt: skip
    axes[2].set_title("width of its 80% interval", fontsize=10)
    figure.colorbar(width, ax=axes[2], label="µm", shrink=0.85)
    _draw_fields(axes[1], found.points_mm, column, row, found.fields_um())
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


def _draw_fields(axes, points_mm: Array, column: Array, row: Array, fields_um: dict[str, float]) -> None:  # type: ignore[no-untyped-def]
    """The ETDRS grid, by the linear map from millimetres to the photo's pixels."""
    a = np.column_stack([points_mm.reshape(-1, 2), np.ones(points_mm[..., 0].size)])
    to_px, *_ = np.linalg.lstsq(a, np.column_stack([column.ravel(), row.ravel()]), rcond=None)

    def place(x: Array | float, y: Array | float) -> Array:
        return np.column_stack([np.atleast_1d(x), np.atleast_1d(y), np.ones(np.size(x))]) @ to_px

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
