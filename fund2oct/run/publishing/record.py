"""What a run tells of itself: how long it trained, what its report measured, a picture of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fund2oct.run.folder import last_checkpoint

FIGURES = {
    "thickness/error_um": ("thickness error, µm ↓", "{:.1f}"),
    "thickness/correlation": ("thickness correlation ↑", "{:.2f}"),
    "thickness/covered": ("80% interval covers", "{:.0%}"),
    "aligned/psnr": ("PSNR aligned, dB ↑", "{:.2f}"),
    "aligned/ssim": ("SSIM aligned ↑", "{:.3f}"),
    "order/violations": ("implausible A-scans ↓", "{:.1%}"),
}
"""The report's values that a card shows: their titles and forms."""
OWN = "model"
"""The name of the model among the answers of its report."""
_PICTURES = ("report/median-*.png", "report/*.png", "panels/*.png")


@dataclass(frozen=True)
class RunRecord:
    """A run, as far as its folder tells.

    Args:
        checkpoint: the model.
        about: ``hours``, ``device``, ``n_eyes`` and ``figures`` of the model's report, what of them is known.
        answers: the report's means by answer and value, the model's controls and floors among them.
        picture: a picture of a test eye; None where there is none.
    """

    checkpoint: Path
    about: dict[str, Any]
    answers: dict[str, dict[str, dict[str, float | None]]]
    picture: Path | None

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
        folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
        made, report = _read(folder / "run.json"), _read(folder / "report" / "metrics.json")
        answers = report.get("summary", {})
        about: dict[str, Any] = {name: made[name] for name in ("hours", "device") if name in made}
        if OWN in answers:
            about["n_eyes"] = report["protocol"]["n_eyes"]
            about["figures"] = {name: answers[OWN][name]["mean"] for name in FIGURES if name in answers[OWN]}
        pictures = [path for pattern in _PICTURES for path in sorted(folder.glob(pattern))]
        return cls(checkpoint, about, answers, pictures[0] if pictures else None)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); remove it, or copy the run anew") from None
    return found if isinstance(found, dict) else {}
