"""Maps on the photo: how thick the retina is, and how sure a volume and its surfaces are."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.transforms import Affine2D
from torch import Tensor

from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.eye import Array, Eye
from fund2oct.geometry import grid_to_pixels
from fund2oct.geometry.patterns import ascan_spacing_mm
from fund2oct.visual.bscan import draw_bscan, shown_slices
from fund2oct.visual.photo import draw_photo
from fund2oct.visual.style import (
    LIGHT,
    SHADED,
    SMALL_PT,
    TEXT_PT,
    THICKNESS_MAP,
    TITLE_PT,
    WIDTH_MAP,
    Theme,
    new_figure,
)

if TYPE_CHECKING:
    from fund2oct.models.thickness import ThicknessMap
    from fund2oct.models.uncertainty.draws import Intervals

_RANGE_UM = (200.0, 450.0)
_LEAST_WIDTH_UM = 100.0
_WHITE_WIDTH = 0.5
"""Width of a voxel's interval that is drawn white, in grey values from 0 to 1."""
_SIDE, _GAP, _ABOVE, _BELOW = 3.9, 0.2, 0.74, 0.9
_FOOTER_LETTERS = 210
_CAPTIONS = ("photo", "thickness of the retina, median", "width of its 80% interval")


def draw_thickness(
    fundus: Array, found: ThicknessMap, title: str = "", footer: str = "", theme: Theme = LIGHT
) -> Figure:
    """Draw the photo, the thickness on it with the ETDRS fields' means, and how sure it is.

    Args:
        fundus: RGB, uint8, shape ``(H, H, 3)``.
        found: the thickness, from :func:`fund2oct.models.thickness.predict_thickness`.
        title: what stands above.
        footer: what stands below, in small letters.
        theme: colours of paper and ink.

    Returns:
        A figure, see :func:`fund2oct.visual.save_figure`.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> from fund2oct.models import load_model
        >>> from fund2oct.models.thickness import predict_thickness
        >>> eye = EyeReader("eyes.h5").read("sim3-0000000-OD")
        >>> found = predict_thickness(load_model("model.ckpt"), eye.fundus, eye.placement, eye.scan)
        >>> len(draw_thickness(eye.fundus, found, title=eye.key).axes)  # three pictures and two colour bars
        5
    """
    width, height = 3 * _SIDE + 4 * _GAP, _SIDE + _ABOVE + _BELOW
    figure = new_figure(width, height, theme)

    def add_axes(x: float, y: float, across: float, high: float) -> Axes:
        return figure.add_axes((x / width, y / height, across / width, high / height))

    def write(x: float, y: float, text: str, size: float, colour: str, weight: str = "normal") -> None:
        figure.text(
            x / width, y / height, text, fontsize=size, color=colour, fontweight=weight, va="center"
        )  # fmt: skip

    photo = photo_tensor(fundus)[0]
    lefts = [_GAP + number * (_SIDE + _GAP) for number in range(3)]
    boxes = [add_axes(left, _BELOW, _SIDE, _SIDE) for left in lefts]
    for left, caption in zip(lefts, _CAPTIONS, strict=True):
        write(left, _BELOW + _SIDE + 0.13, caption, TEXT_PT + 1, theme.ink)
    draw_photo(boxes[0], photo)
    for left, drawn in zip(
        lefts[1:], (draw_median(boxes[1], photo, found), draw_width(boxes[2], photo, found)), strict=True
    ):
        draw_bar(add_axes(left + 0.1 * _SIDE, _BELOW - 0.2, 0.8 * _SIDE, 0.09), drawn, theme)
    if title:
        write(_GAP, height - 0.26, title, TITLE_PT, theme.ink, "bold")
    for number, line in enumerate(reversed(textwrap.wrap(footer, _FOOTER_LETTERS))):
        write(_GAP, 0.15 + number * 0.14, line, SMALL_PT, theme.muted)
    return figure


def draw_median(axes: Axes, fundus: Tensor, found: ThicknessMap) -> AxesImage:
    """Draw the median thickness over a grey photo, with the means of the ETDRS fields.

    The map covers the photo, so that its colours are those of the colour bar.

    Args:
        axes: the axes to draw on.
        fundus: in [0, 1], shape ``(3, H, H)``.
        found: the map.

    Returns:
        What was drawn, for :func:`draw_bar`.
    """
    to_px = _to_pixels(found, fundus.shape[-1])
    low, high = _colour_range(found.median_um)
    drawn = _lay_over(axes, fundus, found, found.median_um, to_px, THICKNESS_MAP, low, high)
    _draw_fields(axes, _upright(to_px), found.fields_um())
    return drawn


def draw_width(axes: Axes, fundus: Tensor, found: ThicknessMap) -> AxesImage:
    """Draw how wide the interval of the thickness is, as :func:`draw_median`."""
    width_um = found.high_um - found.low_um
    known = width_um[np.isfinite(width_um)]
    high = max(_LEAST_WIDTH_UM, float(np.percentile(known, 99))) if known.size else _LEAST_WIDTH_UM
    to_px = _to_pixels(found, fundus.shape[-1])
    return _lay_over(axes, fundus, found, width_um, to_px, WIDTH_MAP, 0.0, high)


def draw_bar(axes: Axes, drawn: AxesImage, theme: Theme = LIGHT) -> None:
    """Draw the colour bar of a map on axes of its own, in micrometres."""
    assert axes.figure is not None
    low, high = drawn.get_clim()
    bar = axes.figure.colorbar(drawn, axes, orientation="horizontal", ticks=_ticks(low, high))
    last = bar.get_ticks()[-1]
    bar.ax.set_xticklabels([f"{tick:g} µm" if tick == last else f"{tick:g}" for tick in bar.get_ticks()])
    bar.ax.tick_params(labelsize=SMALL_PT, length=2, pad=1.5, colors=theme.muted)
    bar.outline.set(edgecolor=theme.muted, linewidth=0.5)


def draw_intervals(
    eye: Eye, found: Intervals, title: str = "", footer: str = "", theme: Theme = LIGHT
) -> Figure:
    """Draw how wide the intervals of surfaces and voxels are on the photo, and in each slice shown.

    The slices of all eyes have one grey scale, so that they can be compared.

    Args:
        eye: with the photo, and the scan of the volume.
        found: from :func:`fund2oct.models.uncertainty.draws.predict_intervals`.
        title: what stands above.
        footer: what stands below, in small letters.
        theme: colours of paper and ink.

    Returns:
        A figure, see :func:`fund2oct.visual.save_figure`.
    """
    assert eye.fundus is not None and eye.scan is not None
    photo, size = photo_tensor(eye.fundus)[0], eye.fundus.shape[0]
    grid = eye.placement.to_grid(eye.scan.coordinates(found.mean.shape[-1]))
    places = grid_to_pixels(grid, size).flatten(0, 1)
    wide = found.high - found.low
    maps = {f"{name}, µm": width for name, width in found.widths.items()}
    maps["voxels, grey value"] = wide.mean(1)
    slices = shown_slices(len(wide))
    _, n_depth, n_ascans = found.mean.shape
    aspect = n_depth * eye.spacing_mm[1] / (n_ascans * eye.spacing_mm[2])
    high = 2 * (0.35 + 13 / len(slices) * aspect)
    figure = new_figure(13, 3.85 + high, theme, layout="constrained")
    figure.suptitle(title, fontsize=TITLE_PT, color=theme.ink, fontweight="bold", x=0.01, ha="left")
    parts: Any = figure.subfigures(3, 1, height_ratios=(3.1, high, 0.4), facecolor="none")
    upper, lower, below = parts
    for axes, (caption, width) in zip(upper.subplots(1, len(maps)), maps.items(), strict=True):
        draw_photo(axes, photo, grey=True)
        drawn = axes.scatter(*places.T, c=width.flatten(), s=4, cmap=WIDTH_MAP, vmin=0)
        axes.set_title(f"width of the 80% interval: {caption}", fontsize=SMALL_PT, color=theme.ink)
        bar = upper.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.8, pad=0.02)
        bar.ax.tick_params(labelsize=SMALL_PT, colors=theme.muted)
    caption = f"width of the 80% interval; white is {_WHITE_WIDTH:g} of the grey scale or more"
    rows = {"mean of the draws": found.mean, caption: wide / _WHITE_WIDTH}
    x_mm = ascan_spacing_mm(eye.spacing_mm[2], eye.scan.length_mm)
    boxes = lower.subplots(2, len(slices), squeeze=False)
    for row, (caption, volume) in zip(boxes, rows.items(), strict=True):
        for axes, number in zip(row, slices, strict=True):
            draw_bscan(axes, volume[number], (eye.spacing_mm[1], x_mm[number]))
        row[0].set_title(caption, fontsize=SMALL_PT, color=theme.ink, loc="left")
    for axes, number in zip(boxes[0], slices, strict=True):
        axes.set_title(f"slice {number}", fontsize=SMALL_PT, color=theme.muted, loc="right")
    wrapped = textwrap.fill(footer, _FOOTER_LETTERS)
    below.text(0.01, 0.5, wrapped, fontsize=SMALL_PT, color=theme.muted, va="center")
    return figure


def _ticks(low: float, high: float) -> Array:
    step = next(step for step in (20, 50, 100, 200, 500) if (high - low) / step <= 5 or step == 500)
    return np.arange(np.ceil(low / step) * step, high + 1e-6, step)


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


def _upright(to_px: Affine2D) -> Affine2D:
    """The same map without the turn of the scan: the fields are upright on the photo."""
    a, b, _, _, e, f = to_px.to_values()
    scale = float(np.hypot(a, b))
    return Affine2D.from_values(scale, 0, 0, scale, e, f)


def _lay_over(
    axes: Axes,
    fundus: Tensor,
    found: ThicknessMap,
    values_um: Array,
    to_px: Affine2D,
    colours: str,
    low: float,
    high: float,
) -> AxesImage:
    draw_photo(axes, fundus, grey=True)
    size, reach = fundus.shape[-1], len(values_um) * found.pitch_mm / 2
    drawn = axes.imshow(
        np.ma.masked_invalid(values_um), cmap=colours, vmin=low, vmax=high, interpolation="nearest",
        extent=(-reach, reach, reach, -reach), transform=to_px + axes.transData,
    )  # fmt: skip
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    return drawn


def _draw_fields(axes: Axes, to_px: Affine2D, fields_um: dict[str, float]) -> None:
    """The ETDRS grid, which lies in millimetres."""
    # Models bring Lightning, which takes seconds to import; a contact sheet does without.
    from fund2oct.geometry.etdrs import RINGS_MM

    def place(x: Array | float, y: Array | float) -> Array:
        return to_px.transform(np.column_stack([np.atleast_1d(x), np.atleast_1d(y)]))

    turn = np.linspace(0, 2 * np.pi, 100)
    for radius in RINGS_MM:
        axes.plot(*place(radius * np.sin(turn), radius * np.cos(turn)).T, color="white", lw=0.7)
    for angle in np.radians([45, 135, 225, 315]):
        ends = np.array([RINGS_MM[0], RINGS_MM[-1]])
        axes.plot(*place(ends * np.sin(angle), ends * np.cos(angle)).T, color="white", lw=0.7)
    places = {"centre": (0.0, 0.0)}
    for ring, radius in (("inner", 1.0), ("outer", 2.25)):
        places |= {
            f"{ring} up": (0, -radius), f"{ring} right": (radius, 0), f"{ring} down": (0, radius),
            f"{ring} left": (-radius, 0),
        }  # fmt: skip
    inches = axes.get_window_extent().width / axes.figure.dpi
    size = min(8.0, max(4.5, 2.3 * inches))
    for name, (x, y) in places.items():
        if np.isfinite(fields_um.get(name, np.nan)):
            column, row = place(x, y)[0]
            axes.text(
                column, row, f"{fields_um[name]:.0f}", color="white", fontsize=size, ha="center",
                va="center", fontweight="bold", bbox=SHADED,
            )  # fmt: skip
