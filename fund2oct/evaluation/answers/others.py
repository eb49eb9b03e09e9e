"""Which other patient's eye stands in for an eye where a report shuffles what a model is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain


def other_eyes(patients: Sequence[str], sides: Sequence[str]) -> list[int]:
    """Choose for each eye that of another patient, of the same side where there is one.

    A photo of the other side is mirrored: a model that does worse with it may have read the side alone. The
    eye lies about half the set further, because the other eye of a patient is often the next in a file.

    Args:
        patients: of each eye, in the order of the file.
        sides: ``"OD"`` or ``"OS"`` of each, empty where unknown.

    Returns:
        The number of the other eye, for each. It is another eye of the same patient only if there is no other
        patient, and the eye itself only if there is no other eye.

    Example:
        >>> other_eyes(["a", "a", "b", "b", "c", "c"], ["OD", "OS"] * 3)
        [2, 3, 4, 5, 0, 1]
    """
    everyone = range(len(patients))
    found = [(number + 1) % len(patients) for number in everyone]
    for side in dict.fromkeys(sides):
        alike = [number for number in everyone if sides[number] == side]
        for place, number in enumerate(alike):
            others = chain(_further(alike, place), _further(everyone, number))
            of_others = (other for other in others if patients[other] != patients[number])
            found[number] = next(of_others, found[number])
    return found


def _further(eyes: Sequence[int], place: int) -> Iterator[int]:
    """All eyes, from the one that lies about half of them further."""
    # An even number: where right and left eyes alternate, their sides then agree even if nobody knows them.
    start = place + len(eyes) // 4 * 2
    return (eyes[(start + step) % len(eyes)] for step in range(len(eyes)))


def one_patient_note(patients: Sequence[str]) -> list[str]:
    """What a report has to say of its controls where all eyes are of one patient.

    Only then does :func:`other_eyes` give an eye of the same patient.

    Args:
        patients: of each eye.

    Returns:
        The note; nothing where there are several patients.

    Example:
        >>> one_patient_note(["a", "b"])
        []
        >>> len(one_patient_note(["a", "a"]))
        1
    """
    if len(set(patients)) > 1:
        return []
    return [
        "**There is no other patient: rows of what is *shuffled*, and of *other eyes*, show the same one. "
        "They tell nothing of whether an answer depends on the eye.**"
    ]
