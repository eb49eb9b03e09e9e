"""Draw the figures of the concept pages from simulated eyes: python docs/make_concept_figures.py

Writes ``geometry.webp``, ``pose.webp``, ``surfaces.webp`` and ``twins.webp`` to docs/images.
"""

from __future__ import annotations

import numpy as np
import torch
from figure_files import IMAGES, save_webp
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fund2oct.eye import Eye
from fund2oct.geometry import grid_to_pixels
from fund2oct.networks.lift import sample_lines
from fund2oct.phantom import PhantomConfig, simulate_eye, simulate_twins
from fund2oct.retina import SURFACES, LayerFrame, align, retinal_boundaries, to_layers
from fund2oct.visual.style import SURFACE_COLOURS

CONFIG = PhantomConfig(fundus_px=448, n_depth=256, n_ascans=360, diagnosis="PED")
SEED, NUMBER = 9, 4
# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")


def main() -> None:
    """Draw all of them."""
    eye = simulate_eye(SEED, NUMBER, CONFIG)
    for name, draw in (("geometry", geometry), ("pose", pose), ("surfaces", surfaces), ("twins", twins)):
        figure = draw(eye)
        save_webp(figure, IMAGES / f"{name}.webp", dpi=130, bbox_inches="tight", pad_inches=0.05)


def geometry(eye: Eye) -> Figure:
    """The photo with its lines, what the photo shows under two of them, and their B-scans."""
    grid = eye.placement.to_grid(eye.scan.coordinates(CONFIG.n_ascans))
    lines = grid_to_pixels(grid, CONFIG.fundus_px).numpy()
    figure = Figure(figsize=(9, 4.5), facecolor="white")
    halves = figure.add_gridspec(2, 3, width_ratios=(1.5, 1, 1), hspace=0.14, wspace=0.06)
    photo = figure.add_subplot(halves[:, 0])
    _picture(photo, eye.fundus, "photo, with the lines of the scan")
    for number, (line, colour) in enumerate(zip(lines, COLOURS, strict=True)):
        photo.plot(*line.T, color=colour, lw=1.8)
        x, y = line[-1] + 0.06 * (line[-1] - line[0])
        photo.text(x, y, str(number), color="white", fontsize=9, ha="center", va="center", weight="bold",
                   bbox={"boxstyle": "circle,pad=0.2", "color": colour})  # fmt: skip
    fundus = torch.from_numpy(np.ascontiguousarray(eye.fundus)).permute(2, 0, 1)[None] / 255
    under = sample_lines(fundus, grid[None])[0].permute(1, 2, 0).clamp(0, 1).numpy()
    for place, number in enumerate((0, 1, 3, 4)):
        cell = halves[place // 2, 1 + place % 2].subgridspec(2, 1, height_ratios=(0.16, 1), hspace=0.05)
        strip, bscan = figure.add_subplot(cell[0]), figure.add_subplot(cell[1])
        title = f"line {number}: photo above, B-scan below"
        _picture(strip, np.tile(under[number], (24, 1, 1)), title, aspect="auto")
        _picture(bscan, eye.volume[number], "", aspect="auto")
        for axes in (strip, bscan):
            _frame(axes, COLOURS[number])
    return figure


def pose(eye: Eye) -> Figure:
    """Two slices as scanned, and the same in the aligned frame."""
    volume = torch.from_numpy(eye.volume)[None, None] / 255
    spacing = eye.spacing_mm[1]
    found = torch.as_tensor(eye.pose_um, dtype=torch.float32)[None]
    aligned = align(volume, found, spacing)[0, 0].numpy()
    chosen = np.argsort(np.abs(eye.pose_um[:, 1:3]).sum(1))[[0, -1]]
    figure = Figure(figsize=(9, 4.9), facecolor="white")
    axes = figure.subplots(2, 2, gridspec_kw={"wspace": 0.04, "hspace": 0.05})
    places = (np.arange(CONFIG.n_ascans) + 0.5) / CONFIG.n_ascans * 2 - 1
    for row, number in enumerate(chosen):
        surface_um = np.polynomial.legendre.legval(places, eye.pose_um[number])
        scanned, flat = (
            ("", "")
            if row
            else ("as scanned, with the surface of the pose", "aligned: flat, and the lesion stays")
        )
        _picture(axes[row, 0], eye.volume[number], scanned, "auto")
        axes[row, 0].plot(surface_um / (1000 * spacing), color=COLOURS[1], lw=2)
        _picture(axes[row, 1], aligned[number], flat, "auto")
        axes[row, 1].axhline(0.6 * CONFIG.n_depth, color=COLOURS[1], lw=2)
        axes[row, 0].set_ylabel(f"slice {number}", fontsize=8.5)
    return figure


def surfaces(eye: Eye) -> Figure:
    """A slice with the surfaces that were found in it, and its tissue in the layer frame."""
    number = 3
    found = retinal_boundaries(eye.volume, eye.spacing_mm).surfaces_um
    frame = LayerFrame(bands=(60, 90, 30, 20, 60))
    volume = torch.from_numpy(eye.volume)[None, None] / 255
    layers = to_layers(volume, torch.from_numpy(found)[None], eye.spacing_mm[1], frame)[0, 0, number].numpy()
    figure = Figure(figsize=(9, 3.1), facecolor="white")
    left, right = figure.subplots(1, 2)
    _picture(left, eye.volume[number], "surfaces are numbers: a depth for each A-scan", "auto")
    for name, depth_um, colour in zip(SURFACES, found[:, number], SURFACE_COLOURS.values(), strict=True):
        left.plot(depth_um / (1000 * eye.spacing_mm[1]), color=colour, lw=1.6, label=name)
    left.legend(loc="upper right", fontsize=8, framealpha=0.85)
    _picture(right, layers, "tissue in the layer frame: every surface is flat", aspect="auto")
    for name, edge, colour in zip(SURFACES, frame.edges, SURFACE_COLOURS.values(), strict=True):
        right.axhline(edge, color=colour, lw=1.2)
        name_on = {"facecolor": colour, "linewidth": 0, "pad": 1.5}
        right.text(5, edge - 3, name, color="black", fontsize=7, weight="bold", va="bottom", bbox=name_on)
    figure.tight_layout()
    return figure


def twins(eye: Eye) -> Figure:
    """One photo, a slice of the eye, of its rescan and of a twin, and how thick twins are."""
    others = simulate_twins(SEED, NUMBER, 6, CONFIG)
    assert eye.rescan is not None
    figure = Figure(figsize=(9, 4.2), facecolor="white")
    layout = figure.add_gridspec(2, 3, width_ratios=(1.2, 1, 1), wspace=0.06, hspace=0.22)
    _picture(figure.add_subplot(layout[:, 0]), eye.fundus, "one photo, to the last bit")
    pictures = {
        "the eye": eye.volume,
        "scanned again: other speckle": eye.rescan,
        "a twin: other hidden anatomy": others[0].volume,
    }
    for place, (title, volume) in enumerate(pictures.items()):
        _picture(figure.add_subplot(layout[place // 2, 1 + place % 2]), volume[3], title, "auto")
    thickness = figure.add_subplot(layout[1, 2])
    along_mm = eye.spacing_mm[2] * (np.arange(CONFIG.n_ascans) - CONFIG.n_ascans / 2)
    for number, twin in enumerate([*others, eye]):
        found = retinal_boundaries(twin.volume, eye.spacing_mm).thickness_um[3]
        label = "the eye" if twin is eye else "twins" if number == 0 else None
        thickness.plot(along_mm, found, color=COLOURS[3] if twin is eye else "0.6", lw=1.5, label=label)
    thickness.set_title("thickness in \u00b5m, along the slice in mm", fontsize=8.5)
    thickness.set_xlim(-4, 4)
    thickness.set_ylim(150, 400)
    thickness.yaxis.tick_right()
    thickness.tick_params(labelsize=7)
    thickness.legend(fontsize=7, frameon=False)
    return figure


def _picture(axes: Axes, picture: np.ndarray, title: str, aspect: str = "equal") -> None:
    axes.imshow(picture, cmap=colormaps["gray"], aspect=aspect)
    axes.set_title(title, fontsize=8.5)
    axes.set_xticks([])
    axes.set_yticks([])


def _frame(axes: Axes, colour: str) -> None:
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2)


if __name__ == "__main__":
    main()
