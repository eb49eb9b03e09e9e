"""What a trained model has to know of the data it was trained on, to be used without them."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import Any

import numpy as np

from fund2oct.data.loading.split import SeenEyes
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.geometry import ScanPattern
from fund2oct.retina import PoseModel

TASK_KEY = "fund2oct"
"""Where a checkpoint stores the model's class and task."""
DEMONSTRATION = "trained on simulated eyes; a demonstration of the machinery"
"""What is said of a model that has learned from eyes that nobody has."""


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
    def of(cls, datamodule: Any) -> Task:
        """Read the task off a :class:`fund2oct.data.FundusOCTDataModule` that is set up."""
        dataset = datamodule.train_dataset
        length_mm = fmean(datamodule.scan.length_mm)
        z_mm = float(np.median(dataset.spacings_mm()[:, 0]))
        # Only a raster has a distance of neighbouring slices; nothing here needs it.
        spacing_mm = (nan, z_mm, length_mm / datamodule.shape[2])
        photos, volumes = dataset.prepared()
        return cls(
            datamodule.scan,
            spacing_mm,
            datamodule.fundus_px,
            PoseModel.fit(datamodule.train_poses()),
            Preparation(photos == 1, volumes == 1, dataset.photo_px),
            datamodule.seen(),
            dataset.simulated() > 0,
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
