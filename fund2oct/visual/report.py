"""The figures of an evaluation: every eye of every answer, and the distances of the sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from fund2oct.metrics.sets.estimate import DistanceResult
from fund2oct.visual.style import LIGHT, SERIES_COLOURS, TEXT_PT, dress, new_figure

_INCHES_A_ROW = 0.42
_INCHES_OF_FRAME = 1.15
_MOST_BESIDE = 3


def draw_scatter(eyes: Mapping[str, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]) -> Figure:
    """Draw each eye as a point, with median and quartiles; a row an answer, a panel a value.

    Args:
        eyes: for each answer, the values of each eye by their key; NaN leaves the eye out.
        titles: titles of the values to draw, by their key.
    """
    figure, panels = _panels(list(eyes), len(titles))
    for axes, (column, title) in zip(panels, titles.items(), strict=True):
        for place, rows in enumerate(eyes.values()):
            values = np.array([row.get(column, np.nan) for row in rows])
            values = values[np.isfinite(values)]
            spread = place + 0.5 * (np.linspace(0, 1, len(values)) - 0.5)
            axes.plot(
                values,
                spread,
                ".",
                color=_colour(place),
                alpha=0.6,
                markersize=5,
                markeredgewidth=0,
                zorder=3,
            )
            if len(values):
                low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
                axes.fill_between([low, high], place - 0.33, place + 0.33, color=LIGHT.ink, alpha=0.1, lw=0)
                axes.plot([middle, middle], [place - 0.33, place + 0.33], color=LIGHT.ink, linewidth=1.5)
        axes.set_xlabel(title)
        axes.margins(x=0.04)
    return figure


def draw_distances(distances: Mapping[str, Sequence[DistanceResult]]) -> Figure:
    """Draw the distances of each answer with their intervals, a panel a distance, beside the floors.

    Args:
        distances: for each answer, the same distances in the same order.
    """
    names = [result.name for result in next(iter(distances.values()))]
    figure, panels = _panels(list(distances), len(names))
    for number, (axes, name) in enumerate(zip(panels, names, strict=True)):
        results = [found[number] for found in distances.values()]
        for place, result in enumerate(results):
            low, high = result.interval or (result.value, result.value)
            axes.plot([low, high], [place, place], color=_colour(place), linewidth=2)
            axes.plot(result.value, place, "o", color=_colour(place))
            if result.value_at_floor_n is not None:
                axes.plot(result.value_at_floor_n, place, "o", color=_colour(place), fillstyle="none")
        _draw_floors(axes, results[0])
        if all(result.value > 0 for result in results):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(name.replace("/", "/\n", 1))
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower right", ncols=len(handles), fontsize=TEXT_PT, frameon=False
        )
    return figure


def draw_reliability(found: Mapping[str, Mapping[str, Any]], levels: Sequence[float]) -> Figure:
    """Draw how many intervals of each level hold the real value: a curve an answer, a panel a quantity.

    On the dashed diagonal an interval holds what it promises; below it the answer is too sure. Bars are the
    shares' own 95% intervals.

    Args:
        found: for each answer and each quantity a ``share`` for each level, with the ends ``low`` and
            ``high`` of its interval, NaN where there is none.
        levels: the probabilities, in (0, 1).
    """
    quantities = list(dict.fromkeys(what for by_what in found.values() for what in by_what))
    n_columns = min(_MOST_BESIDE, len(quantities))
    n_rows = math.ceil(len(quantities) / n_columns)
    figure = new_figure(2.6 * n_columns + 0.5, 2.9 * n_rows + 0.7, layout="constrained")
    panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
    for axes in panels[len(quantities) :]:
        axes.remove()
    for axes, what in zip(panels, quantities, strict=False):
        axes.plot([0, 1], [0, 1], color=LIGHT.muted, linestyle="--", linewidth=1, label="as promised")
        for place, (name, by_what) in enumerate(found.items()):
            if what in by_what:
                held = by_what[what]
                bars = [
                    [max(0.0, share - low) for share, low in zip(held["share"], held["low"], strict=True)],
                    [max(0.0, high - share) for share, high in zip(held["share"], held["high"], strict=True)],
                ]
                axes.errorbar(
                    levels, held["share"], bars, fmt="o-", color=_colour(place), markersize=4, label=name
                )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=levels, yticks=levels)
        axes.set_title(what, fontsize=TEXT_PT, color=LIGHT.ink)
        axes.set_xlabel("level of the interval")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        dress(axes)
    for axes in panels[::n_columns]:
        axes.set_ylabel("real values that it holds")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(4, len(handles)),
        fontsize=TEXT_PT,
        frameon=False,
    )
    return figure


def _draw_floors(axes: Any, result: DistanceResult) -> None:
    if result.rescan_floor is not None:
        axes.axvline(
            result.rescan_floor,
            color=LIGHT.ink,
            linestyle="--",
            linewidth=1,
            label="floor: rescan (•)",
        )
    if result.floor is not None:
        label = f"floor: {result.floor_n} real eyes against others (○)"
        axes.axvline(result.floor, color=LIGHT.muted, linestyle=":", linewidth=1.4, label=label)


def _panels(names: Sequence[str], n_panels: int) -> tuple[Figure, list[Any]]:
    """Axes side by side, with the answers' names once, the first one on top."""
    label_width = 0.075 * max(map(len, names))
    size = (label_width + 2.75 * n_panels, _INCHES_A_ROW * len(names) + _INCHES_OF_FRAME)
    figure = new_figure(*size, layout="constrained")
    panels = list(figure.subplots(1, n_panels, sharey=True, squeeze=False)[0])
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes in panels:
        dress(axes)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelsize=TEXT_PT, labelcolor=LIGHT.ink)
    return figure, panels


def _colour(place: int) -> str:
    return SERIES_COLOURS[place % len(SERIES_COLOURS)]
