"""Measure every answer for every eye, once, whatever the answers are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Protocol

from torch import Tensor, nn

from fund2oct.data.progress import with_progress
from fund2oct.evaluation.controls import Candidate
from fund2oct.evaluation.distances import Distances
from fund2oct.geometry import ScanPattern
from fund2oct.metrics.distance import DistanceResult
from fund2oct.metrics.eyes import measure_eyes
from fund2oct.metrics.layers import Surfaces, find_surfaces
from fund2oct.models import Batch, Fake

Row = dict[str, Any]
"""Key, diagnosis and values of one answer for one eye."""


class EyeSet(Protocol):
    """Real eyes, as batches on the device that the answers are drawn on.

    A batch holds ``key`` and ``diagnosis``; ``volume`` ``(B, 1, S, Z, X)``; ``aligned`` and ``mask``,
    as :meth:`fund2oct.models.VolumeGAN.prepare` makes them; ``pose_um``, ``spacing_z_mm`` and
    ``spacing_x_mm``; and, where each eye has them, ``second``, ``boundaries_um``, ``lesions``,
    ``fundus`` and ``grid``.
    """

    keys: tuple[str, ...]
    n_batches: int
    scan: ScanPattern | None

    def batches(self) -> Iterator[Batch]:
        """All eyes, in the order of the keys."""

    def batch(self, key: str) -> Batch:
        """One eye."""


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Args:
        eyes: for each answer, a row an eye.
        distances: for each answer, the distances of the whole set from the real one.
        notes: what could not be measured, and why.
    """

    eyes: dict[str, list[Row]]
    distances: dict[str, list[DistanceResult]]
    notes: list[str]

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """For each answer and each value its mean, standard error and number of eyes."""
        return {name: summarise(rows) for name, rows in self.eyes.items()}


def compare(eyes: EyeSet, candidates: Sequence[Candidate], distances: Distances) -> Comparison:
    """Measure all candidates.

    Args:
        eyes: the real ones.
        candidates: answers, under different names.
        distances: to measure between the sets.
    """
    if distances:
        for batch in with_progress(eyes.batches(), eyes.n_batches, "describing real eyes"):
            distances.add_real(batch)
    rows: dict[str, list[Row]] = {candidate.name: [] for candidate in candidates}
    for batch in with_progress(eyes.batches(), eyes.n_batches, "measuring"):
        surfaces = find_surfaces(batch["volume"], batch["spacing_z_mm"], batch["spacing_x_mm"])
        for candidate in candidates:
            fake = candidate.answer(batch)
            rows[candidate.name] += measure(fake, batch, surfaces, eyes.scan, distances.perceptual)
            if candidate.as_set:
                distances.add_fake(candidate.name, fake.volume, batch["key"])
    found, notes = distances.compute()
    return Comparison(rows, found, notes)


def measure(
    fake: Fake,
    batch: Batch,
    surfaces: Surfaces,
    scan: ScanPattern | None = None,
    perceptual: nn.Module | None = None,
) -> list[Row]:
    """Measure an answer for a batch, eye by eye; see :func:`fund2oct.metrics.measure_eyes`."""
    values: Mapping[str, Tensor] = measure_eyes(
        fake.volume,
        batch["volume"],
        fake.aligned,
        batch["aligned"],
        batch["mask"],
        batch["spacing_z_mm"],
        batch["spacing_x_mm"],
        scan=scan,
        real_surfaces=surfaces,
        boundaries_um=batch.get("boundaries_um"),
        lesions=batch.get("lesions"),
        perceptual=perceptual,
    )
    return [
        {"key": key, "diagnosis": batch["diagnosis"][number]}
        | {name: float(column[number]) for name, column in values.items()}
        for number, key in enumerate(batch["key"])
    ]


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over the eyes in which a value could be measured, its standard error, and their number.

    ``sharpness`` is the ratio of the summed energies, and has no standard error.
    """
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    summary = {name: _mean([row[name] for row in rows]) for name in names}
    fake, real = (summary.pop(f"energy/{side}") for side in ("fake", "real"))
    ratio = fake["mean"] / real["mean"] if real["mean"] > 0 else math.nan
    summary["sharpness"] = {"mean": ratio, "standard_error": math.nan, "n_eyes": fake["n_eyes"]}
    return summary


def _mean(values: Sequence[float]) -> dict[str, float]:
    known = [value for value in values if not math.isnan(value)]
    finite = all(math.isfinite(value) for value in known)
    error = stdev(known) / len(known) ** 0.5 if len(known) > 1 and finite else math.nan
    return {"mean": fmean(known) if known else math.nan, "standard_error": error, "n_eyes": len(known)}
