"""Where everything stands on a panel, so that it is full whatever is shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

WIDTH = 13.0
"""Of a panel in inches."""
_MARGIN, _GAP, _SECTION_GAP = 0.14, 0.09, 0.3
_TITLE, _FOOTER_GAP = 0.34, 0.12
FOOTER_LINE = 0.14
"""Height of a line of the footer."""
_CAPTION, _COLOUR_BAR = 0.22, 0.4
_NAMES, _HEADER, _PROFILE, _AXIS = 1.02, 0.27, 0.85, 0.36
_ROW_GAP, _BLOCK_GAP = 0.05, 0.14
_NICE_ASPECT = 1.7
_LEAST_SLICE = 0.4
_PICTURES = 1.7, 4.4

Box = tuple[float, float, float, float]
"""Left, bottom, width and height in inches from the figure's lower left corner."""


@dataclass(frozen=True)
class Content:
    """What a panel has to hold.

    Args:
        n_pictures: squares: photos and maps.
        n_bars: how many of them, the last ones, have a colour bar.
        n_slices: B-scans of a volume.
        n_rows: volumes, each a row of B-scans.
        has_profile: whether a chart stands under them.
        slice_aspect: height over width of a B-scan.
        has_title: whether there is a title.
        n_footer_lines: lines of the footer.
    """

    n_pictures: int
    n_bars: int
    n_slices: int
    n_rows: int
    has_profile: bool
    slice_aspect: float
    has_title: bool = True
    n_footer_lines: int = 1

    @property
    def block_extra(self) -> float:
        """Height of a block of B-scans but for the B-scans themselves."""
        return _HEADER + self.n_rows * _ROW_GAP + (_PROFILE + _AXIS if self.has_profile else 0)

    @property
    def footer(self) -> float:
        """Height of the footer."""
        return FOOTER_LINE * self.n_footer_lines + (_FOOTER_GAP if self.n_footer_lines else 0)

    @property
    def around(self) -> float:
        """Height above and below."""
        return 2 * _MARGIN + _TITLE * self.has_title + self.footer


@dataclass(frozen=True)
class Layout:
    """Boxes of a panel.

    Args:
        content: what it holds.
        columns: slices side by side; the others stand in further blocks below.
        picture_rows: pictures one below the other.
        slice_width: width of a B-scan.
        picture_size: width of a photo.
    """

    content: Content
    columns: int
    picture_rows: int
    slice_width: float
    picture_size: float

    @property
    def blocks(self) -> int:
        """Blocks of B-scans one below the other."""
        return math.ceil(self.content.n_slices / self.columns)

    @property
    def body(self) -> float:
        """Height between title and footer."""
        return _slices_height(self.content, self.blocks, self.slice_width)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        return WIDTH, self.body + self.content.around

    @property
    def left(self) -> float:
        """Where the names of the rows begin."""
        if not self.content.n_pictures:
            return _MARGIN
        columns = math.ceil(self.content.n_pictures / self.picture_rows)
        return _MARGIN + columns * (self.picture_size + _GAP) - _GAP + _SECTION_GAP

    @property
    def top(self) -> float:
        """Upper edge of pictures and B-scans."""
        return self.size[1] - _MARGIN - _TITLE * self.content.has_title

    def pictures(self) -> Iterator[tuple[Box, Box | None]]:
        """Each picture's box, and that of its colour bar, column by column."""
        heights = _picture_heights(self.content, self.picture_rows)
        first_with_bar = self.content.n_pictures - self.content.n_bars
        for number in range(self.content.n_pictures):
            column, row = divmod(number, self.picture_rows)
            x = _MARGIN + column * (self.picture_size + _GAP)
            y = self.top - sum(heights[: row + 1]) - (row + 1) * self.picture_size - row * _GAP
            y += _COLOUR_BAR if heights[row] > _CAPTION else 0
            bar = (x + 0.08 * self.picture_size, y - 0.16, 0.84 * self.picture_size, 0.08)
            yield (x, y, self.picture_size, self.picture_size), bar if number >= first_with_bar else None

    def slice(self, place: int, row: int) -> Box:
        """Box of a B-scan."""
        x, top = self._corner(place)
        height = self.content.slice_aspect * self.slice_width
        return x, top - _HEADER - (row + 1) * height - row * _ROW_GAP, self.slice_width, height

    def profile(self, place: int) -> Box:
        """Box of the chart under the B-scans of a slice."""
        x, y, width, _ = self.slice(place, self.content.n_rows - 1)
        return x, y - _ROW_GAP - _PROFILE, width, _PROFILE

    def name(self, block: int, row: int) -> Box:
        """Box of a row's name, left of a block; that after the last row is the chart's."""
        place = block * self.columns
        _, y, _, height = self.slice(place, row) if row < self.content.n_rows else self.profile(place)
        return self.left, y, _NAMES - 0.08, height

    def _corner(self, place: int) -> tuple[float, float]:
        block, column = divmod(place, self.columns)
        height = self.content.block_extra + self.content.n_rows * (
            self.content.slice_aspect * self.slice_width
        )
        return (
            self.left + _NAMES + column * (self.slice_width + _GAP),
            self.top - block * (height + _BLOCK_GAP),
        )


def arrange(content: Content) -> Layout:
    """Choose how many slices stand side by side, and how many pictures, so that the panel is full.

    Every arrangement that leaves no place empty is scaled to the panel's width. The one whose width is
    nearest to 1.7 times its height is taken, if nothing on it is too small to see.

    Args:
        content: what the panel has to hold.
    """
    n_pictures, n_slices = content.n_pictures, content.n_slices
    columns = [n for n in range(1, n_slices + 1) if n_slices % n == 0]
    rows = [n for n in range(1, n_pictures + 1) if n_pictures % n == 0] or [0]
    found = [_scaled(content, *choice) for choice in product(columns, rows)]
    return min(found, key=_badness)


def _scaled(content: Content, columns: int, picture_rows: int) -> Layout:
    """The slices' width so that both sides are equally high and together as wide as the panel."""
    blocks = content.n_slices // columns
    room = WIDTH - 2 * _MARGIN - _NAMES - (columns - 1) * _GAP
    if not content.n_pictures:
        return Layout(content, columns, 0, room / columns, 0.0)
    picture_columns = content.n_pictures // picture_rows
    room -= (picture_columns - 1) * _GAP + _SECTION_GAP
    # picture = (slope * slice + rest) / rows, and columns * slice + picture_columns * picture = room.
    slope = blocks * content.n_rows * content.slice_aspect
    rest = _slices_height(content, blocks, 0.0) - (picture_rows - 1) * _GAP
    rest -= sum(_picture_heights(content, picture_rows))
    share = picture_columns / picture_rows
    slice_width = (room - share * rest) / (columns + share * slope)
    return Layout(content, columns, picture_rows, slice_width, (slope * slice_width + rest) / picture_rows)


def _badness(layout: Layout) -> float:
    amiss = max(0.0, _LEAST_SLICE - layout.content.slice_aspect * layout.slice_width)
    if layout.content.n_pictures:
        least, most = _PICTURES
        amiss += max(0.0, least - layout.picture_size, layout.picture_size - most)
    width, height = layout.size
    return abs(math.log(max(width / height, 0.01) / _NICE_ASPECT)) + 3 * amiss


def _slices_height(content: Content, blocks: int, slice_width: float) -> float:
    slices = content.n_rows * content.slice_aspect * slice_width
    return blocks * (content.block_extra + slices) + (blocks - 1) * _BLOCK_GAP


def _picture_heights(content: Content, rows: int) -> list[float]:
    """What each row of pictures needs beside the pictures: their captions, and their colour bars."""
    if not rows:
        return []
    with_bar = {n % rows for n in range(content.n_pictures - content.n_bars, content.n_pictures)}
    return [_CAPTION + (_COLOUR_BAR if row in with_bar else 0) for row in range(rows)]
