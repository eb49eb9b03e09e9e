"""What a leaderboard measures, and how each value is made of the rows of a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fund2oct.metrics.eyes.kinds import KINDS

Array = np.ndarray
Rows = Sequence[Mapping[str, Any]]
Parts = tuple[Array, Array]
"""Numerators and denominators of each eye, ``(eyes, parts)``: a value is the mean over the parts of the ratio
of their sums over the eyes. A mean over eyes has the denominator 1 where it was measured, and one part."""


@dataclass(frozen=True)
class Measure:
    """A column of the table.

    Args:
        key: name of the value in ``metrics.json``; of a distance its name before ``_distance``.
        title: head of the column.
        form: how a value is written.
        better: what is better, ``"less"``, ``"more"`` or nearness to ``"one"``.
        parts: how the value of a set of eyes is made of their rows; None for a value of the whole set, which
            has no rows.
    """

    key: str
    title: str
    form: str
    better: Literal["less", "more", "one"] = "less"
    parts: Callable[[Rows], Parts] | None = None

    def cost(self, value: Array) -> Array:
        """The value, or what stands for it, so that less is better; infinite where nothing was measured."""
        with np.errstate(divide="ignore", invalid="ignore"):
            cost = {"less": value, "more": -value, "one": np.abs(np.log(value))}[self.better]
        return np.where(np.isnan(cost), np.inf, cost)


def of_eyes(key: str, title: str, form: str, better: Literal["less", "more"] = "less") -> Measure:
    """A mean over the eyes in which a value could be measured."""

    def parts(rows: Rows) -> Parts:
        values = column(rows, key)
        known = np.isfinite(values)
        return np.where(known, values, 0)[:, None], known[:, None].astype(float)

    return Measure(key, title, form, better, parts)


def overlap_of_lesions(rows: Rows) -> Parts:
    """Dice coefficients of all kinds of lesions; of a kind that no eye has there is none."""
    both, real, fake = (
        np.stack([column(rows, f"{kind}/{whose}_mm") for kind in KINDS], 1)
        for whose in ("both", "real", "fake")
    )
    return 2 * np.nan_to_num(both), np.nan_to_num(real + fake)


def sharpness(rows: Rows) -> Parts:
    """Energy of the fine structure over that of the real eyes."""
    return column(rows, "energy/fake")[:, None], column(rows, "energy/real")[:, None]


def column(rows: Rows, key: str) -> Array:
    """A value of each eye, NaN where it could not be measured."""
    return np.array([math.nan if row.get(key) is None else row[key] for row in rows], float)


ANATOMY = (
    of_eyes("thickness/error_um", "thickness error, µm ↓", "{:.1f}"),
    of_eyes("rpe/error_um", "outer boundary error, µm ↓", "{:.1f}"),
    Measure("epithelium/correlation", "height of the epithelium ↑", "{:.2f}", "more"),
    Measure("lesions", "overlap of lesions ↑", "{:.2f}", "more", overlap_of_lesions),
    of_eyes("fluid/error_mm3", "fluid error, mm³ ↓", "{:.3f}"),
    of_eyes("shadow/agreement", "vessel shadows ↑", "{:.2f}", "more"),
)
"""What a photo is translated for. It ranks first."""

REALISM = (
    Measure("image", "image distance ↓", "{:.1f}"),
    Measure("video", "video distance ↓", "{:.0f}"),
    Measure("sharpness", "sharpness, 1 is real", "{:.2f}", "one", sharpness),
)
"""Whether the volumes look like real ones, as a set. It ranks second."""
