"""The tables of the leaderboard in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from measures import ANATOMY, REALISM, Measure
from standing import SHUFFLED, Estimate, Standings

from fund2oct.evaluation.report.lesion_tables import row_of

FLOORS = ("floor: rescan", "floor: one twin", "floor: median of twins")
CONTROLS = ("median surfaces, no photo", "mean volume", "nearest training photo")
REACHABLE = "floor: one twin"
"""What a model can reach that draws as well as the photo allows."""
_EXCESS = ("thickness/error_um", "epithelium/correlation", "image")


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Args:
        name: of the row.
        answer: its name in the reports, with ``{seed}`` for the seed.
    """

    name: str
    answer: str


def results(standings: Standings, lines: Sequence[Line]) -> list[str]:
    """Tables of anatomy, realism, and excess over the floor, the best line first.

    Args:
        standings: of all answers.
        lines: the entries.
    """
    # Whatever a volume looks like, it has a sharpness; surfaces alone are in no rank.
    whole = [line for line in lines if standings.has(line.answer, REALISM[-1])]
    anatomy, realism = (_measured(standings, whole, measures) for measures in (ANATOMY, REALISM))
    answers = [line.answer for line in whole]
    first, second = standings.ranks(answers, anatomy), standings.ranks(answers, realism)
    order = sorted(range(len(whole)), key=lambda number: (first[number], second[number]))
    ranked = [whole[number] for number in order]
    parts = [line for line in lines if line not in whole]
    others = {"": parts, "floor": _there(standings, FLOORS), "control": _there(standings, CONTROLS)}
    text = ["### Anatomy", ""]
    places = [(str(first[number]), whole[number]) for number in order]
    text += _table(standings, anatomy, places, others, "its photo")
    text += ["", *_ignored(standings, [*ranked, *parts]), "", "### Realism", ""]
    places = [(str(second[number]), whole[number]) for number in order]
    text += _table(standings, realism, places, others)
    if standings.has(REACHABLE, ANATOMY[0]):
        text += ["", "### Excess over the floor", "", *_excess(standings, ranked)]
    return text


def budget(trained: Mapping[str, Sequence[Mapping[str, Any]]], tuning: Mapping[str, str]) -> list[str]:
    """How each entry was trained.

    Args:
        trained: what is known of the trainings of each entry, see :mod:`trainings`.
        tuning: how much each was tuned.
    """
    titles = ["training", "minutes", "steps", "eyes a step", "trained weights: generator, discriminators"]
    text = [row_of([*titles, "tuning"]), "|---|" + "---:|" * (len(titles) - 1) + "---|"]
    for name, known in trained.items():
        minutes, steps = (fmean(one[key] for one in known) for key in ("minutes", "steps"))
        sizes = (known[0][side] for side in ("generator", "discriminators"))
        weights = (f"{size / 1e6:.2f} M" if size else "none" for size in sizes)
        cells = [f"{minutes:.1f}", f"{steps:,.0f}", str(known[0]["batch_size"]), ", ".join(weights)]
        text.append(row_of([f"`{name}`", *cells, tuning[name]]))
    return text


def learning_table(
    standings: Standings, curves: Mapping[str, Mapping[int, str]], measures: Sequence[Measure]
) -> list[str]:
    """Each variant at each number of training eyes, and the floors and controls.

    Args:
        standings: of all answers.
        curves: for each variant the answer's name by the number of training eyes.
        measures: the columns.
    """
    lines = [(name, str(size), Line(name, answer))
             for name, answers in curves.items() for size, answer in answers.items()]  # fmt: skip
    used = _measured(standings, [line for _, _, line in lines], measures)
    text = [row_of(["variant", "eyes", *(one.title for one in used)]), "|---|" + "---:|" * (len(used) + 1)]
    for name, size, line in lines:
        text.append(row_of([f"`{name}`", size, *(_cell(standings, line, one) for one in used)]))
    for line in _there(standings, (*FLOORS, *CONTROLS)):
        text.append(row_of([line.name, "-", *(_cell(standings, line, one) for one in used)]))
    return text


def _measured(standings: Standings, lines: Sequence[Line], measures: Sequence[Measure]) -> list[Measure]:
    return [one for one in measures if any(standings.has(line.answer, one) for line in lines)]


def _there(standings: Standings, answers: Iterable[str]) -> list[Line]:
    return [Line(answer, answer) for answer in answers if standings.has(answer, ANATOMY[0])]


def _table(
    standings: Standings,
    measures: Sequence[Measure],
    ranked: Sequence[tuple[str, Line]],
    others: Mapping[str, Sequence[Line]],
    about_photo: str = "",
) -> list[str]:
    titles = ["entry", "rank", *(measure.title for measure in measures), *filter(None, [about_photo])]
    text = [row_of(titles), "|---|" + "---:|" * (len(titles) - 1)]
    rows = [*ranked, *((kind, line) for kind, lines in others.items() for line in lines)]
    for rank, line in rows:
        cells = [_cell(standings, line, measure) for measure in measures]
        if set(cells) == {"-"}:
            continue
        if about_photo:
            of_entry = standings.has(line.answer + SHUFFLED, measures[0])
            cells.append(_photo(standings, line) if of_entry else "")
        name = line.name if rank in ("floor", "control") else f"`{line.name}`"
        text.append(row_of([name, rank if rank not in others else "-", *cells]))
    return text


def _cell(standings: Standings, line: Line, measure: Measure) -> str:
    if not standings.has(line.answer, measure):
        return "-"
    found = standings.estimate(line.answer, measure)
    few = measure.key in ("lesions", "sharpness") or not found.n_eyes or found.n_eyes == standings.n_eyes
    return _text(found, measure) + ("" if few else f" [{found.n_eyes} of {standings.n_eyes} eyes]")


def _text(found: Estimate, measure: Measure) -> str:
    value, low, high = (measure.form.format(end) for end in (found.value, found.low, found.high))
    return value if low == high else f"{value} ({low} to {high})"


def unread(standings: Standings, answer: str) -> list[Measure]:
    """The anatomical measures in which an answer does not get worse with shuffled photos."""
    return [
        measure for measure in ANATOMY
        if standings.has(answer, measure) and not standings.gets_worse(answer, measure)
    ]  # fmt: skip


def _photo(standings: Standings, line: Line) -> str:
    missed, asked = unread(standings, line.answer), _asked(standings, line.answer)
    if not missed:
        return "read"
    return f"**ignored in {'all' if len(missed) == asked else len(missed)} of {asked}**"


def _asked(standings: Standings, answer: str) -> int:
    return sum(standings.has(answer, measure) for measure in ANATOMY)


def _ignored(standings: Standings, lines: Sequence[Line]) -> list[str]:
    """A line for each entry that is marked, with the measures that do not get worse."""
    text = []
    for line in lines:
        if names := ", ".join(
            one.title.split(",")[0].rstrip(" ↑↓") for one in unread(standings, line.answer)
        ):
            text.append(f"* `{line.name}` does not get worse with the photos of other patients in: {names}.")
    return text or ["Each entry gets worse in each measure with the photos of other patients."]


def _excess(standings: Standings, lines: Sequence[Line]) -> list[str]:
    measures = [one for one in (*ANATOMY, *REALISM) if one.key in _EXCESS]
    measures = [one for one in measures if standings.has(REACHABLE, one)]
    titles = [one.title.rstrip(" ↑↓") for one in measures]
    text = [row_of(["entry", *titles]), "|---|" + "---:|" * len(titles)]
    for line in lines:
        found = [standings.excess(line.answer, REACHABLE, measure) for measure in measures]
        cells = [
            _text(one, measure) if math.isfinite(one.value) else "-"
            for one, measure in zip(found, measures, strict=True)
        ]
        text.append(row_of([f"`{line.name}`", *cells]))
    return text
