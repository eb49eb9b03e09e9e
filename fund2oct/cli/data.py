"""``fund2oct simulate``, ``check``, ``info`` and ``surfaces``: files of eyes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fund2oct.cli.commands import GOES_ON, Commands, add_command, answer, say, suggest
from fund2oct.cli.options import add_json, add_making, add_overwrite, add_seed

if TYPE_CHECKING:
    from fund2oct.data import EyeInfo

_LARGE = 160 * 224
"""Voxels of a B-scan from which on aptos2024 fits better than pix2vol: half way between their sizes."""


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    _add_simulate(commands)

    check = add_command(
        commands, "check", "say what is wrong with a file, eye by eye", "fund2oct check data/eyes.h5",
        about="Every array is read and every checksum verified.",
    )  # fmt: skip
    check.add_argument("files", nargs="+", metavar="FILE.h5", help="files, or folders of files, of one set")
    add_json(check.add_argument_group("output"), "the problems, and what the file holds")
    check.set_defaults(command=_check)

    info = add_command(
        commands, "info", "say what a file holds", "fund2oct info data/eyes.h5 --out sheet.png"
    )
    info.add_argument("files", nargs="+", metavar="FILE.h5", help="files, or folders of files, of one set")
    output = info.add_argument_group("output")
    output.add_argument("--out", default=None, metavar="SHEET.png", help="draw some of its eyes")
    add_overwrite(output, "replace a picture of that name")
    add_json(output, "how many there are of what")
    info.set_defaults(command=_info)

    surfaces = add_command(
        commands,
        "surfaces",
        "find pose and surfaces of volumes that lack them",
        "fund2oct surfaces old.h5 new.h5",
        about="Several files become one.",
        go_on=GOES_ON,
    )
    surfaces.add_argument("files", nargs="+", metavar="OLD.h5", help="files, or folders of files")
    surfaces.add_argument("out", metavar="NEW.h5", help="the file to make")
    add_making(surfaces.add_argument_group("output"))
    surfaces.set_defaults(command=_surfaces)


def _add_simulate(commands: Commands) -> None:
    simulate = add_command(
        commands,
        "simulate",
        "make a file of simulated eyes",
        "fund2oct simulate data/eyes.h5 --eyes 100 --diagnosis drusen+SRF",
        go_on=GOES_ON,
    )
    simulate.add_argument("out", metavar="OUT.h5", help="the file to make")
    eyes = simulate.add_argument_group("eyes")
    eyes.add_argument("--eyes", type=int, default=600, metavar="N", help="how many to make")
    add_seed(eyes, "the eyes")
    eyes.add_argument(
        "--diagnosis", help="diagnosis of every eye, as in drusen+SRF (default: drawn for each eye)"
    )
    eyes.add_argument(
        "--population", choices=("ordinary", "long"), default="ordinary",
        help="long eyes are steep, with staphylomas, crescents and detached hyaloids, under a star of 12 mm",
    )  # fmt: skip
    eyes.add_argument(
        "--photos", metavar="PHOTOS.h5",
        help="a file of eyes: healthy, ordinary volumes are simulated behind the photos of its healthy eyes, "
        "which stay as they are",
    )  # fmt: skip
    sizes = simulate.add_argument_group("sizes")
    sizes.add_argument(
        "--shape", type=int, nargs=2, default=(80, 112), metavar=("Z", "X"),
        help="rows and A-scans of a slice (default: 80 112)",
    )  # fmt: skip
    sizes.add_argument(
        "--fundus-px", type=int, metavar="PX", help="width of the photos that are simulated (default: 128)"
    )
    add_making(simulate.add_argument_group("output"))
    simulate.set_defaults(command=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    from fund2oct.data.importing.simulated_file import simulate_file
    from fund2oct.phantom import PhantomConfig

    if options.photos and options.fundus_px is not None:
        raise ValueError(
            "simulate: expected no --fundus-px with --photos, which keep their width; leave it out"
        )
    n_depth, n_ascans = options.shape
    config = PhantomConfig.of(
        options.population,
        fundus_px=PhantomConfig.fundus_px if options.fundus_px is None else options.fundus_px,
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
        photos=options.photos,
    )
    say(*report.lines())
    suggest(["fund2oct", "view", options.out, "--out", "view.html"])
    return 0


def _check(options: argparse.Namespace) -> int:
    from fund2oct.data.store.check import check_file
    from fund2oct.data.store.summary import summarise_file

    problems = check_file(options.files)
    # What describes a broken file may be broken itself.
    summary = None if problems else summarise_file(options.files)
    if options.json:
        answer(options, {"problems": problems, "summary": asdict(summary) if summary else None})
        return 1 if problems else 0
    say(*(summary.lines() if summary else []))
    for problem in problems:
        print(problem)
    say(f"{len(problems)} problems")
    if not problems:
        suggest(_after_check(options.files))
    return 1 if problems else 0


def _after_check(files: Sequence[str]) -> list[str]:
    """The command that suits what sound files hold: pairs are trained on, other eyes are looked at."""
    from fund2oct.data import EyeReader
    from fund2oct.eye import GENERATED, SEARCHED

    with EyeReader(files) as reader:
        infos = [reader.info(key) for key in reader.keys]
    pairs = [
        info for info in infos if {"fundus", "volume"} <= info.arrays.keys() and not _is_from(info, GENERATED)
    ]
    if not pairs:
        return ["fund2oct", "info", *files, "--out", "sheet.png"]
    if not all(info.arrays.keys() >= set(SEARCHED) for info in pairs):
        new = Path(files[0]).with_suffix("")
        return ["fund2oct", "surfaces", *files, f"{new}-surfaces.h5"]
    return ["fund2oct", "train", *_training(files, pairs, infos)]


def _training(files: Sequence[str], pairs: Sequence[EyeInfo], infos: Sequence[EyeInfo]) -> list[str]:
    """The experiment and the overrides that fit the pairs: their size, number and origin."""
    from fund2oct.eye import SIMULATED
    from fund2oct.run.config import load_experiment

    shapes = Counter(info.arrays["volume"] for info in pairs)
    widths = Counter(info.arrays["fundus"][0] for info in pairs)
    (shape, _), *_ = shapes.most_common(1)
    experiment = "aptos2024" if shape[1] * shape[2] > _LARGE else "pix2vol"
    settings: dict[str, object] = {}
    simulated = Path(files[0]).is_file() and all(_is_from(info, SIMULATED) for info in infos)
    if experiment == "pix2vol" and len(files) == 1 and simulated:
        settings["data.init_args.n_eyes"] = len(infos)
        if population := pairs[0].history.get("population"):
            settings["data.init_args.population"] = population
    elif experiment == "pix2vol":
        settings["data.class_path"] = "fund2oct.data.FundusOCTDataModule"
    settings["data.init_args.path"] = files[0] if len(files) == 1 else _listed(files)
    if len(shapes) > 1:
        settings["data.init_args.volume_shape"] = _listed(shape)
    if len(widths) > 1:
        settings["data.init_args.fundus_px"] = widths.most_common(1)[0][0]
    if list(shape) != load_experiment(experiment)["model"]["init_args"]["shape"]:
        settings["model.init_args.shape"] = _listed(shape)
    return [experiment, *(f"{name}={value}" for name, value in settings.items())]


def _is_from(info: EyeInfo, source: str) -> bool:
    return str(info.fields["source"]).startswith(source)


def _listed(values: Iterable[object]) -> str:
    return f"[{','.join(map(str, values))}]"


def _info(options: argparse.Namespace) -> int:
    from fund2oct.data.store.summary import summarise_file

    endings = (".png", ".svg", ".pdf")
    if options.out and Path(options.out).suffix.lower() not in endings:
        raise ValueError(f"{options.out}: expected the name of a file that ends in {', '.join(endings)}")
    if options.out:
        from fund2oct.outputs import check_files

        check_files([options.out], options.overwrite, options.files)
    summary = summarise_file(options.files)
    sheet = []
    if options.out:
        from fund2oct.data import EyeReader
        from fund2oct.visual import draw_contact_sheet, save_figure

        with EyeReader(options.files) as reader:
            sheet.append(str(save_figure(draw_contact_sheet(reader), options.out)))
    answer(options, asdict(summary), *summary.lines(), *sheet)
    suggest(["fund2oct", "view", *options.files, "--out", "view.html"])
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
    if report.skipped:
        print("\n".join(report.lines()), file=sys.stderr)
        return 1
    say(*report.lines())
    suggest(["fund2oct", "check", options.out])
    return 0
