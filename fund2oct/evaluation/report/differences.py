"""Differences between answers, eye by eye: two means with their errors do not tell whether they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scipy.special import stdtrit

from fund2oct.evaluation.answers.answer import OF_SURFACES, OTHER_EYES, SHUFFLED
from fund2oct.evaluation.answers.borrowed import RETRIEVAL
from fund2oct.evaluation.compare import Row, mean_of
from fund2oct.evaluation.report.lesion_tables import row_of

COMPARED = (
    "thickness/error_um",
    "ilm/error_um",
    "rpe/error_um",
    "shadow/agreement",
    "fluid/error_mm3",
    "elevation/error_mm3",
)
"""Values of an eye whose differences are told."""

DIFFERENCES_TEXT = """\
Each is the first of the two less the second, taken eye by eye over the eyes in which both were measured,
with its 95% interval over the patients (Student's t). The first is worse where a value with ↓ is above 0,
and where one with ↑ is below. Where the interval holds 0, nothing was shown. A model that is worse with
others' photos reads its own. One that is neither worse nor better with them ignores its photo, or what it
reads does not help. One that is better with them reads its photo, and answers the wrong way. Each further
model that draws volumes stands less the first one that does, and each further row of median surfaces less
the first such row. The interval knows nothing of how trainings differ: before you believe that one model is
better than another, train each with several seeds."""


def differences(eyes: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, dict[str, float]]]:
    """Each model with photos of others less itself, and each further one less the first of its kind.

    Models that draw volumes are one kind, rows of surfaces alone the other. What is found in a volume is not
    compared with surfaces that were predicted without one: the search for the first has errors of its own.

    Args:
        eyes: for each answer a row an eye, in the same order.

    Returns:
        For each pair, named ``"ONE less OTHER"``, and each of :data:`COMPARED` that both have: ``mean``,
        ``standard_error`` and ``n_eyes`` of :func:`fund2oct.evaluation.compare.mean_of`, and the ends ``low``
        and ``high`` of the interval.
    """
    ends = SHUFFLED, OTHER_EYES
    models = [name for name in eyes if any(name + end in eyes for end in ends)]
    pairs = [(name + end, name) for name in models for end in ends if name + end in eyes]
    drawing = [name for name in models if not name.endswith((OF_SURFACES, RETRIEVAL))]
    of_surfaces = [name for name in eyes if name.endswith(OF_SURFACES)]
    pairs += [(other, alike[0]) for alike in (drawing, of_surfaces) for other in alike[1:]]
    return {
        f"{one} less {other}": {
            key: difference(eyes[one], eyes[other], key)
            for key in COMPARED
            if key in eyes[one][0] and key in eyes[other][0]
        }
        for one, other in pairs
    }


def difference(one: Sequence[Row], other: Sequence[Row], key: str) -> dict[str, float]:
    """Mean over the eyes of a value of one answer less that of another, with its 95% interval.

    Args:
        one: rows of an answer.
        other: those of the other, of the same eyes.
        key: name of the value.

    Example:
        >>> rows = [{"patient": patient, "error": float(patient)} for patient in "1234"]
        >>> other = [{"error": value} for value in (0.0, 1.0, 1.0, 2.0)]
        >>> found = difference(rows, other, "error")
        >>> found["mean"], round(found["low"], 2), round(found["high"], 2)  # 1, 1, 2 and 2
        (1.5, 0.58, 2.42)
    """
    values = [mine[key] - theirs[key] for mine, theirs in zip(one, other, strict=True)]
    patients = [row["patient"] for row in one]
    found = mean_of(values, patients)
    known = {patient for value, patient in zip(values, patients, strict=True) if not math.isnan(value)}
    half = math.nan
    if len(known) > 1:
        half = float(stdtrit(len(known) - 1, 0.975)) * found["standard_error"]
    return found | {"low": found["mean"] - half, "high": found["mean"] + half}


def difference_table(
    found: Mapping[str, Mapping[str, Mapping[str, float]]],
    columns: Mapping[str, tuple[str, str]],
    n_eyes: int,
) -> list[str]:
    """The differences in Markdown.

    Args:
        found: see :func:`differences`.
        columns: titles and forms of the values.
        n_eyes: of the report; a value over fewer says over how many.
    """
    used = [key for key in COMPARED if any(key in each for each in found.values())]
    lines = [row_of(["difference", *(columns[key][0] for key in used)]), "|---|" + "---:|" * len(used)]
    for pair, values in found.items():
        cells = [_cell(values[key], columns[key][1], n_eyes) if key in values else "-" for key in used]
        lines.append(row_of([pair, *cells]))
    return lines


def _cell(value: Mapping[str, float], form: str, n_eyes: int) -> str:
    if not value["n_eyes"]:
        return "-"
    signed = form.replace("{:", "{:+")
    text = signed.format(value["mean"])
    if not math.isnan(value["low"]):
        text += f" ({signed.format(value['low'])} to {signed.format(value['high'])})"
    return text if value["n_eyes"] >= n_eyes else f"{text} ({value['n_eyes']} of {n_eyes} eyes)"
