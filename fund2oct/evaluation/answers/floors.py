"""Floors, answers as good as they can be: the same eye scanned again, a likely eye, and the best guess."""

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
    """A second scan of the same eye at the same pose, which differs in speckle alone."""

    def again(batch: Batch) -> Given:
        return Given(batch["rescan"], align(batch["rescan"], batch["pose_um"], batch["spacing_z_mm"]))

    return Answer(RESCAN, again, as_set=True)


def twin_answers(twins: TwinSet) -> list[Answer]:
    """Eyes with the same photo but other hidden anatomy, and the median over many of them.

    *One twin* has the numbers of a model that draws as well as the photo allows. *Median of twins* has the
    least error that is possible from the photo; it has surfaces only, no volume.

    Args:
        twins: twins of the test eyes, by key.

    Returns:
        The two answers.
    """

    def one(batch: Batch) -> Given:
        volume = torch.stack([torch.from_numpy(twins[key].volume)[None] for key in batch["key"]])
        volume = volume.to(batch["volume"].device).float() / 255
        return Given(volume, align(volume, batch["pose_um"], batch["spacing_z_mm"]))

    def median(batch: Batch) -> Given:
        depths = torch.stack([torch.from_numpy(twins[key].surfaces_um) for key in batch["key"]])
        return Given(surfaces=Surfaces(*depths.to(batch["volume"].device).unbind(1)))

    return [Answer(ONE_TWIN, one, as_set=True), Answer(MEDIAN_OF_TWINS, median)]
