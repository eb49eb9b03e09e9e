"""From an experiment to a trained model and its report."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentError
from jsonargparse.typing import PositiveInt
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from fund2oct.by_path import listed
from fund2oct.data import FundusOCTDataModule, PhantomDataModule
from fund2oct.evaluation import evaluate
from fund2oct.evaluation.distances import CHEAP, Wanted
from fund2oct.evaluation.own import Own
from fund2oct.models import VolumeModel
from fund2oct.progress import is_quiet
from fund2oct.run.config import ConfigError, load_experiment
from fund2oct.run.ending import command_of, explained, report_explained
from fund2oct.run.folder import (
    end_replacing,
    is_first_process,
    is_started_again,
    last_checkpoint,
    make_run_folder,
    metrics_files,
    remove_if_empty,
)
from fund2oct.run.publishing.record import OWN
from fund2oct.run.resuming import check_resumable
from fund2oct.run.settings import check_sections, check_trainer, explain, loggers_of
from fund2oct.run.signals import SaveWhenTerminated
from fund2oct.run.spreading import spread, stay_on_one_device

if TYPE_CHECKING:
    from fund2oct.evaluation.report.pictures import Picture

_NO_NEWS = (
    "Detected call of `lr_scheduler.step",  # the discriminators' goes on while they wait to join
    "Experiment logs directory",  # made for this very run: nothing in it is lost
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own code
)
"""Beginnings of warnings that would alarm without a reason."""
_ADVERTISING = "litlogger"
"""What Lightning recommends at the start of each training is a service of its makers."""


@dataclass(frozen=True)
class ReportOptions:
    """What the report of a training holds beside the usual; the section ``report`` of an experiment.

    Args:
        measures: import paths of measures of an eye, see :class:`fund2oct.evaluation.own.Own`.
        controls: import paths of answers that the model is compared with.
        distances: between the real and the generated eyes, by name or import path, see
            :class:`fund2oct.evaluation.distances.Wanted`; None takes what a training can afford.
        n_eyes: test eyes at most, of as many patients as can be: a report is made by one process, and takes
            hours for thousands of large volumes. None takes all, as ``fund2oct evaluate`` does.

    Example:
        >>> load_experiment("pix2vol", ["report.measures=[my_measures.sharpness]"])["report"]
        {'measures': ['my_measures.sharpness']}
    """

    measures: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    distances: list[str] | None = None
    n_eyes: PositiveInt | None = 500


class _ExperimentCLI(LightningCLI):
    """LightningCLI on a dictionary: types checked, misspelt keys refused, classes built."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(ReportOptions, "report")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_object(args)
        self.given = args["trainer"]
        self._keep_counts(self.config["trainer"])

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        self._keep_counts(self.config_init["trainer"])  # types are tried once more where classes are built
        return super().instantiate_trainer(**kwargs)

    def _keep_counts(self, trainer: Any) -> None:
        # Of int | float jsonargparse tries float first where another package has written float | int before.
        # A number of batches that comes back as a float would be a share of them: 1 would be all.
        for key, value in self.given.items():
            if type(value) is int and isinstance(trainer[key], float):
                trainer[key] = value


def train(
    experiment: str,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: str | Path | None = None,
    *,
    overwrite: bool = False,
    spread_out: bool = False,
) -> Path:
    """Train an experiment and report on it.

    The folder of the run holds the resolved configuration (``config.yaml``), ``run.json``, the
    checkpoints, ``metrics.csv``, TensorBoard's events, panels of validation eyes, and the report of
    :func:`fund2oct.evaluation.evaluate`.

    Args:
        experiment: a shipped experiment's name or the path of a YAML file.
        overrides: ``key=value``, as in ``trainer.max_epochs=1``.
        out: folder of the run; by default the next free number in ``runs/EXPERIMENT``.
        resume: a checkpoint to go on from; the run gets a folder of its own all the same.
        overwrite: whether an earlier run in ``out`` may be replaced. It stays where nothing is
            kept of this one, as of a trial (``fast_dev_run``).
        spread_out: whether to use all GPUs or cores where the configuration does not choose, see
            :func:`fund2oct.run.spreading.spread`; one device if not. Each process runs the command line of
            this one once more, so that it is for commands, not for notebooks.

    Returns:
        The folder of the run.

    Raises:
        ConfigError: if the configuration is not valid.
        fund2oct.outputs.OutputError: if ``out`` holds something else.
        fund2oct.data.DataError: if the data cannot be used.
        fund2oct.models.CheckpointError: if a training cannot go on from ``resume``.
        fund2oct.stopping.Stopped: if it was stopped from outside, by Ctrl-C or SIGTERM.

    Example:
        >>> train("pix2vol", ["trainer.max_epochs=20"])  # doctest: +SKIP
        PosixPath('runs/pix2vol/001')
        >>> train("pix2vol", ["trainr.max_epochs=20"])  # what is misspelt is refused before anything is done
        Traceback (most recent call last):
            ...
        fund2oct.run.config.ConfigError: experiment 'pix2vol': unknown section 'trainr', ...
    """
    config = load_experiment(experiment, overrides)
    if spread_out:
        spread(config)
    else:
        stay_on_one_device(config)
    check_sections(config, run_is_given=True)
    run = make_run_folder(experiment, out, overwrite, resume)
    if again := is_started_again(run):
        resume = last_checkpoint(run) or resume  # not from where it once began
    ending = SaveWhenTerminated()
    try:
        _train(config, run, resume, command_of(experiment, listed(overrides)), again, ending)
    finally:
        end_replacing(run, ending.trained, trial=bool(config["trainer"].get("fast_dev_run")))
        remove_if_empty(run)
    return run


def _train(
    config: dict[str, Any],
    run: Path,
    resume: str | Path | None,
    command: str,
    again: bool,
    ending: SaveWhenTerminated,
) -> None:
    cli = _build(config, run)
    cli.trainer.callbacks.append(ending)  # type: ignore[attr-defined]
    if resume is not None and not again:  # a job that had trained to the end still lacks its report
        check_resumable(resume, cli.model, cli.trainer)
    if resume is not None:
        cli.model.init_from = None  # the checkpoint holds what it began with; that file may be gone
    n_threads = torch.get_num_threads()
    _prepare_data(cli.datamodule)
    report = cli.config["report"]
    own = Own.load(report["measures"], report["controls"])
    distances = CHEAP if report["distances"] is None else Wanted.parse(report["distances"])
    reported = cli.model.translates and _has_test_eyes(cli.datamodule)
    reported = reported and not config["trainer"].get("fast_dev_run")
    with explained(run, command, ending):
        cli.trainer.fit(
            cli.model,
            datamodule=cli.datamodule,
            ckpt_path=None if resume is None else str(resume),
            weights_only=True,
        )
    if reported:
        torch.set_num_threads(n_threads)  # Lightning shared them out among the processes
        data = getattr(cli.datamodule, "path", None)
        with report_explained(run, data if isinstance(data, str) else None):
            ending.raise_noted()
            _report(cli, run, own, distances, report["n_eyes"])


def _is_no_advertising(record: logging.LogRecord) -> bool:
    return _ADVERTISING not in record.getMessage()


def build(experiment: str, overrides: Sequence[str] = ()) -> tuple[pl.Trainer, VolumeModel, Any]:
    """Build what an experiment trains with, to look at it or to train with it yourself.

    Args:
        experiment: a shipped experiment's name or the path of a YAML file.
        overrides: ``key=value``, as in ``trainer.max_epochs=1``.

    Returns:
        The trainer, without loggers, on one device unless the configuration chooses; the model; and the
        datamodule.

    Raises:
        ConfigError: if the configuration is not valid.

    Example:
        >>> trainer, model, data = build("pix2vol", ["trainer.max_epochs=1", "trainer.accelerator=cpu"])
        >>> type(model).__name__, model.shape, trainer.max_epochs
        ('Pix2Vol', (6, 80, 112), 1)
    """
    config = load_experiment(experiment, overrides)
    stay_on_one_device(config)
    check_sections(config, run_is_given=False)
    cli = _build(config, None)
    return cli.trainer, cli.model, cli.datamodule


def _build(config: dict[str, Any], run: Path | None) -> LightningCLI:
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_no_advertising)
    for message in _NO_NEWS:
        warnings.filterwarnings("ignore", message)
    trainer = config.setdefault("trainer", {})
    if run is None:
        trainer["logger"] = False
    else:
        where = {"save_dir": str(run), "name": "", "version": ""}
        trainer["default_root_dir"] = str(run)
        own = [
            {"class_path": f"{logger.__module__}.{logger.__qualname__}", "init_args": where}
            for logger in (TensorBoardLogger, CSVLogger)
        ]
        trainer["logger"] = loggers_of(config, own)
    if is_quiet():
        trainer |= {"enable_progress_bar": False, "enable_model_summary": False}
    if trainer.get("enable_checkpointing") is False:
        kept = [one for one in trainer.get("callbacks") or [] if "ModelCheckpoint" not in str(one)]
        trainer["callbacks"] = kept
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
    except (ArgumentError, TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"configuration: {explain(error)}") from error
    check_trainer(config, cli.model, cli.datamodule)
    return cli


def _prepare_data(datamodule: Any) -> None:
    """Say what is wrong with the data once, before Lightning starts the other processes.

    Where something else started them, all come here. One of them simulates the eyes, and the others wait for
    it, to look into the file; of a datamodule of the user's, only the first prepares anything.
    """
    if is_first_process() or isinstance(datamodule, PhantomDataModule):
        datamodule.prepare_data()


def _has_test_eyes(datamodule: Any) -> bool:
    """Whether a report can be made at the end; where it cannot, that is said before the training."""
    if getattr(datamodule, "content", "pairs") != "pairs":
        return False
    if isinstance(datamodule, FundusOCTDataModule) and not datamodule.n_eyes_of("test"):
        why = "test_fraction 0" if datamodule.split is None else "split names none"
        rank_zero_info(f"no eyes are kept for the test ({why}): there will be no report of this training")
        return False
    if not is_overridden("test_dataloader", datamodule, pl.LightningDataModule):
        name = type(datamodule).__name__
        rank_zero_info(f"{name} has no test_dataloader(): there will be no report of this training")
        return False
    return True


@rank_zero_only
def _report(cli: LightningCLI, run: Path, own: Own, distances: Wanted, n_eyes: int | None) -> None:
    device = cli.trainer.strategy.root_device
    model = cli.model.to(device).eval()
    cli.datamodule.setup("test")  # one of the user's own may have made the eyes of the training alone
    with torch.inference_mode():
        notes = [model.task.seen.how()]
        given = {OWN: model}, cli.datamodule, run / "report", 0, distances, notes, own, _pictures(run)
        evaluate(*given, n_eyes=n_eyes)


def _pictures(run: Path) -> list[Picture]:
    """How the training went: an eye over the epochs, and the curves of what was logged."""
    from fund2oct.evaluation.report.pictures import Picture
    from fund2oct.visual.curves import draw_curves, read_curves

    found = []
    if films := sorted((run / "panels").glob("[!.]*.gif")):
        caption = f"{films[0].stem}, an eye of the validation, over the epochs."
        found.append(Picture("Training", "training-film", caption, films[0].read_bytes(), ".gif"))
    if curves := read_curves(*metrics_files(run)):
        caption = "What was logged, by the steps of the optimisers; bold where smoothed."
        found.append(Picture("Training", "training-curves", caption, draw_curves(curves)))
    return found
