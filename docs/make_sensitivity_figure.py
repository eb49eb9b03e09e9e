"""Measure how the distances answer to distortions of real B-scans, and draw it for the documentation.

    python docs/make_sensitivity_figure.py --real FOLDER

FOLDER holds ``srf_bscans`` (single B-scans), ``duke_dme`` (one volume, a picture a slice) and
``macular_hole`` (one volume, a TIFF). Written are ``docs/images/sensitivity.webp`` and the values
behind it, ``sensitivity.csv``: numbers alone, nothing of the pictures. What does not rise with the
strength of a distortion is printed.

The image distance is of single B-scans. The video distance is of sequences of nine neighbouring slices,
the fewest that I3D takes, which share no slice; each volume is cut into a left and a right half first.
They are of two eyes only, so the numbers say how the distances answer and nothing of a population.
"""

from __future__ import annotations

import argparse
import copy
import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from figure_files import IMAGES, save_webp
from matplotlib.figure import Figure
from scipy import ndimage

from fund2oct.data.formats.images import read_grey, resize
from fund2oct.metrics import DistanceResult, ImageDistance, VideoDistance
from fund2oct.visual.style import SERIES_COLOURS, dress, new_figure

Array = np.ndarray
Distance = ImageDistance | VideoDistance
Key = tuple[str, str]
"""A distance's name and a distortion's."""

SIDE = 224
FRAMES = 9
SPLITS = 8
COLOURS = dict(zip(("noise", "blur", "shift", "slice shuffle"), SERIES_COLOURS, strict=False))


@dataclass(frozen=True)
class Distortion:
    """What is done to a volume ``(S, Z, X)`` in [0, 1].

    Args:
        strengths: rising.
        unit: of the strengths.
        apply: takes the volume, a strength and the volume's own random numbers.
    """

    strengths: tuple[float, ...]
    unit: str
    apply: Callable[[Array, float, np.random.Generator], Array]


def _noise(volume: Array, strength: float, rng: np.random.Generator) -> Array:
    return volume + strength * rng.standard_normal(volume.shape)


def _blur(volume: Array, strength: float, _: np.random.Generator) -> Array:
    return ndimage.gaussian_filter(volume, strength / 100 * volume.shape[1], axes=(1, 2))


def _shift(volume: Array, strength: float, _: np.random.Generator) -> Array:
    return ndimage.shift(volume, (0, strength / 100 * volume.shape[1], 0), order=1, mode="mirror")


def _shuffle(volume: Array, strength: float, rng: np.random.Generator) -> Array:
    # One cycle through the slices chosen: each of them leaves its place.
    chosen = rng.permutation(len(volume))[: int(strength)]
    shuffled = volume.copy()
    shuffled[chosen] = volume[np.roll(chosen, 1)]
    return shuffled


PIXELS = {
    "noise": Distortion((0.02, 0.05, 0.1, 0.2, 0.4), "standard deviation, white = 1", _noise),
    "blur": Distortion((0.1, 0.2, 0.5, 1, 2), "standard deviation, % of the height", _blur),
    "shift": Distortion((1, 2, 5, 10, 20), "downwards, % of the height", _shift),
}
SLICES = {"slice shuffle": Distortion((2, 3, 5, 7, 9), f"slices out of place, of {FRAMES}", _shuffle)}


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True, help="folder of the real B-scans")
    parser.add_argument("--out", type=Path, default=IMAGES / "sensitivity.webp")
    arguments = parser.parse_args()
    bscans, sequences = read_bscans(arguments.real), read_sequences(arguments.real)
    print(f"{len(bscans)} single B-scans, {len(sequences)} sequences of {FRAMES} slices")
    with torch.inference_mode():
        measured = _measure(ImageDistance(resamples=SPLITS), bscans, PIXELS)
        video = VideoDistance(slices="native", resamples=SPLITS)
        measured |= _measure(video, sequences, PIXELS | SLICES)
    for key, results in measured.items():
        print(" ".join(key), "|", _verdict(results))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    _write(measured, arguments.out.with_suffix(".csv"))
    save_webp(_draw(measured), arguments.out)


def read_bscans(folder: Path) -> dict[str, Array]:
    """Single B-scans by name, each a volume of one slice."""
    return {path.stem: read_grey(path)[None] / 255 for path in sorted((folder / "srf_bscans").glob("*.png"))}


def read_sequences(folder: Path) -> dict[str, Array]:
    """Sequences of neighbouring slices by name, squeezed to the network's size."""
    paths = sorted((folder / "duke_dme").glob("*.png"), key=lambda path: int(path.stem.split("_")[-1]))
    volumes = {
        "duke_dme": np.stack([_without_border(read_grey(path)) for path in paths]),
        "macular_hole": tifffile.imread(folder / "macular_hole" / "mh.tif"),
    }
    found = {}
    for name, volume in volumes.items():
        first, middle = len(volume) % FRAMES // 2, volume.shape[2] // 2
        for side, half in (("left", volume[..., :middle]), ("right", volume[..., middle:])):
            frames = np.stack([resize(bscan, SIDE, SIDE) for bscan in half]) / 255
            for start in range(first, len(frames) - FRAMES + 1, FRAMES):
                found[f"{name} {side} {start}"] = frames[start : start + FRAMES]
    return found


def _without_border(bscan: Array) -> Array:
    """Paint the white that a registration left at the edges in the grey of the vitreous."""
    bscan = bscan[:, 4:-4]
    parts, _ = ndimage.label(np.pad(bscan >= 250, 1, constant_values=True))
    border = ndimage.binary_dilation(parts == parts[0, 0], iterations=3)[1:-1, 1:-1]
    return np.where(border, np.median(bscan[~border]), bscan).astype(np.uint8)


def _measure(
    metric: Distance, volumes: Mapping[str, Array], distortions: Mapping[str, Distortion]
) -> dict[Key, dict[float, DistanceResult]]:
    """For each kind of distance and each distortion the result at each strength, 0 first."""
    for key, volume in volumes.items():
        metric.update(_tensor(volume), "real", [key])
    untouched = dict(_compare(metric, volumes))
    measured = {}
    for name, distortion in distortions.items():
        results = {kind: {0.0: result} for kind, result in untouched.items()}
        for strength in distortion.strengths:
            # The same random numbers at each strength, so that nothing but the strength changes.
            distorted = {
                key: distortion.apply(volume, strength, np.random.default_rng(number))
                for number, (key, volume) in enumerate(volumes.items())
            }
            for kind, result in _compare(metric, distorted):
                results[kind][strength] = result
                print(f"{name} {strength:g}: {result}", flush=True)
        measured |= {(kind, name): found for kind, found in results.items()}
    return measured


def _compare(metric: Distance, volumes: Mapping[str, Array]) -> Iterator[tuple[str, DistanceResult]]:
    seen = _fork(metric)
    for key, volume in volumes.items():
        seen.update(_tensor(volume), "fake", [key])
    for kind in ("frechet", "kernel"):
        seen.kind = kind
        result = _fork(seen).compute()
        yield result.name, result


def _fork(metric: Distance) -> Distance:
    """A copy of a metric and what it has seen, around the same network."""
    return copy.deepcopy(metric, {id(metric.network): metric.network})


def _tensor(volume: Array) -> torch.Tensor:
    return torch.from_numpy(np.clip(volume, 0, 1).astype(np.float32))[None, None]


def _at_halves(results: Mapping[float, DistanceResult]) -> list[float]:
    """One half against the other half distorted: the floor first, by rising strength."""
    values = [result.value_at_floor_n for result in results.values()]
    return [value for value in values if value is not None]


def _verdict(results: Mapping[float, DistanceResult]) -> str:
    parts = []
    for subject, values in (
        ("halves", _at_halves(results)),
        ("all, in pairs", [result.value for result in results.values()]),
    ):
        falls = [
            f"{strength:g}"
            for strength, before, after in zip(list(results)[1:], values, values[1:], strict=False)
            if after <= before
        ]
        parts.append(f"{subject}: " + (f"does NOT rise at {', '.join(falls)}" if falls else "rises"))
    return "; ".join(parts)


def _write(measured: Mapping[Key, Mapping[float, DistanceResult]], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            [
                "distance",
                "distortion",
                "strength",
                "unit",
                "n",
                "value",
                "floor_n",
                "value_at_floor_n",
                "floor",
            ]
        )
        for (distance, distortion), results in measured.items():
            unit = (PIXELS | SLICES)[distortion].unit
            for strength, one in results.items():
                numbers = [
                    f"{value:.6g}"
                    for value in (one.value, one.value_at_floor_n, one.floor)
                    if value is not None
                ]
                table.writerow(
                    [
                        distance,
                        distortion,
                        f"{strength:g}",
                        unit,
                        one.n_real,
                        numbers[0],
                        one.floor_n,
                        *numbers[1:],
                    ]
                )


def _draw(measured: Mapping[Key, Mapping[float, DistanceResult]]) -> Figure:
    """A panel a distance: curves against the number of the strength."""
    names = list(dict.fromkeys(name for name, _ in measured))
    names.sort(key=lambda name: (name.endswith("/kernel"), name))
    figure = new_figure(9.6, 7.2, layout="constrained")
    for axes, name in zip(figure.subplots(2, 2).flat, names, strict=True):
        found = {
            distortion: results for (distance, distortion), results in measured.items() if distance == name
        }
        _draw_panel(axes, name, found)
    handles, labels = figure.axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_panel(axes: Any, name: str, found: Mapping[str, Mapping[float, DistanceResult]]) -> None:
    for distortion, results in found.items():
        colour = COLOURS[distortion]
        axes.plot(_at_halves(results), "o-", color=colour, label=f"{distortion}, half against half")
        axes.plot(
            [one.value for one in results.values()], ":", color=colour, label=f"{distortion}, all in pairs"
        )
    first = next(iter(next(iter(found.values())).values()))
    axes.axhline(first.floor, color="black", linestyle="--", linewidth=1, label="floor: halves of the real")
    unit = "sequences" if name.startswith("video") else "B-scans"
    axes.set_title(f"{name}\n{first.n_real} {unit}, halves of {first.floor_n}", fontsize=9)
    axes.set_xlabel("strength, 0 = as they are")
    axes.set_ylabel("kernel distance" if name.endswith("/kernel") else "Frechet distance")
    axes.set_ylim(bottom=min(0, first.floor))
    dress(axes)


if __name__ == "__main__":
    main()
