"""``fund2oct train``, ``evaluate`` and ``predict``: models."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from fund2oct.cli.commands import Commands, add_command, answer, say, suggest
from fund2oct.cli.options import (
    add_column,
    add_device,
    add_figures,
    add_format,
    add_json,
    add_mask,
    add_overwrite,
    add_placement,
    add_seed,
    add_set,
    add_table,
    device_option,
    figures_option,
    named_option,
    placement_option,
    trainer_overrides,
)
from fund2oct.processes import n_cores


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)


def _add_train(commands: Commands) -> None:
    train = add_command(
        commands,
        "train",
        "train an experiment and report on it",
        "fund2oct train pix2vol trainer.max_epochs=72 model.init_args.learning_rate=5e-4",
        go_on="nothing was trained yet; run it again",
    )
    train.add_argument("experiment", metavar="EXP", help="a shipped experiment's name or a YAML file")
    train.add_argument(
        "overrides", nargs="*", default=[], metavar="KEY=VALUE",
        help="settings that differ from the experiment's",
    )  # fmt: skip
    model = train.add_argument_group("model")
    model.add_argument(
        "--resume", default=None, metavar="CHECKPOINT", help="go on from it, in a folder of its own"
    )
    add_device(model)
    output = train.add_argument_group("output")
    output.add_argument(
        "--out", default=None, metavar="DIR", help="folder of the run (default: runs/EXP/NUMBER)"
    )
    add_overwrite(output, "remove an earlier run in --out first")
    train.set_defaults(command=_train)


def _add_evaluate(commands: Commands) -> None:
    evaluate = add_command(
        commands,
        "evaluate",
        "compare models with their controls, or generated files with real ones",
        "fund2oct evaluate runs/pix2vol/001/checkpoints/last.ckpt --data data/phantom.h5 --out report\n"
        "fund2oct evaluate --real data/phantom.h5 --fake predictions --out report",
        usage="fund2oct evaluate CHECKPOINT... --data FILE.h5 --out DIR\n"
        "       fund2oct evaluate --real A --fake B --out DIR [--protocol NAME]",
        go_on="no report was written; run it again",
    )
    models = evaluate.add_argument_group("models")
    models.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT", help="trained models")
    models.add_argument("--data", default=None, metavar="FILE.h5", help="its test eyes judge the models")
    models.add_argument(
        "--model", action="append", default=[], metavar="MODULE.CLASS",
        help="a class of your own; may be given more than once, each checkpoint takes the one that it names",
    )  # fmt: skip
    add_seed(models, "the models' noise and the draws")
    add_mask(models)
    add_device(models)
    files = evaluate.add_argument_group("files")
    files.add_argument(
        "--real", default=None, metavar="A",
        help="eyes (.h5), or a folder or .zip of slices named EYE/EYE_0.jpg to _5",
    )  # fmt: skip
    files.add_argument(
        "--fake", default=None, metavar="B", help="likewise, or a checkpoint that translates A's photos"
    )
    files.add_argument(
        "--protocol", default=None, metavar="NAME", help="aptos2024: what a challenge submission holds"
    )
    measures = evaluate.add_argument_group("measures")
    measures.add_argument(
        "--distances", nargs="+", default=None, metavar="NAME",
        help="image, video, image/kernel or video/kernel, of another network as in video:oct3d; "
        "MODULE.NAME of a function that makes one of your own; or none "
        "(default: image and video, where their weights are at hand)",
    )  # fmt: skip
    measures.add_argument(
        "--measure", action="append", default=[], metavar="MODULE.NAME",
        help="a measure of your own, a function (fake, real) of what is found in an eye's volumes",
    )  # fmt: skip
    measures.add_argument(
        "--control", action="append", default=[], metavar="MODULE.NAME",
        help="an answer of your own, for a row of the report",
    )  # fmt: skip
    output = evaluate.add_argument_group("output")
    output.add_argument(
        "--out", required=True, metavar="DIR", help="folder of the report, made if it is not there"
    )
    add_figures(output, of_report=True)
    add_overwrite(output, "replace an earlier report in that folder")
    add_json(output, "the means of all measures, and the distances")
    evaluate.set_defaults(command=_evaluate)


def _add_predict(commands: Commands) -> None:
    predict = add_command(
        commands,
        "predict",
        "generate volumes for photos",
        "fund2oct predict photos/ --out predictions\n"
        "fund2oct predict runs/pix2vol/001/checkpoints/last.ckpt photos/ --out predictions",
        usage="fund2oct predict [MODEL] PHOTO [PHOTO ...] --out DIR [options]",
        go_on="what is finished stays; give it again with --skip-done to go on",
    )
    predict.add_argument(
        "photos", nargs="+", metavar="[MODEL] PHOTO",
        help="pictures, folders of them, or patterns as in 'a/*.jpg'; before them a checkpoint, a published "
        "folder or hf://OWNER/NAME (default: the model that comes with the package, see fund2oct models)",
    )  # fmt: skip
    photos = predict.add_argument_group("photos")
    photos.add_argument(
        "--fovea", type=float, nargs=2, metavar=("X", "Y"),
        help="the fovea on the photo, from -1 to 1 over the circle of retina (default: its centre)",
    )  # fmt: skip
    add_placement(photos)
    photos.add_argument(
        "--lines", metavar="LINES.csv",
        help="a table of where the B-scans of each photo lie (default: as in the training)",
    )  # fmt: skip
    photos.add_argument(
        "--as-told", action="store_true", help="leave the scan there, also with a model that corrects places"
    )
    photos.add_argument(
        "--workers", type=int, default=max(1, n_cores() - 1), metavar="N",
        help="processes that prepare photos ahead, where there are 16 photos or more",
    )  # fmt: skip
    add_table(photos)
    add_column(photos)
    add_set(photos, " and the table says nothing")
    add_mask(photos)
    model = predict.add_argument_group("model")
    model.add_argument("--checkpoint", metavar="MODEL", help="the model, in place of the first word")
    model.add_argument(
        "--draw", action="store_true",
        help="draw the surfaces from their distribution (default: the median ones, the best single answer)",
    )  # fmt: skip
    model.add_argument(
        "--intervals", action="store_true",
        help="also write mean and 80%% interval of each voxel and each surface, and draw them on the "
        "photo; the model has to draw volumes with noise",
    )  # fmt: skip
    add_seed(model, "the speckle and the poses")
    model.add_argument("--model", default=None, metavar="MODULE.CLASS", help="a class of your own")
    add_device(model)
    output = predict.add_argument_group("output")
    output.add_argument(
        "--out", required=True, metavar="DIR", help="folder of the results, made if it is not there"
    )
    add_format(output, "of the volumes; may be given more than once (default: hdf5)")
    add_figures(output)
    output.add_argument("--theme", choices=("light", "dark"), default="light", help="paper of the pictures")
    output.add_argument(
        "--skip-done",
        action="store_true",
        help="pass over photos whose results lie in --out already; those of another photo, model or option "
        "are refused, or with --overwrite made anew",
    )
    add_overwrite(output, "replace the results of an earlier prediction; photos never are")
    add_json(output, "what became of each photo")
    predict.set_defaults(command=_predict)


def _train(options: argparse.Namespace) -> int:
    from pytorch_lightning.utilities import rank_zero_only

    from fund2oct.run.train import train

    run = train(
        options.experiment,
        [*trainer_overrides(options.device), *options.overrides],
        options.out,
        options.resume,
        overwrite=options.overwrite,
        spread_out=options.from_shell,
    )
    if run.is_dir():
        rank_zero_only(_tell_where)(run)  # of several processes the first
    if options.from_shell and int(os.environ.get("LOCAL_RANK", "0")) > 0:
        _leave()
    return 0


def _leave() -> NoReturn:
    """End a process that Lightning started beside the first one.

    The interpreter is not taken down: a thread of torch that still runs would abort the process, and
    Lightning would then kill the first one, which is writing the report.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _tell_where(run: Path) -> None:
    from fund2oct.run.folder import last_checkpoint

    held = {"report": f"its report in {run}/report/report.html", "panels": f"panels in {run}/panels"}
    told = [what for folder, what in held.items() if (run / folder).is_dir()]
    say(f"\nThe run lies in {run}{': ' if told else ''}{', '.join(told)}.")
    checkpoint = last_checkpoint(run)
    if checkpoint is not None:
        suggest(_after_training(checkpoint))
    say(f"      tensorboard --logdir {shlex.quote(str(run.parent))}")


def _after_training(checkpoint: Path) -> list[str]:
    """The command that uses what was trained; it names the class of a user's own model."""
    from fund2oct.models.checkpoint import read_checkpoint, training_after
    from fund2oct.models.task import TASK_KEY
    from fund2oct.run.ending import model_option

    saved = read_checkpoint(checkpoint, mmap=True)
    path = str(saved[TASK_KEY]["class"])
    if path.startswith("fund2oct.models.pretraining."):
        return training_after(checkpoint, saved)
    words = ["fund2oct", "predict", str(checkpoint), "PHOTO.jpg", "--out", "predictions"]
    return [*words, *model_option(checkpoint)]


def _evaluate(options: argparse.Namespace) -> int:
    of_models = bool(options.checkpoints) and options.data is not None
    of_files = options.real is not None and options.fake is not None
    given = [options.checkpoints, options.data, options.real, options.fake]
    if of_models == of_files or sum(map(bool, given)) != 2:
        raise ValueError(
            "evaluate: expected checkpoints and --data FILE.h5, whose test eyes judge them, or --real and "
            "--fake; see fund2oct evaluate --help"
        )
    if of_models and options.protocol is not None:
        raise ValueError("evaluate: --protocol is for --real and --fake; checkpoints have one of their own")

    # They take seconds to import; what is missing is said at once.
    from fund2oct.evaluation import evaluate_checkpoints, evaluate_files
    from fund2oct.evaluation.distances import DEFAULT, Wanted
    from fund2oct.evaluation.own import Own

    shared = {
        "model": options.model,
        "distances": Wanted.parse(options.distances) if options.distances else DEFAULT,
        "seed": options.seed,
        "device": device_option(options.device),
        "overwrite": options.overwrite,
        "own": Own.load(options.measure, options.control),
        "figure_formats": figures_option(options.figure_formats or []),
        "mask_networks": named_option("--mask", options.masks),
    }
    if of_models:
        evaluate_checkpoints(options.checkpoints, options.data, options.out, **shared)
    else:
        evaluate_files(options.real, options.fake, options.out, options.protocol, **shared)
    report = Path(options.out) / "report.html"
    measured = {"report": str(report), **_measured(report.parent)}
    answer(options, measured, f"The report lies in {report}, its tables in {report.with_suffix('.md')}")
    if of_models:
        own = ["--model", options.model[0]] if len(options.model) == 1 else []
        first = options.checkpoints[0]
        suggest(["fund2oct", "predict", first, "PHOTO.jpg", "--out", "predictions", *own])
    return 0


def _measured(out: Path) -> dict[str, Any]:
    """What programs ask of a report: all but the rows of the single eyes."""
    found = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return {name: found[name] for name in ("protocol", "summary", "sets", "distances")}


def _predict(options: argparse.Namespace) -> int:
    from fund2oct.models.checkpoint import names_a_model
    from fund2oct.run.predicting.predict import predict
    from fund2oct.visual import THEMES

    checkpoint, photos = options.checkpoint, options.photos
    if checkpoint is None and names_a_model(photos[0]):
        checkpoint, *photos = photos
        if not photos:
            raise ValueError(f"predict: expected photos after the model {checkpoint}")
    if options.placement == "photo" and options.fovea:
        raise ValueError("predict: expected --fovea or --placement photo, found both")
    told = options.fovea or options.placement == "photo" or options.half_width_mm is not None
    placement = placement_option(options, tuple(options.fovea or (0.0, 0.0))) if told else None
    done = predict(
        checkpoint,
        photos,
        options.out,
        formats=options.formats or ["hdf5"],
        seed=options.seed,
        model=options.model,
        placement=placement,
        draw=options.draw,
        intervals=options.intervals,
        lines=options.lines,
        table=options.table,
        columns=named_option("--column", options.column),
        metadata=named_option("--set", options.metadata),
        mask_networks=named_option("--mask", options.masks),
        overwrite=options.overwrite,
        skip_done=options.skip_done,
        as_told=options.as_told,
        workers=options.workers,
        device=device_option(options.device),
        figure_formats=figures_option(options.figure_formats or [], ["png"]),
        theme=THEMES[options.theme],
    )
    failed = [one for one in done if one.problem]
    for one in failed:
        print(f"fund2oct: {one.problem}", file=sys.stderr)
    skipped = sum(one.skipped for one in done)
    found = [
        {"photo": str(one.photo), "key": one.key, "files": [*map(str, one.files)]}
        | {"skipped": one.skipped, "problem": one.problem}
        for one in done
    ]
    renamed = [f"{one.photo} is {one.key}" for one in done if one.key != one.photo.stem and not one.problem]
    before = f", {skipped} of them by an earlier call" if skipped else ""
    n_done = f"{len(done) - len(failed)} of {len(done)} photos translated into {options.out}{before}"
    answer(options, {"out": options.out, "photos": found}, *renamed, n_done)
    if any(file.suffix == ".h5" for one in done for file in one.files):  # what the viewer reads
        suggest(["fund2oct", "view", options.out, "--out", "view.html"])
    return 1 if failed else 0
