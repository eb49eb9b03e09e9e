"""Tables of the report by disease and by kind of lesion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Kinds = Mapping[str, Mapping[str, float]]
"""Values by kind of lesion, see :mod:`fund2oct.evaluation.report.lesions`."""


def row_of(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def group_table(errors: Mapping[str, Kinds]) -> list[str]:
    """Thickness errors of the answers by group of eyes, of which an eye may be in several."""
    first = next(iter(errors.values()))
    sizes = {name: max(groups[name]["n_eyes"] for groups in errors.values()) for name in first}
    titles = [f"{name} ({_number(size)} eyes)" for name, size in sizes.items()]
    lines = [row_of(["answer", *titles]), "|---|" + "---:|" * len(first)]
    for answer, groups in errors.items():
        cells = [_error(groups[name], size) for name, size in sizes.items()]
        lines.append(row_of([answer, *cells]))
    return lines


def lesion_table(lesions: Mapping[str, Kinds], detectors: Kinds) -> list[str]:
    """Found, invented and overlap of each kind: of the detector by the truth, then of each answer."""
    first = next(iter(lesions.values()))
    titles = [
        f"{kind} ({_number(values['n_real'])} eyes): found / invented / overlap"
        for kind, values in first.items()
    ]
    lines = [row_of(["answer", *titles]), "|---|" + "---:|" * len(first)]
    if detectors:
        # The eyes that have a kind by the truth are others than those in which it was found.
        cells = [f"{_shares(detectors[kind])} ({_number(detectors[kind]['n_real'])} eyes)" for kind in first]
        lines.append(row_of(["detector, by the truth", *cells]))
    lines += [
        row_of([answer, *(_shares(kinds[kind]) for kind in first)]) for answer, kinds in lesions.items()
    ]
    return lines


def _error(value: Mapping[str, float], n_eyes: float) -> str:
    if not value["n_eyes"]:
        return "-"
    error = value["standard_error"]
    text = f"{value['mean']:.1f}" + ("" if math.isnan(error) else f" ± {error:.1f}")
    # A mean over the eyes that could be measured flatters: say over how many it is.
    few = value["n_eyes"] < n_eyes
    return f"{text} ({_number(value['n_eyes'])} of {_number(n_eyes)} eyes)" if few else text


def _shares(values: Mapping[str, float]) -> str:
    found, invented, dice = (values[name] for name in ("found", "invented", "dice"))
    shares = ["-" if math.isnan(share) else f"{share:.0%}" for share in (found, invented)]
    return " / ".join([*shares, "-" if math.isnan(dice) else f"{dice:.2f}"])


def _number(count: float) -> str:
    return f"{count:.0f}"
