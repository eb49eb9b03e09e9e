"""What several commands share."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from fund2oct.data.preparing.landmarks import PhotoPlacement
    from fund2oct.geometry import Placement, Point, ScanPattern

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

FORMATS = ("csv", "dicom", "gif", "hdf5", "mp4", "nifti", "ply", "png", "tiff", "vtk")
"""Names of :data:`fund2oct.export.FORMATS`, which is too heavy for ``--help``."""


def add_format(parser: argparse.ArgumentParser, note: str, required: bool = False) -> None:
    """Add ``--format``."""
    parser.add_argument(
        "--format", choices=FORMATS, action="append", dest="formats", required=required, metavar="NAME",
        help=f"one of {', '.join(FORMATS)}; {note}",
    )  # fmt: skip


GOES_ON = "run the same command again: it goes on from here"
"""What is said when a command is stopped whose finished eyes are kept."""


def add_overwrite(parser: argparse.ArgumentParser, what: str = "replace a file of eyes of that name") -> None:
    """Add ``--overwrite``; ``what`` says what it allows."""
    parser.add_argument("--overwrite", action="store_true", help=what)


def add_compression(parser: argparse.ArgumentParser) -> None:
    """Add ``--compression``."""
    parser.add_argument(
        "--compression", choices=("none", "gzip", "zstd"), default="none",
        help="none is the fastest to read; zstd needs fund2oct[zstd] (default: none)",
    )  # fmt: skip


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``."""
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")


def add_figures(parser: argparse.ArgumentParser) -> None:
    """Add ``--figure-format``."""
    parser.add_argument(
        "--figure-format", choices=("png", "svg", "pdf"), action="append", dest="figure_formats",
        help="of the pictures; may be given more than once (default: png, which a report always has)",
    )  # fmt: skip


def add_placement(parser: argparse.ArgumentParser) -> None:
    """Add ``--placement`` and ``--half-width-mm``."""
    parser.add_argument(
        "--placement", choices=("centre", "photo"), default="centre",
        help="lay the scan around the photo's centre, or around the fovea as found in it (default: centre)",
    )  # fmt: skip
    parser.add_argument(
        "--half-width-mm", type=float, metavar="MM",
        help="retina from the circle's centre to its edge (default: 6.5, that of 45 to 50 degrees; with "
        "--placement photo it is estimated from the distance between disc and fovea)",
    )  # fmt: skip


def scan_option(name: str) -> ScanPattern:
    """The scan pattern at an import path: a pattern, or what makes one without arguments.

    Raises:
        ValueError: if there is none.
    """
    from fund2oct.by_path import import_by_path
    from fund2oct.geometry import ScanPattern

    try:
        found = import_by_path(name)
        pattern = found() if callable(found) else found
    except (TypeError, ValueError) as error:
        raise ValueError(f"--scan {name}: expected a scan pattern at MODULE.NAME ({error})") from error
    if not isinstance(pattern, ScanPattern):
        found_type = type(pattern).__name__
        raise ValueError(f"--scan {name}: expected a fund2oct.geometry.ScanPattern, found {found_type}")
    return pattern


def placement_option(options: argparse.Namespace, fovea: Point = (0.0, 0.0)) -> Placement | PhotoPlacement:
    """What :func:`add_placement`'s options ask for."""
    from fund2oct.data.preparing.landmarks import PhotoPlacement
    from fund2oct.geometry import Placement
    from fund2oct.plausible import check_half_width

    if options.half_width_mm is not None:
        check_half_width(options.half_width_mm)
    if options.placement == "photo":
        return PhotoPlacement(options.half_width_mm)
    return Placement(fovea) if options.half_width_mm is None else Placement(fovea, 0.0, options.half_width_mm)
