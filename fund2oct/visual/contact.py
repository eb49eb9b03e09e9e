"""The contact sheet of a file: some of its eyes at a glance."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fund2oct.data import EyeReader
from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.eye import Eye
from fund2oct.geometry import grid_to_pixels
from fund2oct.geometry.patterns import ascan_spacing_mm
from fund2oct.retina.pose import pose_surface_um
from fund2oct.visual.bscan import Spacing, draw_bscan, draw_scale_bar, shown_slices
from fund2oct.visual.photo import draw_lines, draw_photo, line_colour
from fund2oct.visual.style import LIGHT, OKABE_ITO, SMALL_PT, TEXT_PT, Theme, new_figure

_COLUMNS = 3
_OUTLINE = 65  # points, so that a circle is drawn round
_PHOTO, _SLICES, _MARGIN, _GAP, _CAPTION = 1.6, 2.4, 0.15, 0.05, 0.24
_MOST_LETTERS = 28


def draw_contact_sheet(reader: EyeReader, n_eyes: int = 12, theme: Theme = LIGHT) -> Figure:
    """Draw some eyes of a file, to see at a glance what it holds.

    The eyes are spread evenly over the file. Each is its photo, or else its localizer, with the lines of its
    scan, beside some of its B-scans at their true aspect, with the stored pose as a dotted line. A B-scan's
    frame has the colour of its line.
    Where there is no photo or no volume, the place says so.

    Args:
        reader: the file of eyes.
        n_eyes: the most eyes to draw.
        theme: colours of paper and ink.

    Returns:
        A figure, see :func:`fund2oct.visual.save_figure`.

    Raises:
        DataError: if an eye cannot be read.

    Example:
        >>> from fund2oct.visual import save_figure
        >>> with EyeReader("eyes.h5") as reader:
        ...     figure = draw_contact_sheet(reader, n_eyes=1)
        >>> save_figure(figure, "eyes.png").stat().st_size > 10_000
        True
    """
    keys = reader.keys
    places = np.unique(np.linspace(0, len(keys) - 1, min(n_eyes, len(keys))).round().astype(int))
    eyes = [reader.read(keys[place], skip=("rescan", "lesions", "boundaries_um")) for place in places]
    columns = min(_COLUMNS, len(eyes))
    rows = -(-len(eyes) // columns)
    across, down = _PHOTO + _GAP + _SLICES + 2 * _MARGIN, _PHOTO + _CAPTION + _MARGIN
    width, height = columns * across, rows * down + _MARGIN
    figure = new_figure(width, height, theme)

    def add_axes(x: float, y: float, wide: float, high: float) -> Axes:
        return figure.add_axes((x / width, y / height, wide / width, high / height))

    for number, eye in enumerate(eyes):
        left = number % columns * across + _MARGIN
        bottom = height - (number // columns + 1) * down
        figure.text(
            left / width, (bottom + _PHOTO + _CAPTION / 2) / height, _title(eye), color=theme.ink,
            fontsize=SMALL_PT + 0.5, va="center",
        )  # fmt: skip
        shown = _shown(eye)
        _draw_photo(add_axes(left, bottom, _PHOTO, _PHOTO), eye, shown, theme)
        left += _PHOTO + _GAP
        if not shown:
            _say(add_axes(left, bottom, _SLICES, _PHOTO), "no volume", theme)
            continue
        each, spacings = (_PHOTO + _GAP) / len(shown), _spacings_mm(eye)
        for place, slice_number in enumerate(shown):
            axes = add_axes(left, bottom + _PHOTO - (place + 1) * each + _GAP, _SLICES, each - _GAP)
            _draw_slice(axes, eye, slice_number, spacings[slice_number], line_colour(place))
            if place == 0 or spacings[slice_number] != spacings[shown[0]]:
                draw_scale_bar(axes)
    return figure


def _title(eye: Eye) -> str:
    shape = "" if eye.shape is None else " x ".join(map(str, eye.shape))
    name = eye.key if len(eye.key) <= _MOST_LETTERS else f"{eye.key[: _MOST_LETTERS - 1]}…"
    side = "" if name.endswith(eye.laterality) else eye.laterality
    return "   ".join(filter(None, (name, side, eye.diagnosis[:24], shape)))


def _shown(eye: Eye) -> list[int]:
    """As many slices as stand one below the other beside the photo."""
    if eye.volume is None:
        return []
    n_slices, n_depth, n_ascans = eye.volume.shape
    height = _SLICES * n_depth * eye.spacing_mm[1] / (n_ascans * eye.spacing_mm[2])
    room = max(1, int((_PHOTO + _GAP) / (height + _GAP) + 0.3))
    return shown_slices(n_slices, room) if room > 1 else [n_slices // 2]


def _draw_photo(axes: Axes, eye: Eye, shown: list[int], theme: Theme) -> None:
    picture, placement = eye.fundus, eye.placement
    if picture is None and eye.localizer is not None:
        picture, placement = np.repeat(eye.localizer[..., None], 3, -1), eye.localizer_placement
    if picture is None:
        _say(axes, "no photo", theme)
        return
    size = len(picture)
    draw_photo(axes, photo_tensor(picture)[0])
    if picture is eye.fundus:
        _mark_landmarks(axes, eye, size)
    if eye.scan is not None and eye.volume is not None:
        draw_lines(axes, placement.to_grid(eye.scan.points(torch.linspace(0, 1, _OUTLINE))), size, shown)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))


def _mark_landmarks(axes: Axes, eye: Eye, size: int) -> None:
    """Rings around the disc and the fovea that the importer found, broken where it is not sure."""
    for name, radius in (("disc", 0.14), ("fovea", 0.06)):
        if f"{name}_x" not in eye.history:
            continue
        turn = torch.linspace(0, 2 * torch.pi, 60)
        centre = torch.tensor([float(eye.history[f"{name}_x"]), float(eye.history[f"{name}_y"])])
        ring = grid_to_pixels(centre + radius * torch.stack([turn.cos(), turn.sin()], -1), size).numpy()
        sure = float(eye.history[f"{name}_confidence"]) >= 0.5
        axes.plot(*ring.T, color="white", lw=0.8, ls="-" if sure else ":")


def _draw_slice(axes: Axes, eye: Eye, number: int, spacing_mm: Spacing, colour: str) -> None:
    assert eye.volume is not None
    n_ascans = eye.volume.shape[-1]
    draw_bscan(axes, torch.from_numpy(eye.volume[number] / 255), spacing_mm, frame=colour)
    if eye.pose_um is not None:
        depth_um = pose_surface_um(torch.from_numpy(eye.pose_um), n_ascans)[number].numpy()
        x_um = (np.arange(n_ascans) + 0.5) * 1000 * spacing_mm[1]
        axes.plot(x_um, depth_um, color=OKABE_ITO["yellow"], lw=0.7, ls=":")


def _spacings_mm(eye: Eye) -> list[Spacing]:
    """Distance of rows and of A-scans in each slice."""
    assert eye.scan is not None
    _, z_mm, x_mm = eye.spacing_mm
    return [(z_mm, each_mm) for each_mm in ascan_spacing_mm(x_mm, eye.scan.length_mm)]


def _say(axes: Axes, text: str, theme: Theme) -> None:
    axes.text(0.5, 0.5, text, color=theme.muted, ha="center", va="center", fontsize=TEXT_PT)
    axes.set(xlim=(0, 1), ylim=(0, 1), facecolor=theme.paper, xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=theme.faint, linewidth=0.8)
