"""How often a model's intervals hold the real value, at several levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import torch
from torch import Tensor

from fund2oct.evaluation.answers.controls import in_rows_of_eyes
from fund2oct.evaluation.compare import EyeSet
from fund2oct.evaluation.report.lesion_tables import row_of
from fund2oct.metrics.sets.estimate import LEAST_PATIENTS
from fund2oct.models import Batch, VolumeModel
from fund2oct.models.surface_model import heights_above_pose
from fund2oct.models.thickness import PredictsSurfaces
from fund2oct.models.uncertainty.draws import N_DRAWS, draw_volumes, has_one_answer
from fund2oct.networks.layered.surfaces import thickness_um
from fund2oct.retina.layers import SURFACES

LEVELS = (0.2, 0.4, 0.6, 0.8)
"""Probabilities with which intervals hold the value; those that nine draws can give."""
_EYES_DRAWN = 8
"""Eyes of which voxels are drawn: each has tens of thousands."""
_ROUNDING = 1e-6
_SHOWN = {
    "inner limiting membrane": "ILM",
    "outer segments": "OS",
    "pigment epithelium": "RPE",
    "Bruch's membrane": "BM",
}
_RESAMPLES, _CONFIDENCE = 2000, 0.95


class Held(TypedDict):
    """Shares of the real values that intervals hold, for each of ``LEVELS``.

    Attributes:
        share: the shares.
        low: lower ends of the shares' own 95% intervals; NaN where there are too few patients for one.
        high: their upper ends.
        n_eyes: number of eyes.

    Example:
        >>> held: Held = {"share": [0.83], "low": [0.80], "high": [0.86], "n_eyes": 150}
    """

    share: list[float]
    low: list[float]
    high: list[float]
    n_eyes: int


Reliability = dict[str, dict[str, Held]]
"""For each model and each quantity, what the intervals of each level hold."""

RELIABILITY_TEXT = f"""\
Of all intervals of a level, that share should hold the real value. Where fewer do, the model is too sure;
where more do, it is not sure enough. In brackets is the range in which the share lies with 95% confidence, as
patients are drawn again (none for less than {LEAST_PATIENTS} patients): a level within it is not shown to be
missed. Thickness and heights above the pose's surface are intervals of the predicted distribution, at all
A-scans of all eyes, against the surfaces as found. The tips of the outer segments lie on the pigment
epithelium except over fluid, so that in most A-scans both intervals are tested by one and the same height. A
voxel's interval lies between two of {N_DRAWS} draws; voxels are counted in about {_EYES_DRAWN} eyes, in the
aligned frame."""


def level_of_normal(real: Tensor, median: Tensor, deviation: Tensor) -> Tensor:
    """Least level of an interval of a normal distribution that holds a value.

    Args:
        real: the values, NaN where unknown, of any shape.
        median: of the distributions, same shape.
        deviation: their standard deviations, same shape.

    Returns:
        Levels in [0, 1], same shape.

    Example:
        >>> real = torch.tensor([280.0, 290.0, 300.0])
        >>> level_of_normal(real, torch.full((3,), 280.0), torch.full((3,), 10.0))
        tensor([0.0000, 0.6827, 0.9545])
    """
    return torch.erf((real - median).abs() / (math.sqrt(2) * deviation.clamp(min=_ROUNDING)))


def level_of_draws(real: Tensor, draws: Tensor) -> Tensor:
    """Least level of an interval between two draws that holds a value.

    Of ``n`` draws and one more, the last lies between the ``k``-th least and the ``k``-th greatest of the
    others with a probability of ``1 - 2 k / (n + 1)``, whatever their distribution.

    Args:
        real: the values, of any shape.
        draws: draws of the same, shape ``(n, ...)``.

    Returns:
        Levels in [0, 1], in the shape of ``real``; 1 outside all draws.

    References:
        Hamill, Interpretation of rank histograms, Monthly Weather Review 2001 (the rank among the draws).

    Example:
        >>> draws = torch.arange(1.0, 10.0)[:, None]  # 1, 2, ... 9
        >>> [round(float(level_of_draws(torch.tensor([real]), draws)), 1) for real in (0.5, 1.5, 4.5, 5.0)]
        [1.0, 0.8, 0.2, 0.1]
    """
    rank = (draws < real).sum(0) + 0.5 * (draws == real).sum(0)
    return 1 - 2 * torch.minimum(rank, len(draws) - rank) / (len(draws) + 1)


@torch.inference_mode()
def measure_reliability(models: Mapping[str, VolumeModel], eyes: EyeSet, seed: int = 0) -> Reliability:
    """Measure how often intervals hold the real value.

    Args:
        models: by name. One without surfaces and without noise has no intervals, and is left out.
        eyes: the real eyes.
        seed: of the draws.

    Returns:
        For each model and each quantity the shares at :data:`LEVELS`, with their own 95% intervals.
    """
    counts: dict[str, dict[str, dict[str, Tensor]]] = {name: {} for name in models}
    n_drawn, noisy = 0, {name for name, model in models.items() if model.draws_volumes}
    for batch in eyes.batches():
        for name, model in models.items():
            levels = _surface_levels(model, batch)
            if n_drawn < _EYES_DRAWN and name in noisy:
                voxels = _voxel_levels(model, batch, seed)
                levels |= voxels
                if not voxels:
                    noisy.remove(name)
            for what, level in levels.items():
                of_eyes = counts[name].setdefault(what, {})
                for key, of_eye in zip(batch["key"], level, strict=True):
                    if (known := of_eye.isfinite()).any():
                        of_eyes[key] = _counted(of_eye[known])
        n_drawn += len(batch["key"])
    patients = dict(zip(eyes.keys, eyes.patients, strict=True))
    return {
        name: {
            what: held_of_patients(torch.stack(list(of_eyes.values())), [patients[key] for key in of_eyes])
            for what, of_eyes in by_what.items()
            if of_eyes
        }
        for name, by_what in counts.items()
        if any(by_what.values())
    }


def _counted(levels: Tensor) -> Tensor:
    """How many values of an eye each level holds, and behind them how many there are."""
    return torch.stack([(levels <= most + _ROUNDING).sum() for most in (*LEVELS, 1.0)]).double().cpu()


def held_of_patients(counts: Tensor, patients: Sequence[str]) -> Held:
    """Shares of all values that lie in their intervals, and how sure the shares are.

    The values of an eye err together, and so do the two eyes of a patient. So whole patients are drawn with
    replacement, as many as there are, and the ends are quantiles of the shares of such draws.

    Args:
        counts: of each eye how many values each level holds, and behind them how many there are, shape
            ``(N, n_levels + 1)``.
        patients: of each eye.

    Returns:
        The shares with the ends of their 95% intervals.

    References:
        Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13 (percentiles).

    Example:
        >>> held = torch.tensor([2.0, 4.0, 3.0, 3.0, 2.0, 4.0])  # of ten values of each eye, at one level
        >>> counts = torch.stack([held, torch.full((6,), 10.0)], 1)
        >>> held = held_of_patients(counts, ["a", "b", "c", "d", "e", "f"])
        >>> {name: [round(each, 2) for each in held[name]] for name in ("share", "low", "high")}
        {'share': [0.3], 'low': [0.23], 'high': [0.37]}
    """
    numbers = {patient: number for number, patient in enumerate(dict.fromkeys(patients))}
    of_patient = torch.tensor([numbers[patient] for patient in patients])
    sums = counts.new_zeros(len(numbers), counts.shape[1]).index_add(0, of_patient, counts)
    share = sums.sum(0)[:-1] / sums.sum(0)[-1]
    ends = torch.full((2, len(share)), math.nan, dtype=counts.dtype)
    if len(numbers) >= LEAST_PATIENTS:
        rng = torch.Generator().manual_seed(0)
        drawn = sums[torch.randint(len(numbers), (_RESAMPLES, len(numbers)), generator=rng)].sum(1)
        tail = (1 - _CONFIDENCE) / 2
        levels = torch.tensor([tail, 1 - tail], dtype=counts.dtype)
        ends = (drawn[:, :-1] / drawn[:, -1:]).quantile(levels, dim=0)
    low, high = ends.tolist()
    return {"share": share.tolist(), "low": low, "high": high, "n_eyes": len(counts)}


def reliability_table(found: Reliability) -> list[str]:
    """The shares as a table in Markdown."""
    lines = [row_of(["answer", "interval of", "eyes", *(f"{level:.0%}" for level in LEVELS)])]
    lines.append("|---|---|---:|" + "---:|" * len(LEVELS))
    for name, by_what in found.items():
        for what, held in by_what.items():
            shares = map(_told, held["share"], held["low"], held["high"])
            lines.append(row_of([name, what, str(held["n_eyes"]), *shares]))
    return lines


def _told(share: float, low: float, high: float) -> str:
    return f"{share:.0%}" if math.isnan(low) else f"{share:.0%} [{low:.0%}, {high:.0%}]"


def _surface_levels(model: VolumeModel, batch: Batch) -> dict[str, Tensor]:
    if not isinstance(model, PredictsSurfaces) or "surfaces_um" not in batch:
        return {}
    found = model.surfaces(batch["fundus"], batch["grid"], **model.known(batch))
    real = heights_above_pose(batch)
    ilm, rpe = SURFACES.index("ILM"), SURFACES.index("RPE")
    levels = {"thickness": level_of_normal(real[:, ilm] - real[:, rpe], *thickness_um(found))}
    each = level_of_normal(real, found.median_um, found.deviation_um)
    return levels | {title: each[:, SURFACES.index(surface)] for title, surface in _SHOWN.items()}


def _voxel_levels(model: VolumeModel, batch: Batch, seed: int) -> dict[str, Tensor]:
    draws = draw_volumes(model, batch["fundus"], batch["grid"], batch["key"], seed, **model.known(batch))
    if has_one_answer(draws):
        return {}
    draws = torch.stack([in_rows_of_eyes(drawn, model, batch) for drawn in draws])
    return {"voxels": level_of_draws(batch["aligned"], draws).masked_fill(~batch["mask"].bool(), torch.nan)}
