"""The contact sheet of a file: some of its eyes at a glance."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from fund2oct.data import EyeReader
from fund2oct.eye import Array, Eye
from fund2oct.geometry import grid_to_pixels

_INCHES = 1.9
_COLUMNS = 3
_OUTLINE = 65  # points, so that a circle is drawn round


def draw_contact_sheet(reader: EyeReader, n_eyes: int = 12) -> Figure:
    """Draw eyes of a file, spread evenly over it.

    Each is its photo, or else its localizer, with the lines of its scan, beside its middle B-scan,
    whose line is the bright one, with the stored pose; where there is no photo or no volume, the place
    says so.

    Args:
        reader: of the file.
        n_eyes: how many at most.

    Returns:
        A matplotlib figure, see :func:`fund2oct.visual.save_figure`.

    Raises:
        DataError: if an eye cannot be read.
    """
    keys = reader.keys
    places = np.unique(np.linspace(0, len(keys) - 1, min(n_eyes, len(keys))).round().astype(int))
    eyes = [reader.read(keys[place], skip=("second", "lesions", "boundaries_um")) for place in places]
    columns = min(_COLUMNS, len(eyes))
    rows = -(-len(eyes) // columns)
    width, height = columns * 2.45 * _INCHES, rows * 1.17 * _INCHES
    figure = Figure(figsize=(width, height), dpi=110, facecolor="black")
    for number, eye in enumerate(eyes):
        left, top = number % columns / columns, 1 - number // columns / rows
        share, tall = 1 / 2.45 / columns, 1 / 1.17 / rows
        photo = figure.add_axes((left, top - 1 / rows, share, tall))
        bscan = figure.add_axes((left + share * 1.02, top - 1 / rows, share * 1.4, tall))
        _draw_photo(photo, eye)
        _draw_bscan(bscan, eye)
        figure.text(
            left + 0.003, top - 0.08 / rows, _title(eye), color="white", fontsize=7, va="center"
        )  # fmt: skip
    return figure


def _title(eye: Eye) -> str:
    shape = "" if eye.shape is None else "x".join(map(str, eye.shape))
    name = eye.key if len(eye.key) < 28 else f"{eye.key[:25]}..."
    return "  ".join(filter(None, (name, eye.laterality, eye.diagnosis[:24], shape)))


def _draw_photo(axes, eye: Eye) -> None:  # type: ignore[no-untyped-def]
    picture, placement = eye.fundus, eye.placement
    if picture is None:
        picture, placement = eye.localizer, eye.localizer_placement
    if picture is None:
        _say(axes, "no photo")
        return
    _show(axes, picture, "equal")
    size = len(picture)
    if picture is eye.fundus:
        _mark_landmarks(axes, eye, size)
    if eye.scan is None or eye.volume is None:
        return
    lines = grid_to_pixels(placement.to_grid(eye.scan.points(torch.linspace(0, 1, _OUTLINE))), size).numpy()
    for number, line in enumerate(lines):
        middle = number == len(lines) // 2
        axes.plot(*line.T, color="yellow" if middle else "deepskyblue", lw=1.4 if middle else 0.4)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))


def _mark_landmarks(axes, eye: Eye, size: int) -> None:  # type: ignore[no-untyped-def]
    """Rings around the disc and the fovea that the importer found, broken where it is not sure."""
    for name, radius in (("disc", 0.14), ("fovea", 0.06)):
        if f"{name}_x" not in eye.history:
            continue
        turn = torch.linspace(0, 2 * torch.pi, 60)
        centre = torch.tensor([float(eye.history[f"{name}_x"]), float(eye.history[f"{name}_y"])])
        ring = grid_to_pixels(centre + radius * torch.stack([turn.cos(), turn.sin()], -1), size).numpy()
        sure = float(eye.history[f"{name}_confidence"]) >= 0.5
        axes.plot(*ring.T, color="white", lw=0.8, ls="-" if sure else ":")


def _draw_bscan(axes, eye: Eye) -> None:  # type: ignore[no-untyped-def]
    if eye.volume is None:
        _say(axes, "no volume")
        return
    from fund2oct.retina.pose import pose_surface_um

    middle, (_, n_depth, n_ascans) = len(eye.volume) // 2, eye.volume.shape
    _show(axes, eye.volume[middle], "auto")
    if eye.pose_um is not None:
        depth_um = pose_surface_um(torch.from_numpy(eye.pose_um), n_ascans)[middle].numpy()
        row = depth_um / (1000 * eye.spacing_mm[1]) - 0.5
        axes.plot(np.arange(n_ascans), row, color="yellow", lw=0.6, ls=":")
    axes.set(xlim=(-0.5, n_ascans - 0.5), ylim=(n_depth - 0.5, -0.5))


def _show(axes, picture: Array, aspect: str) -> None:  # type: ignore[no-untyped-def]
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, aspect=aspect, interpolation="bilinear")
    axes.axis("off")


def _say(axes, text: str) -> None:  # type: ignore[no-untyped-def]
    axes.text(0.5, 0.5, text, color="gray", ha="center", va="center", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
