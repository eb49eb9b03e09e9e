"""Where answers stand: values with their intervals, ranks, and what shuffled photos change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from measures import Array, Measure
from plan import PlanError
from scipy.stats import rankdata

from fund2oct.evaluation.answers.answer import SHUFFLED
from fund2oct.evaluation.measuring import SUMS
from fund2oct.networks.features import MEASURES

Report = Mapping[str, Any]
"""The content of a ``metrics.json``."""
READ, NO_BETTER, WORSE = "read", "no better with it", "worse with its own"
"""What :meth:`Standings.reading` says of an answer and its photo."""
_ENDS = 2.5, 97.5


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Args:
        value: mean over the seeds.
        low: lower end of the interval.
        high: its upper end.
        n_eyes: eyes in which it could be measured, of a difference in both answers, in the seed with the
            fewest; 0 for a value of the set.
    """

    value: float
    low: float
    high: float
    n_eyes: int = 0


_NOTHING = Estimate(math.nan, math.nan, math.nan)


class Standings:
    """The answers of the reports of several seeds, on the same eyes.

    Intervals hold 95%: patients, the same ones for all answers, and seeds are drawn with replacement. A
    distance, which has no rows, has the range of its own intervals over the seeds. A seed in whose report an
    answer is not counts nothing for this answer; but a name without ``{seed}`` is the same in each seed, and
    is taken from the first report that has it.

    Args:
        reports: of each seed, by the seed.
        patients: the patient of each eye, by its key.
        n_draws: how often eyes and seeds are drawn.

    Raises:
        PlanError: if a report was made before there were sums in its rows.
    """

    def __init__(
        self, reports: Mapping[int, Report], patients: Mapping[str, str], n_draws: int = 2000
    ) -> None:
        self.reports = reports
        for seed, report in reports.items():
            check_sums(f"report of seed {seed}", report)
        rng = np.random.default_rng(0)
        keys = [row["key"] for row in next(iter(self._first["eyes"].values()))]
        _, patient = np.unique([patients[key] for key in keys], return_inverse=True)
        n_patients = int(patient.max()) + 1
        self._weights = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), n_draws)[:, patient]
        n_seeds = len(reports)
        self._seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_draws)
        self.n_eyes = len(keys)

    @property
    def _first(self) -> Report:
        return next(iter(self.reports.values()))

    def has(self, answer: str, measure: Measure) -> bool:
        """Whether an answer, ``{seed}`` in whose name stands for the seed, was measured by a measure.

        True if it was in each seed in whose report the answer is.
        """
        values = self._values(answer, measure)[self._there(answer)]
        return values.size > 0 and not bool(np.isnan(values).any())

    def estimate(self, answer: str, measure: Measure) -> Estimate:
        """The value of an answer; NaN where nothing was measured."""
        there = self._there(answer)
        values = self._values(answer, measure)[there]
        if not self.has(answer, measure):
            return _NOTHING
        value = float(values.mean())
        if measure.sums is None:
            low, high = self._range(answer, measure, values)
            return Estimate(value, low, high)
        low, high = np.nanpercentile(self._drawn(answer, measure, there), _ENDS)
        return Estimate(value, float(low), float(high), self._n_known(answer, measure, there))

    def is_asked(self, answer: str, measure: Measure) -> bool:
        """Whether an answer was measured both with its own photos and with shuffled ones."""
        return math.isfinite(self.excess(answer + SHUFFLED, answer, measure).value)

    def reading(self, answer: str, measure: Measure) -> str:
        """What shuffled photos show of an answer.

        Returns:
            :data:`READ` where the interval of the difference, eye by eye, lies above 0, so that it is worse
            with them; :data:`WORSE` where it lies below 0; :data:`NO_BETTER` where it holds 0.

        Raises:
            ValueError: if it was not asked with both, see :meth:`is_asked`.
        """
        if not self.is_asked(answer, measure):
            raise ValueError(f"{answer}: {measure.key} was not measured with own and with shuffled photos")
        found = self.excess(answer + SHUFFLED, answer, measure)
        if found.low > 0:
            return READ
        return WORSE if found.high < 0 else NO_BETTER

    def excess(self, answer: str, other: str, measure: Measure) -> Estimate:
        """By how much an answer is worse than another, of which both are in the same seeds.

        Where there are rows, it is taken eye by eye, over the eyes in which both could be measured: what one
        answer has in an eye that the other failed is no difference. A distance has the range of the answer's
        own intervals, less the other's value. NaN where one of the two was not measured, or no eye in both.
        """
        there = self._there(answer) & self._there(other)
        if not (there.any() and self.has(answer, measure) and self.has(other, measure)):
            return _NOTHING
        pairs = (answer, (other,)), (other, (answer,))
        values = [self._values(name, measure, beside)[there] for name, beside in pairs]
        if np.isnan(values).any():
            return _NOTHING
        costs = [measure.cost(each) for each in values]
        each, n_known = costs[0] - costs[1], 0
        ends = [float(each.min()), float(each.max())]
        if measure.sums is not None:
            ours, theirs = (self._drawn(name, measure, there, beside) for name, beside in pairs)
            known = ~(np.isnan(ours) | np.isnan(theirs))
            drawn = measure.cost(ours[known]) - measure.cost(theirs[known])
            ends = [float(end) for end in np.percentile(drawn, _ENDS)]
            n_known = self._n_known(answer, measure, there, (other,))
        elif intervals := self._intervals(answer, measure):
            ends = sorted(float(end) for end in measure.cost(np.array(intervals)).flatten() - costs[1].mean())
        return Estimate(float(each.mean()), ends[0], ends[-1], n_known)

    def ranks(self, answers: Sequence[str], measures: Sequence[Measure]) -> list[int]:
        """Ranks of answers by the mean of their ranks in each measure; equal means share a rank.

        Each is ranked over the eyes in which all could be measured: who fails in the hard eyes gains nothing.
        """
        if not (answers and measures):
            return [1] * len(answers)
        each = np.stack([rankdata(self._costs(answers, one)) for one in measures])
        return [int(rank) for rank in rankdata(each.mean(0).round(9), method="min")]

    def _costs(self, answers: Sequence[str], measure: Measure) -> list[float]:
        measured = [answer for answer in answers if self.has(answer, measure)]
        costs = dict.fromkeys(answers, math.inf)
        for answer in measured:
            there, others = self._there(answer), [other for other in measured if other != answer]
            values = self._values(answer, measure, others)[there]
            if np.isnan(values).any():  # no eye in which all could be measured
                values = self._values(answer, measure)[there]
            costs[answer] = float(measure.cost(values).mean())
        return [costs[answer] for answer in answers]

    def protocols(self, measure: Measure) -> list[str]:
        """The full names of a distance in the reports, which tell its protocol."""
        names = {
            found["name"]: None
            for report in self.reports.values()
            for answer in report["distances"]
            if (found := _distance(report, answer, measure)) is not None
        }
        return list(names)

    def _there(self, answer: str) -> Array:
        """In which seeds' reports an answer is."""
        return np.array([name in report["eyes"] for report, name in self._places(answer)])

    def _places(self, answer: str) -> list[tuple[Report, str]]:
        """For each seed the report that holds an answer, if any does, and its name there."""
        found = []
        for seed, report in self.reports.items():
            name = answer.format(seed=seed)
            if name == answer:  # the same for each seed
                report = next((one for one in self.reports.values() if name in one["eyes"]), report)
            found.append((report, name))
        return found

    def _sums(self, answer: str, measure: Measure, beside: Sequence[str] = ()) -> list[Array]:
        """What is summed over the eyes, of each seed.

        Args:
            answer: the answer.
            measure: the measure.
            beside: other answers; what could not be measured in all is not known.
        """
        assert measure.sums is not None
        found = []
        for places in zip(*(self._places(name) for name in (answer, *beside)), strict=True):
            each = [measure.sums(report["eyes"].get(name, [{}] * self.n_eyes)) for report, name in places]
            found.append(np.where(np.isfinite(each).all(0), each[0], np.nan))
        return found

    def _n_known(self, answer: str, measure: Measure, there: Array, beside: Sequence[str] = ()) -> int:
        """The number of eyes that could be measured, in the seed with the fewest."""
        each = [int(np.isfinite(sums).any(1).sum()) for sums in self._sums(answer, measure, beside)]
        return int(np.array(each)[there].min())

    def _values(self, answer: str, measure: Measure, beside: Sequence[str] = ()) -> Array:
        """The value of each seed."""
        if measure.sums is not None:
            each = self._sums(answer, measure, beside)
            return np.array([float(measure.value(np.nansum(sums, 0))) for sums in each])
        found = []
        for report, name in self._places(answer):
            distance = _distance(report, name, measure)
            found.append(math.nan if distance is None else float(distance["value"]))
        return np.array(found)

    def _drawn(self, answer: str, measure: Measure, there: Array, beside: Sequence[str] = ()) -> Array:
        """The value of each draw of eyes and of some seeds; NaN where none of these seeds was drawn."""
        asked = answer, measure.key, tuple(beside)
        if asked not in self._known:
            of_seeds = [self._weights @ np.nan_to_num(sums) for sums in self._sums(answer, measure, beside)]
            self._known[asked] = np.stack([measure.value(sums) for sums in of_seeds], 1)
        each, seeds = self._known[asked], self._seeds * there
        # A seed that was not drawn counts nothing, even where it has no value.
        total, n_drawn = np.where(seeds > 0, each * seeds, 0).sum(1), seeds.sum(1)
        return np.where(n_drawn > 0, total / np.maximum(n_drawn, 1), np.nan)

    @cached_property
    def _known(self) -> dict[tuple[str, str, tuple[str, ...]], Array]:
        return {}

    def _range(self, answer: str, measure: Measure, values: Array) -> tuple[float, float]:
        if intervals := self._intervals(answer, measure):
            return min(low for low, _ in intervals), max(high for _, high in intervals)
        return float(values.min()), float(values.max())

    def _intervals(self, answer: str, measure: Measure) -> list[tuple[float, float]]:
        """The intervals that a distance itself has, of each seed."""
        distances = [_distance(report, name, measure) for report, name in self._places(answer)]
        return [one["interval"] for one in distances if one is not None and one["interval"] is not None]


def check_sums(name: str, report: Report) -> None:
    """Refuse a report that has a correlation of heights, but not the sums of which it is made.

    Raises:
        PlanError: the message says what to do.
    """
    told = any("epithelium/correlation" in values for values in report["sets"].values())
    rows = (row for rows in report["eyes"].values() for row in rows)
    if told and not any(key.startswith(SUMS) for row in rows for key in row):
        raise PlanError(
            f"{name}: an earlier version made it, which wrote no sums of each eye; delete its folder, and "
            "give the command again to judge the models once more"
        )


def _distance(report: Report, answer: str, measure: Measure) -> Mapping[str, Any] | None:
    subject, _, network = measure.key.partition(":")
    name = f"{subject}_distance/{network or MEASURES.get(subject)}-"
    return next((one for one in report["distances"].get(answer, []) if one["name"].startswith(name)), None)
