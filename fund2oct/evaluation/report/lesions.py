"""Lesions over a set of eyes: found, missed, invented, and how well the detectors may be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fund2oct.metrics.eyes.kinds import KINDS, PRESENT_MM

Row = Mapping[str, Any]


def lesion_summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """How an answer draws each kind of lesion, by one detector in real and in generated volumes.

    A volume *has* a kind from 1 mm of scan on (:data:`fund2oct.metrics.eyes.kinds.PRESENT_MM`).

    Args:
        rows: of one answer, a row an eye, with what :func:`fund2oct.metrics.measure_lesions` measures.

    Returns:
        For each kind ``n_real``, the eyes whose real volume has it; ``found``, the share of these in which
        the answer has it too, somewhere at the same A-scan; ``invented``, the share of the other eyes in
        which the answer has it; and ``dice``, of the A-scans of all eyes together.
    """
    return {kind: _compare(rows, kind, "real", "fake", "both") for kind in KINDS}


def detector_summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """How well the detector finds in the real volumes what the truth says is there.

    Args:
        rows: of any answer.

    Returns:
        As :func:`lesion_summary`, of the real volumes against the truth; empty without a truth.
    """
    if f"{KINDS[0]}/truth_mm" not in rows[0]:
        return {}
    return {kind: _compare(rows, kind, "truth", "real", "confirmed") for kind in KINDS}


def _compare(rows: Sequence[Row], kind: str, expected: str, drawn: str, both: str) -> dict[str, float]:
    lengths = [[row[f"{kind}/{whose}_mm"] for whose in (expected, drawn, both)] for row in rows]
    there = [(seen, shared) for real, seen, shared in lengths if real >= PRESENT_MM]
    absent = [seen for real, seen, _ in lengths if real < PRESENT_MM]
    total = sum(real + seen for real, seen, _ in lengths)
    return {
        "n_real": float(len(there)),
        "found": _share([seen >= PRESENT_MM and shared > 0 for seen, shared in there]),
        "invented": _share([seen >= PRESENT_MM for seen in absent]),
        "dice": 2 * sum(shared for *_, shared in lengths) / total if total else math.nan,
    }


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else math.nan
