"""Draw simulated eyes for the documentation, and beside real ones for the eye of the beholder.

    python docs/make_phantom_figure.py
    python docs/make_phantom_figure.py --real FOLDER --out phantom_and_real.webp

The first writes ``docs/images/phantom.webp``: one eye for each diagnosis, its photo and three of its
B-scans. The second puts such eyes below the real ones of a folder in the challenge's layout, all
reduced to the size of the real pictures. Real pictures are not ours to publish: keep what it writes
out of the repository.
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from figure_files import IMAGES, save_webp
from matplotlib.figure import Figure
from PIL import Image

from fund2oct.eye import Eye
from fund2oct.geometry import RadialScan
from fund2oct.phantom import DIAGNOSES, PhantomConfig, simulate_eye
from fund2oct.visual.bscan import draw_bscan, draw_scale_bar
from fund2oct.visual.photo import draw_photo
from fund2oct.visual.style import TEXT_PT, new_figure

SLICES = (1, 3, 5)
COLUMNS, PHOTO, SLICE, GAP, CAPTION = 2, 1.7, 2.55, 0.1, 0.24
"""Columns of eyes, and inches."""


def main() -> None:
    """Write one of the two figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, help="folder with train.csv, CF and OCT, to compare with")
    parser.add_argument("--out", type=Path, default=IMAGES / "phantom.webp")
    parser.add_argument("--seed", type=int, default=9)
    arguments = parser.parse_args()
    repository = Path(__file__).resolve().parents[1]
    if arguments.real and arguments.out.resolve().is_relative_to(repository):
        parser.error(f"--out: a figure with real pictures must lie outside of {repository}")
    eyes = [(eye, eye.diagnosis) for eye in _simulate(arguments.seed)]
    if arguments.real:
        real = _read_real(arguments.real)
        eyes = [(eye, "real") for eye in real] + [(_resize(eye, real[0]), name) for eye, name in eyes]
    save_webp(_draw(eyes), arguments.out)


def _simulate(seed: int) -> list[Eye]:
    sizes = {"fundus_px": 448, "n_depth": 320, "n_ascans": 448}
    return [simulate_eye(seed, n, PhantomConfig(**sizes, diagnosis=name)) for n, name in enumerate(DIAGNOSES)]


def _read_real(folder: Path) -> list[Eye]:
    table = next(folder.rglob("train.csv"), None)
    if table is None:
        raise SystemExit(f"--real: expected a folder with a train.csv, found none in {folder}")
    with table.open(newline="") as file:
        entries = list(csv.DictReader(file))
    return [_read_entry(table.parent, entry) for entry in entries[:4]]


def _read_entry(folder: Path, entry: dict[str, str]) -> Eye:
    scan = entry["OCT_path"]
    photo = np.asarray(Image.open(folder / "CF" / entry["CF_path"]).convert("RGB"))
    files = [folder / "OCT" / scan / f"{Path(scan).name}_{number}.jpg" for number in range(6)]
    volume = np.stack([np.asarray(Image.open(file).convert("L")) for file in files])
    _, n_depth, n_ascans = volume.shape
    spacing_mm = math.nan, PhantomConfig().depth_mm / n_depth, RadialScan().length_mm[0] / n_ascans
    return Eye(
        key="real", patient="real", laterality="", fundus=photo, scan=RadialScan(), volume=volume,
        spacing_mm=spacing_mm,
    )  # fmt: skip


def _resize(eye: Eye, like: Eye) -> Eye:
    """A simulated eye with as many pixels as a real one."""
    assert eye.fundus is not None and eye.volume is not None and like.volume is not None
    size = like.volume.shape[:0:-1]
    photo, *bscans = (
        np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        for picture in (eye.fundus, *eye.volume)
    )
    return replace(eye, fundus=photo, volume=np.stack(bscans), spacing_mm=like.spacing_mm, pose_um=None)


def _draw(eyes: list[tuple[Eye, str]]) -> Figure:
    """Two columns of eyes: a photo, and beside it three B-scans at their true aspect."""
    rows = -(-len(eyes) // COLUMNS)
    across, down = PHOTO + SLICE + 3 * GAP, PHOTO + CAPTION + GAP
    width, height = COLUMNS * across + GAP, rows * down + GAP
    figure = new_figure(width, height)
    for number, (eye, name) in enumerate(eyes):
        assert eye.fundus is not None and eye.volume is not None
        x = GAP + number % COLUMNS * across
        y = height - (number // COLUMNS + 1) * down
        figure.text(x / width, (y + PHOTO + CAPTION / 2) / height, name, fontsize=TEXT_PT, va="center")
        axes = figure.add_axes((x / width, y / height, PHOTO / width, PHOTO / height))
        draw_photo(axes, torch.from_numpy(eye.fundus.copy()).permute(2, 0, 1) / 255)
        each = PHOTO / len(SLICES)
        for row, slice_number in enumerate(SLICES):
            box = (x + PHOTO + GAP, y + PHOTO - (row + 1) * each, SLICE, each - 0.04)
            axes = figure.add_axes(
                (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
            )  # fmt: skip
            bscan = torch.from_numpy(eye.volume[slice_number] / 255)
            draw_bscan(axes, bscan, eye.spacing_mm[1:])
            if number == row == 0:
                draw_scale_bar(axes)
    return figure


if __name__ == "__main__":
    main()
