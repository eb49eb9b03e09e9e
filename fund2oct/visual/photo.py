"""The photo, and the lines of the scan on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from torch import Tensor

from fund2oct.geometry import grid_to_pixels
from fund2oct.visual.style import LINE_COLOURS, SHADE, SMALL_PT

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_BLACK = 0.1


def draw_photo(axes: Axes, fundus: Tensor, grey: bool = False) -> None:
    """Draw a photo, so that the axes' coordinates are its pixels.

    The black corners around the circle of retina are left out.

    Args:
        axes: the axes to draw on.
        fundus: RGB in [0, 1], shape ``(3, H, W)``.
        grey: without its colours, so that those of a map over it can be read off.
    """
    picture = fundus.detach().float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
    if grey:
        picture = np.repeat((picture @ _LUMINANCE)[..., None], 3, -1)
    drawn = axes.imshow(picture, interpolation="hanning")
    height, width = picture.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    if picture[x**2 + y**2 > 1].mean() < _BLACK:
        centre, size = ((width - 1) / 2, (height - 1) / 2), (0.99 * width, 0.99 * height)
        drawn.set_clip_path(Ellipse(centre, *size, transform=axes.transData))
    axes.axis("off")


def draw_lines(axes: Axes, grid: Tensor, size_px: int, shown: Sequence[int]) -> None:
    """Draw the lines of the scan on a photo; those whose slices are shown in colour, with their numbers.

    The number of a slice stands where it ends.

    Args:
        axes: the axes on which :func:`draw_photo` drew.
        grid: positions of the A-scans in grid units, shape ``(S, X, 2)``.
        size_px: width of the photo.
        shown: numbers of the slices that are shown.
    """
    lines = grid_to_pixels(grid.detach().float().cpu(), size_px).numpy()
    for number, line in enumerate(lines):
        if number not in shown:
            axes.plot(*line.T, color="white", linewidth=0.4, alpha=0.45)
    for place, number in enumerate(shown):
        _draw_line(axes, lines[number], number, line_colour(place), size_px)
    axes.set(xlim=(-0.5, size_px - 0.5), ylim=(size_px - 0.5, -0.5))


def draw_number(axes: Axes, x: float, y: float, number: int, colour: str, **options: Any) -> None:
    """Draw a slice's number in a disc of its colour."""
    disc = {"boxstyle": "circle,pad=0.22", "facecolor": colour, "edgecolor": SHADE, "linewidth": 0.5}
    ink = "white" if colour in LINE_COLOURS[4:5] else SHADE
    axes.text(
        x, y, str(number), color=ink, fontsize=SMALL_PT, fontweight="bold", ha="center", va="center",
        bbox=disc, **options,
    )  # fmt: skip


def line_colour(place: int) -> str:
    """Colour of a shown slice, by its place among those shown."""
    return LINE_COLOURS[place % len(LINE_COLOURS)]


def _draw_line(axes: Axes, line: np.ndarray, number: int, colour: str, size_px: int) -> None:
    casing = [patheffects.Stroke(linewidth=2.8, foreground=SHADE, alpha=0.65), patheffects.Normal()]
    axes.plot(*line.T, color=colour, linewidth=1.3, path_effects=casing, solid_capstyle="round")
    # Onwards from the last two points: a circle ends where it starts.
    end, along = line[-1], line[-1] - line[-2]
    place = end + 0.035 * size_px * along / np.hypot(*along)
    # A scan may leave the photo; its number stays on it.
    x, y = np.clip(place, 0.03 * size_px, 0.97 * size_px)
    draw_number(axes, x, y, number, colour)
