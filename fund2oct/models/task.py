"""Description of the training data that a model needs to be used without them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor

from fund2oct.data.loading.split import SeenEyes
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.geometry import ScanPattern
from fund2oct.models.training.conditions import Conditions
from fund2oct.models.uncertainty.familiar import FamiliarPhotos
from fund2oct.retina import PoseModel

TASK_KEY = "fund2oct"
"""Where a checkpoint stores the model's class and task."""
DEMONSTRATION = "trained on simulated eyes; a demonstration of the machinery"
"""Note on all results of a model that was trained on simulated eyes."""


class TrainingData(Protocol):
    """Attributes that a datamodule, or the dataset of a plain loader, needs for training a model.

    :class:`fund2oct.data.FundusOCTDataModule` and :class:`fund2oct.data.FundusOCTDataset` have them; data of
    your own need them too. ``preparation``, ``simulated`` and ``real`` are optional, see :class:`Task`, and
    so is ``metadata()``, what is known of each training eye by name, for models with ``conditions``.
    With ``metadata_of_others()``, the same of each eye to validate or to test on by its key, these eyes are
    checked before the first step too.

    Attributes:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        fundus_px: width of the photos in pixels.
        scan: lines of the B-scans.
        spacing_mm: distance of neighbouring slices, rows and A-scans ``(s, z, x)`` in millimetres.
    """

    shape: tuple[int, int, int]
    fundus_px: int
    scan: ScanPattern
    spacing_mm: tuple[float, float, float]

    def poses(self) -> Tensor:
        """Poses of the training eyes, their coefficients in micrometres, shape ``(N, S, K)``."""

    def seen(self) -> SeenEyes:
        """The eyes to train on, to validate on and to test on.

        See :meth:`~fund2oct.data.loading.split.SeenEyes.of_keys`.
        """


def lacking(data: Any) -> list[str]:
    """Names of the attributes of :class:`TrainingData` that some data lack."""
    return [name for name in _ASKED if not hasattr(data, name)]


def tells(datamodule: Any) -> bool:
    """Whether a datamodule tells itself what a model has to know; else the datasets of its loaders are asked.

    One of photos or volumes alone tells which eyes it has, if anything: a translation is not trained on it.
    """
    return getattr(datamodule, "content", "pairs") != "pairs" or not lacking(datamodule)


_ASKED = ("shape", "fundus_px", "scan", "spacing_mm", "poses", "seen")


def seen_by(data: Any, vals: Sequence[Any] = ()) -> SeenEyes:
    """The eyes that a training sees.

    Args:
        data: a datamodule, or the dataset to train on.
        vals: the datasets to validate on, where they are ones of their own.
    """
    seen: SeenEyes = data.seen()
    if told := [val.seen() for val in vals if hasattr(val, "seen")]:
        names = tuple(name for one in told for name in one.parts["train"])
        seen = replace(seen, parts={**seen.parts, "val": names})
    return seen


def eyes_of(about: Any, vals: Sequence[Any] = ()) -> SeenEyes | None:
    """The same of a task too; None of data that do not say which eyes they have."""
    if isinstance(about, Task):
        return about.seen
    return seen_by(about, vals) if hasattr(about, "seen") else None


def check_shape(data: Any, shape: tuple[int, int, int]) -> None:
    """Refuse data whose volumes are of another shape than a model's.

    Args:
        data: a datamodule, or the dataset to train on. Where it has photos alone, or photos and volumes
            unpaired, or does not tell a shape, there is nothing to compare.
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the model's volumes, 0 where it has none.

    Raises:
        ValueError: if the two differ.
    """
    if getattr(data, "content", "pairs") not in ("pairs", "volumes") or not hasattr(data, "shape"):
        return
    found, own = list(data.shape), list(shape)
    if not any(own):
        raise ValueError(
            "model: it learns from photos alone, and the data give volumes; set data.init_args.content=photos"
        )
    if found != own:
        raise ValueError(
            f"model: its shape is {own}, but the data's volumes are {found} (slices, rows, A-scans); "
            f"set model.init_args.shape={found}, or data.init_args.volume_shape={own} to resize them"
        )


def _check_others(told: Conditions, data: Any, vals: Sequence[Any], path: str) -> None:
    """Refuse eyes to validate or to test on that would end the training, or cost its report, much later."""
    if hasattr(data, "metadata_of_others"):
        told.check(data.metadata_of_others(), path)
    for val in vals:
        if hasattr(val, "seen") and hasattr(val, "metadata"):
            seen: SeenEyes = val.seen()
            keys = [eye.key for eye in seen.parts["train"]]
            told.check(dict(zip(keys, val.metadata(), strict=False)), seen.path)


@dataclass(frozen=True)
class Task:
    """Description of the data that a model was trained on, stored in its checkpoint.

    With it, prediction and evaluation prepare photos and volumes as in the training, and know which eyes the
    model has seen.

    Args:
        scan: lines of the B-scans; if the training eyes had several patterns, the most frequent one.
        spacing_mm: distance of neighbouring slices, rows and A-scans ``(s, z, x)`` in millimetres; that of
            rows is the median of the training eyes.
        fundus_px: width of the photos in pixels.
        poses: distribution of the poses of the training volumes.
        preparation: how photos and volumes were prepared.
        seen: eyes of the training, of the validation and of the test, and those of the trainings that it
            began with.
        simulated: True if any training eye was simulated.
        real: True if any eye of the training, the validation or the test was not simulated.
        conditions: the scalars that the model is told of an eye beside its photo.
        photos: how the photos of the training look to the model; None before it was trained.

    Example:
        >>> import torch
        >>> from fund2oct.geometry import RadialScan
        >>> task = Task(
        ...     scan=RadialScan(),
        ...     spacing_mm=(float("nan"), 0.024, 0.0786),
        ...     fundus_px=128,
        ...     poses=PoseModel.fit(torch.zeros(2, 6, 3)),
        ...     preparation=Preparation(),
        ...     seen=SeenEyes.of_keys(train=["eye1", "eye2"], path="eyes.h5"),
        ... )
        >>> task.provenance()
        'Trained on eyes.h5 (2 eyes).'
    """

    scan: ScanPattern
    spacing_mm: tuple[float, float, float]
    fundus_px: int
    poses: PoseModel
    preparation: Preparation
    seen: SeenEyes
    simulated: bool = False
    real: bool = True
    conditions: Conditions = field(default_factory=Conditions)
    photos: FamiliarPhotos | None = None

    @classmethod
    def of(cls, data: Any, shape: tuple[int, int, int], conditions: Sequence[str] = ()) -> Task:
        """Read the description from the data of a training.

        Args:
            data: a :class:`TrainingData`, such as a :class:`fund2oct.data.FundusOCTDataModule` that was set
                up; or a tuple of the datasets to train and to validate on, of which the first is one.
            shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the model's volumes.
            conditions: names of the scalars that the model is told.

        Returns:
            The description.

        Raises:
            ValueError: if something is missing, or its volumes have another shape, or no training eye has a
                condition, or that of an eye cannot be read.
        """
        data, *vals = data if isinstance(data, tuple) else (data,)
        missing = lacking(data)
        if missing:
            raise ValueError(
                f"data: expected {', '.join(_ASKED)} of the datamodule, or of the training loader's "
                f"dataset, which is a {type(data).__name__}; missing: {', '.join(missing)}. A model needs "
                "them to be used without its data, see fund2oct.models.TrainingData; or set model.task "
                "before the training"
            )
        check_shape(data, shape)
        s, z, x = data.spacing_mm
        if not (0 < z < math.inf and 0 < x < math.inf):
            raise ValueError(
                "data: spacing_mm: expected the distances of slices (NaN where there is none), of rows and "
                f"of A-scans in millimetres, the last two positive, found {(s, z, x)}"
            )
        preparation = getattr(data, "preparation", Preparation())
        poses, seen = PoseModel.fit(data.poses()), seen_by(data, vals)
        simulated = bool(getattr(data, "simulated", False))
        real = bool(getattr(data, "real", not simulated))
        if conditions and not hasattr(data, "metadata"):
            raise ValueError(
                f"conditions: a {type(data).__name__} tells nothing of its eyes; it needs metadata()"
            )
        told = Conditions.of(conditions, data.metadata() if conditions else ())
        if conditions:
            _check_others(told, data, vals, seen.path)
        return cls(data.scan, (s, z, x), data.fundus_px, poses, preparation, seen, simulated, real, told)

    def for_publishing(self) -> Task:
        """A copy without names of eyes, patients and folders."""
        return replace(self, seen=self.seen.for_publishing())

    def provenance(self) -> str:
        """A sentence on the training data, for the footer of a picture and the head of a report."""
        trained = f"Trained on {self.seen.path} ({len(self.seen.parts['train'])} eyes)"
        return f"{trained}: {DEMONSTRATION}." if self.simulated else f"{trained}."

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as stored in a checkpoint."""
        return {
            "scan": self.scan.to_dict(),
            "spacing_mm": list(self.spacing_mm),
            "fundus_px": self.fundus_px,
            "poses": self.poses.to_dict(),
            "preparation": self.preparation.to_dict(),
            "seen": self.seen.to_dict(),
            "simulated": self.simulated,
            "conditions": self.conditions.to_dict(),
            "real": self.real,
            "photos": self.photos.to_dict() if self.photos else None,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Task:
        """Read what :meth:`to_dict` wrote."""
        s, z, x = values["spacing_mm"]
        return cls(
            ScanPattern.from_dict(values["scan"]),
            (float(s), float(z), float(x)),
            int(values["fundus_px"]),
            PoseModel.from_dict(values["poses"]),
            Preparation(**values["preparation"]),
            SeenEyes.from_dict(values["seen"]),
            bool(values.get("simulated", False)),
            bool(values.get("real", not values.get("simulated", False))),
            Conditions.from_dict(values.get("conditions", {})),
            FamiliarPhotos.from_dict(values["photos"]) if values.get("photos") else None,
        )
