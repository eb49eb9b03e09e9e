"""The folder of an evaluation: numbers for programs, tables and figures for people."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fund2oct
from fund2oct.evaluation.answers.answer import Answer
from fund2oct.evaluation.compare import Comparison, EyeSet, Row
from fund2oct.evaluation.report.groups import thickness_by_group
from fund2oct.evaluation.report.lesions import detector_summary, lesion_summary
from fund2oct.evaluation.report.tables import SCATTER, report_text
from fund2oct.visual import draw_panel, save_figure
from fund2oct.visual.report import draw_distances, draw_scatter

_RANKED_BY = "thickness/error_um"
_PACKAGES = ("torch", "torchmetrics", "numpy", "scipy")


def write_report(
    out: Path,
    protocol: Mapping[str, Any],
    eyes: EyeSet,
    answers: Sequence[Answer],
    found: Comparison,
    shown: Sequence[str],
) -> dict[str, Any]:
    """Write what was measured.

    ``metrics.json`` holds the protocol, the versions, the means, every eye's values and the
    distances, ``null`` for what could not be measured or is not finite; ``report.md`` the tables;
    ``scatter.png`` every eye; ``distances.png`` the distances; and ``best-NAME.png``,
    ``median-NAME.png`` and ``worst-NAME.png`` the eyes of such thickness error.

    Args:
        out: the folder, made if need be.
        protocol: how it was measured, plain values: ``name``, ``statement``, ``n_eyes``, ``shape``,
            and ``notes`` where there are any.
        eyes: the real eyes, to draw some of them.
        answers: the answers, to draw them.
        found: what was measured.
        shown: names of the answers for which eyes are drawn.

    Returns:
        What ``metrics.json`` holds, with the numbers that are not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    notes = [*protocol.get("notes", []), *found.notes]
    result = {
        "protocol": dict(protocol) | {"notes": notes},
        "versions": _versions(),
        "seed": protocol["seed"],
        "summary": found.summary(),
        "sets": found.sets,
        "thickness_by_disease": thickness_by_group(found.eyes),
        "lesions": {
            name: lesion_summary(rows) for name, rows in found.eyes.items() if "PED/fake_mm" in rows[0]
        },
        "detectors": detector_summary(next(iter(found.eyes.values()))),
        "distances": {name: [one.to_dict() for one in each] for name, each in found.distances.items()},
        "eyes": found.eyes,
    }
    (out / "metrics.json").write_text(json.dumps(_plain(result), indent=1, allow_nan=False) + "\n")
    (out / "report.md").write_text(report_text(result, found.distances))
    save_figure(draw_scatter(found.eyes, SCATTER), out / "scatter.png")
    if found.distances:
        save_figure(draw_distances(found.distances), out / "distances.png")
    for name in shown:
        _draw_eyes(out, name, eyes, answers, found)
    return result


def _draw_eyes(out: Path, name: str, eyes: EyeSet, answers: Sequence[Answer], found: Comparison) -> None:
    # An eye in which nothing could be measured is as bad as can be.
    errors = [row[_RANKED_BY] if math.isfinite(row[_RANKED_BY]) else math.inf for row in found.eyes[name]]
    ranked = sorted(range(len(errors)), key=errors.__getitem__)
    for label, number in (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])):
        row = found.eyes[name][number]
        batch = eyes.batch(row["key"])
        rows = {"real": batch["volume"][0, 0]}
        for answer in answers:
            # The controls have their numbers; a picture of them all would be too tall to look at.
            if not (answer.name.startswith("floor") or answer.name in (name, f"{name}, noise off")):
                continue
            volume = answer.give(batch).volume
            if volume is not None:
                rows[_label(answer.name, found.eyes[answer.name][number])] = volume[0, 0]
        parts = (row["key"], row["diagnosis"], f"{label} thickness error of {name}")
        title = "   ".join(part for part in parts if part)
        photo, grid = (batch[part][0] if part in batch else None for part in ("fundus", "grid"))
        figure = draw_panel(photo, grid, rows, title)
        save_figure(figure, out / f"{label}-{name.replace(' ', '-')}.png")


def _label(name: str, row: Row) -> str:
    error_um = row[_RANKED_BY]
    error = f"{error_um:.0f} µm" if math.isfinite(error_um) else "no thickness"
    return f"{name}\n{error}, SSIM {row['lying/ssim']:.2f}"


def _versions() -> dict[str, str]:
    return {"fund2oct": fund2oct.__version__, "python": platform.python_version()} | {
        package: version(package) for package in _PACKAGES
    }


def _plain(value: Any) -> Any:
    """JSON knows neither NaN nor infinity."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
