"""The folder of a run: of one training, and of no other."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from fund2oct.outputs import OutputError, check_folder, make_numbered_folder
from fund2oct.run.config import ConfigError

_INHERITED = "FUND2OCT_RUN_DIR"
_MARKS = "config.yaml", "run.json"
"""What each run holds. A ``config.yaml`` alone is that of many a program."""
_MADE = (
    "checkpoints", "panels", "report", "config.yaml", "hparams.yaml", "run.json", "metrics*.csv",
    "events.out.tfevents.*", "hpc_ckpt_*.ckpt", ".job",
)  # fmt: skip
"""What a training writes into its folder."""
_JOB = ".job"
"""Names the batch job of Slurm that began the run: started again by Slurm, it goes on in the same folder."""
_EARLIER = ".earlier"
"""Where an earlier run lies until the one that takes its place has come to its end, or left a checkpoint."""


def make_run_folder(
    experiment: str, out: str | Path | None = None, overwrite: bool = False, resume: str | Path | None = None
) -> Path:
    """Make the folder of a new run.

    Without ``out`` it is the next free number in ``runs/EXPERIMENT``; in a batch job of Slurm it is named by
    the job. A job that Slurm starts again, for whatever reason, finds its folder again and goes on in it
    (:func:`is_started_again`). The processes of one training share the folder that the first of them makes.

    Args:
        experiment: its name or the path of its file, which is never removed.
        out: the folder.
        overwrite: whether an earlier run in ``out`` may be replaced. It is set aside, until
            :func:`end_replacing`.
        resume: the checkpoint to go on from, which is never removed.

    Raises:
        fund2oct.outputs.OutputError: if ``out`` holds something that may not be replaced.
        ConfigError: if there is nothing to overwrite without ``out``, or if several processes that
            something else started cannot agree on a folder.
    """
    job, name = slurm_job(), Path(experiment).stem
    if overwrite and out is None:
        raise ConfigError("train: --overwrite is for --out DIR; without it each run has a folder of its own")
    if out is None and job is None and "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("train: under torchrun give --out DIR: all processes of a training share a folder")
    if not is_first_process():
        inherited = os.environ.get(_INHERITED) if out is None and job is None else None
        folder = inherited or out or f"runs/{name}/{job}"
        return Path(folder)
    if out is None and job is None:
        run = make_numbered_folder(Path("runs") / name)
    else:
        run = Path(out) if out is not None else Path("runs") / name / str(job)
        if is_started_again(run):
            _keep_metrics(run)
        else:
            # What was set aside was looked at, and what began in its place may not have its marks yet.
            for mark in () if overwrite and (run / _EARLIER).is_dir() else _MARKS:
                if out is None and (run / mark).exists():
                    raise OutputError(
                        f"{run}: holds a {mark} already, of an earlier training of this job; give each "
                        "further one a folder of its own (--out DIR)"
                    )
                check_folder(run, mark, overwrite)
            if overwrite and run.is_dir():
                _set_aside(run, experiment, resume)
        run.mkdir(parents=True, exist_ok=True)
        if job is not None:
            (run / _JOB).write_text(job)
    # Lightning starts the other processes with the command of this one.
    os.environ[_INHERITED] = str(run)
    return run


def is_first_process() -> bool:
    """Whether this is the process of a training that speaks and writes for all."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


@rank_zero_only
def remove_if_empty(run: Path) -> None:
    """Leave no folder behind of a training that wrote nothing."""
    with suppress(OSError):  # it holds something, as it should
        if [path.name for path in run.iterdir()] == [_JOB]:
            (run / _JOB).unlink()
        run.rmdir()


@rank_zero_only
def end_replacing(run: Path, trained: bool, trial: bool = False) -> None:
    """Remove the earlier run that was set aside, or put it back where nothing is kept in its place.

    Args:
        run: the folder.
        trained: whether a training came to its end; what left a checkpoint is kept in any case.
        trial: whether it was a trial of a batch, of which nothing is kept.
    """
    earlier = run / _EARLIER
    if not earlier.is_dir():
        return
    if trial or not (trained or last_checkpoint(run)):
        rank_zero_info(f"nothing of this training is kept: {run} is the earlier run, as before")
        _remove(_made(run))
        for path in earlier.iterdir():
            path.rename(run / path.name)
    shutil.rmtree(earlier)


def last_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint in the folder of a run."""
    found = [*run.glob("checkpoints/[!.]*.ckpt"), *run.glob("hpc_ckpt_*.ckpt")]
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name == "last.ckpt"), default=None)


def metrics_files(run: Path) -> list[Path]:
    """What a training logged, in its order: a file for each time that Slurm started it."""
    last = run / "metrics.csv"
    return [*_earlier_metrics(run), *([last] if last.is_file() else [])]


def is_started_again(run: Path) -> bool:
    """Whether Slurm has started the job that began a run again: requeued, preempted, or its node failed."""
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0) < 1:
        return False
    began = run / _JOB
    return began.is_file() and began.read_text() == slurm_job()


def slurm_job() -> str | None:
    """A name for a batch job; in an interactive one several trainings may follow one another."""
    job, step = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_STEP_ID", "0")
    if job is None or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    return f"slurm-{job}" + (f".{step}" if step not in ("0", "4294967291") else "")


def _keep_metrics(run: Path) -> None:
    """Lightning's logger would begin ``metrics.csv`` anew."""
    written = run / "metrics.csv"
    if written.is_file():
        written.rename(run / f"metrics-{len(_earlier_metrics(run)) + 1}.csv")


def _earlier_metrics(run: Path) -> list[Path]:
    found = [path for path in run.glob("metrics-*.csv") if path.stem.removeprefix("metrics-").isdigit()]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("metrics-")))


def _set_aside(run: Path, experiment: str, resume: str | Path | None) -> None:
    """Make room for a run; a mistake in its settings may show only after that."""
    if resume is not None and Path(resume).resolve().is_relative_to(run.resolve()):
        raise OutputError(f"{run}: holds the checkpoint to resume from; choose another folder")
    earlier = run / _EARLIER
    if any(Path(experiment).resolve().is_relative_to(path.resolve()) for path in [*_made(run), earlier]):
        raise OutputError(f"{run}: holds the experiment {experiment}; choose another folder")
    if earlier.is_dir() and last_checkpoint(run) is None:  # of a training that was killed at its start
        _remove(_made(run))
        return
    _remove([earlier] if earlier.is_dir() else [])
    earlier.mkdir()
    for path in _made(run):
        path.rename(earlier / path.name)


def _made(run: Path) -> list[Path]:
    return [path for pattern in _MADE for path in run.glob(pattern)]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
