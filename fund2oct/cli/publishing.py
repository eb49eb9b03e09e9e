"""``fund2oct publish`` and ``models``: what is handed on, and what is at hand."""

from __future__ import annotations

import argparse
from pathlib import Path

from fund2oct.cli.options import Commands, add_overwrite


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    publish = commands.add_parser(
        "publish",
        help="write a trained model as a folder for others",
        description="Write a trained model as a folder: tensors, configuration, card and picture.",
        epilog="example: fund2oct publish runs/pix2vol/001 my-model --half --with-encoder",
    )
    publish.add_argument("run", metavar="RUN", help="the folder of a run, or a checkpoint")
    publish.add_argument("folder", metavar="DIR", help="made if it is not there")
    publish.add_argument("--half", action="store_true", help="float16, half as large (default: float32)")
    publish.add_argument(
        "--with-encoder", action="store_true",
        help="with the frozen photo encoder, so that no package has to be installed to use the model",
    )  # fmt: skip
    publish.add_argument("--licence", default="", metavar="NAME", help="of the weights, such as apache-2.0")
    publish.add_argument("--model", default=None, metavar="MODULE.CLASS", help="a class of your own")
    publish.add_argument(
        "--push",
        metavar="hf://OWNER/NAME",
        help="put it on the Hugging Face hub too, for yourself alone at first",
    )
    add_overwrite(publish, "replace an earlier publication in that folder")
    publish.set_defaults(command=_publish, go_on="nothing was published; run it again")

    models = commands.add_parser(
        "models",
        help="list the models at hand",
        description="List the models that come with the package, and those of a folder of runs.",
    )
    models.add_argument("--runs", default="runs", metavar="DIR", help="a folder of runs (default: runs)")
    models.set_defaults(command=_models)


def _publish(options: argparse.Namespace) -> int:
    from fund2oct.models.published import push_to_hub
    from fund2oct.run.publishing import publish

    made = publish(
        options.run,
        options.folder,
        options.half,
        options.with_encoder,
        options.licence,
        options.model,
        options.overwrite,
    )
    print(f"{made.folder}: {made.n_bytes / 1e6:.1f} MB. {made.check}")
    if options.push:
        print(push_to_hub(made.folder, options.push))
    print(f"Next: fund2oct predict {made.folder} PHOTO.jpg --out predictions")
    return 0


def _models(options: argparse.Namespace) -> int:
    from fund2oct.run.publishing.listing import models_at_hand

    found = models_at_hand(Path(options.runs))
    for model in found:
        print("\n    ".join([f"{model.name}  ({model.where})", *model.lines]))
    if not found:
        print("no model at hand: train one with fund2oct train pix2vol")
    return 0
