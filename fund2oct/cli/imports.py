"""``fund2oct import``: bring data into a file of eyes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fund2oct.cli.commands import GOES_ON, Commands, add_command, add_group, say, suggest
from fund2oct.cli.options import (
    add_column,
    add_making,
    add_placement,
    named_option,
    placement_option,
    scan_option,
)

if TYPE_CHECKING:
    from fund2oct.data.importing.assemble import ImportOptions
    from fund2oct.data.importing.report import ImportReport


_STAR_MM = 5.5


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    kinds = add_group(
        commands,
        "import",
        "KIND",
        "bring data into a file",
        "fund2oct import aptos CHALLENGE data/aptos2024.h5",
    )
    _add_aptos(kinds)
    _add_table(kinds)
    volumes = add_command(
        kinds,
        "volumes",
        "import TIFF, NIfTI, NumPy or folders of pictures, without photos",
        "fund2oct import volumes scans/ data/volumes.h5 --axes szx --spacing-mm 0.12 0.0039 0.0117",
        go_on=GOES_ON,
    )
    volumes.add_argument("source", metavar="SRC", help="a file, a folder of pictures, or a folder of these")
    volumes.add_argument("out", metavar="OUT.h5", help="the file to make")
    _add_no_patients(
        volumes.add_argument_group("patients"),
        "each eye is of another patient (default: names such as p12_OD and p12_OS tell)",
    )
    _add_volume_options(volumes)
    _add_output(volumes)
    volumes.set_defaults(command=_import_volumes)

    vendor = add_command(
        kinds,
        "vendor",
        "import files of scanners: .vol, .e2e, .fda, .img, DICOM",
        "fund2oct import vendor exports/ data/clinic.h5 --placement photo --salt SECRET",
        go_on=GOES_ON,
    )
    vendor.add_argument("source", metavar="SRC", help="a file, or a folder searched with all below it")
    vendor.add_argument("out", metavar="OUT.h5", help="the file to make")
    _add_photo_options(vendor)
    _add_scan_options(vendor)
    _add_slice_options(vendor)
    _add_output(vendor)
    vendor.set_defaults(command=_import_vendor)


def _add_aptos(kinds: Commands) -> None:
    aptos = add_command(
        kinds,
        "aptos",
        "import the folder of the APTOS-2024 challenge",
        "fund2oct import aptos challenge/ data/aptos2024.h5",
        go_on=GOES_ON,
    )
    aptos.add_argument("folder", metavar="DIR", help="holds train, val or both")
    aptos.add_argument("out", metavar="OUT.h5", help="the file to make")
    _add_photo_options(aptos)
    scan = aptos.add_argument_group("scan")
    scan.add_argument(
        "--start-deg", type=float, default=0.0, metavar="DEG", help="direction of slice 0, from straight up"
    )
    scan.add_argument("--anticlockwise", action="store_true", help="the slices turn the other way")
    _add_keep_borders(_add_slice_options(aptos))
    aptos.set_defaults(shape=(320, 448), spacing_mm=None, radial=False, star=None, star_mm=None, scan=None)
    _add_output(aptos)
    aptos.set_defaults(command=_import_aptos)


def _add_table(kinds: Commands) -> None:
    table = add_command(
        kinds,
        "table",
        "import photos and volumes that a CSV or TSV names",
        "fund2oct import table eyes.csv data/clinic.h5 --column photo=CF_path --column volume=OCT_path",
        go_on=GOES_ON,
    )
    table.add_argument("table", metavar="TABLE.csv", help="with a row an eye, or a row a B-scan")
    table.add_argument("out", metavar="OUT.h5", help="the file to make")
    names = table.add_argument_group("table")
    add_column(names)
    names.add_argument(
        "--lines", metavar="LINES.csv", help="a second table: where each B-scan lies on the photo"
    )
    _add_no_patients(names, "each eye is of another patient, where the table has no column patient")
    _add_photo_options(table)
    _add_volume_options(table)
    _add_output(table)
    table.set_defaults(command=_import_table)


def _add_no_patients(options: Any, text: str) -> None:
    options.add_argument("--no-patients", action="store_true", help=text)


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument(
        "--salt", default="", metavar="SECRET", help="hashed with patients' names, which are then not stored"
    )
    add_making(output)


def _add_photo_options(parser: argparse.ArgumentParser) -> None:
    photos = parser.add_argument_group("photos")
    photos.add_argument("--fundus-px", type=int, default=448, metavar="PX", help="width of the photos")
    photos.add_argument("--even-light", action="store_true", help="even out the photos' illumination")
    add_placement(photos)


def _add_volume_options(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("files of volumes")
    files.add_argument(
        "--axes", default=None, metavar="ORDER",
        help="order of slices, rows and A-scans in a file (default: szx, in NIfTI xzs)",
    )  # fmt: skip
    files.add_argument(
        "--flip", default="", metavar="AXES", help="of s, z and x those that run the other way in a file"
    )
    _add_scan_options(parser)
    _add_keep_borders(_add_slice_options(parser))


def _add_scan_options(parser: argparse.ArgumentParser) -> None:
    scan = parser.add_argument_group("scan")
    scan.add_argument(
        "--spacing-mm", type=float, nargs=3, metavar=("S", "Z", "X"),
        help="of slices, rows and A-scans (default: what the file says); a file's star or circles stay",
    )  # fmt: skip
    scan.add_argument(
        "--scan", metavar="MODULE.NAME", help="a scan pattern of your own that says where the slices lie"
    )
    scan.add_argument("--radial", action="store_true", help="the slices are a star, not a raster")
    scan.add_argument("--star", type=int, metavar="LINES", help="cut a star out of the raster")
    scan.add_argument(
        "--star-mm", type=float, metavar="MM", help=f"length of the star's lines (default: {_STAR_MM})"
    )
    scan.add_argument(
        "--en-face", action="store_true",
        help="let the en face projection of a raster stand in for a photo that is missing",
    )  # fmt: skip


def _add_slice_options(parser: argparse.ArgumentParser) -> Any:
    slices = parser.add_argument_group("slices")
    slices.add_argument("--slices", type=int, metavar="N", help="keep so many, evenly spaced (default: all)")
    slices.add_argument(
        "--shape", type=int, nargs=2, metavar=("Z", "X"),
        help="rows and A-scans to bring them to (default: as they are; 320 448 for the challenge)",
    )  # fmt: skip
    slices.add_argument(
        "--levels", type=float, nargs=2, metavar=("BLACK", "WHITE"),
        help="numbers that are black and white in a file (default: what its type, or the file, says)",
    )  # fmt: skip
    slices.add_argument("--even-levels", action="store_true", help="bring all devices to the same levels")
    return slices


def _add_keep_borders(slices: Any) -> None:
    """Not for scanners' files, whose borders are never blackened: they mark what is empty themselves."""
    slices.add_argument("--keep-borders", action="store_true", help="do not blacken white borders")


def _import_aptos(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.aptos import import_aptos
    from fund2oct.geometry import RadialScan

    scan = RadialScan(start_deg=options.start_deg, clockwise=not options.anticlockwise)
    return _import(import_aptos, options.folder, options, scan=scan)


def _import_table(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.table import import_table

    columns = named_option("--column", options.column)
    more = {"columns": columns, "lines": options.lines, "no_patients": options.no_patients}
    return _import(import_table, options.table, options, **more)


def _import_volumes(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.volumes import import_volumes

    return _import(import_volumes, options.source, options, no_patients=options.no_patients)


def _import_vendor(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.vendor import import_vendor

    return _import(import_vendor, options.source, options)


def _import_options(options: argparse.Namespace) -> ImportOptions:
    from fund2oct.data.importing.assemble import ImportOptions
    from fund2oct.data.preparing.scans import ScanOptions
    from fund2oct.geometry import Placement, RadialScan

    if options.star is not None and options.star < 1:
        raise ValueError(f"--star: expected 1 line or more, found {options.star}")
    if options.star_mm is not None and options.star is None:
        raise ValueError("--star-mm: expected --star LINES too, whose length it is, found none")
    star_mm = _STAR_MM if options.star_mm is None else options.star_mm
    # Volumes alone have no photo to lie on.
    placement = placement_option(options) if hasattr(options, "placement") else Placement()
    scan = ScanOptions(
        spacing_mm=tuple(options.spacing_mm) if options.spacing_mm else None,
        radial=options.radial,
        n_slices=options.slices,
        star=None if options.star is None else RadialScan(options.star, star_mm),
        shape=tuple(options.shape) if options.shape else None,
        mask_borders=not getattr(options, "keep_borders", False),
        axes=getattr(options, "axes", None),
        flip=getattr(options, "flip", ""),
        levels=tuple(options.levels) if options.levels else None,
        pattern=scan_option(options.scan) if options.scan else None,
    )
    return ImportOptions(
        scan,
        fundus_px=getattr(options, "fundus_px", 448),
        placement=placement,
        even_light=getattr(options, "even_light", False),
        even_levels=options.even_levels,
        en_face=getattr(options, "en_face", False),
        salt=options.salt,
    )


def _import(
    importer: Callable[..., ImportReport], source: str, options: argparse.Namespace, **more: Any
) -> int:
    """Import, and say what became of it; all importers are called alike."""
    report = importer(
        source,
        options.out,
        _import_options(options),
        options.overwrite,
        workers=options.workers,
        compression=options.compression,
        **more,
    )
    if report.skipped:  # what is wrong is said in any case
        print("\n".join(report.lines()))
    else:
        say(*report.lines())
    suggest(["fund2oct", "check", report.path])
    return 1 if report.skipped else 0
