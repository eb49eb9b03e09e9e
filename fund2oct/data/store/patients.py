"""Names of patients, which some importers store as they are and others as hashes; digests of names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

_HIDDEN = "sha256:"
_HASHED = re.compile("[0-9a-f]{16}")
"""What :func:`hashed_patient` gives."""


def hashed_patient(patient: str, salt: str) -> str:
    """Hash a patient's name, so that it is not stored but the patient's eyes still belong together.

    Args:
        patient: the name or number.
        salt: a secret word of your own. Without it, names that are guessed can be recognised; with another
            one, the same patient gets another hash.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.

    Example:
        >>> hashed_patient("Ada Lovelace", "k7")
        '05aff6725e9f19f9'
    """
    return hashlib.sha256(f"{salt}:{patient}".encode(errors="surrogateescape")).hexdigest()[:16]


def one_name_each(patients: Sequence[str]) -> list[str]:
    """Call each patient by one name, where some eyes hold the name itself and others its unsalted hash.

    Args:
        patients: of each eye.

    Returns:
        The same names, but the hash in place of a name whose hash is among them.

    Example:
        >>> one_name_each(["0071", "0072", hashed_patient("0071", "")])
        ['732090e2e06442b4', '0072', '732090e2e06442b4']
    """
    known = set(patients)
    hashes = {patient: hashed_patient(patient, "") for patient in known}
    return [hashes[patient] if hashes[patient] in known else patient for patient in patients]


def hidden(name: str) -> str:
    """Turn the name of an eye or a patient into a digest, which can be recognised but not read.

    Args:
        name: the name, or its digest, which stays as it is.

    Returns:
        ``sha256:`` and 16 hexadecimal digits.

    Example:
        >>> hidden("011574-64L")
        'sha256:560f9aa4d3a6d044'
        >>> hidden(hidden("011574-64L")) == hidden("011574-64L")
        True
    """
    if name.startswith(_HIDDEN):
        return name
    return _HIDDEN + hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]


def hidden_names(patient: str) -> set[str]:
    """Digests of what a patient may be called: the name that a table holds, or its hash without a salt.

    Args:
        patient: the name, or its digest.

    Returns:
        One or two digests.

    Example:
        >>> hidden(hashed_patient("0071", "")) in hidden_names("0071")
        True
    """
    return {hidden(patient), hidden(hashed_patient(patient, ""))}


def published_patient(patient: str) -> str:
    """The one digest by which a patient is recognised, whether another file holds the name or its hash.

    Args:
        patient: the name, its hash, or its digest, which stays as it is.

    Returns:
        The digest.

    Example:
        >>> published_patient("0071") == published_patient(hashed_patient("0071", ""))
        True
    """
    hashed = patient.startswith(_HIDDEN) or _HASHED.fullmatch(patient)
    return hidden(patient if hashed else hashed_patient(patient, ""))
