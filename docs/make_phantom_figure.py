"""Draw simulated eyes for the documentation, and beside real ones for the eye of the beholder.

    python docs/make_phantom_figure.py
    python docs/make_phantom_figure.py --real FOLDER --out phantom_and_real.png

The first writes ``docs/images/phantom.png``: one eye for each diagnosis, its photo and three of its
B-scans. The second puts such eyes below the real ones of a folder in the challenge's layout, all
reduced to the size of the real pictures. Real pictures are not ours to publish: keep what it writes
out of the repository.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fund2oct.eye import Eye
from fund2oct.phantom import DIAGNOSES, PhantomConfig, simulate_eye

Array = np.ndarray
Pictures = tuple[Array, list[Array], str]

HEIGHT, WIDTH, GAP = 160, 224, 4
SLICES = (1, 3, 5)


def main() -> None:
    """Write one of the two figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, help="folder with train.csv, CF and OCT, to compare with")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "phantom.png")
    parser.add_argument("--seed", type=int, default=9)
    arguments = parser.parse_args()
    repository = Path(__file__).resolve().parents[1]
    if arguments.real and arguments.out.resolve().is_relative_to(repository):
        parser.error(f"--out: a figure with real pictures must lie outside of {repository}")
    eyes = [
        (eye.fundus, [eye.volume[number] for number in SLICES], eye.diagnosis)
        for eye in _simulate(arguments.seed)
    ]
    if arguments.real:
        real = _read_real(arguments.real)
        size = real[0][1][0].shape[::-1]
        eyes = real + [
            (_resize(photo, size), [_resize(b, size) for b in bscans], n) for photo, bscans, n in eyes
        ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    _grid([_row(*eye) for eye in eyes]).save(arguments.out, optimize=True)


def _simulate(seed: int) -> list[Eye]:
    sizes = {"fundus_px": 448, "n_depth": 320, "n_ascans": 448}
    return [simulate_eye(seed, n, PhantomConfig(**sizes, diagnosis=name)) for n, name in enumerate(DIAGNOSES)]


def _read_real(folder: Path) -> list[Pictures]:
    table = next(folder.rglob("train.csv"), None)
    if table is None:
        raise SystemExit(f"--real: expected a folder with a train.csv, found none in {folder}")
    with table.open(newline="") as file:
        entries = list(csv.DictReader(file))
    return [_read_entry(table.parent, entry) for entry in entries[:4]]


def _read_entry(folder: Path, entry: dict[str, str]) -> Pictures:
    scan = entry["OCT_path"]
    photo = Image.open(folder / "CF" / entry["CF_path"]).convert("RGB")
    files = [folder / "OCT" / scan / f"{Path(scan).name}_{number}.jpg" for number in SLICES]
    return np.asarray(photo), [np.asarray(Image.open(file).convert("L")) for file in files], "real"


def _resize(picture: Array, size: tuple[int, int]) -> Array:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _row(photo: Array, bscans: list[Array], name: str) -> Image.Image:
    """A photo and its B-scans side by side."""
    row = Image.new("RGB", (HEIGHT + len(bscans) * (WIDTH + GAP), HEIGHT), "white")
    row.paste(Image.fromarray(_resize(photo, (HEIGHT, HEIGHT))))
    for number, bscan in enumerate(bscans):
        picture = Image.fromarray(_resize(bscan, (WIDTH, HEIGHT)))
        row.paste(picture, (HEIGHT + GAP + number * (WIDTH + GAP), 0))
    ImageDraw.Draw(row).text((4, 2), name, fill="white")
    return row


def _grid(rows: list[Image.Image]) -> Image.Image:
    """Rows of pictures in two columns."""
    width, height = rows[0].size
    sheet = Image.new("RGB", (2 * width + GAP, (len(rows) + 1) // 2 * (height + GAP) - GAP), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (number % 2 * (width + GAP), number // 2 * (height + GAP)))
    return sheet


if __name__ == "__main__":
    main()
