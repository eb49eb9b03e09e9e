"""Errors by what is wrong with the eye: a mean over all eyes hides which disease is not drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fund2oct.evaluation.compare import mean_of
from fund2oct.eye import diagnoses_of, folded

ALL = "all"
GROUPS: dict[str, frozenset[str]] = {
    "flat": frozenset({"normal", "GA", "haemorrhage"}),
    "detachment or drusen": frozenset({"PED", "drusen"}),
    "cysts or membrane": frozenset({"IRF", "ERM"}),
    "subretinal fluid": frozenset({"SRF"}),
}
"""Diagnoses by group: ``flat`` eyes have nothing else; an eye with one of the others is in that group, and
may be in several."""

_VALUE = "thickness/error_um"


def groups_of(diagnosis: str) -> list[str]:
    """Names of the groups of an eye, none where no diagnosis is known. Small and capital letters are one.

    Example:
        >>> groups_of("PED+SRF"), groups_of("ga"), groups_of("")
        (['detachment or drusen', 'subretinal fluid'], ['flat'], [])
    """
    parts = folded(diagnoses_of(diagnosis))
    if parts and parts <= folded(GROUPS["flat"]):
        return ["flat"]
    return [name for name, members in GROUPS.items() if name != "flat" and parts & folded(members)]


def thickness_by_group(
    eyes: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Thickness error of each answer over all eyes and over each group.

    Args:
        eyes: for each answer, a row an eye with its ``patient`` and its ``diagnosis``.

    Returns:
        For each answer and group mean, standard error and number of eyes; empty where no eye is in a
        group.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for answer, rows in eyes.items():
        members: dict[str, list[Mapping[str, Any]]] = {name: [] for name in (ALL, *GROUPS)}
        for row in rows:
            for name in (ALL, *groups_of(row["diagnosis"])):
                members[name].append(row)
        found[answer] = {
            name: mean_of([row[_VALUE] for row in group], [row["patient"] for row in group])
            for name, group in members.items()
            if group
        }
    known = any(set(groups) - {ALL} for groups in found.values())
    return found if known else {}
