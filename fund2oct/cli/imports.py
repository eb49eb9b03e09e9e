"""``fund2oct import``: bring data into a file of eyes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fund2oct.cli.options import (
    GOES_ON,
    Commands,
    add_compression,
    add_overwrite,
    add_placement,
    add_workers,
    placement_option,
    scan_option,
)

if TYPE_CHECKING:
    from fund2oct.data.importing.assemble import ImportOptions
    from fund2oct.data.importing.engine import ImportReport


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    importer = commands.add_parser("import", help="bring data into a file").add_subparsers(
        required=True, metavar="KIND"
    )
    aptos = importer.add_parser("aptos", help="the folder of the APTOS-2024 challenge")
    aptos.add_argument("folder", metavar="DIR")
    aptos.add_argument("out", metavar="OUT.h5")
    _add_photo_options(aptos)
    _add_slice_options(aptos)
    aptos.set_defaults(shape=(320, 448), spacing_mm=None, radial=False, star=None, scan=None)
    aptos.add_argument("--start-deg", type=float, default=0.0, help="direction of slice 0, from straight up")
    aptos.add_argument("--anticlockwise", action="store_true", help="the slices turn the other way")
    _add_writing(aptos)
    aptos.set_defaults(command=_import_aptos)

    table = importer.add_parser("table", help="a CSV or TSV that names photos and volumes")
    table.add_argument("table", metavar="TABLE.csv")
    table.add_argument("out", metavar="OUT.h5")
    table.add_argument(
        "--column", action="append", default=[], metavar="NAME=THEIRS",
        help="photo, volume, key, patient, laterality, diagnosis, bscan, slice, x0_px, ..., and what the "
        "table calls it",
    )  # fmt: skip
    table.add_argument(
        "--lines", metavar="LINES.csv", help="a second table: where each B-scan lies on the photo"
    )
    table.add_argument(
        "--no-patients", action="store_true",
        help="each eye is of another patient, where the table has no column patient",
    )  # fmt: skip
    _add_photo_options(table)
    _add_volume_options(table)
    _add_writing(table)
    table.set_defaults(command=_import_table)

    volumes = importer.add_parser("volumes", help="TIFF, NIfTI, NumPy, folders of pictures; no photos")
    volumes.add_argument("source", metavar="SRC", help="a file, a folder of pictures, or a folder of these")
    volumes.add_argument("out", metavar="OUT.h5")
    _add_volume_options(volumes)
    _add_writing(volumes)
    volumes.set_defaults(command=_import_volumes)

    vendor = importer.add_parser("vendor", help="files of scanners: .vol, .e2e, .fda, .img, DICOM")
    vendor.add_argument("source", metavar="SRC", help="a file, or a folder searched with all below it")
    vendor.add_argument("out", metavar="OUT.h5")
    _add_photo_options(vendor)
    _add_scan_options(vendor)
    _add_writing(vendor)
    vendor.set_defaults(command=_import_vendor)


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(go_on=GOES_ON)
    add_workers(parser)
    add_compression(parser)
    add_overwrite(parser)


def _add_photo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fundus-px", type=int, default=448, help="width of the photos (default: 448)")
    parser.add_argument("--even-light", action="store_true", help="even out the photos' illumination")
    add_placement(parser)


def _add_volume_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--axes", default=None, metavar="ORDER",
        help="order of slices, rows and A-scans in a file (default: szx, in NIfTI xzs)",
    )  # fmt: skip
    parser.add_argument(
        "--flip", default="", metavar="AXES", help="of s, z and x those that run the other way in a file"
    )
    _add_scan_options(parser)


def _add_scan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--spacing-mm", type=float, nargs=3, metavar=("S", "Z", "X"), help="of slices, rows and A-scans"
    )
    parser.add_argument(
        "--scan", metavar="MODULE.NAME", help="a scan pattern of your own that says where the slices lie"
    )
    parser.add_argument("--radial", action="store_true", help="the slices are a star, not a raster")
    parser.add_argument("--star", type=int, metavar="LINES", help="cut a star out of the raster")
    parser.add_argument("--star-mm", type=float, default=5.5, help="length of its lines (default: 5.5)")
    _add_slice_options(parser)


def _add_slice_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep-borders", action="store_true", help="do not blacken white borders")
    parser.add_argument("--slices", type=int, help="keep so many, evenly spaced (default: all)")
    parser.add_argument("--shape", type=int, nargs=2, metavar=("Z", "X"), help="(default: as it is)")
    parser.add_argument(
        "--levels", type=float, nargs=2, metavar=("BLACK", "WHITE"),
        help="numbers that are black and white in a file (default: what its type, or the file, says)",
    )  # fmt: skip
    parser.add_argument("--even-levels", action="store_true", help="bring all devices to the same levels")
    parser.add_argument("--salt", default="", help="hashed with patients' names, which are then not stored")


def _import_aptos(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.aptos import import_aptos
    from fund2oct.geometry import RadialScan

    scan = RadialScan(start_deg=options.start_deg, clockwise=not options.anticlockwise)
    return _say(
        import_aptos(
            options.folder,
            options.out,
            _import_options(options),
            options.overwrite,
            scan=scan,
            workers=options.workers,
            compression=options.compression,
        )
    )


def _import_table(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.table import import_table

    columns = _columns(options.column)
    return _say(
        import_table(
            options.table,
            options.out,
            _import_options(options),
            options.overwrite,
            columns=columns,
            lines=options.lines,
            no_patients=options.no_patients,
            workers=options.workers,
            compression=options.compression,
        )
    )


def _columns(pairs: list[str]) -> dict[str, str]:
    from fund2oct.eye import DataError

    columns: dict[str, str] = {}
    for pair in pairs:
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and equals and theirs):
            raise DataError(f"--column: expected NAME=THEIRS as in photo=CF_path, found {pair!r}")
        if ours in columns:
            raise DataError(f"--column: expected {ours} once, found {ours}={columns[ours]} and {pair}")
        columns[ours] = theirs
    return columns


def _import_volumes(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.volumes import import_volumes

    return _say(
        import_volumes(
            options.source,
            options.out,
            _import_options(options),
            options.overwrite,
            workers=options.workers,
            compression=options.compression,
        )
    )


def _import_vendor(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.vendor import import_vendor

    return _say(
        import_vendor(
            options.source,
            options.out,
            _import_options(options),
            options.overwrite,
            workers=options.workers,
            compression=options.compression,
        )
    )


def _import_options(options: argparse.Namespace) -> ImportOptions:
    from fund2oct.data.importing.assemble import ImportOptions
    from fund2oct.data.preparing.scans import ScanOptions
    from fund2oct.geometry import Placement, RadialScan

    # Volumes alone have no photo to lie on.
    placement = placement_option(options) if hasattr(options, "placement") else Placement()
    scan = ScanOptions(
        spacing_mm=tuple(options.spacing_mm) if options.spacing_mm else None,
        radial=options.radial,
        n_slices=options.slices,
        star=RadialScan(options.star, options.star_mm) if options.star else None,
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
        salt=options.salt,
    )


def _say(report: ImportReport) -> int:
    print("\n".join(report.lines()))
    return 1 if report.skipped else 0
