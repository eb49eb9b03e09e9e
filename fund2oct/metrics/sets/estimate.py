"""A distance of two sets of eyes, with its error, its floor and its controls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, linear_regression
from typing import Any, NamedTuple

import torch
from torch import Tensor

SetDistance = Callable[[Tensor, Tensor], Tensor]
"""Distance of features ``(N, d)`` and ``(M, d)``, a scalar."""

_SPLITS = 20
"""Random subsets over which the floor, and each point of the curve, are averaged."""
_FRACTIONS = (0.5, 0.6, 0.7, 0.8, 0.9)
_CONFIDENCE = 0.95
_LEAST_FOR_QUANTILES = 100
"""Of fewer draws, the outermost fortieth is one draw or none: a normal distribution is fitted to them."""
LEAST_PATIENTS = 5
"""Of fewer patients, those that are drawn for an interval differ too little."""


class DistanceResult(NamedTuple):
    r"""A distance of two sets of eyes, its sampling error, and the values to compare it with.

    All numbers count **eyes**, not B-scans: the B-scans of one eye are not independent, so an eye is always
    drawn as a whole, and the eyes of a patient together. What so few eyes cannot tell is None, or empty:

    * :attr:`interval`, :attr:`extrapolated` and :attr:`curve` of fewer than five patients, whose halves
      differ too little, and of one patient not at all. An eye counts as a patient where none is named, as
      does each generated eye that is not paired.
    * :attr:`floor_n` and the three values after it where a half would have fewer than two eyes: of fewer than
      four eyes, and where all but one, or all, are of one patient.

    **Bias.** The Frechet distance of few samples is too large: far above 0 even for two sets from one
    distribution. It is lower where both sets hold the same eyes. So compare only values with the same number
    of eyes and the same pairing: :attr:`value` with :attr:`rescan_floor`, and :attr:`value_at_floor_n` with
    :attr:`floor` and :attr:`shuffle_control`. Volumes that vary too little have less bias, and can lie
    *below* the floor. The kernel distance of independent samples has no bias. Where both sets hold the same
    eyes its :attr:`value` is too small by an amount of order 1 / N, which matters near 0 (0.003 instead of
    0.007 in one simulation); its :attr:`value_at_floor_n` compares different eyes. The B-scans of one eye are
    alike, which lifts an image distance of few eyes.

    **Interval.** It holds, with 95% confidence, the distance that is expected for this number of eyes. (It
    is no interval for infinitely many eyes.) Half of the eyes are drawn many times without replacement. The
    values of these halves scatter about their mean as the value of all eyes does about its expectation
    (delete-half jackknife). The usual bootstrap draws some eyes twice, which makes the Frechet distance
    larger. In simulations with a known expectation (24 and 56 eyes, 60 and 400 features, one or six rows an
    eye) the bootstrap's interval held it in 0 to 26% of the trials, and this one in 96 to 99%; it was 4 to
    34% too wide. For the kernel distance the shares were 63 to 95%, and 96 to 98%.

    **Extrapolation.** The distance is measured for random subsets of half to all of the eyes. A straight
    line through these values against 1 / N gives the value at 1 / N = 0. This removes the first order of
    the bias only. In the same simulations 0.48 became 0.21 (truth 0.17) with about as many eyes as
    features, but 2.5 became 1.5 (truth 0.23) with 24 eyes, 60 features and slowly falling variances. The
    result can be negative.

    Attributes:
        name: name of the distance and its protocol.
        value: distance of all eyes.
        n_real: number of real eyes.
        n_fake: number of generated eyes.
        interval: lower and upper end of the 95% interval of :attr:`value`.
        floor_n: number of eyes on each side of the next three values: half of them, or a few less, because
            no patient has eyes on both sides.
        floor: distance of real eyes from real eyes of other patients, the mean over random splits.
        value_at_floor_n: distance of the same real eyes from the *generated* volumes of the other eyes.
        shuffle_control: distance of the same real eyes from the real volumes of the other eyes with their
            slices in random order. If it is close to the floor, the distance does not notice the order.
        rescan_floor: distance of the real volumes from rescans of the same eyes, which differ in
            speckle alone.
        extrapolated: extrapolation to infinitely many eyes.
        curve: points of the extrapolation, each a number of eyes (of the smaller side) and a mean value.
        constant_fake_slices: number of generated B-scans that have one grey value throughout.

    References:
        Shao and Wu, Annals of Statistics 17, 1989 (deleting many observations); Chong and Forsyth,
        CVPR 2020, arXiv:1911.07023 (extrapolation in 1 / N).

    Example:
        >>> print(DistanceResult("image_distance", value=41.7, n_real=96, n_fake=96, interval=(39.0, 44.6)))
        image_distance: 41.7 [39, 44.6] (96 eyes)
    """

    name: str
    value: float
    n_real: int
    n_fake: int
    interval: tuple[float, float] | None = None
    floor_n: int | None = None
    floor: float | None = None
    value_at_floor_n: float | None = None
    shuffle_control: float | None = None
    rescan_floor: float | None = None
    extrapolated: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    constant_fake_slices: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON; ``unit`` says that all numbers count eyes."""
        interval = None if self.interval is None else list(self.interval)
        curve = [list(point) for point in self.curve]
        return {**self._asdict(), "interval": interval, "curve": curve, "unit": "eyes"}

    def __str__(self) -> str:
        parts = [f"{self.name}: {self.value:.5g}"]
        if self.interval is not None:
            parts.append(f"[{self.interval[0]:.5g}, {self.interval[1]:.5g}]")
        eyes = f"{self.n_real}" if self.n_real == self.n_fake else f"{self.n_real} and {self.n_fake}"
        notes = [f"{eyes} eyes"]
        if self.rescan_floor is not None:
            notes.append(f"rescan {self.rescan_floor:.5g}")
        if self.floor is not None:
            notes.append(f"at {self.floor_n} eyes {self.value_at_floor_n:.5g}, floor {self.floor:.5g}")
        if self.shuffle_control is not None:
            notes[-1] += f", shuffled {self.shuffle_control:.5g}"
        if self.extrapolated is not None:
            notes.append(f"many eyes {self.extrapolated:.5g}")
        return f"{' '.join(parts)} ({'; '.join(notes)})"


def compare_eyes(
    name: str,
    distance: SetDistance,
    real: Tensor,
    fake: Tensor,
    *,
    rescan: Tensor | None = None,
    shuffled: Tensor | None = None,
    paired: bool = True,
    patients: Sequence[str] | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> DistanceResult:
    """Measure a distance with its error, floor, control and extrapolation.

    Args:
        name: of the distance.
        distance: between two sets of feature vectors.
        real: features of the real eyes, shape ``(N, rows, d)``; the rows of an eye stay together.
        fake: features of the generated eyes, shape ``(M, rows, d)``.
        rescan: of the rescans, ``(N, rows, d)``, in the order of ``real``.
        shuffled: of the real volumes with shuffled slices, likewise.
        paired: whether ``fake[i]`` and ``real[i]`` are of one eye and are drawn together.
        patients: of each real eye; the eyes of a patient are drawn together, because they are alike: of at
            most one patient a draw some eyes are left out, to have the same number of eyes in all draws. No
            patient has eyes in both halves of the floor. None takes each eye as one of another patient.
        resamples: half sets drawn for the interval; 0 measures the value and the rescan floor alone.
        seed: seed of the draws.

    Returns:
        The result.

    Raises:
        ValueError: if a side has fewer than two eyes, or paired sides are not of one length.
    """
    for side, features in (("real", real), ("fake", fake)):
        if len(features) < 2:
            raise ValueError(f"{name}: expected at least two {side} eyes, found {len(features)}")
    if paired and len(real) != len(fake):
        raise ValueError(f"{name}: expected as many fake as real eyes, found {len(fake)} and {len(real)}")
    named = range(len(real)) if patients is None else patients
    number = {patient: number for number, patient in enumerate(dict.fromkeys(named))}
    of_patient = torch.tensor([number[patient] for patient in named])
    rng = torch.Generator().manual_seed(seed)
    eyes = _Eyes(distance, real.double(), fake.double(), paired, of_patient, rng)
    value = eyes.measure(eyes.real, eyes.fake)
    result = DistanceResult(name, value, len(real), len(fake))
    if rescan is not None:
        result = result._replace(rescan_floor=eyes.measure(eyes.real, rescan.double()))
    if resamples == 0:
        return result
    splits = min(resamples, _SPLITS)
    if min(len(number), len(fake)) >= LEAST_PATIENTS:
        curve = _curve(eyes, value, splits)
        interval = _interval(eyes, value, resamples)
        result = result._replace(interval=interval, extrapolated=_intercept(curve), curve=curve)
    return result._replace(**_halves(eyes, shuffled, splits))


@dataclass(frozen=True)
class _Eyes:
    """Both sets ``(N, rows, d)``, of which random eyes are drawn."""

    distance: SetDistance
    real: Tensor
    fake: Tensor
    paired: bool
    of_patient: Tensor
    rng: torch.Generator

    def measure(self, real: Tensor, fake: Tensor) -> float:
        return self.distance(real.flatten(0, 1), fake.flatten(0, 1)).item()

    def orders(self) -> tuple[Tensor, Tensor]:
        """Random orders of the real and of the fake eyes, the same one where they are paired.

        The real eyes of a patient follow each other.
        """
        places = torch.randperm(int(self.of_patient.max()) + 1, generator=self.rng)
        real = places[self.of_patient].argsort(stable=True)
        return real, real if self.paired else torch.randperm(len(self.fake), generator=self.rng)

    def middle(self, order: Tensor) -> int:
        """How many eyes of such an order lie before the border of two patients that is nearest its middle."""
        patients = self.of_patient[order]
        borders: list[int] = [0, *(1 + (patients[1:] != patients[:-1]).nonzero().flatten()).tolist()]
        return min(borders, key=lambda border: abs(2 * border - len(order)))

    def draw(self, fraction: float) -> float:
        """Distance of a random part of both sets, which may hold one of the two eyes of its last patient."""
        real, fake = (order[: int(fraction * len(order))] for order in self.orders())
        return self.measure(self.real[real], self.fake[fake])


def _interval(eyes: _Eyes, value: float, resamples: int) -> tuple[float, float]:
    drawn = torch.tensor([eyes.draw(0.5) for _ in range(resamples)], dtype=torch.float64)
    n_eyes = min(len(eyes.real), len(eyes.fake))
    half = n_eyes // 2
    # An m-subset of n scatters about the n-set's value with the variance 1/m - 1/n of an
    # observation; a fresh n-set about the expectation with 1/n. They differ where n is odd.
    deviations = (drawn - drawn.mean()) * math.sqrt(half / (n_eyes - half))
    tail = (1 - _CONFIDENCE) / 2
    if resamples < _LEAST_FOR_QUANTILES:
        deviation = float(deviations.std()) if resamples > 1 else 0.0
        reach = NormalDist().inv_cdf(1 - tail) * deviation
        return value - reach, value + reach
    low, high = deviations.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return value + low, value + high


def _halves(eyes: _Eyes, shuffled: Tensor | None, splits: int) -> dict[str, Any]:
    orders = [eyes.orders() for _ in range(splits)]
    cuts = [eyes.middle(real) for real, _ in orders]
    # One number in all splits, because the bias depends on it.
    half = min(min(cut, len(eyes.real) - cut) for cut in cuts)
    half = min(half, len(eyes.fake) // 2)
    if half < 2:
        return {}
    floor, generated, control = [], [], []
    for (real, fake), cut in zip(orders, cuts, strict=True):
        kept, others = eyes.real[real[:half]], real[cut : cut + half]
        floor.append(eyes.measure(kept, eyes.real[others]))
        generated.append(eyes.measure(kept, eyes.fake[others if eyes.paired else fake[:half]]))
        if shuffled is not None:
            control.append(eyes.measure(kept, shuffled[others].double()))
    return {
        "floor_n": half,
        "floor": fmean(floor),
        "value_at_floor_n": fmean(generated),
        "shuffle_control": fmean(control) if control else None,
    }


def _curve(eyes: _Eyes, value: float, draws: int) -> tuple[tuple[int, float], ...]:
    n_eyes = min(len(eyes.real), len(eyes.fake))
    # By number of eyes, so that fractions which few eyes do not tell apart are drawn once.
    fractions = {int(fraction * n_eyes): fraction for fraction in _FRACTIONS}
    points = [(number, fmean(eyes.draw(part) for _ in range(draws))) for number, part in fractions.items()]
    return (*points, (n_eyes, value))


def _intercept(curve: tuple[tuple[int, float], ...]) -> float:
    inverse, values = [1 / number for number, _ in curve], [value for _, value in curve]
    return linear_regression(inverse, values).intercept
