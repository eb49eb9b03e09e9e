"""Answers that no model can be expected to beat: the same eye again, and its twins."""

from __future__ import annotations

import torch

from fund2oct.evaluation.answers.answer import Answer, Given
from fund2oct.evaluation.answers.twins import TwinSet
from fund2oct.metrics.eyes.layers import Surfaces
from fund2oct.models import Batch
from fund2oct.retina import align

RESCAN = "floor: rescan"
ONE_TWIN = "floor: one twin"
MEDIAN_OF_TWINS = "floor: median of twins"


def rescan() -> Answer:
    """The same eye scanned again, at the same pose: other speckle and nothing else."""

    def again(batch: Batch) -> Given:
        return Given(batch["rescan"], align(batch["rescan"], batch["pose_um"], batch["spacing_z_mm"]))

    return Answer(RESCAN, again, as_set=True)


def twin_answers(twins: TwinSet) -> list[Answer]:
    """An eye with the same photo, and the best guess over many such eyes.

    *One twin* is a sample of what the photo leaves open: a model that draws as well as can be drawn has its
    numbers. *Median of twins* is the least error that any model can have; it is a map of surfaces,
    no volume.
    """

    def one(batch: Batch) -> Given:
        volume = torch.stack([torch.from_numpy(twins[key].volume)[None] for key in batch["key"]])
        volume = volume.to(batch["volume"].device).float() / 255
        return Given(volume, align(volume, batch["pose_um"], batch["spacing_z_mm"]))

    def median(batch: Batch) -> Given:
        depths = torch.stack([torch.from_numpy(twins[key].surfaces_um) for key in batch["key"]])
        return Given(surfaces=Surfaces(*depths.to(batch["volume"].device).unbind(1)))

    return [Answer(ONE_TWIN, one, as_set=True), Answer(MEDIAN_OF_TWINS, median)]
