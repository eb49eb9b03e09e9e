"""How often a model's intervals hold the real value, at several levels."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fund2oct.evaluation.answers.controls import PredictsSurfaces
from fund2oct.evaluation.compare import EyeSet
from fund2oct.evaluation.report.lesion_tables import row_of
from fund2oct.models import Batch, VolumeModel
from fund2oct.models.surface_model import heights_above_pose
from fund2oct.models.uncertainty.draws import N_DRAWS, draw_volumes, has_one_answer
from fund2oct.networks.layered.surfaces import thickness_um
from fund2oct.retina.layers import SURFACES

LEVELS = (0.2, 0.4, 0.6, 0.8)
"""Probabilities with which intervals hold the value; those that nine draws can give."""
_EYES_DRAWN = 8
"""Eyes of which voxels are drawn: each has tens of thousands."""
_ROUNDING = 1e-6
_SHOWN = {"inner limiting membrane": "ILM", "pigment epithelium": "RPE"}

Reliability = dict[str, dict[str, list[float]]]
"""For each model and each quantity, the share of the real values that the intervals of each level hold."""

RELIABILITY_TEXT = f"""\
Of all intervals of a level, that share should hold the real value. Where fewer do, the model is too sure;
where more do, it is not sure enough. Thickness and heights above the pose's surface are intervals of the
predicted distribution, at all A-scans of all eyes, against the surfaces as found. A voxel's interval lies
between two of {N_DRAWS} draws; voxels are counted in about {_EYES_DRAWN} eyes, in the aligned frame. Few eyes
make these shares uncertain, for the A-scans of one eye err together."""


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
        For each model and each quantity the share at each of :data:`LEVELS`.
    """
    # Of each model and quantity how many values there are, and how many of them each level holds.
    counts: dict[str, dict[str, Tensor]] = {name: {} for name in models}
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
                level = level[level.isfinite()]
                count = torch.stack([(level <= most + _ROUNDING).sum() for most in (*LEVELS, 1.0)]).cpu()
                counts[name][what] = counts[name].get(what, 0) + count
        n_drawn += len(batch["key"])
    return {
        name: {what: (count[:-1] / count[-1]).tolist() for what, count in by_what.items() if count[-1]}
        for name, by_what in counts.items()
        if by_what
    }


def reliability_table(found: Reliability) -> list[str]:
    """The shares as a table in Markdown."""
    lines = [row_of(["answer", "interval of", *(f"{level:.0%}" for level in LEVELS)])]
    lines.append("|---|---|" + "---:|" * len(LEVELS))
    for name, by_what in found.items():
        for what, shares in by_what.items():
            lines.append(row_of([name, what, *(f"{share:.0%}" for share in shares)]))
    return lines


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
    return {"voxels": level_of_draws(batch["aligned"], draws).masked_fill(~batch["mask"].bool(), torch.nan)}
