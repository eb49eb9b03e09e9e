"""Options that several commands share, each in one place."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from fund2oct.processes import n_cores

if TYPE_CHECKING:
    from fund2oct.data.preparing.placing import PhotoPlacement
    from fund2oct.geometry import Placement, Point, ScanPattern

Group: TypeAlias = "argparse.ArgumentParser | argparse._ArgumentGroup"
"""A parser, or a group of its options."""

FORMATS = ("csv", "dicom", "gif", "hdf5", "mp4", "nifti", "ply", "png", "tiff", "vtk")
"""Names of :data:`fund2oct.export.FORMATS`, which is too heavy for ``--help``."""


def add_general(parser: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    group = parser.add_argument_group("general")
    group.add_argument("-h", "--help", action="help", help="show this and stop")
    group.add_argument("--quiet", action="store_true", help="say nothing but what is wrong; no progress")
    # Before the command, too: what is not given here must not undo that.
    group.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the whole traceback of an error"
    )


def add_json(group: Group, what: str) -> None:
    """Add ``--json``; ``what`` says what it holds."""
    group.add_argument("--json", action="store_true", help=f"print one JSON object for programs: {what}")


def add_format(group: Group, note: str, required: bool = False) -> None:
    """Add ``--format``."""
    group.add_argument(
        "--format", choices=FORMATS, action="append", dest="formats", required=required, metavar="NAME",
        help=f"one of {', '.join(FORMATS)}; {note}",
    )  # fmt: skip


def add_overwrite(group: Group, what: str = "replace a file of eyes of that name") -> None:
    """Add ``--overwrite``; ``what`` says what it allows."""
    group.add_argument("--overwrite", action="store_true", help=what)


def add_compression(group: Group) -> None:
    """Add ``--compression``."""
    group.add_argument(
        "--compression", choices=("none", "gzip", "zstd"), default="none",
        help="none is the fastest to read; zstd needs fund2oct[zstd]",
    )  # fmt: skip


def add_workers(group: Group) -> None:
    """Add ``--workers``."""
    group.add_argument(
        "--workers", type=int, default=n_cores(), metavar="N", help="processes that work at once"
    )


def add_making(group: Group) -> None:
    """Add what decides how a file of eyes is made: ``--workers``, ``--compression``, ``--overwrite``."""
    add_workers(group)
    add_compression(group)
    add_overwrite(group)


def add_device(group: Group) -> None:
    """Add ``--device``."""
    group.add_argument(
        "--device", default="auto", metavar="NAME",
        help="cpu, cuda, cuda:1, ...; auto takes an NVIDIA GPU where there is one",
    )  # fmt: skip


def add_figures(group: Group, of_report: bool = False) -> None:
    """Add ``--figure-format``; a report has its pictures in PNG, whatever else."""
    more = (
        "a report has png anyway" if of_report
        else "default: png; none draws none, which is many times as fast for many photos"
    )  # fmt: skip
    group.add_argument(
        "--figure-format", choices=("png", "svg", "pdf", *([] if of_report else ["none"])), action="append",
        dest="figure_formats", help=f"format of the pictures; may be given more than once ({more})",
    )  # fmt: skip


def add_seed(group: Group, of: str) -> None:
    """Add ``--seed``; ``of`` says what it decides."""
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help=f"seed of {of}; another number gives other ones"
    )


def add_set(group: Group, unless: str) -> None:
    """Add the option that says what is known of all eyes; ``unless`` is what may know better."""
    group.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="metadata",
        help=f"what is known of all eyes, as in age_years=63, where the model was trained with it{unless}; "
        "may be given more than once",
    )  # fmt: skip


def add_table(group: Group) -> None:
    """Add ``--table``."""
    group.add_argument(
        "--table", metavar="EYES.csv",
        help="a table with what is known of each eye, a row each with its photo, as fund2oct import table "
        "reads it",
    )  # fmt: skip


def add_column(group: Group) -> None:
    """Add ``--column``."""
    group.add_argument(
        "--column", action="append", default=[], metavar="NAME=THEIRS",
        help="as in photo=CF_path: photo, volume, scan_number, key, patient, laterality, diagnosis, bscan, "
        "slice, x0_px, ..., mask_NAME, and what the table calls it",
    )  # fmt: skip


def add_mask(group: Group) -> None:
    """Add ``--mask``."""
    group.add_argument(
        "--mask", action="append", default=[], metavar="NAME=NETWORK", dest="masks",
        help="a network that draws a mask of the photo, where the model was trained with it: a TorchScript "
        "file, or an import path; may be given more than once",
    )  # fmt: skip


def add_placement(group: Group) -> None:
    """Add ``--placement`` and ``--half-width-mm``."""
    group.add_argument(
        "--placement", choices=("centre", "photo"), default="centre",
        help="lay the scan around the photo's centre, or around the fovea as found in it",
    )  # fmt: skip
    group.add_argument(
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
    from fund2oct.data.preparing.placing import PhotoPlacement
    from fund2oct.geometry import Placement
    from fund2oct.plausible import check_half_width

    if options.half_width_mm is not None:
        check_half_width(options.half_width_mm)
    if options.placement == "photo":
        return PhotoPlacement(options.half_width_mm)
    return Placement(fovea) if options.half_width_mm is None else Placement(fovea, 0.0, options.half_width_mm)


def named_option(option: str, words: Sequence[str]) -> dict[str, str]:
    """Values by name, from ``NAME=VALUE``.

    Raises:
        ValueError: if a word has no name or no value, or a name is given twice.
    """
    values: dict[str, str] = {}
    for word in words:
        name, _, value = (part.strip() for part in word.partition("="))
        if not (name and value):
            raise ValueError(f"{option}: expected NAME=VALUE, found {word!r}")
        if name in values:
            raise ValueError(f"{option}: expected {name} once, found {name}={values[name]} and {word}")
        values[name] = value
    return values


def figures_option(given: Sequence[str], default: Sequence[str] = ()) -> list[str]:
    """The formats that ``--figure-format`` names; none for ``none``.

    Raises:
        ValueError: if another stands beside ``none``.
    """
    if "none" in given and len(given) > 1:
        raise ValueError(f"--figure-format: expected none alone, or formats, found {' and '.join(given)}")
    return [] if "none" in given else [*(given or default)]


def device_option(name: str) -> str:
    """The device that ``--device`` names.

    Raises:
        ValueError: if it cannot be used.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] == "mps":
        raise ValueError(f"device {name!r}: has no 64-bit numbers, which measures need; take cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r}: cannot be used: {str(error).splitlines()[0]}") from None
    return name


def trainer_overrides(name: str) -> list[str]:
    """Settings of the trainer that ``--device`` stands for; none where it chooses itself."""
    kind, _, number = name.partition(":")
    if kind == "auto":
        return []
    device_option(name)
    return [f"trainer.accelerator={kind}", *([f"trainer.devices=[{number}]"] if number else [])]
