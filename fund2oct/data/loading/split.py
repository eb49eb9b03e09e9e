"""Which patients are trained on and which kept apart; which eyes a model has seen, so that others judge."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

from fund2oct.data.store.patients import hidden, hidden_names, published_patient
from fund2oct.eye import some_of

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


class Split(NamedTuple):
    """Patients of each part of a data set; no patient is in two of them.

    Args:
        train: names of the patients to train on.
        val: names of those to validate on, while a model is trained and chosen.
        test: names of those that are kept back to judge the finished model.

    Example:
        >>> split = split_patients(f"patient {number}" for number in range(100))
        >>> len(split.train), len(split.val), len(split.test)
        (82, 11, 7)
    """

    train: frozenset[str]
    val: frozenset[str]
    test: frozenset[str]


def patient_number(patient: str, seed: int = 0) -> float:
    """Turn a patient's name into a number, by which the patient falls into a part of the split.

    The number depends on nothing but the name and the seed: not on the other patients, the order of the
    files or the machine. The names of many patients are spread evenly.

    Args:
        patient: the name.
        seed: another one gives every patient another number.

    Returns:
        A number in [0, 1).

    Example:
        >>> round(patient_number("patient 7"), 4)
        0.7136
    """
    digest = hashlib.sha256(f"{seed}:{patient}".encode(errors="surrogateescape")).digest()
    # A float holds 53 bits exactly; all 64 could round up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def of_many_patients(patients: Sequence[str], most: int) -> list[int]:
    """Choose some eyes, of as many patients as can be; those of the same patients whenever it is asked.

    Args:
        patients: of each eye.
        most: how many eyes to choose.

    Returns:
        Numbers of the eyes, in their order; all where there are no more.

    Example:
        >>> of_many_patients(["a", "a", "a", "b", "b"], 3)
        [0, 1, 3]
    """
    before: Counter[str] = Counter()
    ranks = []
    for patient in patients:
        ranks.append((before[patient], patient_number(patient), patient))
        before[patient] += 1
    return sorted(sorted(range(len(ranks)), key=ranks.__getitem__)[:most])


def split_patients(
    patients: Iterable[str], val_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0
) -> Split:
    """Part patients by :func:`patient_number`: the lowest are tested on, the next validated on.

    A patient keeps its part when others come or go. The exception is a handful of patients, where a
    part might be empty: it then takes the patient whose number lies nearest. Fewer than three
    patients cannot be parted, and each part holds them all.

    Args:
        patients: names, repeated or not.
        val_fraction: expected share of the patients to validate on, above 0.
        test_fraction: expected share of the patients to test on; 0 tests on none.
        seed: another seed gives another split.

    Returns:
        The patients of each part.

    Raises:
        ValueError: if there is no patient, or the fractions leave none to train on.

    Example:
        >>> names = [f"patient {number}" for number in range(100)]
        >>> before, after = split_patients(names), split_patients([*names, "a new one"])
        >>> before.test <= after.test  # nobody leaves a part when others come
        True
    """
    if not (val_fraction > 0 and test_fraction >= 0 and val_fraction + test_fraction < 1):
        raise ValueError(
            "val_fraction, test_fraction: expected val_fraction above 0, test_fraction of at least 0 and "
            f"a sum below 1, found {val_fraction} and {test_fraction}"
        )
    numbers = {patient: patient_number(patient, seed) for patient in patients}
    everyone = sorted(numbers, key=numbers.__getitem__)
    if not everyone:
        raise ValueError("patients: expected at least one, found none")
    if len(everyone) < 3:
        return Split(*[frozenset(everyone)] * 3)
    n_test = max(sum(number < test_fraction for number in numbers.values()), int(test_fraction > 0))
    n_test = min(n_test, len(everyone) - 2)
    below = sum(number < val_fraction + test_fraction for number in numbers.values())
    n_held = min(max(below, n_test + 1), len(everyone) - 1)
    return Split(
        frozenset(everyone[n_held:]), frozenset(everyone[n_test:n_held]), frozenset(everyone[:n_test])
    )


class EyeName(NamedTuple):
    """What an eye is recognised by, whatever file it is in: its key, its patient or its photo.

    Args:
        key: name of the eye.
        patient: name of the patient.
        photo: :attr:`fund2oct.data.EyeInfo.photo_digest`, empty where there is no photo.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> info = EyeReader("eyes.h5").info("sim3-0000000-OD")
        >>> EyeName(info.key, info.patient, info.photo_digest).patient
        'sim3-0000000'
    """

    key: str
    patient: str
    photo: str


class HeldOut(NamedTuple):
    """Eyes of a file that a model has not seen, so that they may judge it.

    Args:
        keys: names of the eyes, in the order of their file.
        how: how they were chosen, a sentence or two for the report.

    Example:
        >>> seen = SeenEyes.of_keys(train=["7-OD", "7-OS", "8-OD"])
        >>> names = [EyeName(key, key[0], "") for key in ("7-OD", "8-OD", "9-OD")]
        >>> seen.held_out(names, digest="34cd", path="others.h5").keys
        ('9-OD',)
    """

    keys: tuple[str, ...]
    how: str


@dataclass(frozen=True)
class SeenEyes:
    """The data of a training and how it was split, as a checkpoint stores it.

    Args:
        path: the file or files, as given.
        digest: tells whether a file holds these very eyes, see :meth:`fund2oct.data.EyeReader.digest`.
        split: how the eyes were parted, in words.
        parts: the eyes that were trained on, validated on and kept for the test.
        before: the eyes of all trainings whose weights this one began with; they count as trained on.

    Example:
        >>> names = [EyeName(f"{n}-OD", str(n), "") for n in range(3)]
        >>> seen = SeenEyes("a.h5", "12ab", "split_seed 0", {part: (name,) for part, name in
        ...                                                  zip(PARTS, names, strict=True)})
        >>> seen.held_out(names, "12ab", "a.h5").keys  # the same file: its test part
        ('2-OD',)
        >>> new = EyeName("9-OD", "9", "")
        >>> seen.held_out([*names, new], "34cd", "b.h5").keys  # another: what was not seen
        ('2-OD', '9-OD')
    """

    path: str
    digest: str
    split: str
    parts: Mapping[Part, tuple[EyeName, ...]]
    before: tuple[SeenEyes, ...] = ()

    @classmethod
    def of_keys(
        cls, train: Sequence[str], val: Sequence[str] = (), test: Sequence[str] = (), path: str = "own data"
    ) -> SeenEyes:
        """Describe the eyes of a loader of your own, which are known by their keys alone.

        Args:
            train: keys of the eyes that are trained on.
            val: keys of the eyes that are validated on.
            test: keys of the eyes that are kept for the test.
            path: what the data are called.
        """
        keys = dict(zip(PARTS, (train, val, test), strict=True))
        names = {part: tuple(EyeName(key, key, "") for key in keys[part]) for part in PARTS}
        return cls(path, "", "parts as they were given", names)

    def held_out(self, names: Sequence[EyeName], digest: str, path: str) -> HeldOut:
        """Choose the eyes of a file by which the model may be judged.

        Of the file that it was trained on these are the test eyes. Of another file they are all but
        those that it was trained or validated on, known by the eye's key, by the patient or by the photo.

        Args:
            names: the eyes of the file.
            digest: the file's, see :meth:`fund2oct.data.EyeReader.digest`.
            path: what the report calls the file.
        """
        if digest == self.digest:
            kept = {hidden(name.key) for name in self.parts["test"]}
            keys = tuple(name.key for name in names if hidden(name.key) in kept)
            return HeldOut(keys, f"{self.how()}{self._overlap()}")
        seen = [name for name in names if self._knows(name)]
        known = {name.key for name in seen}
        keys = tuple(name.key for name in names if name.key not in known)
        how = f"`{path}` holds other eyes than `{self.path}`, on which the model was trained.{self._begun()} "
        if not seen:
            how += f"None of its {len(names)} eyes was trained or validated on, by key, patient and photo."
            return HeldOut(keys, how)
        how += (
            f"{len(seen)} of its {len(names)} eyes are left out: the model was trained or validated on them, "
            f"by key, patient or photo ({some_of(name.key for name in seen)})."
        )
        return HeldOut(keys, how)

    def check_apart(self, later: SeenEyes) -> None:
        """Refuse a training that begins with weights which already know the eyes that are to judge it.

        Args:
            later: the eyes of the training that begins; ``self`` are those of the weights' own training.

        Raises:
            ValueError: if test eyes of the later training were trained on in the earlier one, or before it.
        """
        known = [name.key for name in later.parts["test"] if self._knows(name)]
        if known:
            then = "; ".join(f"{one.path}: {one.split}" for one in (self, *self.before))
            raise ValueError(
                f"the weights that this training begins with were trained on {len(known)} of the "
                f"{len(later.parts['test'])} eyes that it keeps for the test ({some_of(known)}), by key, "
                f"patient or photo; its report would flatter. Split the data as then ({then})"
            )

    def how(self) -> str:
        """How the test eyes of the training's own data were chosen."""
        return (
            f"The eyes are the test part of `{self.path}`, as the model was trained with it: "
            f"{self.split}, {len(self.parts['train'])} eyes to train, {len(self.parts['val'])} to validate, "
            f"{len(self.parts['test'])} to test.{self._begun()}"
        )

    def _begun(self) -> str:
        paths = ", ".join(dict.fromkeys(f"`{one.path}`" for one in self.before))
        return f" Its weights began with what was learned on {paths}." if paths else ""

    def _overlap(self) -> str:
        trained = {name.key for name in self.parts["train"]}
        if any(name.key in trained for name in self.parts["test"]):
            return " With fewer than three patients nothing was held back: **the model was trained on them.**"
        return ""

    def trained(self, names: Iterable[EyeName]) -> set[str]:
        """Keys of those of the given eyes that the model was trained on; eyes are known by their keys."""
        keys = {hidden(name.key) for name in self.parts["train"]}
        return {name.key for name in names if hidden(name.key) in keys}

    def for_publishing(self) -> SeenEyes:
        """The same without names that can be read.

        Eyes and patients are known by digests of their names, and files by their names without the folder.
        """
        parts = {
            part: tuple(EyeName(hidden(key), published_patient(who), photo) for key, who, photo in names)
            for part, names in self.parts.items()
        }
        path = ", ".join(PurePath(one).name for one in self.path.split(", "))
        before = tuple(one.for_publishing() for one in self.before)
        return SeenEyes(path, self.digest, self.split, parts, before)

    def _knows(self, name: EyeName) -> bool:
        keys, patients, photos = self._known
        return (
            hidden(name.key) in keys
            or not hidden_names(name.patient).isdisjoint(patients)
            or (bool(name.photo) and name.photo in photos)
        )

    @cached_property
    def _known(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        known = [name for one in (self, *self.before) for name in (*one.parts["train"], *one.parts["val"])]
        keys, patients, photos = zip(*known, strict=True) if known else ((), (), ())
        named = frozenset(digest for patient in patients for digest in hidden_names(patient))
        return frozenset(map(hidden, keys)), named, frozenset(photos)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in a checkpoint."""
        parts = {part: [list(name) for name in self.parts[part]] for part in PARTS}
        before = [one.to_dict() for one in self.before]
        about = {"path": self.path, "digest": self.digest, "split": self.split}
        return {**about, "parts": parts, "before": before}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SeenEyes:
        """Read what :meth:`to_dict` wrote."""
        parts = {part: tuple(EyeName(*map(str, name)) for name in values["parts"][part]) for part in PARTS}
        before = tuple(map(cls.from_dict, values.get("before", ())))
        return cls(str(values["path"]), str(values["digest"]), str(values["split"]), parts, before)
