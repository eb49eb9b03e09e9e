"""The measurement of all answers for all eyes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol

import torch
from torch import Tensor

from fund2oct.evaluation.answers.answer import Answer, Given
from fund2oct.evaluation.answers.training_eyes import with_rows
from fund2oct.evaluation.distances import Distances
from fund2oct.evaluation.measuring import HEIGHT, SUMS, EyeTask, measure_eye
from fund2oct.evaluation.own import Measure
from fund2oct.eye import diagnoses_of, folded
from fund2oct.geometry import ScanPattern
from fund2oct.metrics import EyesInCommon, deep_contrast, measure_perceptual
from fund2oct.metrics.eyes.heights import PARTS, correlation_of_sums
from fund2oct.metrics.sets.estimate import DistanceResult
from fund2oct.models import Batch
from fund2oct.processes import most_waiting, submit_by_value
from fund2oct.progress import with_progress

Row = dict[str, Any]
"""Key, diagnosis and values of one answer for one eye."""

REAL = "real"
"""Name under which the real eyes' own values of the set are kept."""

LIFTING = frozenset({"PED", "drusen"})
"""Diagnoses that lift the epithelium."""


class EyeSet(Protocol):
    """Form of the real eyes of a report: batches on the device of the models.

    A batch needs ``key``, ``diagnosis``, ``volume``, ``aligned``, ``mask``, ``pose_um``, ``spacing_z_mm``
    and ``spacing_x_mm`` of :class:`fund2oct.models.Batch`. What needs its other entries is measured if they
    are there.
    """

    keys: tuple[str, ...]
    patients: tuple[str, ...]  # of each key; the key itself where nobody tells them
    n_batches: int
    scan: ScanPattern | None  # of all eyes; None where they differ

    def batches(self) -> Iterator[Batch]:
        """All eyes, in the order of the keys."""

    def batch(self, key: str) -> Batch:
        """One eye."""


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Args:
        eyes: for each answer, a row an eye: its ``key``, ``patient`` and ``diagnosis``, the values, and where
            the diagnosis lifts the epithelium the :func:`fund2oct.metrics.eyes.heights.correlation_sums` of
            the answer's heights (``a``) and the real ones (``b``), such as ``sums/height/ab``.
        distances: for each answer measured as a set, the distances of the whole set from the real one.
        notes: what could not be measured, and why.
        sets: values of all eyes together, for each answer and for the real eyes (``"real"``):
            ``epithelium/correlation`` (:func:`fund2oct.metrics.pooled_correlation` of the heights in eyes
            whose diagnosis lifts the epithelium) and ``deep/in_common``
            (:func:`fund2oct.metrics.correlation_between_eyes`).
    """

    eyes: dict[str, list[Row]]
    distances: dict[str, list[DistanceResult]]
    notes: list[str]
    sets: dict[str, dict[str, float]] = field(default_factory=dict)

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """For each answer and each value its mean, standard error and number of eyes."""
        return {name: summarise(rows) for name, rows in self.eyes.items()}


def compare(
    eyes: EyeSet,
    answers: Sequence[Answer],
    distances: Distances,
    pool: Executor,
    measures: Sequence[tuple[str, Measure]] = (),
) -> Comparison:
    """Measure all answers.

    Volumes are drawn, and their features computed, in this process. Other processes measure the eyes
    meanwhile.

    Args:
        eyes: the real eyes.
        answers: the answers, each with another name.
        distances: distances between the sets.
        pool: processes that measure the eyes.
        measures: measures of the user's own, pairs of a name and a function.

    Returns:
        All values.

    Raises:
        ValueError: if two answers have one name.
    """
    names = [answer.name for answer in answers]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"answer {twice!r}: two rows of the report have this name; give yours another")
    patients = dict(zip(eyes.keys, eyes.patients, strict=True))
    distances.know_patients(patients)
    found = _Rows(names, patients)
    pending: deque[Future[dict[str, dict[str, float]]]] = deque()
    for batch in with_progress(eyes.batches(), eyes.n_batches, "measuring"):
        given = {answer.name: answer.give(batch) for answer in answers}
        more = _perceptual(given, batch, distances)
        for number in range(len(batch["key"])):
            ours = {name: one.eye(number) for name, one in given.items()}
            task = EyeTask.of(batch, number, ours, eyes.scan, measures)
            pending.append(submit_by_value(pool, measure_eye, task))
        found.add_batch(batch, given, more)
        distances.add_real(batch)
        for answer in answers:
            volume = given[answer.name].volume
            if answer.as_set and volume is not None:
                distances.add_fake(answer.name, volume, batch)
        # Each eye waits with its real volumes, the mask, and two volumes of each answer.
        most = most_waiting(batch["volume"][0].numel() * (3 + 2 * len(answers)) * 4)
        while len(pending) > most:
            found.add_eye(pending.popleft().result())
    while pending:
        found.add_eye(pending.popleft().result())
    measured, notes = distances.compute(pool)
    return Comparison(found.rows, measured, notes, found.sets())


class _Rows:
    """Rows and what the values of the set need, gathered eye by eye."""

    def __init__(self, names: Sequence[str], patients: Mapping[str, str]) -> None:
        self.rows: dict[str, list[Row]] = {name: [] for name in names}
        self._patients = patients
        self._rows: deque[dict[str, Row]] = deque()
        self._heights: dict[str, dict[str, float]] = {}
        self._in_common: dict[str, EyesInCommon] = {}
        self._rows_mm: float | None = None

    def add_batch(
        self, batch: Batch, given: Mapping[str, Given], more: Mapping[str, Mapping[str, Tensor]]
    ) -> None:
        """Begin the rows of a batch, and keep what its eyes have in common."""
        for number, key in enumerate(batch["key"]):
            row = {"key": key, "patient": self._patients[key], "diagnosis": batch["diagnosis"][number]}
            self._rows.append(
                {
                    name: row | {value: float(column[number]) for value, column in more[name].items()}
                    for name in self.rows
                }
            )
        spacing = batch["spacing_z_mm"]
        if self._rows_mm is None:
            self._rows_mm = float(spacing[0])
        common = torch.full_like(spacing, self._rows_mm)
        volumes = {REAL: batch["aligned"]} | {name: one.aligned for name, one in given.items()}
        for name, aligned in volumes.items():
            if aligned is not None:
                # Different eyes are compared row by row: all in the rows of the first eye.
                contrast = deep_contrast(with_rows(aligned, spacing, common), self._rows_mm)
                self._in_common.setdefault(name, EyesInCommon()).add(contrast)

    def add_eye(self, measured: Mapping[str, Mapping[str, float]]) -> None:
        """Complete the row of the eye whose turn it is."""
        begun = self._rows.popleft()
        for name, values in measured.items():
            row = begun[name]
            sums = {key: value for key, value in values.items() if key.startswith(HEIGHT)}
            row |= {key: value for key, value in values.items() if key not in sums}
            if folded(LIFTING) & folded(diagnoses_of(row["diagnosis"])):
                row |= sums
                total = self._heights.setdefault(name, dict.fromkeys(sums, 0.0))
                total |= {key: total[key] + value for key, value in sums.items()}
            self.rows[name].append(row)

    def sets(self) -> dict[str, dict[str, float]]:
        """The values of the set."""
        values: dict[str, dict[str, float]] = {
            name: {"deep/in_common": float(one.compute())} for name, one in self._in_common.items()
        }
        for name, sums in self._heights.items():
            of_parts = {part: torch.tensor(sums[HEIGHT + part], dtype=torch.float64) for part in PARTS}
            values.setdefault(name, {})["epithelium/correlation"] = float(correlation_of_sums(of_parts))
        return values


def _perceptual(
    given: Mapping[str, Given], batch: Batch, distances: Distances
) -> dict[str, dict[str, Tensor]]:
    """The perceptual distances of a batch by the answers' names; on the device of the answers."""
    if distances.perceptual is None:
        return {name: {} for name in given}
    real = batch["volume"], batch["aligned"]
    return {
        name: {}
        if one.volume is None or one.aligned is None
        else measure_perceptual(
            one.volume, one.aligned, *real, one.counted(batch["mask"]), distances.perceptual
        )
        for name, one in given.items()
    }


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over the eyes in which a value could be measured, its standard error, and their number.

    ``sharpness`` is the ratio of the summed energies, and has no standard error. :data:`SUMS` have no mean.
    """
    values = [name for name, value in rows[0].items() if isinstance(value, float)]
    names = [name for name in values if not name.startswith(SUMS)]
    patients = [row["patient"] for row in rows]
    summary = {name: mean_of([row[name] for row in rows], patients) for name in names}
    if "energy/fake" in summary:
        fake, real = (summary.pop(f"energy/{side}") for side in ("fake", "real"))
        ratio = fake["mean"] / real["mean"] if real["mean"] > 0 else math.nan
        summary["sharpness"] = {"mean": ratio, "standard_error": math.nan, "n_eyes": fake["n_eyes"]}
    return summary


def mean_of(values: Sequence[float], patients: Sequence[str]) -> dict[str, float]:
    """Mean of the known values, its standard error, and their number.

    Two eyes of a patient are alike, so that they tell less than two eyes of two patients. The standard error
    is that of a sample of patients (Cameron and Miller 2015, "A practitioner's guide to cluster-robust
    inference", section II): of N values with mean m and of G patients, sqrt(G / (G - 1) * sum over patients
    of the squared sum of their values' differences from m) / N. With one eye a patient it is the usual one.

    Args:
        values: NaN where one is not known.
        patients: of each value.

    Returns:
        ``mean``, ``standard_error``, NaN for less than two patients, and ``n_eyes``.

    Example:
        >>> mean_of([1.0, 3.0, 5.0], ["a", "b", "c"])["standard_error"] == (4 / 3) ** 0.5
        True
        >>> twice = mean_of([1.0, 1.0, 3.0, 3.0, 5.0, 5.0], ["a", "a", "b", "b", "c", "c"])
        >>> twice["standard_error"] == (4 / 3) ** 0.5, twice["n_eyes"]
        (True, 6)
    """
    known = [(value, who) for value, who in zip(values, patients, strict=True) if not math.isnan(value)]
    if not known:
        return {"mean": math.nan, "standard_error": math.nan, "n_eyes": 0}
    mean = fmean(value for value, _ in known)
    sums: dict[str, float] = dict.fromkeys((who for _, who in known), 0.0)
    for value, who in known:
        sums[who] += value - mean
    error = math.nan
    if len(sums) > 1 and math.isfinite(mean):
        error = math.sqrt(len(sums) / (len(sums) - 1) * sum(each**2 for each in sums.values())) / len(known)
    return {"mean": mean, "standard_error": error, "n_eyes": len(known)}
