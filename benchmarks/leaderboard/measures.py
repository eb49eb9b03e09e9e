"""What a leaderboard measures, and how each value is made of the rows of a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from fund2oct.evaluation.measuring import HEIGHT
from fund2oct.evaluation.report.columns import ANATOMY as COLUMNS
from fund2oct.metrics.eyes.heights import PARTS, correlation_of_sums
from fund2oct.metrics.eyes.kinds import KINDS

EPITHELIUM = "epithelium/correlation"
Array = np.ndarray
Rows = Sequence[Mapping[str, Any]]


def ratio(sums: Array) -> Array:
    """Mean over the parts of the ratio of two sums; NaN where each part is a division by 0.

    Args:
        sums: the numerators of all parts, then their denominators, ``(..., 2 * parts)``.

    Returns:
        Values, ``(...)``.
    """
    over, under = np.split(sums, 2, axis=-1)
    there = under > 0
    ratios = np.where(there, over / np.where(there, under, 1), 0)
    n_parts = there.sum(-1)
    return np.where(n_parts > 0, ratios.sum(-1) / np.maximum(n_parts, 1), np.nan)


@dataclass(frozen=True)
class Measure:
    """A column of the table.

    Args:
        key: name of the value in ``metrics.json``; of a distance its name before ``_distance``.
        title: head of the column.
        form: how a value is written.
        better: what is better, ``"less"``, ``"more"`` or nearness to ``"one"``.
        sums: the numbers of each eye whose sums over the eyes make the value, ``(eyes, numbers)``, NaN where
            they could not be measured; None for a value of the whole set, which has no rows.
        value: the value, ``(...)``, of such sums, ``(..., numbers)``.
    """

    key: str
    title: str
    form: str
    better: Literal["less", "more", "one"] = "less"
    sums: Callable[[Rows], Array] | None = None
    value: Callable[[Array], Array] = ratio

    def cost(self, value: Array) -> Array:
        """The value, or what stands for it, so that less is better; infinite where nothing was measured."""
        with np.errstate(divide="ignore", invalid="ignore"):
            cost = {"less": value, "more": -value, "one": np.abs(np.log(value))}[self.better]
        return np.where(np.isnan(cost), np.inf, cost)


def of_eyes(key: str, better: Literal["less", "more"] = "less") -> Measure:
    """A mean over the eyes in which a value could be measured."""

    def sums(rows: Rows) -> Array:
        values = column(rows, key)[:, None]
        return _of_parts(values, np.ones_like(values))

    return Measure(key, *COLUMNS[key], better, sums)


def overlap_of_lesions(rows: Rows) -> Array:
    """Dice coefficients of all kinds of lesions; of a kind that no eye has there is none."""
    both, real, fake = (
        np.stack([column(rows, f"{kind}/{whose}_mm") for kind in KINDS], 1)
        for whose in ("both", "real", "fake")
    )
    return _of_parts(2 * both, real + fake)


def sharpness(rows: Rows) -> Array:
    """Energy of the fine structure over that of the real eyes."""
    return _of_parts(column(rows, "energy/fake")[:, None], column(rows, "energy/real")[:, None])


def _of_parts(over: Array, under: Array) -> Array:
    """Numerators and denominators for :func:`ratio`; a part is known where both are."""
    known = np.isfinite(over) & np.isfinite(under)
    return np.concatenate([np.where(known, over, np.nan), np.where(known, under, np.nan)], 1)


def heights(rows: Rows) -> Array:
    """Sums for the correlation of heights of the epithelium; of eyes that have something to lift it."""
    sums = np.stack([column(rows, HEIGHT + part) for part in PARTS], 1)
    return np.where(sums[:, :1] > 0, sums, np.nan)


def correlation(sums: Array) -> Array:
    """Pearson correlation from :func:`heights`, ``(..., 6)``; NaN where one of the two is constant."""
    each = torch.from_numpy(np.ascontiguousarray(np.moveaxis(sums, -1, 0), float))
    found: Array = correlation_of_sums(dict(zip(PARTS, each, strict=True))).numpy()
    return found


def column(rows: Rows, key: str) -> Array:
    """A value of each eye, NaN where it could not be measured."""
    return np.array([math.nan if row.get(key) is None else row[key] for row in rows], float)


ANATOMY = (
    of_eyes("thickness/error_um"),
    of_eyes("rpe/error_um"),
    Measure(EPITHELIUM, *COLUMNS[EPITHELIUM], "more", heights, correlation),
    Measure("lesions", "overlap of lesions ↑", "{:.2f}", "more", overlap_of_lesions),
    of_eyes("fluid/error_mm3"),
    of_eyes("shadow/agreement", "more"),
)
"""What a photo is translated for. It ranks first."""

REALISM = (
    Measure("image", "image distance ↓", "{:.1f}"),
    Measure("video", "video distance ↓", "{:.0f}"),
    Measure("video:oct3d", "distance of an OCT network ↓", "{:.3g}"),
    Measure("sharpness", "sharpness, 1 is real", "{:.2f}", "one", sharpness),
)
"""Whether the volumes look like real ones, as a set. It ranks second."""
