"""Where answers stand: values with their intervals, ranks, and what shuffled photos change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from measures import Array, Measure
from scipy.stats import rankdata

Report = Mapping[str, Any]
"""The content of a ``metrics.json``."""
SHUFFLED = ", shuffled photos"
_ENDS = 2.5, 97.5


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Args:
        value: mean over the seeds.
        low: lower end of the interval.
        high: its upper end.
        n_eyes: eyes in which it could be measured, in the seed with the fewest; 0 for a value of the set.
    """

    value: float
    low: float
    high: float
    n_eyes: int = 0


class Standings:
    """The answers of the reports of several seeds, on the same eyes.

    Intervals hold 95%: patients, the same ones for all answers, and seeds are drawn with replacement. A value
    of the whole set, which has no rows, has the range of the seeds; a distance has the range of its own
    intervals over the seeds.

    Args:
        reports: of each seed, by the seed.
        patients: the patient of each eye, by its key.
        n_draws: how often eyes and seeds are drawn.
    """

    def __init__(
        self, reports: Mapping[int, Report], patients: Mapping[str, str], n_draws: int = 2000
    ) -> None:
        self.reports = reports
        rng = np.random.default_rng(0)
        keys = [row["key"] for row in next(iter(self._first["eyes"].values()))]
        _, patient = np.unique([patients[key] for key in keys], return_inverse=True)
        n_patients = int(patient.max()) + 1
        self._weights = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), n_draws)[:, patient]
        n_seeds = len(reports)
        self._seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_draws) / n_seeds
        self.n_eyes = len(keys)

    @property
    def _first(self) -> Report:
        return next(iter(self.reports.values()))

    def has(self, answer: str, measure: Measure) -> bool:
        """Whether an answer, ``{seed}`` in whose name stands for the seed, was measured by a measure."""
        return not math.isnan(self._values(answer, measure).min())

    def estimate(self, answer: str, measure: Measure) -> Estimate:
        """The value of an answer; NaN where nothing was measured."""
        values = self._values(answer, measure)
        value = float(values.mean())
        if measure.parts is None:
            low, high = self._range(answer, measure, values)
            return Estimate(value, low, high)
        low, high = np.percentile(self._drawn(answer, measure), _ENDS)
        known = [int((parts[1].sum(1) > 0).sum()) for parts in self._parts(answer, measure)]
        return Estimate(value, float(low), float(high), min(known))

    def gets_worse(self, answer: str, measure: Measure) -> bool:
        """Whether an answer gets worse with shuffled photos.

        Where there are rows, the interval of the difference, eye by eye, must lie above 0; where there are
        none, the value must be worse in each seed.
        """
        other = answer + SHUFFLED
        if measure.parts is None:
            worse = measure.cost(self._values(other, measure)) - measure.cost(self._values(answer, measure))
            return bool((worse > 0).all())
        drawn = measure.cost(self._drawn(other, measure)) - measure.cost(self._drawn(answer, measure))
        return bool(np.percentile(drawn, _ENDS[0]) > 0)

    def excess(self, answer: str, floor: str, measure: Measure) -> Estimate:
        """By how much an answer is worse than a floor, eye by eye where there are rows."""
        value = float((self._cost(answer, measure) - self._cost(floor, measure)).mean())
        if measure.parts is None:
            ours = self.estimate(answer, measure)
            to = float(measure.cost(np.array(self.estimate(floor, measure).value)))
            ends = [float(measure.cost(np.array(end))) - to for end in (ours.low, ours.high)]
            return Estimate(value, min(ends), max(ends))
        drawn = measure.cost(self._drawn(answer, measure)) - measure.cost(self._drawn(floor, measure))
        low, high = np.percentile(drawn, _ENDS)
        return Estimate(value, float(low), float(high))

    def ranks(self, answers: Sequence[str], measures: Sequence[Measure]) -> list[int]:
        """Ranks of answers by the mean of their ranks in each measure; equal means share a rank."""
        costs = [[float(self._cost(answer, one).mean()) for answer in answers] for one in measures]
        each = np.stack([rankdata(row) for row in costs])
        return [int(rank) for rank in rankdata(each.mean(0).round(9), method="min")]

    def _cost(self, answer: str, measure: Measure) -> Array:
        return measure.cost(self._values(answer, measure))

    def _parts(self, answer: str, measure: Measure) -> list[tuple[Array, Array]]:
        assert measure.parts is not None
        found = []
        for seed, report in self.reports.items():
            rows = report["eyes"].get(answer.format(seed=seed))
            nothing = np.zeros((self.n_eyes, 1))
            found.append((nothing, nothing) if rows is None else measure.parts(rows))
        return found

    def _values(self, answer: str, measure: Measure) -> Array:
        """The value of each seed."""
        if measure.parts is not None:
            ones = np.ones((1, self.n_eyes))
            return np.array([_ratio(ones, *parts)[0] for parts in self._parts(answer, measure)])
        found = []
        for seed, report in self.reports.items():
            name = answer.format(seed=seed)
            distance = _distance(report, name, measure)
            value = report["sets"].get(name, {}).get(measure.key) if distance is None else distance["value"]
            found.append(math.nan if value is None else float(value))
        return np.array(found)

    def _drawn(self, answer: str, measure: Measure) -> Array:
        """The value of each draw of eyes and seeds."""
        if (answer, measure.key) not in self._known:
            each = np.stack([_ratio(self._weights, *parts) for parts in self._parts(answer, measure)], 1)
            # A seed that was not drawn counts nothing, even where it has no value.
            self._known[answer, measure.key] = np.where(self._seeds > 0, each * self._seeds, 0).sum(1)
        return self._known[answer, measure.key]

    @cached_property
    def _known(self) -> dict[tuple[str, str], Array]:
        return {}

    def _range(self, answer: str, measure: Measure, values: Array) -> tuple[float, float]:
        distances = [
            _distance(report, answer.format(seed=seed), measure) for seed, report in self.reports.items()
        ]
        ends = [one["interval"] for one in distances if one is not None and one["interval"] is not None]
        if ends:
            return min(low for low, _ in ends), max(high for _, high in ends)
        return float(values.min()), float(values.max())


def _distance(report: Report, answer: str, measure: Measure) -> Mapping[str, Any] | None:
    found = report["distances"].get(answer, [])
    return next((one for one in found if one["name"].startswith(f"{measure.key}_distance")), None)


def _ratio(weights: Array, numerators: Array, denominators: Array) -> Array:
    """Mean over the parts of the ratio of weighted sums, for each row of weights; NaN where there is none."""
    over, under = weights @ numerators, weights @ denominators
    there = under > 0
    ratios = np.where(there, over / np.where(there, under, 1), 0)
    n_parts = there.sum(1)
    return np.where(n_parts > 0, ratios.sum(1) / np.maximum(n_parts, 1), np.nan)
