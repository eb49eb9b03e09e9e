"""``fund2oct export`` and ``submit``: what is handed on."""

from __future__ import annotations

import argparse
import sys

from fund2oct.cli.options import (
    GOES_ON,
    Commands,
    add_format,
    add_overwrite,
    add_placement,
    placement_option,
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    export = commands.add_parser(
        "export",
        help="write eyes as files that other programs open",
        description="Write eyes as NIfTI, OME-TIFF, DICOM, pictures, films, meshes or tables.",
        epilog="example: fund2oct export predictions/eye.h5 --format nifti --format csv --out exports",
    )
    export.add_argument("files", nargs="+", metavar="FILE", help="files of eyes (.h5), or folders of them")
    add_format(export, "may be given more than once", required=True)
    export.add_argument("--out", required=True, metavar="DIR", help="made if it is not there")
    export.add_argument(
        "--eye", action="append", dest="keys", default=[], metavar="KEY",
        help="an eye's key; may be given more than once (default: all eyes that have a volume)",
    )  # fmt: skip
    add_overwrite(export, "replace what an earlier export wrote under these names")
    export.set_defaults(command=_export, go_on="what is finished stays; run it again with --overwrite")

    submit = commands.add_parser(
        "submit",
        help="write, or check, the zip that the APTOS-2024 challenge takes",
        usage="fund2oct submit CHECKPOINT DIR --out submission.zip\n"
        "       fund2oct submit --check submission.zip DIR",
        epilog="A call that was stopped goes on when it is given again.",
    )
    submit.add_argument("source", metavar="CHECKPOINT", help="a model of six slices; with --check the zip")
    submit.add_argument("folder", metavar="DIR", help="the challenge's folder, or its val, or photos")
    submit.add_argument("--check", action="store_true", help="say what the zip would be refused for")
    submit.add_argument("--out", metavar="submission.zip", help="the zip to write")
    add_placement(submit)
    submit.add_argument("--seed", type=int, default=0, help="of the speckle and of the poses (default: 0)")
    submit.add_argument("--model", default=None, metavar="MODULE.CLASS", help="a class of your own")
    submit.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    add_overwrite(submit, "replace an earlier submission of that name")
    submit.set_defaults(command=_submit, go_on=GOES_ON)


def _export(options: argparse.Namespace) -> int:
    from fund2oct.export import export_files

    written, failed = export_files(
        options.files, options.out, options.formats, options.keys, options.overwrite
    )
    for path in written:
        print(path)
    for reason in failed:
        print(f"fund2oct: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _submit(options: argparse.Namespace) -> int:
    if options.check == bool(options.out):
        raise ValueError("submit: expected --out ZIP to write one, or --check to check one")
    return _check(options) if options.check else _write(options)


def _check(options: argparse.Namespace) -> int:
    from fund2oct.run.submission import check_submission

    found = check_submission(options.source, options.folder)
    print("\n".join([*found, f"{len(found)} problems"]))
    return 1 if found else 0


def _write(options: argparse.Namespace) -> int:
    from fund2oct.run.submission import write_submission

    report = write_submission(
        options.source,
        options.folder,
        options.out,
        placement_option(options),
        options.seed,
        options.model,
        options.device,
        options.overwrite,
    )
    for reason in report.failed:
        print(f"fund2oct: {reason}", file=sys.stderr)
    kept = f", {report.n_kept} of them by an earlier call" if report.n_kept else ""
    done = report.n_photos - len(report.failed)
    print(f"{done} of {report.n_photos} photos translated{kept}")
    if report.failed:
        print(
            f"fund2oct: {options.out}: not written, for it would be refused without these photos; mend "
            "them and give the command again, the others are kept",
            file=sys.stderr,
        )
        return 1
    print(f"Written: {options.out}\nNext: fund2oct submit --check {options.out} {options.folder}")
    return 0
