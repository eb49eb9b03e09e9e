"""The folder of an evaluation: numbers for programs, tables and figures for people."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fund2oct.evaluation.answers.answer import Answer
from fund2oct.evaluation.compare import Comparison, EyeSet
from fund2oct.evaluation.report.differences import differences
from fund2oct.evaluation.report.groups import thickness_by_group
from fund2oct.evaluation.report.lesions import detector_summary, lesion_summary
from fund2oct.evaluation.report.pictures import Picture, chart_pictures, eye_pictures
from fund2oct.evaluation.report.reliability import Reliability
from fund2oct.evaluation.report.tables import report_text
from fund2oct.file_kinds import is_made_here
from fund2oct.outputs import OutputError, check_folder, versions
from fund2oct.visual.page import write_page
from fund2oct.visual.style import known_figure_formats

MARK = "metrics.json"
"""The file by which the folder of a report is known."""
TEXT = "report.md"
_SCRATCH = ".report-"
_FIRST = '"protocol"'
_PICTURES = (".png", ".svg", ".pdf", ".gif")


def check_report_folder(out: Path, overwrite: bool) -> None:
    """Refuse to write a report into a folder that holds something else, or without ``overwrite`` a report.

    Raises:
        fund2oct.outputs.OutputError: if it does.
    """
    if out.is_dir() and (left := [*out.iterdir()]) and all(map(_is_scratch, left)):
        for folder in left:  # of a report that was killed
            shutil.rmtree(folder)
    check_folder(out, MARK, overwrite)
    begins = (out / MARK).read_text("utf-8", "replace")[:40] if (out / MARK).is_file() else ""
    if begins and _FIRST not in begins:
        raise OutputError(f"{out}: holds a {MARK} that is of no report; choose another folder")


def _is_scratch(path: Path) -> bool:
    """Whether it is a folder in which a report was being made, by the name that tempfile gives."""
    named = re.fullmatch(re.escape(_SCRATCH) + r"[a-z0-9_]{8}", path.name)
    return named is not None and path.is_dir() and not path.is_symlink()


def write_report(
    out: Path,
    protocol: Mapping[str, Any],
    eyes: EyeSet,
    answers: Sequence[Answer],
    found: Comparison,
    shown: Mapping[str, str],
    pictures: Sequence[Picture] = (),
    figure_formats: str | Sequence[str] = (),
    reliability: Reliability | None = None,
) -> dict[str, Any]:
    """Write what was measured, all of it or nothing; of an earlier report in the folder nothing is left.

    ``metrics.json`` holds the protocol, the versions, the means, every eye's values and the
    distances, ``null`` for what could not be measured or is not finite; ``report.md`` the tables;
    ``scatter.png`` every eye; ``distances.png`` the distances; and ``best-NAME.png``,
    ``median-NAME.png`` and ``worst-NAME.png`` the eyes of such thickness error. ``report.html`` is the
    report as one page, with the pictures inside.

    Args:
        out: the folder, made if need be.
        protocol: how it was measured, plain values: ``name``, ``statement``, ``n_eyes``, ``shape``,
            and ``notes`` where there are any.
        eyes: the real eyes, to draw some of them.
        answers: the answers, to draw them.
        found: what was measured.
        shown: the answers for which eyes are drawn, and what is said below each picture of them.
        pictures: further ones.
        figure_formats: of :data:`fund2oct.visual.FIGURE_FORMATS`, in which figures are written too.
        reliability: how often the models' intervals hold the real value.

    Returns:
        What ``metrics.json`` holds, with the numbers that are not finite.
    """
    figure_formats = known_figure_formats(figure_formats)
    out.mkdir(parents=True, exist_ok=True)
    notes = [*protocol.get("notes", []), *found.notes]
    # Rows of surfaces alone tell nothing of lesions.
    by_rows = found.eyes.values()
    measured = next((rows for rows in by_rows if "PED/truth_mm" in rows[0]), next(iter(by_rows)))
    result = {
        "protocol": dict(protocol) | {"notes": notes},
        "versions": versions(),
        "seed": protocol["seed"],
        "summary": found.summary(),
        "sets": found.sets,
        "differences": differences(found.eyes),
        "thickness_by_disease": thickness_by_group(found.eyes),
        "lesions": {
            name: lesion_summary(rows) for name, rows in found.eyes.items() if "PED/fake_mm" in rows[0]
        },
        "detectors": detector_summary(measured),
        "distances": {name: [one.to_dict() for one in each] for name, each in found.distances.items()},
        "reliability": reliability or {},
        "eyes": found.eyes,
    }
    drawn = [*chart_pictures(found, reliability or {}), *pictures]
    for name, footer in shown.items():
        drawn += eye_pictures(name, eyes, answers, found, footer)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=out) as scratch:
        made = Path(scratch)
        (made / MARK).write_text(json.dumps(_plain(result), indent=1, allow_nan=False) + "\n")
        contents = {picture.file: picture.write(made, figure_formats) for picture in drawn}
        text = report_text(result, found.distances, drawn)
        (made / TEXT).write_text(text, encoding="utf-8")
        write_page(made / "report.html", text, contents)
        _put(made, out)
    return result


def _put(made: Path, out: Path) -> None:
    """Move a report to where an earlier one may lie, whose pictures go; other files there stay."""
    earlier = (out / TEXT).read_text("utf-8", "replace") if (out / TEXT).is_file() else ""
    shown = {Path(name).stem for name in re.findall(r"\]\(<([^>]+)>\)", earlier)}
    for file in [*out.iterdir()]:  # in all formats
        if file.stem in shown and file.suffix in _PICTURES and file.is_file() and is_made_here(file):
            file.unlink()
    for file in sorted(made.iterdir(), key=lambda file: file.name != MARK):  # by which the folder is known
        os.replace(file, out / file.name)


def _plain(value: Any) -> Any:
    """JSON knows neither NaN nor infinity."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
