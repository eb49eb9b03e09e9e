"""``fund2oct publish`` and ``models``: what is handed on, and what is at hand."""

from __future__ import annotations

import argparse
from pathlib import Path

from fund2oct.cli.commands import Commands, add_command, answer, suggest
from fund2oct.cli.options import add_json, add_overwrite


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    publish = add_command(
        commands,
        "publish",
        "write a trained model as a folder for others",
        "fund2oct publish runs/pix2vol/001 my-model --half --with-encoder",
        about="The folder holds its tensors, its configuration, a card with the run's own figures and a "
        "picture, and no name of an eye or a patient.",
    )
    publish.add_argument("run", metavar="RUN", help="the folder of a run, or a checkpoint")
    publish.add_argument("folder", metavar="DIR", help="made if it is not there")
    content = publish.add_argument_group("content")
    content.add_argument("--half", action="store_true", help="float16, half as large (default: float32)")
    content.add_argument(
        "--with-encoder", action="store_true",
        help="with the frozen photo encoder, so that no package has to be installed to use the model",
    )  # fmt: skip
    content.add_argument(
        "--licence", default="", metavar="NAME", help="licence of the weights, such as apache-2.0"
    )
    content.add_argument("--model", default=None, metavar="MODULE.CLASS", help="a class of your own")
    output = publish.add_argument_group("output")
    output.add_argument(
        "--push", metavar="hf://OWNER/NAME",
        help="put it on the Hugging Face hub too, where its owner alone sees it at first",
    )  # fmt: skip
    add_overwrite(output, "replace an earlier publication in that folder")
    add_json(output, "where it lies, its size, and how it compares with the checkpoint")
    publish.set_defaults(command=_publish)

    models = add_command(
        commands,
        "models",
        "list the models at hand",
        "fund2oct models",
        about="They are those that come with the package, and those of a folder of runs.",
    )
    models.add_argument_group("input").add_argument(
        "--runs", metavar="DIR", help="a folder of runs, or a run (default: runs)"
    )
    add_json(models.add_argument_group("output"), "the models")
    models.set_defaults(command=_models)


def _publish(options: argparse.Namespace) -> int:
    from fund2oct.models.published import push_to_hub
    from fund2oct.models.published.hub import check_upload
    from fund2oct.run.publishing import publish

    if options.push is not None:
        check_upload(options.push)
    made = publish(
        options.run,
        options.folder,
        options.half,
        options.with_encoder,
        options.licence,
        options.model,
        options.overwrite,
    )
    found = {"folder": made.folder, "n_bytes": made.n_bytes, "check": made.check}
    lines = [f"{made.folder}: {made.n_bytes / 1e6:.1f} MB. {made.check}"]
    if options.push is not None:
        found["pushed"] = push_to_hub(made.folder, options.push)
        lines.append(f"On the hub: {found['pushed']}")
    answer(options, found, *lines)
    own = ["--model", options.model] if options.model else []
    suggest(["fund2oct", "predict", made.folder, "PHOTO.jpg", "--out", "predictions", *own])
    return 0


def _models(options: argparse.Namespace) -> int:
    from fund2oct.run.publishing.listing import models_at_hand

    if options.runs is not None and not Path(options.runs).is_dir():
        raise ValueError(
            f"--runs {options.runs}: no such folder; name a folder of runs, as fund2oct train makes it"
        )
    found = models_at_hand(Path(options.runs or "runs"))
    lines = ["\n    ".join([f"{model.name}  ({model.where})", *model.lines]) for model in found]
    nothing = "no model at hand: train one with fund2oct train pix2vol"
    answer(options, {"models": [model._asdict() for model in found]}, *(lines or [nothing]))
    return 0
