"""``fund2oct view``: a page to look at eyes."""

from __future__ import annotations

import argparse
from pathlib import Path

from fund2oct.cli.commands import Commands, add_command, say


def add_commands(commands: Commands) -> None:
    """Add the command of this page to the parser."""
    view = add_command(
        commands,
        "view",
        "write a page that shows eyes in a browser",
        "fund2oct view data/phantom.h5 predictions --out view.html",
        about="The page is one HTML file that asks nothing of the network. Eyes of the same key in several "
        "files are shown together: the first file holds the real ones.",
    )
    view.add_argument("files", nargs="+", metavar="FILE", help="files of eyes (.h5), or folders of them")
    eyes = view.add_argument_group("eyes")
    eyes.add_argument(
        "--eye", action="append", dest="keys", metavar="KEY",
        help="an eye to show; may be given more than once (default: those that the most files hold)",
    )  # fmt: skip
    eyes.add_argument("--eyes", type=int, default=20, metavar="N", help="how many at most, without --eye")
    page = view.add_argument_group("output")
    page.add_argument("--out", required=True, metavar="VIEW.html", help="the page to write")
    page.add_argument(
        "--width", type=int, default=512, metavar="PX",
        help="greatest width of a slice on the page; wider ones are made smaller",
    )  # fmt: skip
    page.add_argument(
        "--quality", type=int, default=70, metavar="N",
        help="quality of the pictures, 1 to 100; 100 keeps each voxel as it is",
    )  # fmt: skip
    view.set_defaults(command=_view)


def _view(options: argparse.Namespace) -> int:
    from fund2oct.viewer import write_page

    if Path(options.out).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{options.out}: expected the name of an .html file")
    report = write_page(
        options.files, options.out, options.keys, options.eyes, options.width, options.quality
    )
    say(*report.lines(), f"Open it in a browser: {Path(options.out).resolve().as_uri()}")
    return 0
