"""The panel of one eye: the photo with its scan lines, beside rows of B-scans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from fund2oct.geometry import grid_to_pixels

_MAX_SLICES = 6
_INCHES_A_SLICE = 2.1


def draw_panel(
    fundus: Tensor | None,
    grid: Tensor | None,
    rows: Mapping[str, Tensor],
    title: str = "",
    slice_aspect: float = 0.72,
) -> Figure:
    """Draw one eye.

    Each scan line is drawn on the photo in a colour and numbered where it ends, and its B-scans
    carry a frame of that colour. Where there is room the photo is drawn again without the lines.

    Args:
        fundus: photo in [0, 1], shape ``(3, H, H)``; None draws the B-scans alone.
        grid: A-scan positions in grid units, shape ``(S, X, 2)``; None with ``fundus``.
        rows: volumes in [0, 1] by name, each of shape ``(S, Z, X)``; a row of B-scans each.
        title: over the whole panel.
        slice_aspect: height over width of a drawn B-scan.

    Returns:
        A matplotlib figure, see :func:`save_figure`.
    """
    n_slices = len(next(iter(rows.values())))
    shown = np.unique(np.linspace(0, n_slices - 1, min(n_slices, _MAX_SLICES)).round().astype(int))
    height = _INCHES_A_SLICE * slice_aspect * len(rows)
    photo = 0.0 if fundus is None else 1.7 * _INCHES_A_SLICE
    body = max(height, photo)
    width = photo + _INCHES_A_SLICE * len(shown)
    figure = Figure(figsize=(width, body + 0.35), dpi=110, facecolor="black")
    top = body / (body + 0.35)
    if fundus is not None and grid is not None:
        for place in range(min(2, int(body / photo))):
            bottom = top * (1 - (place + 1) * photo / body)
            axes = figure.add_axes((0, bottom, photo / width, top * photo / body))
            _draw_photo(axes, fundus)
            if place == 0:
                _draw_lines(axes, grid, fundus.shape[-1], shown)
    share = _INCHES_A_SLICE / width
    row_height = top * height / body / len(rows)
    first_row = top - (body - height) / 2 / (body + 0.35)
    for row, (name, volume) in enumerate(rows.items()):
        for column, number in enumerate(shown):
            left, bottom = photo / width + column * share, first_row - (row + 1) * row_height
            axes = figure.add_axes((left + 0.004, bottom + 0.012, share - 0.006, row_height - 0.02))
            _draw_slice(axes, volume[number], _colour(column, len(shown)))
            if column == 0:
                _draw_name(axes, name)
    figure.text(0.005, (1 + top) / 2, title, color="white", fontsize=10, va="center")
    return figure


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure to ``path``, making its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=figure.get_facecolor())
    return path


def _draw_photo(axes, fundus: Tensor) -> None:  # type: ignore[no-untyped-def]
    axes.imshow(fundus.permute(1, 2, 0).clamp(0, 1).float().cpu().numpy(), interpolation="bilinear")
    axes.axis("off")


def _draw_lines(axes, grid: Tensor, size_px: int, shown: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    lines = grid_to_pixels(grid.float().cpu(), size_px).numpy()
    for place, number in enumerate(shown):
        colour = _colour(place, len(shown))
        start, end = lines[number, 0], lines[number, -1]
        style = {"arrowstyle": "-|>", "color": colour, "lw": 1.0}
        arrow = axes.annotate("", end, start, arrowprops=style, annotation_clip=False)
        # A scan may leave the photo; what it draws there would lie over the slices.
        arrow.arrow_patch.set_clip_path(axes.patch)
        beyond = end + (end - start) * 0.045
        axes.text(
            *beyond, str(number), color=colour, fontsize=9, ha="center", va="center", clip_on=True
        )  # fmt: skip
    axes.set(xlim=(-0.5, size_px - 0.5), ylim=(size_px - 0.5, -0.5))


def _draw_slice(axes, bscan: Tensor, colour: tuple[float, ...]) -> None:  # type: ignore[no-untyped-def]
    axes.imshow(
        bscan.clamp(0, 1).float().cpu().numpy(), cmap="gray", vmin=0, vmax=1, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=1.5)


def _draw_name(axes, name: str) -> None:  # type: ignore[no-untyped-def]
    shade = {"facecolor": "black", "alpha": 0.55, "linewidth": 0, "pad": 1.5}
    axes.text(
        0.02, 0.96, name, color="white", fontsize=9, va="top", linespacing=1.1, bbox=shade,
        transform=axes.transAxes,
    )  # fmt: skip


def _colour(place: int, n: int) -> tuple[float, ...]:
    return tuple(colormaps["hsv"](place / n))
