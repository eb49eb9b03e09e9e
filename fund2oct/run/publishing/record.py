"""What a run tells of itself: how long it trained, what its report measured, a picture of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fund2oct.evaluation.answers.answer import OF_SURFACES
from fund2oct.evaluation.report.columns import ANATOMY
from fund2oct.models.checkpoint import CheckpointError, read_checkpoint
from fund2oct.run.folder import last_checkpoint

FIGURES = {
    **{name: ANATOMY[name] for name in ("thickness/error_um", "thickness/correlation", "thickness/covered")},
    "aligned/psnr": ("PSNR aligned, dB ↑", "{:.2f}"),
    "aligned/ssim": ("SSIM aligned ↑", "{:.3f}"),
    "order/violations": ANATOMY["order/violations"],
}
"""The report's values that a card shows: their titles and forms."""
OWN = "model"
"""The name of the model among the answers of its report."""
OWN_SURFACES = OWN + OF_SURFACES
"""The same of a model that draws no volume."""
_PICTURES = ("report/median-*.png", "report/*.png", "panels/*.png")
_NO_REPORT = "Its run has no report: nobody knows."
_OF_OTHERS = (
    "The report of its run is about the weights at the end of the training, not about these: nobody knows."
)


@dataclass(frozen=True)
class RunRecord:
    """A run, as far as its folder tells.

    Args:
        checkpoint: the model.
        about: ``hours``, ``device``, ``n_eyes`` and ``figures`` of the model's report, what of them is known.
            A checkpoint from the middle of the training has the device alone: the report is not about it.
        answers: the report's means by answer and value, the model's controls and floors among them.
        picture: a picture of a test eye; None where there is none.
        judged_on: the file of the report's eyes; empty where they are the test eyes of the training.
        why_no_figures: a sentence for the card; empty where there are figures.
    """

    checkpoint: Path
    about: dict[str, Any]
    answers: dict[str, dict[str, dict[str, float | None]]]
    picture: Path | None
    judged_on: str = ""
    why_no_figures: str = ""

    @classmethod
    def read(cls, run: Path) -> RunRecord:
        """Read the folder of a run, or of a checkpoint the folder that it lies in.

        Raises:
            ValueError: if there is no checkpoint, or ``run.json`` or the report is damaged.
        """
        checkpoint = run if run.is_file() else last_checkpoint(run)
        if checkpoint is None:
            what = "holds no checkpoints/*.ckpt" if run.is_dir() else "no such run"
            raise ValueError(f"{run}: {what}; expected the folder of a run, such as runs/pix2vol/001")
        lies = checkpoint.absolute()
        folder = lies.parent.parent if lies.parent.name == "checkpoints" else lies.parent
        folder = folder.resolve()  # a report calls the model by its run, whatever leads to it
        made, report = _read(folder / "run.json"), _read(folder / "report" / "metrics.json")
        answers, judged_on = report.get("summary", {}), ""
        if not {OWN, OWN_SURFACES} & {*answers}:
            # None, or one of `fund2oct evaluate`, which calls the model by its run.
            named = f"{folder.parent.name} {folder.name}"
            answers = {name.replace(named, OWN): values for name, values in answers.items()}
            judged_on = str(report.get("protocol", {}).get("data", "other files")) if report else ""
        own = next((name for name in (OWN, OWN_SURFACES) if name in answers), None)
        about: dict[str, Any] = {name: made[name] for name in ("hours", "device") if name in made}
        if not _ended_training(checkpoint, folder, made):
            about.pop("hours", None)
            return cls(checkpoint, about, {}, None, why_no_figures=_OF_OTHERS if own else _NO_REPORT)
        if own:
            about["n_eyes"] = report["protocol"]["n_eyes"]
            about["figures"] = {name: answers[own][name]["mean"] for name in FIGURES if name in answers[own]}
        pictures = [path for pattern in _PICTURES for path in sorted(folder.glob(pattern))]
        why = "" if own else _NO_REPORT
        return cls(checkpoint, about, answers, pictures[0] if pictures else None, judged_on, why)


def _ended_training(checkpoint: Path, folder: Path, made: dict[str, Any]) -> bool:
    """Whether a checkpoint has the weights that its training ended with, of which hours and report tell."""
    if "global_step" in made:
        return _global_step(checkpoint) == made["global_step"]
    newest = last_checkpoint(folder)  # a run of an earlier version tells no more
    return newest is not None and newest.samefile(checkpoint)


def _global_step(checkpoint: Path) -> int | None:
    """After how many steps a checkpoint was written; None where it cannot be read, which loading tells."""
    try:
        return int(read_checkpoint(checkpoint, mmap=True)["global_step"])
    except CheckpointError:
        return None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); remove it, or copy the run anew") from None
    return found if isinstance(found, dict) else {}
