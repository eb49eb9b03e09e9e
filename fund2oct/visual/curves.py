"""How a training went: a small chart for each value that it logged."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fund2oct.visual.style import LIGHT, OKABE_ITO, SMALL_PT, TEXT_PT, Theme, dress, new_figure

Curve = tuple[np.ndarray, np.ndarray]
"""Steps of the optimiser, and the values there."""

_GROUPS = {
    "val/": (OKABE_ITO["blue"], "validation"),
    "train/generator/": (OKABE_ITO["vermilion"], "loss of the generator"),
    "train/discriminator/": (OKABE_ITO["green"], "loss of the discriminators"),
    "": (OKABE_ITO["grey"], "other"),
}
_COLUMNS = 6
_CHART = 2.1, 1.32
_SMOOTHED_FROM = 40
_MOST_POINTS = 2000
"""Points of a curve that are drawn: more than a chart has pixels, and few enough for running medians."""


def read_curves(*paths: Path | str) -> dict[str, Curve]:
    """Read the values that a training logged to ``metrics.csv``.

    A training that was started again begins where its last checkpoint was: what an earlier file holds from
    the first step of a later one on was done once more, and is left out.

    Args:
        paths: files that :class:`pytorch_lightning.loggers.CSVLogger` wrote, of one training, in their order.

    Returns:
        By name; values that are not finite are left out, and so are names without any.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for path in paths:
        later, first = _read_points(path)
        for name, found in points.items():
            points[name] = [(step, value) for step, value in found if step < first]
        for name, found in later.items():
            points.setdefault(name, []).extend(found)
    return {name: tuple(np.array(found).T) for name, found in points.items() if found}


def _read_points(path: Path | str) -> tuple[dict[str, list[tuple[float, float]]], float]:
    """The values of a file by name, each with its step, and the first of all steps."""
    points: dict[str, list[tuple[float, float]]] = {}
    first = math.inf
    with Path(path).open(newline="") as file:
        for row in csv.DictReader(file):
            step = _number(row["step"])
            if not math.isfinite(step):
                continue
            first = min(first, step)
            for name, text in row.items():
                if name not in ("epoch", "step") and math.isfinite(value := _number(text)):
                    points.setdefault(name, []).append((step, value))
    return points, first


def _number(text: str | None) -> float:
    """A number of a log; NaN where there is none, as in the line that a killed training was writing."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def draw_curves(curves: Mapping[str, Curve], theme: Theme = LIGHT) -> Figure:
    """Draw the values of a training, a small chart each: validation first, then the losses.

    Where there are many points, the line is their running median, and they lie faint behind it.

    Args:
        curves: the curves by name, see :func:`read_curves`.
        theme: colours of paper and ink.

    Returns:
        A figure, see :func:`fund2oct.visual.save_figure`.

    Raises:
        ValueError: if there is no curve.
    """
    if not curves:
        raise ValueError("curves: expected at least one value that was logged, found none")
    prefixes = {name: next(prefix for prefix in _GROUPS if name.startswith(prefix)) for name in curves}
    titles = {name: name.removeprefix(prefix) for name, prefix in prefixes.items()}
    order = list(_GROUPS)
    names = sorted(curves, key=lambda name: (order.index(prefixes[name]), name))
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(_CHART[0] * columns, _CHART[1] * rows + 0.35, theme, layout="constrained")
    last = max(float(steps[-1]) for steps, _ in curves.values())
    grid = figure.add_gridspec(rows, columns)
    for number, name in enumerate(names):
        axes = figure.add_subplot(grid[divmod(number, columns)])
        colour, group = _GROUPS[prefixes[name]]
        _draw(axes, *curves[name], colour, theme)
        axes.set_xlim(0, max(last, 1))  # a single step has no width
        title = titles[name]
        if [*titles.values()].count(title) > 1:  # such as the total of each side
            title = f"{group}: {title}"
        axes.set_title(title, fontsize=SMALL_PT + 0.5, color=theme.ink, loc="left", pad=3)
        if number + columns < len(names):
            axes.tick_params(labelbottom=False)
    used = [group for prefix, group in _GROUPS.items() if prefix in prefixes.values()]
    handles = [figure.axes[0].plot([], [], color=colour, label=label)[0] for colour, label in used]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(used), frameon=False, fontsize=TEXT_PT,
        labelcolor=theme.ink,
    )  # fmt: skip
    figure.supxlabel("steps of the optimisers", fontsize=TEXT_PT, color=theme.muted)
    return figure


def _draw(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str, theme: Theme) -> None:
    dress(axes, theme)
    if len(values) > _MOST_POINTS:
        # Not means of parts: their running median would be another one.
        kept = np.linspace(0, len(values) - 1, _MOST_POINTS).astype(int)
        steps, values = steps[kept], values[kept]
    if len(values) >= _SMOOTHED_FROM:
        axes.plot(steps, values, color=colour, linewidth=0.5, alpha=0.3)
        reach = len(values) // 20
        smooth = [np.median(values[max(0, n - reach) : n + reach + 1]) for n in range(len(values))]
        axes.plot(steps, smooth, color=colour, linewidth=1.3)
    else:
        axes.plot(steps, values, "o-", color=colour, linewidth=1.3, markersize=3)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.get_offset_text().set(fontsize=SMALL_PT, color=theme.muted)
    axes.margins(y=0.12)
