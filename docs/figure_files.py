"""How the figures of the documentation are written: as WebP, a third of the size of PNG."""

import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

IMAGES = Path(__file__).parent / "images"
_WAYS: tuple[dict[str, Any], ...] = ({"lossless": True}, {"quality": 95, "use_sharp_yuv": True})


def save_webp(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure: without loss where that is smaller, as for charts, and else at quality 95.

    Args:
        figure: to write.
        path: of the file, which ends in ``.webp``.
        options: of :meth:`matplotlib.figure.Figure.savefig`.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor=figure.get_facecolor(), **options)
    picture = Image.open(drawn).convert("RGB")
    files = [io.BytesIO() for _ in _WAYS]
    for file, way in zip(files, _WAYS, strict=True):
        picture.save(file, "WEBP", method=6, **way)
    path.write_bytes(min((file.getvalue() for file in files), key=len))
