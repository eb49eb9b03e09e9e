"""A flight through the slices, there and back, beside the photo on which the current line is lit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from fund2oct.export.origin import statement_on
from fund2oct.eye import Array, Eye
from fund2oct.file_kinds import MADE_HERE

_HEIGHT_PX, _SLICE_PX, _GAP_PX, _CAPTION_PX = 360, 560, 8, 28
_PAPER, _INK, _LINE, _CURRENT = "white", "#404040", "#b0b0b0", "#e69f00"
_N_POINTS = 65
"""Points of the polyline that a B-scan is drawn as."""
_SECONDS = 3.0
"""How long the flight takes from the first slice to the last."""


def save_gif(eye: Eye, path: Path) -> None:
    """Write the flight as a GIF that runs without end.

    Args:
        eye: an eye with a volume.
        path: the file to write.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_gif(eye, Path("eye.gif"))
        >>> Image.open("eye.gif").n_frames  # six slices there and back
        10
    """
    assert eye.volume is not None
    frames = [Image.fromarray(frame) for frame in flight(eye)]
    duration_ms = 10 * round(100 / frames_a_second(len(eye.volume)))  # GIF counts in hundredths
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=duration_ms, loop=0, comment=MADE_HERE
    )


def save_mp4(eye: Eye, path: Path) -> None:
    """Write the flight as a film (H.264), which browsers and slides play.

    Args:
        eye: an eye with a volume.
        path: the file to write.

    References:
        PyAV, https://pyav.basswood-io.com.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_mp4(eye, Path("eye.mp4"))
        >>> Path("eye.mp4").stat().st_size > 1000
        True
    """
    import av

    assert eye.volume is not None
    with av.open(str(path), "w") as film:
        film.metadata["comment"] = MADE_HERE
        stream = film.add_stream("libx264", rate=frames_a_second(len(eye.volume)))
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
        for number, frame in enumerate(flight(eye)):
            if not number:
                stream.height, stream.width = frame.shape[:2]
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(stream.encode())


def frames_a_second(n_slices: int) -> int:
    """From 2 to 25, so that the flight takes three seconds where it can.

    Example:
        >>> frames_a_second(6), frames_a_second(49), frames_a_second(200)
        (2, 16, 25)
    """
    return int(min(25, max(2, round(n_slices / _SECONDS))))


def flight(eye: Eye) -> Iterator[Array]:
    """The pictures of the flight: the slices in their order, and back to the second.

    Args:
        eye: with a volume.

    Yields:
        RGB, uint8, shape ``(rows, columns, 3)``, both even.
    """
    assert eye.volume is not None
    n_slices = len(eye.volume)
    photo = None if eye.fundus is None else Image.fromarray(eye.fundus)
    for number in [*range(n_slices), *range(n_slices - 2, 0, -1)]:
        yield np.asarray(_frame(eye, photo, number))


def _frame(eye: Eye, photo: Image.Image | None, number: int) -> Image.Image:
    assert eye.volume is not None
    left = 0 if photo is None else _HEIGHT_PX + _GAP_PX
    frame = Image.new("RGB", (left + _SLICE_PX, _HEIGHT_PX + _CAPTION_PX), _PAPER)
    if photo is not None:
        frame.paste(_photo_with_lines(eye, photo, number), (0, 0))
    bscan = Image.fromarray(eye.volume[number])
    frame.paste(bscan.resize((_SLICE_PX, _HEIGHT_PX), Image.Resampling.BICUBIC), (left, 0))
    caption = f"slice {number + 1} of {len(eye.volume)}.  {statement_on(eye)}"
    ImageDraw.Draw(frame).text(
        (4, _HEIGHT_PX + _CAPTION_PX / 2), caption, _INK, ImageFont.load_default(12), anchor="lm"
    )
    return frame


def _photo_with_lines(eye: Eye, photo: Image.Image, number: int) -> Image.Image:
    assert eye.scan is not None
    # Drawn at twice the size and shrunk, for Pillow's lines are jagged.
    size = 2 * _HEIGHT_PX
    drawn = photo.resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(drawn)
    points = eye.placement.to_grid(eye.scan.points(torch.linspace(0, 1, _N_POINTS)))
    curves = [[tuple(point) for point in curve] for curve in ((points + 1) / 2 * size).tolist()]
    for curve in curves:
        draw.line(curve, _LINE, 2)
    draw.line(curves[number], _CURRENT, 6)
    draw.circle(curves[number][0], 9, _CURRENT)
    return drawn.resize((_HEIGHT_PX, _HEIGHT_PX), Image.Resampling.BOX)
