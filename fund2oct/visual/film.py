"""A film of pictures, such as one eye's panels over the epochs of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

_WIDTH_PX = 1100
_FRAME_MS, _LAST_MS = 450, 2500
_MOST_FRAMES = 50


def write_film(frames: Sequence[Path | str], path: Path | str, width_px: int = _WIDTH_PX) -> Path:
    """Write pictures as a GIF that plays again and again, and rests on the last one.

    Args:
        frames: picture files in their order; all are shown at the size of the last one. Of more than 50, as
            many are shown, evenly spaced, the first and the last among them.
        path: the file to make.
        width_px: its width.

    Returns:
        The path.

    Raises:
        ValueError: if there is no picture.
    """
    if not frames:
        raise ValueError(f"{path}: expected at least one picture to make a film of, found none")
    if len(frames) > _MOST_FRAMES:
        frames = [
            frames[number] for number in np.linspace(0, len(frames) - 1, _MOST_FRAMES).round().astype(int)
        ]
    pictures = []
    for frame in frames:
        with Image.open(frame) as opened:
            pictures.append(opened.convert("RGB"))
    width, height = pictures[-1].size
    size = width_px, round(height * width_px / width)
    palette = _palette(_together(pictures))
    shown = [
        picture.resize(size, Image.Resampling.LANCZOS).quantize(palette=palette, dither=Image.Dither.NONE)
        for picture in pictures
    ]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    durations = [_FRAME_MS] * (len(shown) - 1) + [_LAST_MS]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=durations, loop=0, optimize=False)
    return path


def _together(pictures: Sequence[Image.Image], width_px: int = 300, at_most: int = 8) -> Image.Image:
    """Some of the pictures in small, one below the other: the colours that the film needs."""
    some = pictures[:: max(1, -(-len(pictures) // at_most))]
    small = [one.resize((width_px, max(1, one.height * width_px // one.width))) for one in some]
    sheet = Image.new("RGB", (width_px, sum(one.height for one in small)))
    top = 0
    for one in small:
        sheet.paste(one, (0, top))
        top += one.height
    return sheet


def _palette(sheet: Image.Image) -> Image.Image:
    """One palette for all frames, so that still parts stay still: half for what is large, half for the rest.

    The usual method alone gives all colours to what is large, and paints thin lines in those of others.
    """
    found: list[int] = []
    for method in (Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE):
        half = sheet.quantize(128, method).getpalette() or []
        found += half[: 3 * 128]
    palette = Image.new("P", (1, 1))
    palette.putpalette(found)
    return palette
