"""Frechet distance: this library's against torchmetrics' and SciPy's matrix square root, one run each.

What is timed: from the features to the number. torchmetrics' time is that of ``compute()``, which
takes the covariances from the sums that its ``update()`` has already made (not timed); SciPy's
holds the two covariances and ``sqrtm`` of their product, as the first published code does. Times are
CPU seconds of one thread, so that what else runs on the machine hardly matters.

OMP_NUM_THREADS=1 python benchmarks/frechet.py [d ...]    # two minutes
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from fund2oct.metrics import frechet_distance

COUNTS = (64, 256, 1024)
WIDTHS = (400, 1280, 2048)


class Identity(nn.Module):
    """Stands where torchmetrics expects a network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        """Give back the features."""
        return features


def draw(count: int, width: int) -> tuple[Tensor, Tensor]:
    """Two sets whose variances fall as those of real features do, float64."""
    deviations = torch.arange(1, width + 1, dtype=torch.float64) ** -0.5
    real, fake = torch.randn(2, count, width, dtype=torch.float64) * deviations
    return real, 0.8 * fake + 0.1 * deviations


def torchmetrics_distance(real: Tensor, fake: Tensor) -> Callable[[], float]:
    """The timed part of torchmetrics' computation."""
    metric = FrechetInceptionDistance(feature=Identity(real.shape[1]))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return lambda: metric.compute().item()


def own_distance(real: Tensor, fake: Tensor) -> float:
    """From the features."""
    return frechet_distance(real, fake).item()


def scipy_distance(real: Tensor, fake: Tensor) -> float:
    """By covariances and the square root of their product."""
    first, second = (np.cov(features.numpy(), rowvar=False) for features in (real, fake))
    root = scipy.linalg.sqrtm(first @ second).real
    means = (real.mean(0) - fake.mean(0)).square().sum().item()
    return float(means + np.trace(first) + np.trace(second) - 2 * np.trace(root))


def timed(function: Callable[[], float], repeats: int = 1) -> tuple[float, float]:
    """Value and CPU seconds of the fastest call."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        value = function()
        seconds.append(time.process_time() - start)
    return value, min(seconds)


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
    torch.manual_seed(0)
    frechet_distance(*draw(8, 4))  # what the first call sets up
    print(f"{torch.get_num_threads()} thread; load {os.getloadavg()[0]:.1f} at the start\n")
    print("| N | d | ours, s | torchmetrics, s | ratio | rel. diff. | SciPy, s | ratio | rel. diff. |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for width in [int(word) for word in sys.argv[1:]] or WIDTHS:
        for count in COUNTS:
            real, fake = draw(count, width)
            own, seconds = timed(partial(own_distance, real, fake), repeats=3)
            cells = [f"{seconds:.4f}"]
            for other in (torchmetrics_distance(real, fake), partial(scipy_distance, real, fake)):
                value, taken = timed(other)
                cells += [f"{taken:.2f}", f"{taken / seconds:.0f}", f"{abs(own - value) / value:.1e}"]
            print(f"| {count} | {width} | " + " | ".join(cells) + " |", flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
