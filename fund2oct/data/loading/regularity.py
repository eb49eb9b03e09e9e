"""Whether eyes have what is needed, and are alike enough, to be learned from together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from fund2oct.by_path import listed
from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.loading.split import PARTS, Part, split_patients
from fund2oct.eye import SEARCHED, Array, DataError, some_of

if TYPE_CHECKING:
    from fund2oct.data.loading.dataset import FundusOCTDataset

_SAME = 0.02
Content = Literal["pairs", "photos", "volumes"]

NEEDED: dict[str, tuple[str, ...]] = {
    "pairs": ("fundus", "volume"),
    "photos": ("fundus",),
    "volumes": ("volume",),
}
"""Arrays that an eye needs, by the content of a dataset."""


def irregularities(dataset: FundusOCTDataset) -> list[str]:
    """What differs between the eyes of a training, and what follows from it.

    * Distances of rows or A-scans more than 2% from their median. A network draws rows and columns, not
      micrometres: it cannot know which eye is sampled how.
    * Photos or volumes of which the importer prepared some and others not.

    Returns:
        A line for each, which names eyes; empty where all are alike.
    """
    found = []
    if dataset.content != "photos":
        spacings_um = 1000 * dataset.spacings_mm()
        for values, axis in zip(spacings_um.T, ("rows", "A-scans"), strict=True):
            found += _spread(values, axis, dataset.keys)
    photos, volumes = dataset.prepared()
    if dataset.content != "volumes" and 0 < photos < 1:
        found.append(
            f"{photos:.0%} of the photos had their light evened at import, the others not; set "
            "even_light=true to do it to all"
        )
    if dataset.content != "photos" and 0 < volumes < 1:
        found.append(
            f"{volumes:.0%} of the volumes were brought to common levels at import, the others not; set "
            "even_levels=true to do it to all"
        )
    return found


def _spread(values_um: np.ndarray, axis: str, keys: tuple[str, ...]) -> list[str]:
    known = np.flatnonzero(np.isfinite(values_um))
    if not len(known):
        return []
    median = float(np.median(values_um[known]))
    unlike = np.abs(values_um[known] / median - 1) > _SAME
    if not unlike.any():
        return []
    low, high = (known[find(values_um[known])] for find in (np.argmin, np.argmax))
    return [
        f"the distance of {axis} differs between eyes, from {values_um[low]:.3g} µm in eye {keys[low]!r} to "
        f"{values_um[high]:.3g} µm in eye {keys[high]!r}, {unlike.sum()} of {len(known)} eyes more than "
        f"{_SAME:.0%} from the median; a model takes the median of {median:.3g} µm for all, so that what it "
        "draws is off by as much; import eyes of one spacing, or train on each kind apart"
    ]


def usable_eyes(
    index: EyeIndex, content: Content, shape: tuple[int, int, int] | None, name: str
) -> tuple[Array, list[str]]:
    """Which eyes of a file can be taken.

    Args:
        index: what is known of the eyes.
        content: what is needed of each.
        shape: ``(S, Z, X)`` that volumes are brought to, of which none may have fewer slices.
        name: what messages call the data.

    Returns:
        Whether each can, bool, shape ``(N,)``; and what to say of the others.

    Raises:
        DataError: if there is none.
    """
    needed, notes = NEEDED[content], list[str]()
    what = " or ".join(f"a {name}" for name in needed).replace("fundus", "photo")
    usable = np.all([index.has(name) for name in needed], axis=0)
    if not usable.all():
        notes.append(f"{name}: {(~usable).sum()} eyes without {what} are left out")
    advice = ""
    if shape is not None and "volume" in needed:
        n_slices = index.shapes["volume"][:, 0]
        short = usable & (n_slices < shape[0])
        if short.any():
            notes.append(f"{name}: {short.sum()} eyes of fewer than {shape[0]} slices are left out")
            least = int(n_slices[short].min())
            fitting = f"[{least},{shape[1]},{shape[2]}]"
            advice = (
                f"; {short.sum()} of them have volumes, of {least} slice{'s' * (least > 1)} or more: a "
                f"training takes all of these with volume_shape={fitting} of the data and shape={fitting} of "
                "the model"
            )
        usable &= ~short
    if not usable.any():
        wanted = " and ".join(f"a {name}" for name in needed).replace("fundus", "photo")
        wanted += f" of at least {shape[0]} slices" if shape is not None and "volume" in needed else ""
        raise DataError(f"{name}: expected eyes with {wanted}, found none in {len(index)}{advice}")
    return usable, notes


def given_parts(
    index: EyeIndex, split: Mapping[str, Iterable[str]], known: Iterable[str], name: str
) -> dict[Part, EyeIndex]:
    """The eyes of each part of a split that a user gives.

    Args:
        index: what is known of the eyes that can be taken.
        split: keys of the eyes of each part; a part may be left out.
        known: keys of all eyes of the file, of which some may not be in ``index``.
        name: what messages call the data.

    Raises:
        DataError: if a part is of another name, or the file lacks one of the keys.
    """
    keys = {part: listed(of_part) for part, of_part in split.items()}
    if unknown := keys.keys() - set(PARTS):
        raise DataError(
            f"split: expected the parts {', '.join(PARTS)}, found {', '.join(map(repr, sorted(unknown)))}"
        )
    known = set(known)
    if absent := [key for of_part in keys.values() for key in of_part if key not in known]:
        raise DataError(f"{name}: split names {len(absent)} eyes that are not there: {some_of(absent)}")
    return {part: index.of_keys(keys.get(part, ())) for part in PARTS}


def parts_of(
    index: EyeIndex,
    known: Iterable[str],
    name: str,
    split: Mapping[str, Iterable[str]] | None,
    fractions: tuple[float, float],
    seed: int,
) -> dict[Part, EyeIndex]:
    """The eyes of each part, as a user gives them, or by a hash of the patient.

    Args:
        index: what is known of the eyes that can be taken.
        known: keys of all eyes of the file.
        name: what messages call the data.
        split: see :func:`given_parts`; None splits by patient.
        fractions: of the patients to validate and to test on, see
            :func:`~fund2oct.data.loading.split.split_patients`.
        seed: as there.
    """
    if split is not None:
        return given_parts(index, split, known, name)
    parts = split_patients(index.patients, *fractions, seed)
    return {part: index.of_patients(chosen) for part, chosen in zip(PARTS, parts, strict=True)}


def leaks(parts: Mapping[Part, EyeIndex]) -> list[str]:
    """What eyes of two parts of a split have in common, by which those who are to judge are known already.

    Returns:
        A line for patients, which names their eyes, and one for photos of different patients; empty where
        there are none.
    """
    patients, same = set(parts["train"].patients), len({index.keys for index in parts.values()}) == 1
    if same and len(patients) < 3:
        return [
            f"expected at least 3 patients to split, found {len(patients)}: training, validation and test "
            "hold the same eyes, so their scores say nothing about other eyes"
        ]
    eyes = [(part, eye) for part, index in parts.items() for eye in index.names()]

    def shared(names: list[str]) -> list[str]:
        """Keys of the eyes whose patient, or photo, of this name is in two parts; an empty name is none."""
        parts_of = defaultdict[str, set[Part]](set)
        for name, (part, _) in zip(names, eyes, strict=True):
            parts_of[name].add(part)
        keys = [
            eye.key for name, (_, eye) in zip(names, eyes, strict=True) if name and len(parts_of[name]) > 1
        ]
        return list(dict.fromkeys(keys))

    lines = []
    if of_patients := shared([eye.patient for _, eye in eyes]):
        lines.append(
            f"{len(of_patients)} eyes are of patients who are in two parts of the split "
            f"({some_of(of_patients)}): scores of a part say little of other patients; put all eyes "
            "of a patient into one part"
        )
    told = set(of_patients)
    if photos := [key for key in shared([eye.photo for _, eye in eyes]) if key not in told]:
        lines.append(
            f"{len(photos)} eyes have photos that are in two parts of the split under different patients "
            f"({some_of(photos)}): a model is judged by photos that it has seen; give such eyes one "
            "patient, or leave one of them out"
        )
    return lines


def check_complete(index: EyeIndex, content: Content, where: Callable[[int], str]) -> None:
    """Refuse an eye that lacks photo, volume, or the pose and surfaces that the search finds.

    Args:
        index: what is known of the eyes.
        content: what is needed of each.
        where: names the eye of a number.
    """
    for name in NEEDED[content]:
        for number in np.flatnonzero(~index.has(name))[:1]:
            what = "photo and volume" if content == "pairs" else name.replace("fundus", "photo")
            raise DataError(f"{where(number)}: has no {what} with its scan; leave it out of the keys")
    if "volume" not in NEEDED[content]:
        return
    missing = ~np.all([index.has(name) for name in SEARCHED], axis=0)
    for number in np.flatnonzero(missing)[:1]:
        raise DataError(
            f"{where(number)}: expected its pose and surfaces ({', '.join(SEARCHED)}), found none "
            "or not all; `fund2oct surfaces OLD.h5 NEW.h5` finds them in the volume"
        )
