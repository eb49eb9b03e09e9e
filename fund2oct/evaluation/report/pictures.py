"""The pictures of a report: eyes of small, usual and large error, every eye, and the distances."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from fund2oct.evaluation.answers.answer import NOISE_OFF, OF_SURFACES, Answer
from fund2oct.evaluation.answers.floors import ONE_TWIN, RESCAN
from fund2oct.evaluation.compare import Comparison, EyeSet, Row
from fund2oct.evaluation.report.reliability import LEVELS, Reliability
from fund2oct.evaluation.report.tables import SCATTER
from fund2oct.visual import ShownVolume, draw_panel
from fund2oct.visual.report import draw_distances, draw_reliability, draw_scatter
from fund2oct.visual.style import figure_bytes, save_figure

RANKED_BY = "thickness/error_um"
_NO_DIAGNOSIS = "Generated from the photo alone: no measurement and no diagnosis."


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of a report.

    Args:
        section: heading of the report under which it stands.
        name: name of its file, without the ending.
        caption: text below the picture.
        content: a matplotlib figure, or the bytes of a file.
        ending: ending of the file that the report shows.

    Example:
        >>> from matplotlib.figure import Figure
        >>> curves = Picture("Training", "curves", "Losses of the training.", Figure())
        >>> shown = curves.write(Path("."), formats=())
        >>> curves.file, Path("curves.png").is_file()
        ('curves.png', True)
    """

    section: str
    name: str
    caption: str
    content: Figure | bytes
    ending: str = ".png"

    @property
    def file(self) -> str:
        """Name of the file that the report shows."""
        return self.name + self.ending

    def write(self, folder: Path, formats: Sequence[str]) -> bytes:
        """Write it, a figure also in further formats, and return what the report shows."""
        shown = figure_bytes(self.content) if isinstance(self.content, Figure) else self.content
        (folder / self.file).write_bytes(shown)
        if isinstance(self.content, Figure):
            for format in formats:
                if format != "png":
                    save_figure(self.content, folder / f"{self.name}.{format}")
        return shown


def chart_pictures(found: Comparison, reliability: Reliability) -> Iterator[Picture]:
    """Every eye of every answer, and where there are any, intervals and the distances of the sets."""
    caption = "Each point is an eye; the line is the median, the band holds the middle half of the eyes."
    yield Picture("Quality", "scatter", caption, draw_scatter(found.eyes, SCATTER))
    if reliability:
        caption = (
            "On the dashed line an interval holds what it promises; below it a model is too sure. Bars: 95% "
            "intervals of the shares, as patients are drawn again."
        )
        yield Picture("Reliability", "reliability", caption, draw_reliability(reliability, LEVELS))
    if found.distances:
        caption = "Full points: all eyes, with 95% intervals. Hollow points: half of them, beside the floor."
        yield Picture("Distances", "distances", caption, draw_distances(found.distances))


def eye_pictures(
    name: str, eyes: EyeSet, answers: Sequence[Answer], found: Comparison, footer: str
) -> Iterator[Picture]:
    """Panels of the eyes with the least, the median and the largest thickness error of an answer.

    Args:
        name: of the answer.
        eyes: the real ones.
        answers: all; floors and the same model without noise stand beside it.
        found: what was measured.
        footer: on what the model was trained.
    """
    # An eye in which nothing could be measured is as bad as can be.
    errors = [row[RANKED_BY] if math.isfinite(row[RANKED_BY]) else math.inf for row in found.eyes[name]]
    ranked = sorted(range(len(errors)), key=errors.__getitem__)
    for label, number in (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])):
        row = found.eyes[name][number]
        title = ", ".join(filter(None, (row["key"], row["diagnosis"])))
        caption = f"{title}: the eye with the {label} thickness error of {name}."
        figure = _panel(name, row["key"], number, eyes, answers, found, title, f"{footer} {_NO_DIAGNOSIS}")
        yield Picture("Eyes", re.sub(r"[^\w.-]+", "-", f"{label}-{name}"), caption, figure)


def _panel(
    name: str,
    key: str,
    number: int,
    eyes: EyeSet,
    answers: Sequence[Answer],
    found: Comparison,
    title: str,
    footer: str,
) -> Figure:
    batch = eyes.batch(key)
    spacing_mm = float(batch["spacing_z_mm"].flatten()[0]), float(batch["spacing_x_mm"].flatten()[0])
    by_name = {answer.name: answer for answer in answers}
    surfaces = by_name.get(name + OF_SURFACES)
    interval_um = surfaces.give(batch).interval_um if surfaces else None
    volumes = {"real": ShownVolume.searched(batch["volume"][0, 0], spacing_mm)}
    for shown in _beside(name, by_name):
        volume = by_name[shown].give(batch).volume
        if volume is not None:
            interval = interval_um[0] if shown == name and interval_um is not None else None
            note = _note(found.eyes[shown][number])
            volumes[shown] = ShownVolume.searched(volume[0, 0], spacing_mm, interval, note)
    photo, grid = (batch[part][0] if part in batch else None for part in ("fundus", "grid"))
    minus = (name, "real") if name in volumes else None
    return draw_panel(volumes, spacing_mm, photo, grid, minus=minus, title=title, footer=footer)


def _beside(name: str, answers: dict[str, Answer]) -> list[str]:
    """The answer, one floor and the answer without noise; a picture of them all would be too tall."""
    floors = [other for other in (ONE_TWIN, RESCAN) if other in answers]
    return [other for other in (*floors[:1], name, name + NOISE_OFF) if other in answers]


def _note(row: Row) -> str:
    error_um = row[RANKED_BY]
    error = f"{error_um:.0f} µm off" if math.isfinite(error_um) else "no thickness"
    return f"{error},\nSSIM {row['posed/ssim']:.2f}"
