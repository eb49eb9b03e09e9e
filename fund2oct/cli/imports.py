"""``fund2oct import``: bring data into a file of eyes."""

from __future__ import annotations

import argparse

from fund2oct.cli.options import Commands, add_overwrite


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    importer = commands.add_parser("import", help="bring data into a file").add_subparsers(
        required=True, metavar="KIND"
    )
    aptos = importer.add_parser("aptos", help="the folder of the APTOS-2024 challenge")
    aptos.add_argument("folder", metavar="DIR")
    aptos.add_argument("out", metavar="OUT.h5")
    aptos.add_argument("--shape", type=int, nargs=2, default=(320, 448), metavar=("Z", "X"))
    aptos.add_argument("--fundus-px", type=int, default=448)
    aptos.add_argument("--start-deg", type=float, default=0.0, help="direction of slice 0, from straight up")
    aptos.add_argument("--anticlockwise", action="store_true", help="the slices turn the other way")
    add_overwrite(aptos)
    aptos.set_defaults(command=_import_aptos)


def _import_aptos(options: argparse.Namespace) -> int:
    from fund2oct.data.aptos import AptosConfig, import_aptos
    from fund2oct.geometry import RadialScan

    n_depth, n_ascans = options.shape
    scan = RadialScan(start_deg=options.start_deg, clockwise=not options.anticlockwise)
    config = AptosConfig(n_depth, n_ascans, options.fundus_px, scan=scan)
    report = import_aptos(options.folder, options.out, config, options.overwrite)
    print("\n".join(report.lines()))
    return 1 if report.skipped else 0
