"""The page: its parts put together into one file that asks nothing of the network."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from matplotlib import colormaps

from fund2oct import __version__
from fund2oct.file_kinds import is_made_here
from fund2oct.outputs import OutputError, whole_file
from fund2oct.phantom import LESIONS
from fund2oct.progress import with_progress
from fund2oct.retina import BOUNDARIES, SURFACES
from fund2oct.viewer.collect import Collection
from fund2oct.viewer.pack import DEPTH_STEP_UM, LOSSLESS, UNKNOWN, pack_eye

SCRIPTS = ("data.js", "render.js", "maps.js", "slices.js", "photo.js", "enface.js", "solid.js", "app.js")
"""In the order in which they build on each other."""
_COLORMAPS = ("viridis", "magma", "RdBu_r")


@dataclass(frozen=True)
class PageReport:
    """What a call of :func:`fund2oct.viewer.write_page` wrote.

    Args:
        path: the page.
        keys: names of the eyes on it.
        n_found: number of eyes in the files.
        size_bytes: size of the page.
        in_3d: whether it can draw the surfaces in 3D.

    Example:
        >>> PageReport(Path("view.html"), ("7-OD", "7-OS"), 24, size_bytes=812_345, in_3d=True).lines()
        ['view.html: 2 of 24 eyes, 0.8 MB']
    """

    path: Path
    keys: tuple[str, ...]
    n_found: int
    size_bytes: int
    in_3d: bool

    def lines(self) -> list[str]:
        """What the command prints."""
        some = "" if len(self.keys) == self.n_found else f" of {self.n_found}"
        lines = [f"{self.path}: {len(self.keys)}{some} eyes, {self.size_bytes / 1e6:.1f} MB"]
        if not self.in_3d:
            lines.append("The 3D view is left out; it needs three.js: pip install 'fund2oct[view]'")
        return lines


def write_page(
    files: str | Path | Sequence[str | Path],
    out: str | Path,
    keys: str | Sequence[str] | None = None,
    n_eyes: int = 20,
    width_px: int = 512,
    quality: int = 70,
) -> PageReport:
    """Write one self-contained HTML page that shows eyes.

    Eyes of the same key in several files are shown together. Surfaces that a file does not hold, as
    those of a generated volume, are searched for. Names of patients are not written.

    Args:
        files: one or several files of eyes, or folders of them; the first of several holds the real eyes.
        out: the page to write, in place of an earlier one.
        keys: eyes to show; None takes those that the most files hold.
        n_eyes: the most eyes to show where ``keys`` is None.
        width_px: greatest width of a slice on the page.
        quality: quality of the pictures, from 1 to 100; 100 keeps each voxel as it is.

    Returns:
        What was written.

    Raises:
        DataError: if a file, or one of its eyes, cannot be used.
        OutputError: if ``out`` is there and is no page of ours.
        ValueError: if a number is out of range.

    Example:
        >>> report = write_page(["eyes.h5"], "view.html", n_eyes=1)
        >>> report.keys, report.n_found
        (('sim3-0000000-OD',), 24)
    """
    if n_eyes < 1 or width_px < 16 or not 1 <= quality <= LOSSLESS:
        raise ValueError(
            "view: expected at least 1 eye, 16 pixels and a quality from 1 to 100, "
            f"found {n_eyes}, {width_px} and {quality}"
        )
    out = Path(out)
    if os.path.lexists(out) and not (out.is_file() and is_made_here(out)):
        raise OutputError(f"{out}: exists, and is no page that fund2oct made; choose another name")
    collection = Collection(files, keys, n_eyes)
    eyes = [
        pack_eye(key, list(collection.sources(key)), width_px, quality)
        for key in with_progress(collection.keys, len(collection.keys), "packing eyes")
    ]
    library = three_js()
    # Of a file's name that is not UTF-8 the bytes are shown.
    page = build_page(eyes, collection.names, library).encode(errors="backslashreplace")
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as part:  # a browser that reloads never meets half a page
        part.write_bytes(page)
    return PageReport(out, collection.keys, collection.n_found, len(page), library is not None)


def build_page(eyes: Sequence[dict[str, Any]], names: Sequence[str], library: str | None) -> str:
    """Put a page together.

    Args:
        eyes: what :func:`~fund2oct.viewer.pack.pack_eye` returns for each.
        names: names of the files.
        library: the text of three.js; None leaves the 3D view out.
    """
    parts = resources.files("fund2oct.viewer") / "web"
    about = {
        "version": __version__,
        "names": list(names),
        "keys": [eye["key"] for eye in eyes],
        "surfaces": SURFACES,
        "boundaries": BOUNDARIES,
        "lesions": LESIONS,
        "depthStepUm": DEPTH_STEP_UM,
        "unknown": UNKNOWN,
        "colormaps": {name: _colours(name) for name in _COLORMAPS},
    }
    data = [_json_tag("about", about)]
    data += [_json_tag(f"eye-{number}", eye) for number, eye in enumerate(eyes)]
    scripts = [] if library is None else [f"<script>{library}</script>"]
    scripts += [f"<script>\n{(parts / name).read_text('utf-8')}</script>" for name in SCRIPTS]
    page = (parts / "page.html").read_text("utf-8")
    for mark, text in {
        "<!-- title -->": escape(", ".join(names)),
        "/* style */": (parts / "page.css").read_text("utf-8"),
        "<!-- data -->": "\n".join(data),
        "<!-- scripts -->": "\n".join(scripts),
    }.items():
        page = page.replace(mark, text, 1)
    return page


def three_js() -> str | None:
    """The text of three.js as the package index carries it, MIT licence; None where it is not installed."""
    if find_spec("jupyter_threejs_sage") is None:
        return None
    return (resources.files("jupyter_threejs_sage") / "static" / "r130" / "three.min.js").read_text("utf-8")


def _json_tag(name: str, values: dict[str, Any]) -> str:
    # Whatever a key or a diagnosis says, it never ends the tag.
    text = json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _colours(name: str) -> list[list[int]]:
    return (colormaps[name]([i / 63 for i in range(64)], bytes=True)[:, :3]).tolist()
