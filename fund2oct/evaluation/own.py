"""Measures, answers and test eyes of your own in a report."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from fund2oct.by_path import import_by_path, listed
from fund2oct.data.store.patients import one_name_each
from fund2oct.evaluation.answers.answer import Answer
from fund2oct.evaluation.answers.others import one_patient_note, other_eyes
from fund2oct.geometry import ScanPattern
from fund2oct.metrics import Findings
from fund2oct.models import Batch, VolumeModel
from fund2oct.models.batch import eye_of, to_device
from fund2oct.models.training.optimisation import loaders_of

Measure = Callable[[Findings, Findings], float]
"""A function ``measure(fake, real)`` that gets the :class:`fund2oct.metrics.Findings` in the generated and in
the real volume of one eye, and returns a number, NaN if it cannot be measured. It runs in another process, so
it has to be a function of a module."""

PREFIX = "own/"
"""Prefix of the names of your own measures among the values of an eye."""


@dataclass(frozen=True)
class Own:
    """Measures and answers of your own, for a report.

    Args:
        measures: pairs of a name in the report and a function ``measure(fake, real)`` of two
            :class:`fund2oct.metrics.Findings`.
        answers: further rows of the report.

    Example:
        >>> def brightness(fake, real):
        ...     return float(fake.volume.mean() - real.volume.mean())
        >>> own = Own(measures=(("brightness", brightness),))
        >>> from fund2oct.metrics import Findings
        >>> fake, real = (Findings(torch.full((1, 1, 2, 32, 48), value), 0.06, 0.18) for value in (0.5, 0.25))
        >>> measure_own(own.measures, fake, real)
        {'own/brightness': 0.25}
    """

    measures: tuple[tuple[str, Measure], ...] = ()
    answers: tuple[Answer, ...] = ()

    @classmethod
    def load(cls, measures: Sequence[str] = (), controls: Sequence[str] = ()) -> Own:
        """Import measures and answers by their import paths.

        Args:
            measures: import paths of functions ``measure(fake, real)``; a measure has the name of its
                function.
            controls: import paths of :class:`fund2oct.evaluation.answers.answer.Answer` objects.

        Returns:
            The measures and answers.

        Raises:
            ValueError: if one cannot be imported, or is something else.
        """
        functions: list[tuple[str, Measure]] = []
        answers: list[Answer] = []
        for path in listed(measures):
            function = _import(path, "measure")
            if not callable(function):
                raise ValueError(f"measure {path!r}: expected a function (fake, real), found {function!r}")
            name = path.rpartition(".")[2]
            if name in dict(functions):
                raise ValueError(f"measure {path!r}: another one has the name {name!r} too; rename one")
            functions.append((name, function))
        for path in listed(controls):
            answer = _import(path, "control")
            if not isinstance(answer, Answer):
                found = type(answer).__name__
                raise ValueError(f"control {path!r}: expected an evaluation.answers.Answer, found {found}")
            answers.append(answer)
        return cls(tuple(functions), tuple(answers))

    def notes(self) -> list[str]:
        """A line for each measure: its name, and the first line of its docstring."""
        said = {name: (inspect.getdoc(measure) or "").partition("\n")[0] for name, measure in self.measures}
        return [f"*{name}*, a measure of your own: {line}" for name, line in said.items() if line]


class LoadedEyes:
    """The test eyes of a datamodule of the user's own, see :class:`fund2oct.evaluation.compare.EyeSet`.

    Args:
        datamodule: its ``test_dataloader()`` gives the eyes in the same order each time; a list of loaders is
            taken one after the other.
        device: where the answers are drawn.
    """

    def __init__(self, datamodule: Any, device: torch.device) -> None:
        self._loaders, self._device = loaders_of(datamodule.test_dataloader()), device
        dataset = getattr(self._loaders[0], "dataset", None)
        self.scan: ScanPattern | None = getattr(datamodule, "scan", getattr(dataset, "scan", None))
        batches = [(batch["key"], _texts(batch.get("patient", batch["key"]))) for batch in self._loaded()]
        self.keys = tuple(key for keys, _ in batches for key in keys)
        self.patients = tuple(one_name_each([patient for _, patients in batches for patient in patients]))
        self.n_batches = len(batches)
        self.has_rescan = False
        self.notes = one_patient_note(self.patients)

    def _loaded(self) -> Iterator[dict[str, Any]]:
        return chain.from_iterable(self._loaders)

    def batches(self) -> Iterator[Batch]:
        """All eyes."""
        for batch in self._loaded():
            diagnosis = _texts(batch.get("diagnosis", [""] * len(batch["key"])))
            yield VolumeModel.prepare(to_device(batch, self._device) | {"diagnosis": diagnosis})

    def batch(self, key: str) -> Batch:
        """One eye."""
        batch = next(batch for batch in self.batches() if key in batch["key"])
        return eye_of(batch, list(batch["key"]).index(key))

    def photo_of_another(self, key: str) -> dict[str, Tensor]:
        """The photo of another patient's eye, with its grid and its masks.

        Of another patient and of the same side, as far as the batches tell them.

        Args:
            key: of an eye.

        Returns:
            Entries of a batch of one eye, by name, without the dimension of the batch.
        """
        return self._photos[key]

    @cached_property
    def _photos(self) -> dict[str, dict[str, Tensor]]:
        photos: list[dict[str, Tensor]] = []
        sides: list[str] = []
        for batch in self._loaded():
            shape = len(batch["fundus"]), 1, *batch["fundus"].shape[-2:]
            masks = [name for name, value in batch.items() if getattr(value, "shape", None) == shape]
            names = ["fundus", "grid", *masks]
            photos += [{name: batch[name][n] for name in names} for n in range(len(batch["key"]))]
            sides += batch.get("laterality", [""] * len(batch["key"]))
        others = other_eyes(self.patients, sides)
        return {key: photos[other] for key, other in zip(self.keys, others, strict=True)}


def _texts(named: Tensor | Sequence[str]) -> list[str]:
    """Names, of which those that are numbers became a tensor in the loader."""
    return [str(name) for name in (named.tolist() if isinstance(named, Tensor) else named)]


def measure_own(
    measures: Sequence[tuple[str, Measure]], fake: Findings | None, real: Findings
) -> dict[str, float]:
    """Values of your own measures for one eye.

    Args:
        measures: pairs of a name and a function.
        fake: findings in the generated volume; None if there is no volume, whose values are NaN.
        real: findings in the real volume.

    Returns:
        Values by name, after the prefix ``own/``.

    Raises:
        ValueError: if a measure fails; the message names it.
    """
    values = {}
    for name, measure in measures:
        try:
            values[f"{PREFIX}{name}"] = math.nan if fake is None else float(measure(fake, real))
        except Exception as error:  # a user's function may raise anything
            raise ValueError(f"measure {name}: {type(error).__name__}: {error}") from error
    return values


def _import(path: str, what: str) -> object:
    try:
        return import_by_path(path)
    except ValueError as error:
        raise ValueError(f"{what} {error}") from error
