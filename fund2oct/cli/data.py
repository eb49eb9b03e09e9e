"""``fund2oct simulate``, ``check``, ``info`` and ``surfaces``: files of eyes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fund2oct.cli.options import GOES_ON, Commands, add_compression, add_overwrite, add_workers


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    simulate = commands.add_parser("simulate", help="make a file of simulated eyes")
    simulate.add_argument("out", metavar="OUT.h5")
    simulate.add_argument("--eyes", type=int, default=600)
    simulate.add_argument("--seed", type=int, default=0)
    simulate.add_argument("--shape", type=int, nargs=2, default=(80, 112), metavar=("Z", "X"))
    simulate.add_argument("--fundus-px", type=int, default=128)
    simulate.add_argument("--diagnosis", default=None, help="of every eye, as in drusen+SRF")
    simulate.add_argument(
        "--population",
        choices=("ordinary", "long"),
        default="ordinary",
        help="long eyes are steep, with staphylomas, crescents and detached hyaloids, under a star of 12 mm",
    )
    add_workers(simulate)
    add_compression(simulate)
    add_overwrite(simulate)
    simulate.set_defaults(command=_simulate, go_on=GOES_ON)

    check = commands.add_parser("check", help="say what is wrong with a file, eye by eye")
    check.add_argument("files", nargs="+", metavar="FILE.h5", help="files, or folders of files, of one set")
    check.set_defaults(command=_check)

    info = commands.add_parser("info", help="say what a file holds")
    info.add_argument("files", nargs="+", metavar="FILE.h5", help="files, or folders of files, of one set")
    info.add_argument("--out", default=None, metavar="SHEET.png", help="draw some of its eyes")
    add_overwrite(info, "replace a picture of that name")
    info.set_defaults(command=_info)

    surfaces = commands.add_parser(
        "surfaces", help="find pose and surfaces of volumes that lack them; several files become one"
    )
    surfaces.add_argument("files", nargs="+", metavar="OLD.h5")
    surfaces.add_argument("out", metavar="NEW.h5")
    add_workers(surfaces)
    add_compression(surfaces)
    add_overwrite(surfaces)
    surfaces.set_defaults(command=_surfaces, go_on=GOES_ON)


def _simulate(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.simulated_file import simulate_file
    from fund2oct.phantom import PhantomConfig

    n_depth, n_ascans = options.shape
    config = PhantomConfig.of(
        options.population,
        fundus_px=options.fundus_px,
        n_depth=n_depth,
        n_ascans=n_ascans,
        diagnosis=options.diagnosis,
    )
    report = simulate_file(
        options.out,
        options.eyes,
        options.seed,
        config,
        options.workers,
        options.overwrite,
        options.compression,
    )
    print("\n".join(report.lines()))
    return 0


def _check(options: argparse.Namespace) -> int:
    from fund2oct.data.store.check import check_file
    from fund2oct.data.store.summary import summarise_file

    problems = check_file(options.files)
    # What describes a broken file may be broken itself.
    summary = [] if problems else summarise_file(options.files)
    print("\n".join([*summary, *problems, f"{len(problems)} problems"]))
    return 1 if problems else 0


def _info(options: argparse.Namespace) -> int:
    from fund2oct.data.store.summary import summarise_file

    endings = (".png", ".svg", ".pdf")
    if options.out and Path(options.out).suffix.lower() not in endings:
        raise ValueError(f"{options.out}: expected the name of a file that ends in {', '.join(endings)}")
    if options.out:
        from fund2oct.outputs import check_files

        check_files([options.out], options.overwrite, options.files)
    lines = summarise_file(options.files)
    if options.out:
        from fund2oct.data import EyeReader
        from fund2oct.visual import draw_contact_sheet, save_figure

        with EyeReader(options.files) as reader:
            lines.append(str(save_figure(draw_contact_sheet(reader), options.out)))
    print("\n".join(lines))
    return 0


def _surfaces(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.surfaces import add_surfaces

    report = add_surfaces(
        options.files,
        options.out,
        options.overwrite,
        workers=options.workers,
        compression=options.compression,
    )
    print("\n".join(report.lines()), file=sys.stderr if report.skipped else sys.stdout)
    return 1 if report.skipped else 0
