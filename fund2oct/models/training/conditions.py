"""Scalars that a model is told of an eye, such as its age: read from what is known of it, and scaled."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fund2oct.data.formats.naming import is_missing, known_text, side_of
from fund2oct.eye import Plain, diagnoses_of, folded, some_of

_TRUTH = {"true": 1.0, "false": 0.0}
_ENOUGH = 10
"""Eyes with a number from which on one that lies apart from all others is remarked."""
_APART = 3.0
"""It lies apart if the gap is so many times the range of the others: 999 beside 21 to 27."""
_NO_SPREAD = 1e-6


@dataclass(frozen=True)
class Condition:
    """One scalar: a number, as in ``age_years``, or a text with one of its values, as in ``device=Topcon``.

    A number is scaled by mean and deviation; beyond the least and the greatest of the training it counts as
    these. A text is 1 for its value and -1 for any other that a training eye had. Small
    and capital letters are one. All else is missing.

    Args:
        name: with ``=`` and a value for a text.
        mean: of the training eyes; half for a text.
        deviation: standard deviation of the training eyes; half for a text.
        seen: least and greatest number of the training eyes, or all values of the text, each
            in one spelling.

    Example:
        >>> device = Condition.of("device=Topcon", [{"device": "Topcon"}, {"device": "Zeiss"}])
        >>> [device.read({"device": name}) for name in ("Topcon", "topcon", "Zeiss", "Heidelberg")]
        [1.0, 1.0, -1.0, nan]
    """

    name: str
    mean: float
    deviation: float
    seen: tuple[float | str, ...]

    @classmethod
    def of(cls, name: str, eyes: Sequence[Mapping[str, Plain]]) -> Condition:
        """Learn its scale from the training eyes, see :meth:`Conditions.of`."""
        field, is_text, wanted = name.partition("=")
        told = [texts for eye in eyes if (texts := _texts(field, eye, is_number=not is_text))]
        if not told:
            fields = sorted({one for eye in eyes for one in eye if _texts(one, eye)})
            raise ValueError(f"no training eye has {field}; they have {', '.join(fields) or 'nothing'}")
        if is_text:
            # As the first eye spells it.
            seen = sorted({text.casefold(): text for texts in reversed(told) for text in texts}.values())
            if _plain(wanted).casefold() not in folded(seen):
                raise ValueError(f"{name}: no training eye has it, but {some_of(seen)}")
            return cls(name, 0.5, 0.5, tuple(seen))
        wrong = sorted({text for (text, *_) in told if _number(text) is None})
        if wrong:
            n_wrong = sum(_number(text) is None for (text, *_) in told)
            if n_wrong == len(told):
                raise ValueError(
                    f"{name} is a text, {wrong[0]!r}; name it with a value, as in {name}={wrong[0]}"
                )
            raise ValueError(
                f"{name}: expected numbers, found {some_of(map(repr, wrong))} in {n_wrong} of "
                f"{len(told)} training eyes that have it; mend these cells of the table and import it again"
            )
        values = torch.tensor([_number(text) for (text, *_) in told], dtype=torch.float64)
        _remark_apart(name, values)
        mean, deviation = float(values.mean()), float(values.std(correction=0))
        if deviation <= _NO_SPREAD * max(1.0, abs(mean)):  # all the same, but for rounding
            deviation = 1.0
        return cls(name, mean, deviation, (float(values.min()), float(values.max())))

    @property
    def field(self) -> str:
        """The name without its value."""
        return self.name.partition("=")[0]

    @property
    def is_number(self) -> bool:
        """Whether it is a number, and no text."""
        return "=" not in self.name

    def read(self, eye: Mapping[str, Plain]) -> float:
        """The scaled scalar of an eye, NaN where it is missing.

        Raises:
            ValueError: if it is no number where one is expected.
        """
        texts = _texts(self.field, eye, self.is_number)
        if self.is_number:
            if not texts:
                return math.nan
            value = _number(texts[0])
            if value is None:
                raise ValueError(f"{self.name}: expected a number, found {texts[0]!r}")
            low, high = map(float, self.seen)
            value = min(max(value, low), high)
        else:
            if not self._is_known(texts):
                return math.nan
            value = float(_plain(self.name.partition("=")[2]).casefold() in folded(texts))
        return (value - self.mean) / self.deviation

    def _is_known(self, texts: Sequence[str]) -> bool:
        """Whether a training eye had one of the texts."""
        return bool(folded(texts) & folded(map(str, self.seen)))

    def note(self, eye: Mapping[str, Plain]) -> str:
        """What a user should know of how a value is taken that no training eye had; empty for any other."""
        texts = _texts(self.field, eye, self.is_number)
        if not texts:
            return ""
        if not self.is_number:
            if self._is_known(texts):
                return ""
            seen = some_of(self.seen)
            return (
                f"{self.field} {eye[self.field]!r}: no training eye has it, and it is taken for missing; "
                f"they have {seen}"
            )
        value, (low, high) = _number(texts[0]), map(float, self.seen)
        if value is None or low <= value <= high:
            return ""
        nearest = low if value < low else high
        unit = "; is the unit right?" if abs(value - nearest) > _APART * (high - low) else ""
        return (
            f"{self.name} {value:g}: the training eyes have {low:g} to {high:g}, and it is taken for "
            f"{nearest:g}{unit}"
        )


@dataclass(frozen=True)
class Conditions:
    """The scalars that a model is told.

    Missing is what is not there, None or empty, and words as NA or unknown
    (``fund2oct.data.formats.naming.is_missing``); ``none`` is a value of a text. An eye with several
    diagnoses, joined by ``+``, has each of them.

    Args:
        scalars: in the order in which the model takes them.

    Example:
        >>> eyes = [{"age_years": 50, "laterality": "OD"}, {"age_years": 70, "laterality": "OS"}, {}]
        >>> conditions = Conditions.of(["age_years", "laterality=OD"], eyes)
        >>> conditions.read(eyes)
        tensor([[-1.,  1.],
                [ 1., -1.],
                [nan, nan]])
        >>> conditions.told({"age_years": "700"})
        ({'age_years': 700}, ('age_years 700: the training eyes have 50 to 70, and it is taken for 70; ...
    """

    scalars: tuple[Condition, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], eyes: Sequence[Mapping[str, Plain]]) -> Conditions:
        """Learn the scale of each scalar from the training eyes.

        Args:
            names: of the scalars, see :class:`Condition`.
            eyes: what is known of each eye, by name.

        Raises:
            ValueError: if no eye has one of them, or it is of the other kind.
        """
        try:
            return cls(tuple(Condition.of(name, eyes) for name in names))
        except ValueError as error:
            raise ValueError(f"conditions: {error}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the scalars."""
        return tuple(scalar.name for scalar in self.scalars)

    @property
    def fields(self) -> tuple[str, ...]:
        """What of an eye they read, each once."""
        return tuple(dict.fromkeys(scalar.field for scalar in self.scalars))

    def scaled_as(self, before: Conditions) -> Conditions:
        """The same, in the scales that weights know from an earlier training.

        Args:
            before: the scalars of that training; those that it had not keep their own scales.

        Example:
            >>> before = Conditions.of(["age_years"], [{"age_years": 50}, {"age_years": 70}])
            >>> here = Conditions.of(["age_years"], [{"age_years": 65}, {"age_years": 75}])
            >>> here.scaled_as(before).read([{"age_years": 65}])
            tensor([[0.5000]])
        """
        known = {scalar.name: scalar for scalar in before.scalars}
        scales = (known.get(scalar.name, scalar) for scalar in self.scalars)
        return Conditions(
            tuple(
                replace(scalar, mean=scale.mean, deviation=scale.deviation)
                for scalar, scale in zip(self.scalars, scales, strict=True)
            )
        )

    def read(self, eyes: Sequence[Mapping[str, Plain]]) -> Tensor:
        """The scaled scalars of some eyes, NaN where missing, shape ``(B, n)``.

        Raises:
            ValueError: if one is no number where one is expected.
        """
        return torch.tensor([[scalar.read(eye) for scalar in self.scalars] for eye in eyes])

    def check(self, eyes: Mapping[str, Mapping[str, Plain]], where: str) -> None:
        """Refuse eyes of which a scalar cannot be read, before hours of work that they would end.

        Args:
            eyes: what is known of each eye, by its key.
            where: what messages call their data.

        Raises:
            ValueError: if one is no number where one is expected; it names the eyes.
        """
        wrong = []
        for key, eye in eyes.items():
            try:
                for scalar in self.scalars:
                    scalar.read(eye)
            except ValueError as error:
                wrong.append(f"eye {key!r}: {error}")
        if wrong:
            raise ValueError(
                f"{where}: conditions: {some_of(wrong)}; mend these cells of the table, or empty them, and "
                "import it again"
            )

    def told(self, given: Mapping[str, Plain]) -> tuple[dict[str, Plain], tuple[str, ...]]:
        """What a user tells of an eye, as the file of an eye would have it.

        Args:
            given: values by name; numbers may be texts, and None or a word for it is left out. Of the side a
                word for it says that it is not known, and None says nothing.

        Returns:
            The values, and notes on those that no training eye had.

        Raises:
            ValueError: if the model does not take one, or it is no number or side where one is expected.
        """
        found: dict[str, Plain] = {}
        for name, value in given.items():
            if name not in self.fields:
                known = "nothing, for the model takes only photos"
                if self.fields:
                    known = f"one of {', '.join(self.fields)}"
                raise ValueError(f"{name}: expected {known}")
            if value is None:
                continue
            if name == "laterality":
                found[name] = side_of(str(value))
            elif known_text(value):
                found[name] = value.item() if isinstance(value, np.generic) else value
        self.read([found])
        for scalar in self.scalars:
            if scalar.is_number and scalar.field in found:
                texts = _texts(scalar.field, found, is_number=True)
                number = _number(texts[0]) if texts else None
                if number is None:
                    del found[scalar.field]
                else:
                    found[scalar.field] = int(number) if number.is_integer() else number
        notes = dict.fromkeys(scalar.note(found) for scalar in self.scalars)
        return found, tuple(filter(None, notes))

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain values."""
        return {"scalars": [asdict(scalar) | {"seen": list(scalar.seen)} for scalar in self.scalars]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Conditions:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            tuple(
                Condition(str(one["name"]), float(one["mean"]), float(one["deviation"]), tuple(one["seen"]))
                for one in values.get("scalars", ())
            )
        )


def _texts(field: str, eye: Mapping[str, Plain], is_number: bool = False) -> tuple[str, ...]:
    """What is known of an eye under a name, as texts; none where it is missing."""
    text = _plain(known_text(eye.get(field)))
    if not text or (is_number and is_missing(text)):
        return ()
    return diagnoses_of(text) if field == "diagnosis" else (text,)


def _plain(text: str) -> str:
    """A text without what a table's or a user's way to write it adds: ``1.0`` and ``1`` are the same."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", text.strip())


def _number(text: str) -> float | None:
    try:
        value = _TRUTH[text.lower()] if text.lower() in _TRUTH else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _remark_apart(name: str, values: Tensor) -> None:
    """Warn of a number far from all others, which may stand for a missing one or have another unit."""
    found = values.unique()
    if len(values) < _ENOUGH or len(found) < 4:
        return
    for one, rest in ((found[-1], found[:-1]), (found[0], found[1:])):
        gap = float((one - rest).abs().min())
        if gap > _APART * float(rest[-1] - rest[0]):
            warnings.warn(
                f"conditions: {name}: {one:g} in {int((values == one).sum())} of {len(values)} training eyes "
                f"lies far from the others, {rest[0]:g} to {rest[-1]:g}; if it stands for a missing value, "
                "leave these cells of the table empty",
                stacklevel=2,
            )
