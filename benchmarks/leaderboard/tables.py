"""The tables of the leaderboard in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import Any

from measures import ANATOMY, REALISM, Measure, of_eyes
from standing import NO_BETTER, READ, WORSE, Estimate, Standings

from fund2oct.evaluation.answers.controls import MEAN, MEDIAN_SURFACES, NEAREST
from fund2oct.evaluation.answers.floors import MEDIAN_OF_TWINS, ONE_TWIN, RESCAN
from fund2oct.evaluation.report.lesion_tables import row_of

FLOORS = RESCAN, ONE_TWIN, MEDIAN_OF_TWINS
CONTROLS = MEDIAN_SURFACES, MEAN, NEAREST
_EXCESS = {
    "thickness/error_um": MEDIAN_OF_TWINS,
    "epithelium/correlation": MEDIAN_OF_TWINS,
    "image": ONE_TWIN,
}
"""The floor of each measure. Where surfaces lie can be guessed, and no guess is better than the median of
twins; how volumes look has to be drawn, and no draw is better than one twin."""

_OF_ALL = "epithelium/correlation", "lesions", "sharpness"
"""Measures that are no mean over eyes, so that no eye can be missing from it."""
FAILED = of_eyes("thickness/failed")
_WORTH_SAYING = 0.01
"""Share of A-scans without a thickness from which on a table says so: the errors are those of the others."""
_MARKS = {
    NO_BETTER: "is no better with its own photo than with those of other patients in",
    WORSE: "is worse with its own photo than with those of other patients, so that it reads it, wrongly, in",
}
_EACH = "By how much each entry is worse, eye by eye, where both could be measured; below 0 it is better."


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Args:
        name: of the row.
        answer: its name in the reports, with ``{seed}`` for the seed.
    """

    name: str
    answer: str


def results(
    standings: Standings, lines: Sequence[Line], failed: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Tables of anatomy, realism, differences from the first, and excess over the floor, the best line first.

    Args:
        standings: of all answers.
        lines: the entries.
        failed: of each line of which a training failed, how often it did and why, in words. It has no rank,
            and its values are those of the other seeds.
    """
    # Whatever a volume looks like, it has a sharpness; surfaces alone are in no rank.
    drawn = [line for line in lines if standings.has(line.answer, REALISM[-1])]
    whole = [line for line in drawn if line.name not in failed]
    # Surfaces alone have an anatomy, and nothing that looks real or not.
    anatomy, realism = _measured(standings, drawn or lines, ANATOMY), _measured(standings, drawn, REALISM)
    answers = [line.answer for line in whole]
    first, second = standings.ranks(answers, anatomy), standings.ranks(answers, realism)
    order = sorted(range(len(whole)), key=lambda number: (first[number], second[number]))
    ranked = [whole[number] for number in order]
    parts = [line for line in lines if line not in whole]
    others = {"": parts, "floor": _there(standings, FLOORS), "control": _there(standings, CONTROLS)}
    text = ["### Anatomy", ""]
    places = [(str(first[number]), whole[number]) for number in order]
    text += _table(standings, anatomy, places, others, "reads its photo in")
    text += ["", *_marks(standings, [*ranked, *parts])]
    text += _lost(standings, [*ranked, *parts])
    text += [f"* `{name}` {said}" for name, said in failed.items()]
    if realism:
        text += ["", "### Realism", ""]
        places = [(str(second[number]), whole[number]) for number in order]
        text += _table(standings, realism, places, others)
        if names := [f"`{name}`" for measure in realism for name in standings.protocols(measure)]:
            text += ["", f"Distances by their full names: {', '.join(names)}."]
    if ranked and len(lines) > 1:
        text += ["", f"### Differences from `{ranked[0].name}`", ""]
        text += [_EACH, ""]
        text += _differences(standings, [*ranked, *parts])
    if excess := _excess(standings, ranked):
        text += ["", "### Excess over the floor", "", *excess]
    return text


def budget(
    trained: Mapping[str, Sequence[Mapping[str, Any]]],
    augmented: Mapping[str, str],
    pretrained: Mapping[str, Sequence[str]],
    tuning: Mapping[str, str],
) -> list[str]:
    """How each entry was trained.

    Args:
        trained: what is known of the finished trainings of each entry, see :mod:`trainings`.
        augmented: how the training eyes of each entry were augmented.
        pretrained: what generator and discriminators of each entry hold that others have trained.
        tuning: how much each was tuned.
    """
    of_both = "generator, discriminators"
    titles = ["training", "minutes", "steps", "eyes to train", "eyes a step", "eyes seen", "augmentation"]
    titles.append(f"trained weights: {of_both}")
    titles.append(f"frozen weights that others trained: {of_both}")
    text = [row_of([*titles, "tuning"]), "|---|" + "---:|" * (len(titles) - 1) + "---|"]
    for name, known in trained.items():
        minutes, steps = (fmean(one[key] for one in known) for key in ("minutes", "steps"))
        sizes = (known[0][side] for side in ("generator", "discriminators"))
        weights = (f"{size / 1e6:.2f} M" if size else "none" for size in sizes)
        batch = known[0]["batch_size"]
        cells = [f"{minutes:.1f}", f"{steps:,.0f}", str(known[0]["n_train"]), str(batch)]
        cells += [f"{steps * batch:,.0f}", augmented[name], ", ".join(weights)]
        text.append(row_of([f"`{name}`", *cells, ", ".join(pretrained[name]), tuning[name]]))
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
    titles = ["entry", "rank", *filter(None, [about_photo]), *(measure.title for measure in measures)]
    text = [row_of(titles), "|---|" + "---:|" * (len(titles) - 1)]
    rows = [*ranked, *((kind, line) for kind, lines in others.items() for line in lines)]
    for rank, line in rows:
        cells = [_cell(standings, line, measure) for measure in measures]
        if set(cells) == {"-"}:
            continue
        if about_photo:
            cells.insert(0, "" if rank in ("floor", "control") else _photo(standings, line))
        name = line.name if rank in ("floor", "control") else f"`{line.name}`"
        text.append(row_of([name, rank if rank not in others else "-", *cells]))
    return text


def _cell(standings: Standings, line: Line, measure: Measure) -> str:
    if not standings.has(line.answer, measure):
        return "-"
    found = standings.estimate(line.answer, measure)
    return _text(standings, found, measure)


def _text(standings: Standings, found: Estimate, measure: Measure) -> str:
    value, low, high = (measure.form.format(end) for end in (found.value, found.low, found.high))
    text = value if low == high else f"{value} ({low} to {high})"
    some = measure.key not in _OF_ALL and 0 < found.n_eyes < standings.n_eyes
    return f"{text} [{found.n_eyes} of {standings.n_eyes} eyes]" if some else text


def readings(standings: Standings, answer: str) -> dict[str, list[Measure]]:
    """The anatomical measures in which an answer was asked with shuffled photos, by what they show."""
    found: dict[str, list[Measure]] = {READ: [], NO_BETTER: [], WORSE: []}
    for measure in ANATOMY:
        if standings.is_asked(answer, measure):
            found[standings.reading(answer, measure)].append(measure)
    return found


def _photo(standings: Standings, line: Line) -> str:
    found = readings(standings, line.answer)
    n_asked = sum(map(len, found.values()))
    if not n_asked:
        return "not asked"
    text = f"{len(found[READ])} of {n_asked}"
    return text if len(found[READ]) == n_asked else f"**{text}**"  # which, lines below the table say


def _marks(standings: Standings, lines: Sequence[Line]) -> list[str]:
    """A line for each entry and mark, with the measures in which it has the mark."""
    text = []
    for line in lines:
        found = readings(standings, line.answer)
        for word, told in _MARKS.items():
            if names := ", ".join(one.title.split(",")[0].rstrip(" ↑↓") for one in found[word]):
                text.append(f"* `{line.name}` {told}: {names}.")
    asked = any(any(readings(standings, line.answer).values()) for line in lines)
    none = "Each entry that was asked gets worse in each measure with the photos of other patients."
    return text or [none if asked else "No entry was asked with the photos of other patients."]


def _lost(standings: Standings, lines: Sequence[Line]) -> list[str]:
    """A line for each entry in whose volumes the search often finds no retina."""
    shares = {line.name: standings.estimate(line.answer, FAILED).value for line in lines}
    return [
        f"* `{name}` has no thickness in {share:.1%} of the A-scans, which are in no error."
        for name, share in shares.items()
        if share >= _WORTH_SAYING
    ]


def _differences(standings: Standings, lines: Sequence[Line]) -> list[str]:
    """By how much each line is worse than the first one."""
    first, *others = lines
    measures = [one for one in _measured(standings, [first], ANATOMY) if one.sums is not None]
    rows = [
        (line.name, [standings.excess(line.answer, first.answer, measure) for measure in measures])
        for line in others
    ]
    return _of_differences(standings, rows, measures, [one.title.rstrip(" ↑↓") for one in measures])


def _excess(standings: Standings, lines: Sequence[Line]) -> list[str]:
    """By how much each line is worse than the floors; nothing where there are none."""
    measures = [one for one in (*ANATOMY, *REALISM) if one.key in _EXCESS]
    measures = [one for one in measures if standings.has(_EXCESS[one.key], one)]
    rows = [
        (line.name, [standings.excess(line.answer, _EXCESS[one.key], one) for one in measures])
        for line in lines
    ]
    titles = [f"{one.title.rstrip(' ↑↓')} ({_EXCESS[one.key]})" for one in measures]
    return _of_differences(standings, rows, measures, titles) if measures else []


def _of_differences(
    standings: Standings,
    rows: Sequence[tuple[str, Sequence[Estimate]]],
    measures: Sequence[Measure],
    titles: Sequence[str],
) -> list[str]:
    text = [row_of(["entry", *titles]), "|---|" + "---:|" * len(titles)]
    for name, found in rows:
        cells = [
            _text(standings, one, measure) if math.isfinite(one.value) else "-"
            for one, measure in zip(found, measures, strict=True)
        ]
        text.append(row_of([f"`{name}`", *cells]))
    return text
