"""Measure the bias of the image distances against the number of eyes, and draw it for the documentation.

    python docs/make_bias_figure.py data/phantom.h5

The file is of simulated eyes with rescans, as ``fund2oct simulate`` makes it. Written are
``docs/images/bias.webp`` and the values behind it, ``bias.csv``.

Three comparisons of N eyes with N: real eyes with other real eyes, whose distance is 0 for infinitely
many; with the rescans of the same eyes, likewise; and with other real eyes that are blurred
a little, whose distance is not 0. Each is averaged over random draws from the file's eyes.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from statistics import fmean, stdev

import torch
from figure_files import IMAGES, save_webp
from matplotlib.figure import Figure
from scipy import ndimage
from torch import Tensor

from fund2oct.data import EyeReader
from fund2oct.metrics import ImageDistance, frechet_distance, kernel_distance
from fund2oct.metrics.sets.estimate import compare_eyes
from fund2oct.metrics.sets.resize import resize_images
from fund2oct.networks.features import load_feature_network
from fund2oct.progress import with_progress
from fund2oct.visual.style import SERIES_COLOURS, dress, new_figure

NUMBERS = (8, 16, 32, 64, 128)
BLUR_PX = 0.5
RESAMPLES = 4
OTHERS, RESCAN, BLURRED = "other real eyes", "rescan, same eyes", "other real eyes, blurred"
EXTRAPOLATED = ", extrapolated"
STYLES = {OTHERS: "o-", RESCAN: "s-", BLURRED: "^-"}
KINDS = {"frechet": frechet_distance, "kernel": kernel_distance}

Point = tuple[float, float]
"""Mean over the draws, and their standard deviation."""
Curves = dict[tuple[str, str], dict[int, Point]]
"""By kind of distance and by comparison: a point for each number of eyes."""


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="FILE.h5", help="simulated eyes, at least 256")
    parser.add_argument("--out", type=Path, default=IMAGES / "bias.webp")
    arguments = parser.parse_args()
    distance = ImageDistance()
    with torch.inference_mode():
        curves = _measure(*_describe(arguments.data, 2 * max(NUMBERS)))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    _write(curves, distance.name, arguments.out.with_suffix(".csv"))
    save_webp(_draw(curves, distance.name), arguments.out)


def _describe(path: Path, n_eyes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features ``(N, S, d)`` of the eyes, of their rescans and of the eyes blurred."""
    network = load_feature_network("efficientnet_lite0")
    assert network.size is not None
    sets: tuple[list[Tensor], ...] = ([], [], [])
    with EyeReader(path) as reader:
        if len(reader.keys) < n_eyes:
            raise SystemExit(f"{path}: expected at least {n_eyes} eyes, found {len(reader.keys)}")
        for key in with_progress(reader.keys[:n_eyes], n_eyes, "describing eyes"):
            eye = reader.read(key)
            if eye.volume is None or eye.rescan is None:
                raise SystemExit(f"{path}: eye {key!r}: expected a volume and its rescan")
            blurred = ndimage.gaussian_filter(eye.volume.astype(float), BLUR_PX, axes=(1, 2))
            for features, volume in zip(sets, (eye.volume, eye.rescan, blurred), strict=True):
                images = torch.from_numpy(volume / 255).float()[:, None].clamp(0, 1)
                images = resize_images(images, network.size, "antialias")
                features.append(network.features(images)["pooled"])
    real, rescan, blurred = (torch.stack(features).double() for features in sets)
    return real, rescan, blurred


def _measure(real: Tensor, rescan: Tensor, blurred: Tensor) -> Curves:
    rng = torch.Generator().manual_seed(0)
    curves: Curves = {}
    for number in NUMBERS:
        draws: dict[tuple[str, str], list[float]] = {}
        # The larger the sets, the less they scatter and the longer they take.
        for _ in range(max(3, min(12, 192 // number))):
            order = torch.randperm(len(real), generator=rng)
            these, others = order[:number], order[number : 2 * number]
            answers = {OTHERS: real[others], RESCAN: rescan[these], BLURRED: blurred[others]}
            for comparison, answer in answers.items():
                for kind, distance in KINDS.items():
                    value = distance(real[these].flatten(0, 1), answer.flatten(0, 1)).item()
                    draws.setdefault((kind, comparison), []).append(value)
            for comparison in (OTHERS, BLURRED):
                found = compare_eyes(
                    comparison, frechet_distance, real[these], answers[comparison],
                    paired=False, resamples=RESAMPLES,
                ).extrapolated  # fmt: skip
                assert found is not None
                draws.setdefault(("frechet", comparison + EXTRAPOLATED), []).append(found)
        for name, values in draws.items():
            curves.setdefault(name, {})[number] = fmean(values), stdev(values)
            print(f"{number} eyes {' '.join(name)}: {fmean(values):.4g} ± {stdev(values):.2g}", flush=True)
    return curves


def _write(curves: Curves, protocol: str, path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["distance", "comparison", "n_eyes", "mean", "standard_deviation_of_draws"])
        for (kind, comparison), points in curves.items():
            name = protocol if kind == "frechet" else f"{protocol}/{kind}"
            for number, (mean, spread) in points.items():
                table.writerow([name, comparison, number, f"{mean:.6g}", f"{spread:.3g}"])


def _draw(curves: Curves, protocol: str) -> Figure:
    figure = new_figure(9.6, 4.6, layout="constrained")
    frechet, kernel = figure.subplots(1, 2)
    for (kind, comparison), points in curves.items():
        known = comparison.removesuffix(EXTRAPOLATED)
        colour = SERIES_COLOURS[list(STYLES).index(known)]
        straight = known == comparison
        means, spreads = zip(*points.values(), strict=True)
        (frechet if kind == "frechet" else kernel).errorbar(
            list(points), means, spreads, fmt=STYLES[known] if straight else "x--", color=colour,
            capsize=3, linewidth=1.4, label=comparison.replace("extrapolated", "extrapolated in 1/N"),
        )  # fmt: skip
    for axes, name in ((frechet, protocol), (kernel, f"{protocol}/kernel")):
        dress(axes)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(NUMBERS, [str(number) for number in NUMBERS])
        axes.set_xlabel("eyes on either side (6 B-scans an eye)")
        axes.set_title(name, fontsize=9)
    frechet.set_ylabel("Frechet distance")
    kernel.set_ylabel("kernel distance")
    handles, labels = frechet.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    main()
