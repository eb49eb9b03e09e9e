"""What a trained model has to know of the data it was trained on, to be used without them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from fund2oct.data.loading.split import SeenEyes
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.geometry import ScanPattern
from fund2oct.retina import PoseModel

TASK_KEY = "fund2oct"
"""Where a checkpoint stores the model's class and task."""
DEMONSTRATION = "trained on simulated eyes; a demonstration of the machinery"
"""What is said of a model that has learned from eyes that nobody has."""


class TrainingData(Protocol):
    """What a model asks of the data of a training: of the datamodule, or of a plain loader's dataset.

    :class:`fund2oct.data.FundusOCTDataModule` and :class:`fund2oct.data.FundusOCTDataset` offer it. Of
    ``preparation``, which may be left out, see :class:`Task`.

    Attributes:
        shape: of the volumes ``(S, Z, X)``.
        fundus_px: width of the photos.
        scan: the lines of the volumes.
        spacing_mm: distance of neighbouring slices, rows and A-scans ``(s, z, x)``.
    """

    shape: tuple[int, int, int]
    fundus_px: int
    scan: ScanPattern
    spacing_mm: tuple[float, float, float]

    def poses(self) -> Tensor:
        """Poses of the training eyes, in micrometres, shape ``(N, S, K)``."""

    def seen(self) -> SeenEyes:
        """The eyes to train on, to validate on and to test on, see :meth:`SeenEyes.of_keys`."""


def lacking(data: Any) -> list[str]:
    """What some data do not offer of :class:`TrainingData`."""
    return [name for name in _ASKED if not hasattr(data, name)]


_ASKED = ("shape", "fundus_px", "scan", "spacing_mm", "poses", "seen")


@dataclass(frozen=True)
class Task:
    """The translation a model was trained for.

    Args:
        scan: the lines of its volumes; of several patterns in the training, that of most eyes.
        spacing_mm: distance of neighbouring slices, rows and A-scans ``(s, z, x)``; that of rows is the
            median of the training eyes.
        fundus_px: width of its photos.
        poses: distribution of the training volumes' poses.
        preparation: what has to be done to photos and volumes.
        seen: the eyes that it was trained on, validated on, and that were kept for the test.
        simulated: whether any of the training eyes was simulated.
    """

    scan: ScanPattern
    spacing_mm: tuple[float, float, float]
    fundus_px: int
    poses: PoseModel
    preparation: Preparation
    seen: SeenEyes
    simulated: bool = False

    @classmethod
    def of(cls, data: Any, shape: tuple[int, int, int]) -> Task:
        """Read the task off the data of a training.

        Args:
            data: a :class:`TrainingData`, as :class:`fund2oct.data.FundusOCTDataModule` is once set up; or
                the datasets of the loaders that are trained and validated on, the first such one.
            shape: of the model's volumes.

        Raises:
            ValueError: if something is missing, or its volumes have another shape.
        """
        data, val = data if isinstance(data, tuple) else (data, None)
        missing = lacking(data)
        if missing:
            raise ValueError(
                f"data: expected {', '.join(_ASKED)} of the datamodule, or of the training loader's "
                f"dataset, which is a {type(data).__name__}; missing: {', '.join(missing)}. A model needs "
                "them to be used without its data, see fund2oct.models.TrainingData; or set model.task "
                "before the training"
            )
        if tuple(data.shape) != shape:
            found, own = list(data.shape), list(shape)
            raise ValueError(
                f"model: its shape is {own}, but the data's volumes are {found} (slices, rows, A-scans); "
                f"set model.init_args.shape={found}, or data.init_args.volume_shape={own} to resize them"
            )
        s, z, x = data.spacing_mm
        preparation = getattr(data, "preparation", Preparation())
        poses = PoseModel.fit(data.poses())
        seen = data.seen()
        if hasattr(val, "seen"):
            seen = replace(seen, parts={**seen.parts, "val": val.seen().parts["train"]})
        simulated = bool(getattr(data, "simulated", False))
        return cls(data.scan, (s, z, x), data.fundus_px, poses, preparation, seen, simulated)

    def check_same_split(self, other: Task) -> None:
        """Refuse to go on with a training whose test eyes were training eyes before.

        Raises:
            ValueError: if ``other``, that of the training to go on with, has other parts.
        """
        if self.seen.parts != other.seen.parts:
            raise ValueError(
                f"the checkpoint was trained on another split ({self.seen.path}, {self.seen.split}) than "
                f"this training's ({other.seen.path}, {other.seen.split}); resume with the same data "
                "and split, or its test eyes become training eyes"
            )

    def provenance(self) -> str:
        """Say on what the model was trained, for the footer of a picture and the head of a report.

        Example:
            >>> task.provenance()  # doctest: +SKIP
            'Trained on eyes.h5 (482 eyes): trained on simulated eyes; a demonstration of the machinery.'
        """
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
        )
