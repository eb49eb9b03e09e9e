"""``fund2oct train``, ``evaluate`` and ``predict``: models."""

from __future__ import annotations

import argparse
import sys

from fund2oct.cli.options import (
    Commands,
    add_figures,
    add_format,
    add_overwrite,
    add_placement,
    placement_option,
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    train = commands.add_parser("train", help="train an experiment and report on it")
    train.add_argument("experiment", metavar="EXP", help="a shipped experiment's name or a YAML file")
    train.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    train.add_argument("--out", default=None, help="folder of the run (default: runs/EXP/NUMBER)")
    train.add_argument(
        "--resume", default=None, metavar="CHECKPOINT", help="go on from it, in a folder of its own"
    )
    add_overwrite(train, "remove an earlier run in --out first")
    train.set_defaults(command=_train, go_on="nothing was trained yet; run it again")

    evaluate = commands.add_parser(
        "evaluate",
        help="compare models with their controls, or generated files with real ones",
        usage="fund2oct evaluate CHECKPOINT... --data FILE.h5 --out DIR\n"
        "       fund2oct evaluate --real A --fake B --out DIR [--protocol NAME]",
    )
    evaluate.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT")
    evaluate.add_argument("--data", default=None, metavar="FILE.h5", help="its test eyes judge the models")
    evaluate.add_argument(
        "--real", default=None, metavar="A",
        help="eyes (.h5), or a folder or .zip of slices named EYE/EYE_0.jpg to _5",
    )  # fmt: skip
    evaluate.add_argument(
        "--fake", default=None, metavar="B", help="likewise, or a checkpoint that translates A's photos"
    )
    evaluate.add_argument("--protocol", default=None, help="aptos2024: what a challenge submission holds")
    evaluate.add_argument("--out", required=True, metavar="DIR")
    add_overwrite(evaluate, "replace an earlier report in that folder")
    evaluate.add_argument(
        "--distances", nargs="+", default=None, metavar="NAME",
        help="image, video, image/kernel or video/kernel, of another network as in video:oct3d; "
        "MODULE.NAME of a function that makes one of your own; or none "
        "(default: image and video, where their weights are at hand)",
    )  # fmt: skip
    evaluate.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: a GPU if any)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the models' noise and the draws")
    evaluate.add_argument(
        "--model", action="append", default=[], metavar="MODULE.CLASS",
        help="a class of your own; may be given more than once, each checkpoint takes the one that it names",
    )  # fmt: skip
    evaluate.add_argument(
        "--measure", action="append", default=[], metavar="MODULE.NAME",
        help="a measure of your own, a function (fake, real) of what is found in an eye's volumes",
    )  # fmt: skip
    evaluate.add_argument(
        "--control", action="append", default=[], metavar="MODULE.NAME",
        help="an answer of your own, for a row of the report",
    )  # fmt: skip
    add_figures(evaluate)
    evaluate.set_defaults(command=_evaluate, go_on="no report was written; run it again")

    predict = commands.add_parser(
        "predict",
        help="generate volumes for photos",
        usage="fund2oct predict [MODEL] PHOTO... --out DIR",
        epilog="example: fund2oct predict photos/*.jpg --out predictions",
    )
    predict.add_argument(
        "photos", nargs="+", metavar="[MODEL] PHOTO",
        help="pictures; before them a checkpoint, a published folder or hf://OWNER/NAME (default: the model "
        "that comes with the package, see fund2oct models)",
    )  # fmt: skip
    predict.add_argument("--checkpoint", metavar="MODEL", help="the model, in place of the first word")
    predict.add_argument("--out", required=True, metavar="DIR")
    add_overwrite(predict, "replace the results of an earlier prediction; photos never are")
    add_format(predict, "of the volumes; may be given more than once (default: hdf5)")
    predict.add_argument(
        "--fovea", type=float, nargs=2, metavar=("X", "Y"),
        help="the fovea on the photo, from -1 to 1 over the circle of retina (default: its centre)",
    )  # fmt: skip
    add_placement(predict)
    predict.add_argument(
        "--draw", action="store_true",
        help="draw the surfaces from their distribution (default: the median ones, the best single answer)",
    )  # fmt: skip
    predict.add_argument(
        "--lines", metavar="LINES.csv",
        help="a table of where the B-scans of each photo lie (default: as in the training)",
    )  # fmt: skip
    predict.add_argument("--seed", type=int, default=0, help="of the speckle and of the poses")
    predict.add_argument("--model", default=None, metavar="MODULE.CLASS", help="a class of your own")
    add_figures(predict)
    predict.add_argument(
        "--theme", choices=("light", "dark"), default="light", help="paper of the pictures (default: light)"
    )
    predict.set_defaults(
        command=_predict,
        go_on="what is finished stays; run it again with the photos that are left, or with --overwrite",
    )


def _train(options: argparse.Namespace) -> int:
    from fund2oct.run.folder import last_checkpoint
    from fund2oct.run.train import train

    run = train(
        options.experiment,
        options.overrides,
        options.out,
        options.resume,
        overwrite=options.overwrite,
        spread_out=options.from_shell,
    )
    if run.is_dir():
        report = f": its report in {run}/report/report.html, panels in {run}/panels"
        print(f"\nThe run lies in {run}{report if (run / 'report').is_dir() else ''}.")
        checkpoint = last_checkpoint(run)
        if checkpoint is not None:
            print(f"Next: fund2oct predict {checkpoint} PHOTO.jpg --out predictions")
        print(f"      tensorboard --logdir {run.parent}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from fund2oct.evaluation import evaluate_checkpoints, evaluate_files
    from fund2oct.evaluation.distances import DEFAULT, Wanted
    from fund2oct.evaluation.own import Own

    of_models = bool(options.checkpoints) and options.data is not None
    of_files = options.real is not None and options.fake is not None
    given = [options.checkpoints, options.data, options.real, options.fake]
    if of_models == of_files or sum(map(bool, given)) != 2:
        raise ValueError(
            "evaluate: expected checkpoints and --data, or --real and --fake; see fund2oct evaluate --help"
        )
    if of_models and options.protocol is not None:
        raise ValueError("evaluate: --protocol is for --real and --fake; checkpoints have one of their own")
    shared = {
        "model": options.model,
        "distances": Wanted.parse(options.distances) if options.distances else DEFAULT,
        "seed": options.seed,
        "device": _device(options.device),
        "overwrite": options.overwrite,
        "own": Own.load(options.measure, options.control),
        "figure_formats": options.figure_formats or [],
    }
    if of_models:
        evaluate_checkpoints(options.checkpoints, options.data, options.out, **shared)
    else:
        evaluate_files(options.real, options.fake, options.out, options.protocol, **shared)
    print(f"The report lies in {options.out}/report.html, its tables in {options.out}/report.md")
    return 0


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r}: cannot be used: {str(error).splitlines()[0]}") from None
    return name


def _predict(options: argparse.Namespace) -> int:
    from fund2oct.models.checkpoint import names_a_model
    from fund2oct.run.predict import predict
    from fund2oct.visual import THEMES

    checkpoint, photos = options.checkpoint, options.photos
    if checkpoint is None and names_a_model(photos[0]):
        checkpoint, *photos = photos
        if not photos:
            raise ValueError(f"predict: expected photos after the model {checkpoint}")
    if options.placement == "photo" and options.fovea:
        raise ValueError("predict: expected --fovea or --placement photo, found both")
    placement = placement_option(options, tuple(options.fovea or (0.0, 0.0)))
    failed = predict(
        checkpoint,
        photos,
        options.out,
        formats=options.formats or ["hdf5"],
        seed=options.seed,
        model=options.model,
        placement=placement,
        draw=options.draw,
        lines=options.lines,
        overwrite=options.overwrite,
        figure_formats=options.figure_formats or ["png"],
        theme=THEMES[options.theme],
    )
    for reason in failed:
        print(f"fund2oct: {reason}", file=sys.stderr)
    print(f"{len(photos) - len(failed)} of {len(photos)} photos translated into {options.out}")
    return 1 if failed else 0
