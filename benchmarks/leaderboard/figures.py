"""The pictures of the leaderboard: values with intervals, one eye by all entries, and learning curves."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measures import Measure
from plan import DOCS
from standing import Standings
from tables import CONTROLS, FLOORS, Line

from fund2oct.data import FundusOCTDataModule
from fund2oct.evaluation.answers.answer import Answer
from fund2oct.evaluation.held_out import HeldOutEyes
from fund2oct.retina import SURFACES
from fund2oct.visual import ShownVolume, draw_panel
from fund2oct.visual.style import LIGHT, SERIES_COLOURS, TEXT_PT, dress, new_figure

_NOTE = "Generated from the photo alone: no measurement and no diagnosis."
_DASHES = {
    name: dash for names in (FLOORS, CONTROLS) for name, dash in zip(names, ("--", "-.", ":"), strict=True)
}


def save(figure: Figure, path: Path) -> None:
    """Write a picture as those of the documentation are written."""
    sys.path.append(str(DOCS))
    from figure_files import save_webp

    path.parent.mkdir(parents=True, exist_ok=True)
    save_webp(figure, path)


def draw_standings(standings: Standings, lines: Sequence[Line], measures: Sequence[Measure]) -> Figure:
    """Draw each measure in a panel: a row an entry, with its interval, and lines for floors and controls.

    Args:
        standings: of all answers.
        lines: the entries, the first one on top.
        measures: what is drawn.
    """
    drawn = [one for one in measures if any(standings.has(line.answer, one) for line in lines)]
    columns = min(3, len(drawn))
    n_rows = -(-len(drawn) // columns)
    height = n_rows * (0.3 * len(lines) + 0.75) + 0.4
    figure = new_figure(1.2 + 2.9 * columns, height, layout="constrained")
    panels = figure.subplots(n_rows, columns, squeeze=False)
    for number, axes in enumerate(panels.flat):
        if number >= len(drawn):
            axes.set_axis_off()
            continue
        measure = drawn[number]
        for place, line in enumerate(lines):
            if standings.has(line.answer, measure):
                found = standings.estimate(line.answer, measure)
                colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
                axes.plot([found.low, found.high], [place, place], color=colour, linewidth=2)
                axes.plot(found.value, place, "o", color=colour)
        _draw_lines(axes, standings, measure, vertical=True)
        dress(axes)
        names = [line.name for line in lines] if number % columns == 0 else []
        axes.set_yticks(range(len(lines)), names or [""] * len(lines))
        axes.tick_params(axis="y", length=0, labelsize=TEXT_PT, labelcolor=LIGHT.ink)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_xlabel(measure.title)
        axes.locator_params(axis="x", nbins=5)
    _legend(figure, [axes for axes in panels.flat])
    return figure


def draw_learning_curves(
    standings: Standings, curves: Mapping[str, Mapping[int, str]], measures: Sequence[Measure]
) -> Figure:
    """Draw each measure over the number of training eyes, a curve for each variant.

    Args:
        standings: of all answers.
        curves: for each variant the answer's name by the number of training eyes.
        measures: what is drawn.
    """
    drawn = [
        one for one in measures
        if any(standings.has(name, one) for answers in curves.values() for name in answers.values())
    ]  # fmt: skip
    columns = min(3, len(drawn))
    n_rows = -(-len(drawn) // columns)
    figure = new_figure(3.0 * columns + 0.4, 2.4 * n_rows + 0.7, layout="constrained")
    panels = list(figure.subplots(n_rows, columns, squeeze=False).flat)
    for axes, measure in zip(panels, drawn, strict=False):
        for place, (variant, answers) in enumerate(curves.items()):
            found = {n: standings.estimate(name, measure) for n, name in answers.items()
                     if standings.has(name, measure)}  # fmt: skip
            if not found:
                continue
            colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
            line = "o-" if place < len(SERIES_COLOURS) else "s--"  # where the colours begin again
            # Beside each other, so that no interval hides another.
            shift = 1.03 ** (place - (len(curves) - 1) / 2)
            sizes = [n * shift for n in found]
            axes.plot(sizes, [one.value for one in found.values()], line, color=colour, label=variant)
            axes.vlines(sizes, [one.low for one in found.values()], [one.high for one in found.values()],
                        color=colour, linewidth=1)  # fmt: skip
        _draw_lines(axes, standings, measure, vertical=False)
        dress(axes)
        axes.set_xscale("log")
        ticks = sorted({n for answers in curves.values() for n in answers})
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.minorticks_off()
        axes.set(xlabel="training eyes", ylabel=measure.title)
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    _legend(figure, panels)
    return figure


def _draw_lines(axes: Axes, standings: Standings, measure: Measure, vertical: bool) -> None:
    for names, colour in ((FLOORS, LIGHT.ink), (CONTROLS, LIGHT.muted)):
        for name in names:
            if standings.has(name, measure):
                draw = axes.axvline if vertical else axes.axhline
                value = standings.estimate(name, measure).value
                draw(value, color=colour, linestyle=_DASHES[name], linewidth=1, label=name)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    found = {}
    for axes in panels:
        found |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if found:
        figure.legend(
            [*found.values()], [*found], loc="outside lower center", ncols=min(4, len(found)),
            fontsize=TEXT_PT, frameon=False,
        )  # fmt: skip


def draw_eye(
    datamodule: FundusOCTDataModule, answers: Sequence[Answer], diagnosis: str, device: torch.device
) -> Figure:
    """Draw the first test eye of a diagnosis, the real one above what each answer gives.

    Two slices are drawn, so that the retina can be seen on a page: see :func:`slices_through_the_lesion`.

    Args:
        datamodule: it was set up.
        answers: in the order in which they are drawn.
        diagnosis: part of the eye's diagnosis; the first eye is taken where none has it.
        device: of the models.
    """
    eyes = HeldOutEyes(datamodule, device)
    known = datamodule.test_dataset.metadata()
    of_diagnosis = (
        key for key, told in zip(eyes.keys, known, strict=True) if diagnosis in str(told.get("diagnosis"))
    )
    key = next(of_diagnosis, eyes.keys[0])
    batch = eyes.batch(key)
    spacing_mm = float(batch["spacing_z_mm"].flatten()[0]), float(batch["spacing_x_mm"].flatten()[0])
    volumes = {"real": ShownVolume.searched(batch["volume"][0, 0], spacing_mm)}
    for answer in answers:
        volume = answer.give(batch).volume
        if volume is not None:
            volumes[answer.name] = ShownVolume.searched(volume[0, 0], spacing_mm)
    title = f"{key}, {batch['diagnosis'][0]}: kept for the test, the first one with this diagnosis"
    slices = slices_through_the_lesion(volumes["real"].surfaces_um)
    photo, grid = batch["fundus"][0], batch["grid"][0]
    return draw_panel(volumes, spacing_mm, photo, grid, slices=slices, title=title, footer=_NOTE)


def slices_through_the_lesion(surfaces_um: torch.Tensor) -> list[int]:
    """Numbers of the slice that has most space below the epithelium, and of the one across it in a star.

    Args:
        surfaces_um: depths of :data:`fund2oct.retina.SURFACES`, NaN where unknown, shape ``(n, S, X)``.
    """
    rpe_um, bm_um = (surfaces_um[SURFACES.index(name)] for name in ("RPE", "BM"))
    space_um = (bm_um - rpe_um).nansum(1)
    # Of many slices some are searched.
    searched = rpe_um.isfinite().any(1).nonzero().flatten().tolist() or [0]
    place = max(range(len(searched)), key=lambda place: float(space_um[searched[place]]))
    return sorted({searched[place], searched[(place + len(searched) // 2) % len(searched)]})
