"""How all pictures look: colours that colour-blind readers can tell apart, type, and files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from fund2oct.by_path import names_among
from fund2oct.file_kinds import MADE_HERE

FIGURE_FORMATS = ("png", "svg", "pdf")
"""Endings of picture files; the last two hold their text as text and can be scaled."""

OKABE_ITO = {
    "black": "#000000", "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73", "yellow": "#F0E442",
    "blue": "#0072B2", "vermilion": "#D55E00", "purple": "#CC79A7", "grey": "#999999",
}  # fmt: skip
"""Colours that readers with any common colour blindness tell apart.

References:
    Okabe and Ito, Color Universal Design, 2008, https://jfly.uni-koeln.de/color/.
"""
LINE_COLOURS = tuple(OKABE_ITO[name] for name in ("sky", "orange", "green", "yellow", "blue", "purple"))
"""Of the drawn slices and of their lines on the photo."""
SERIES_COLOURS = tuple(
    OKABE_ITO[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky", "grey")
)
"""Of curves and points."""
SURFACE_COLOURS = {
    "ILM": OKABE_ITO["sky"], "OS": OKABE_ITO["purple"], "RPE": OKABE_ITO["orange"], "BM": OKABE_ITO["yellow"],
}  # fmt: skip
"""Of the retina's surfaces on a B-scan."""
THICKNESS_MAP, WIDTH_MAP = "viridis", "cividis"
"""Colour maps of a thickness and of the width of its interval."""

TITLE_PT, TEXT_PT, SMALL_PT = 11.0, 8.5, 7.0
"""Sizes of letters."""

SHADE = "#101010"
SHADED = {"facecolor": SHADE, "alpha": 0.5, "linewidth": 0, "pad": 0.8}
"""What lies behind white letters on a picture, whatever its brightness there."""

_PNG_DPI, _VECTOR_DPI = 150, 300
_SAVING: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "fund2oct", "pdf.fonttype": 42}
# Without the date the same figure is the same file.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": MADE_HERE},
    "svg": {"Creator": MADE_HERE, "Date": None},
    "pdf": {"Creator": MADE_HERE, "CreationDate": None},
}


@dataclass(frozen=True)
class Theme:
    """Colours of a figure's paper and ink.

    Args:
        paper: background.
        ink: titles and curves of real eyes.
        muted: small text, ticks and frames.
        faint: grid lines.
        generated: curves of generated volumes.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> from fund2oct.visual import draw_contact_sheet
        >>> sepia = Theme(paper="#fdf6e3", ink="#3b2f2f")
        >>> figure = draw_contact_sheet(EyeReader("eyes.h5"), n_eyes=1, theme=sepia)
        >>> matplotlib.colors.to_hex(figure.get_facecolor())
        '#fdf6e3'
    """

    paper: str = "#ffffff"
    ink: str = "#1a1a1a"
    muted: str = "#5f6368"
    faint: str = "#d9dce0"
    generated: str = OKABE_ITO["blue"]

    @property
    def difference(self) -> Colormap:
        """Blue where a picture is darker than another, the paper where it is as bright, orange above."""
        colours = [OKABE_ITO["blue"], OKABE_ITO["sky"], self.paper, OKABE_ITO["orange"], "#A34700"]
        return LinearSegmentedColormap.from_list("difference", colours, N=257)


LIGHT = Theme()
"""Dark ink on white paper, for print."""
DARK = Theme("#111417", "#eceff1", "#a7adb3", "#343a40", OKABE_ITO["sky"])
"""Light ink on dark paper, for slides."""
THEMES = {"light": LIGHT, "dark": DARK}
"""By their names on the command line."""


def new_figure(width: float, height: float, theme: Theme = LIGHT, **options: Any) -> Figure:
    """Make an empty figure that no window system knows of, in inches."""
    return Figure(figsize=(width, height), dpi=_PNG_DPI, facecolor=theme.paper, **options)


def dress(axes: Axes, theme: Theme = LIGHT) -> None:
    """Give the axes of a chart the theme's colours, small ticks and no box around them."""
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.muted, labelsize=SMALL_PT, length=2.5, width=0.6)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=theme.muted, linewidth=0.6)
    axes.grid(color=theme.faint, linewidth=0.5)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=theme.ink, fontsize=TEXT_PT)


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure as PNG, SVG or PDF, as the path's ending says, and make its folder.

    Text in SVG and PDF stays text, which can be searched and edited. What stands between dollar signs is no
    math. The same figure gives the same file.

    Args:
        figure: the figure to write.
        path: the file to make, with an ending of :data:`FIGURE_FORMATS`.

    Returns:
        The path.

    Raises:
        ValueError: if the ending is another.

    Example:
        >>> figure = new_figure(width=3, height=2)  # inches
        >>> _ = figure.text(0.5, 0.5, "eye 7-OD")
        >>> b"eye 7-OD" in save_figure(figure, "figures/eye.svg").read_bytes()  # text stays text
        True
    """
    path = Path(path)
    format = path.suffix.lower().removeprefix(".")
    if format not in FIGURE_FORMATS:
        raise ValueError(f"{path}: expected a picture file of {', '.join(FIGURE_FORMATS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figure_bytes(figure, format))
    return path


def known_figure_formats(given: str | Iterable[str]) -> list[str]:
    """The names of one or several formats of :data:`FIGURE_FORMATS`.

    Raises:
        ValueError: if one is no name of a format.

    Example:
        >>> known_figure_formats("svg")
        ['svg']
        >>> known_figure_formats(["png", "jpeg"])
        Traceback (most recent call last):
            ...
        ValueError: figure format 'jpeg': expected one of png, svg, pdf
    """
    return names_among(given, FIGURE_FORMATS, "figure format")


def save_figures(figure: Figure, stem: Path | str, formats: str | Sequence[str]) -> list[Path]:
    """Write a figure in several formats, as :func:`save_figure`.

    Args:
        figure: the figure to write.
        stem: path of the files without their endings.
        formats: some of :data:`FIGURE_FORMATS`.

    Returns:
        The files, in the order of the formats.

    Raises:
        ValueError: if a format is another.

    Example:
        >>> [path.name for path in save_figures(new_figure(3, 2), "figures/eye", ["png", "svg"])]
        ['eye.png', 'eye.svg']
    """
    return [save_figure(figure, f"{stem}.{format}") for format in known_figure_formats(formats)]


def figure_bytes(figure: Figure, format: str = "png") -> bytes:
    """What a file of the figure holds, in a format of :data:`FIGURE_FORMATS`."""
    buffer = io.BytesIO()
    # Names of eyes, files and models are no math where they hold dollar signs. Powers at log axes are.
    powers = set[int]()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        for formatter, minor in ((axis.get_major_formatter(), False), (axis.get_minor_formatter(), True)):
            if isinstance(formatter, LogFormatter):
                powers |= {id(label) for label in axis.get_ticklabels(minor=minor)}
    for text in figure.findobj(Text):
        text.set_parse_math(id(text) in powers)
    with matplotlib.rc_context(_SAVING):
        figure.savefig(
            buffer, format=format, dpi=_PNG_DPI if format == "png" else _VECTOR_DPI,
            facecolor=figure.get_facecolor(), metadata=_METADATA[format],
        )  # fmt: skip
    return buffer.getvalue()
