"""The panel of one eye: photo and scan lines, B-scans at their true aspect, and the thickness along them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from fund2oct.geometry.patterns import ascan_spacing_mm
from fund2oct.visual.bscan import (
    ShownVolume,
    Spacing,
    draw_bscan,
    draw_difference,
    draw_profile,
    draw_scale_bar,
    draw_surface_key,
    shown_slices,
)
from fund2oct.visual.layout import FOOTER_LINE, Box, Content, Layout, arrange
from fund2oct.visual.photo import draw_lines, draw_number, draw_photo, line_colour
from fund2oct.visual.style import LIGHT, SERIES_COLOURS, SMALL_PT, TEXT_PT, TITLE_PT, Theme, new_figure
from fund2oct.visual.thickness import draw_bar, draw_median

if TYPE_CHECKING:
    from fund2oct.models.thickness import ThicknessMap

_LIMIT = 0.4
_NAME_LETTERS, _FOOTER_LETTERS = 15, 220
_LEAST_TOP_UM = 400.0


def draw_panel(
    volumes: Mapping[str, ShownVolume],
    spacing_mm: Spacing,
    fundus: Tensor | None = None,
    grid: Tensor | None = None,
    *,
    minus: tuple[str, str] | None = None,
    thickness: ThicknessMap | None = None,
    slices: Sequence[int] | None = None,
    title: str = "",
    footer: str = "",
    theme: Theme = LIGHT,
) -> Figure:
    """Draw one eye.

    The photo stands once with the scan's lines and once without; each shown slice has the number and the
    colour of its line. B-scans are equally long in both directions, and the volumes stand one below the
    other, A-scan below A-scan. Of more than six slices, six are shown, spread evenly. One scale bar holds for
    all of them; where lines differ in length, each slice has its own.

    Args:
        volumes: volumes of one shape by name, a row of B-scans each. One named ``real`` is drawn in ink. Of a
            volume that was searched in other slices than are shown no surfaces are drawn.
        spacing_mm: distance of rows and of A-scans of the volumes ``(z, x)``; the mean over all slices where
            lines differ in length.
        fundus: photo in [0, 1], shape ``(3, H, H)``; None draws the B-scans alone.
        grid: positions of the A-scans on it in grid units, shape ``(S, X, 2)``; they also tell how long
            the lines are beside each other. None draws no lines, and takes them to be equally long.
        minus: names of two volumes; a row shows by how much the first is brighter than the second.
        thickness: map of the retina's thickness, which stands beside the photo; None draws none.
        slices: numbers of the slices shown; None shows all, or six of more. Tell :meth:`ShownVolume.searched`
            the same.
        title: what stands above.
        footer: what stands below, in small letters, such as what made the picture.
        theme: colours of paper and ink.

    Returns:
        A figure, see :func:`fund2oct.visual.save_figure`.

    Raises:
        ValueError: if there is no volume, they differ in shape, or have no slice of such a number.

    Example:
        >>> volume = ShownVolume(torch.rand(6, 40, 64))
        >>> figure = draw_panel({"generated": volume}, spacing_mm=(0.04, 0.14), title="an eye")
    """
    shapes = {tuple(shown.volume.shape) for shown in volumes.values()}
    if len(shapes) != 1:
        raise ValueError(f"volumes: expected volumes of one shape, found {sorted(shapes) or 'none'}")
    n_slices, n_depth, n_ascans = shapes.pop()
    shown = shown_slices(n_slices) if slices is None else [*slices]
    if not shown or min(shown) < 0 or max(shown) >= n_slices:
        raise ValueError(f"slices: expected numbers from 0 to {n_slices - 1}, found {shown}")
    lines = grid if fundus is not None else None
    maps = thickness if fundus is not None else None
    spacings = _spacings_mm(spacing_mm, grid, n_slices)
    layout = arrange(
        Content(
            n_pictures=0 if fundus is None else 1 + (lines is not None) + (maps is not None),
            n_bars=0 if maps is None else 1,
            n_slices=len(shown),
            n_rows=len(volumes) + (minus is not None),
            has_profile=any(each.surfaces_um is not None for each in volumes.values()),
            # Of the shortest line, which is the tallest at one width.
            slice_aspect=max(n_depth * spacings[n][0] / (n_ascans * spacings[n][1]) for n in shown),
            has_title=bool(title),
            n_footer_lines=len(textwrap.wrap(footer, _FOOTER_LETTERS)),
        )
    )
    panel = _Panel(layout, theme)
    if fundus is not None:
        panel.draw_pictures(fundus, lines, shown, maps)
    panel.draw_slices(volumes, spacings, shown, minus)
    if layout.content.has_profile:
        panel.draw_profiles(volumes, spacings, shown)
    panel.draw_names(volumes, minus)
    if len(shown) < n_slices:
        panel.draw_count(len(shown), n_slices)
    panel.draw_margins(title, footer)
    return panel.figure


class _Panel:
    """A figure of boxes in inches."""

    def __init__(self, layout: Layout, theme: Theme) -> None:
        self.layout, self.theme = layout, theme
        self.figure = new_figure(*layout.size, theme)

    def draw_pictures(
        self, fundus: Tensor, grid: Tensor | None, shown: list[int], thickness: ThicknessMap | None
    ) -> None:
        boxes = self.layout.pictures()
        if grid is not None:
            axes = self._picture(next(boxes)[0], "lines of the scan")
            draw_photo(axes, fundus)
            draw_lines(axes, grid, fundus.shape[-1], shown)
        draw_photo(self._picture(next(boxes)[0], "photo"), fundus)
        if thickness is None:
            return
        box, bar = next(boxes)
        assert bar is not None
        drawn = draw_median(self._picture(box, "thickness of the retina"), fundus, thickness)
        draw_bar(self._axes(bar), drawn, self.theme)

    def draw_slices(
        self,
        volumes: Mapping[str, ShownVolume],
        spacings: Sequence[Spacing],
        shown: list[int],
        minus: tuple[str, str] | None,
    ) -> None:
        for place, number in enumerate(shown):
            colour, spacing_mm = line_colour(place), spacings[number]
            for row, volume in enumerate(volumes.values()):
                axes = self._axes(self.layout.slice(place, row))
                surfaces = volume.surfaces_um
                here = None if surfaces is None else surfaces[:, number]
                draw_bscan(axes, volume.volume[number], spacing_mm, here, colour)
                if row == 0:
                    self._number(axes, number, colour)
                if row == 0 and (place == 0 or spacing_mm != spacings[shown[0]]):
                    draw_scale_bar(axes)
                if row == 0 and place == self.layout.columns - 1:
                    self._surface_key(axes, volumes, shown)
            if minus is not None:
                first, second = (volumes[name].volume[number] for name in minus)
                axes = self._axes(self.layout.slice(place, len(volumes)))
                draw_difference(axes, first, second, spacing_mm, _LIMIT, self.theme, colour)

    def draw_profiles(
        self, volumes: Mapping[str, ShownVolume], spacings: Sequence[Spacing], shown: list[int]
    ) -> None:
        colours, top = self._colours(volumes), _top_um(volumes, shown)
        for place, number in enumerate(shown):
            axes = self._axes(self.layout.profile(place))
            draw_profile(axes, volumes, number, spacings[number], colours, self.theme)
            axes.set_ylim(0, top)
            length_mm = int(axes.get_xlim()[1] / 1000)
            ticks = np.arange(0, length_mm + 1, max(1, length_mm // 4))
            axes.set_xticks(1000 * ticks, [f"{tick}" for tick in ticks])
            axes.set_yticks(np.arange(0, top, 200))
            if place % self.layout.columns:
                axes.tick_params(labelleft=False)
            if place == 0:
                axes.set_xlabel("mm along the line", labelpad=1, fontsize=SMALL_PT, color=self.theme.muted)

    def draw_names(self, volumes: Mapping[str, ShownVolume], minus: tuple[str, str] | None) -> None:
        colours = self._colours(volumes)
        for block in range(self.layout.blocks):
            for row, (name, volume) in enumerate(volumes.items()):
                box = self.layout.name(block, row)
                self._name(box, name, volume.note, colours[name] if volume.surfaces_um is not None else None)
            if minus is not None:
                box = self.layout.name(block, len(volumes))
                self._name(box, f"{minus[0]} \N{MINUS SIGN} {minus[1]}", "", None)
                if block == 0:
                    self._difference_bar(box)
            if self.layout.content.has_profile:
                known = any(volume.interval_um is not None for volume in volumes.values())
                box = self.layout.name(block, self.layout.content.n_rows)
                self._name(box, "thickness,\nµm", "band: 80%\ninterval" if known else "", None)

    def draw_count(self, n_shown: int, n_slices: int) -> None:
        told = f"{n_shown} of {n_slices} slices"
        self._text(self.layout.left, self.layout.top - 0.13, told, SMALL_PT, self.theme.muted)

    def draw_margins(self, title: str, footer: str) -> None:
        height = self.layout.size[1]
        if title:
            self._text(0.14, height - 0.26, title, TITLE_PT, self.theme.ink, fontweight="bold")
        for number, line in enumerate(reversed(textwrap.wrap(footer, _FOOTER_LETTERS))):
            self._text(0.14, 0.17 + number * FOOTER_LINE, line, SMALL_PT, self.theme.muted)

    def _surface_key(self, axes: Axes, volumes: Mapping[str, ShownVolume], shown: list[int]) -> None:
        drawn = [v.surfaces_um[:, shown].cpu() for v in volumes.values() if v.surfaces_um is not None]
        if drawn:
            draw_surface_key(axes, torch.cat(drawn, 1), self.theme)

    def _colours(self, volumes: Mapping[str, ShownVolume]) -> dict[str, str]:
        others = iter([self.theme.generated, *SERIES_COLOURS[1:], *SERIES_COLOURS])
        return {name: self.theme.ink if name == "real" else next(others) for name in volumes}

    def _axes(self, box: Box) -> Axes:
        width, height = self.layout.size
        return self.figure.add_axes(
            (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
        )  # fmt: skip

    def _picture(self, box: Box, caption: str) -> Axes:
        self._text(box[0], box[1] + box[3] + 0.07, caption, TEXT_PT, self.theme.ink)
        return self._axes(box)

    def _number(self, axes: Axes, number: int, colour: str) -> None:
        height = axes.get_position().height * self.layout.size[1]
        width = axes.get_position().width * self.layout.size[0]
        draw_number(axes, 0.1 / width, 1 + 0.14 / height, number, colour, transform=axes.transAxes)

    def _name(self, box: Box, name: str, note: str, colour: str | None) -> None:
        x, y, _, height = box
        # Also after an underscore: names of files and experiments have no blanks.
        parts = name.replace("_", "_ ").split("\n")
        lines = [line.replace("_ ", "_") for part in parts for line in textwrap.wrap(part, _NAME_LETTERS)]
        notes = [line for part in note.split("\n") for line in textwrap.wrap(part, _NAME_LETTERS + 3)]
        first = y + height - 0.1
        if colour:
            self.figure.add_artist(
                _bar(x, first - 0.13 * len(lines) + 0.09, 0.03, 0.13 * len(lines), self.layout.size, colour)
            )
            x += 0.09
        for number, line in enumerate(lines):
            self._text(x, first - 0.13 * number, line, TEXT_PT, self.theme.ink)
        for number, line in enumerate(notes):
            self._text(x, first - 0.13 * len(lines) - 0.115 * number, line, SMALL_PT, self.theme.muted)

    def _difference_bar(self, box: Box) -> None:
        x, y, _, _ = box
        axes = self._axes((x + 0.02, y + 0.16, 0.8, 0.06))
        scale = ScalarMappable(Normalize(-_LIMIT, _LIMIT), self.theme.difference)
        bar = self.figure.colorbar(scale, axes, orientation="horizontal", ticks=[-_LIMIT, 0, _LIMIT])
        bar.ax.tick_params(labelsize=SMALL_PT - 1, length=1.5, pad=1, colors=self.theme.muted)
        bar.outline.set(edgecolor=self.theme.muted, linewidth=0.4)

    def _text(self, x: float, y: float, text: str, size: float, colour: str, **options: Any) -> None:
        width, height = self.layout.size
        self.figure.text(
            x / width, y / height, text, fontsize=size, color=colour, ha="left", va="center", **options
        )  # fmt: skip


def _bar(x: float, y: float, width: float, height: float, size: tuple[float, float], colour: str):  # type: ignore[no-untyped-def]
    from matplotlib.patches import Rectangle

    return Rectangle((x / size[0], y / size[1]), width / size[0], height / size[1], color=colour, linewidth=0)


def _spacings_mm(mean_mm: Spacing, grid: Tensor | None, n_slices: int) -> list[Spacing]:
    """Distance of rows and of A-scans in each slice, by the length of its line on the photo."""
    z_mm, x_mm = mean_mm
    if grid is None:
        return [mean_mm] * n_slices
    lengths = grid.detach().float().cpu().diff(dim=1).norm(dim=-1).sum(1)
    return [(z_mm, each_mm) for each_mm in ascan_spacing_mm(x_mm, lengths.tolist())]


def _top_um(volumes: Mapping[str, ShownVolume], shown: list[int]) -> float:
    """Upper end of the charts' axis: above everything, in steps of 100 um."""
    highest = [_LEAST_TOP_UM]
    for volume in volumes.values():
        for values in (volume.thickness_um, None if volume.interval_um is None else volume.interval_um[1]):
            if values is not None and (known := values[shown][values[shown].isfinite()]).numel():
                highest.append(float(known.max()))
    return float(np.ceil(max(highest) / 100) * 100)
