"""``fund2oct export`` and ``submit``: what is handed on."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from fund2oct.cli.commands import GOES_ON, Commands, add_command, say, suggest
from fund2oct.cli.options import (
    add_column,
    add_device,
    add_format,
    add_mask,
    add_overwrite,
    add_placement,
    add_seed,
    add_set,
    add_table,
    device_option,
    named_option,
    placement_option,
)

_OF_WRITING = {
    "--placement": "placement", "--half-width-mm": "half_width_mm", "--table": "table",
    "--column": "column", "--set": "metadata", "--mask": "masks",
    "--model": "model", "--seed": "seed", "--device": "device", "--overwrite": "overwrite",
}  # fmt: skip
"""Options of ``submit`` that tell how a zip is written, and what they set."""


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    export = add_command(
        commands,
        "export",
        "write eyes as files that other programs open",
        "fund2oct export predictions/eye.h5 --format nifti --format csv --out exports",
        about="These are NIfTI, OME-TIFF, DICOM, pictures, films, meshes and tables.",
        go_on="what is finished stays; run it again with --overwrite",
    )
    export.add_argument("files", nargs="+", metavar="FILE", help="files of eyes (.h5), or folders of them")
    export.add_argument_group("eyes").add_argument(
        "--eye", action="append", dest="keys", default=[], metavar="KEY",
        help="an eye's key; may be given more than once (default: all eyes that have a volume)",
    )  # fmt: skip
    output = export.add_argument_group("output")
    output.add_argument("--out", required=True, metavar="DIR", help="made if it is not there")
    add_format(output, "may be given more than once", required=True)
    add_overwrite(output, "replace what an earlier export wrote under these names")
    export.set_defaults(command=_export)

    submit = add_command(
        commands,
        "submit",
        "write, or check, the zip that the APTOS-2024 challenge takes",
        "fund2oct submit runs/final/checkpoints/last.ckpt challenge --out submission.zip\n"
        "fund2oct submit --check submission.zip challenge",
        about="A call that was stopped goes on when it is given again.",
        usage="fund2oct submit CHECKPOINT DIR --out submission.zip\n"
        "       fund2oct submit --check submission.zip DIR",
        go_on=GOES_ON,
    )
    submit.add_argument("source", metavar="CHECKPOINT", help="a model of six slices; with --check the zip")
    submit.add_argument("folder", metavar="DIR", help="the challenge's folder, or its val, or photos")
    photos = submit.add_argument_group("photos")
    add_placement(photos)
    add_table(photos)
    add_column(photos)
    add_set(photos, " and the table says nothing")
    add_mask(photos)
    model = submit.add_argument_group("model")
    model.add_argument("--model", default=None, metavar="MODULE.CLASS", help="a class of your own")
    add_seed(model, "the speckle and the poses")
    add_device(model)
    output = submit.add_argument_group("output")
    output.add_argument("--out", metavar="submission.zip", help="the zip to write")
    output.add_argument("--check", action="store_true", help="say what the zip would be refused for")
    add_overwrite(output, "replace an earlier submission of that name")
    submit.set_defaults(command=partial(_submit, submit))


def _export(options: argparse.Namespace) -> int:
    from fund2oct.export import export_files

    written, failed = export_files(
        options.files, options.out, options.formats, options.keys, options.overwrite
    )
    say(*map(str, written))
    for reason in failed:
        print(f"fund2oct: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _submit(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.check == bool(options.out):
        raise ValueError("submit: expected --out ZIP to write one, or --check to check one")
    if not options.check:
        return _write(options)
    for name, value in _OF_WRITING.items():
        if getattr(options, value) != parser.get_default(value):
            raise ValueError(f"submit: expected no {name} with --check, which writes nothing")
    return _check(options)


def _check(options: argparse.Namespace) -> int:
    from fund2oct.run.submission import check_submission

    found = check_submission(options.source, options.folder)
    for problem in found:
        print(problem)
    say(f"{len(found)} problems")
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
        device_option(options.device),
        options.overwrite,
        named_option("--set", options.metadata),
        named_option("--mask", options.masks),
        options.table,
        named_option("--column", options.column),
    )
    for reason in report.failed:
        print(f"fund2oct: {reason}", file=sys.stderr)
    kept = f", {report.n_kept} of them by an earlier call" if report.n_kept else ""
    done = report.n_photos - len(report.failed)
    say(f"{done} of {report.n_photos} photos translated{kept}")
    if report.failed:
        print(
            f"fund2oct: {options.out}: not written, for it would be refused without these photos; mend "
            "them and give the command again, the others are kept",
            file=sys.stderr,
        )
        return 1
    say(f"Written: {options.out}")
    suggest(["fund2oct", "submit", "--check", options.out, options.folder])
    return 0
