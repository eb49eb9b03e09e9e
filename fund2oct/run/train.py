"""From an experiment to a trained model and its report."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentError
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from fund2oct.models import VolumeModel
from fund2oct.run.config import ConfigError, load_experiment
from fund2oct.run.devices import spread

if TYPE_CHECKING:
    from fund2oct.evaluation.report.pictures import Picture

_RUN_DIR = "FUND2OCT_RUN_DIR"


class _ExperimentCLI(LightningCLI):
    """LightningCLI on a dictionary: types checked, misspelt keys refused, classes built."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_object(args)


def train(
    experiment: str,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: str | Path | None = None,
    *,
    spread_out: bool = False,
) -> Path:
    """Train an experiment and report on it.

    The folder of the run holds the resolved configuration (``config.yaml``), ``run.json``, the
    checkpoints, ``metrics.csv``, TensorBoard's events, panels of validation eyes, and the report of
    :func:`fund2oct.evaluation.evaluate`.

    Args:
        experiment: a shipped experiment's name or the path of a YAML file.
        overrides: ``key=value``.
        out: folder of the run; by default the next free number in ``runs/EXPERIMENT``.
        resume: a checkpoint to go on from.
        spread_out: whether to use all GPUs or cores where the configuration does not choose, see
            :func:`fund2oct.run.devices.spread`. Each process runs the command line of this one once more, so
            that it is for commands, not for notebooks.

    Returns:
        The folder of the run.

    Raises:
        ConfigError: if the configuration is not valid.
        fund2oct.data.DataError: if the data cannot be used.
        fund2oct.models.CheckpointError: if the checkpoint to resume from is absent.
    """
    config = load_experiment(experiment, overrides)
    if spread_out:
        spread(config)
    if resume is not None and not Path(resume).is_file():
        raise ConfigError(f"{resume}: no such checkpoint to resume from")
    run = Path(out) if out is not None else _next_run(Path(experiment).stem)
    # Lightning starts the other processes of a distributed run with this same command.
    os.environ[_RUN_DIR] = str(run)
    cli = _build(config, run)
    n_threads = torch.get_num_threads()
    # The discriminators' schedule goes on while they wait to join.
    warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
    # What is wrong with the data is said once, before Lightning starts the other processes.
    rank_zero_only(cli.datamodule.prepare_data)()
    cli.trainer.fit(
        cli.model,
        datamodule=cli.datamodule,
        ckpt_path=None if resume is None else str(resume),
        weights_only=True,
    )
    has_pairs = getattr(cli.datamodule, "content", "pairs") == "pairs"
    if has_pairs and not config["trainer"].get("fast_dev_run"):
        torch.set_num_threads(n_threads)  # Lightning shared them out among the processes
        _report(cli, run)
    return run


def build(experiment: str, overrides: Sequence[str] = ()) -> tuple[pl.Trainer, VolumeModel, Any]:
    """Build an experiment's trainer, model and datamodule, without loggers and without training."""
    cli = _build(load_experiment(experiment, overrides), None)
    return cli.trainer, cli.model, cli.datamodule


def _build(config: dict[str, Any], run: Path | None) -> LightningCLI:
    trainer = config.setdefault("trainer", {})
    if run is None:
        trainer["logger"] = False
    else:
        where = {"save_dir": str(run), "name": "", "version": ""}
        trainer["default_root_dir"] = str(run)
        trainer["logger"] = [
            {"class_path": f"{logger.__module__}.{logger.__qualname__}", "init_args": where}
            for logger in (TensorBoardLogger, CSVLogger)
        ]
    try:
        cli = _ExperimentCLI(
            VolumeModel,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"exit_on_error": False},
            run=False,
            args=config,
        )
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(f"configuration: {_brief(error)}") from error
    return cli


def _brief(error: Exception) -> str:
    """What is wrong, without the list of types that jsonargparse tried and the whole value."""
    text = str(error)
    where = re.match(r'Parser key "(\w+)"', text)
    tried = re.search(r"Errors:(.*?)- Expected a <class 'NoneType'>", text, re.DOTALL)
    line = " ".join((tried[1] if tried else text).replace("- ", " ", 1).split())
    return f"{where[1]}: {line}" if where and tried else line


def _next_run(experiment: str) -> Path:
    inherited = os.environ.get(_RUN_DIR)
    if inherited and os.environ.get("LOCAL_RANK", "0") != "0":
        return Path(inherited)
    folder = Path("runs") / experiment
    job = os.environ.get("SLURM_JOB_ID")
    if job:
        return folder / f"slurm-{job}"
    taken = [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()]
    return folder / f"{max(taken, default=0) + 1:03d}"


@rank_zero_only
def _report(cli: LightningCLI, run: Path) -> None:
    from fund2oct.evaluation import evaluate

    device = cli.trainer.strategy.root_device
    model = cli.model.to(device).eval()
    with torch.inference_mode():
        evaluate(
            {"model": model},
            cli.datamodule,
            run / "report",
            notes=[model.task.seen.how()],
            pictures=_pictures(run),
        )


def _pictures(run: Path) -> list[Picture]:
    """How the training went: an eye over the epochs, and the curves of what was logged."""
    from fund2oct.evaluation.report.pictures import Picture
    from fund2oct.visual.curves import draw_curves, read_curves

    found = []
    if films := sorted((run / "panels").glob("*.gif")):
        caption = f"{films[0].stem}, an eye of the validation, over the epochs."
        found.append(Picture("Training", "training-film", caption, films[0].read_bytes(), ".gif"))
    log = run / "metrics.csv"
    if log.is_file() and (curves := read_curves(log)):
        caption = "What was logged, by the steps of the optimisers; bold where smoothed."
        found.append(Picture("Training", "training-curves", caption, draw_curves(curves)))
    return found
