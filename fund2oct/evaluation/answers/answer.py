"""What is measured: ways to answer the photos of a batch, by volumes or by the retina's surfaces alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from fund2oct.metrics.eyes.layers import Surfaces
from fund2oct.models import Batch, Fake
from fund2oct.retina import pose_surface_um, unalign


@dataclass(frozen=True, eq=False)
class Given:
    """What was answered for the eyes of a batch; at least a volume or surfaces.

    Args:
        volume: at the pose of the real scan, in [0, 1], shape ``(B, 1, S, Z, X)``; None where surfaces
            alone are the answer.
        aligned: the same in the aligned frame.
        surfaces: the answer's surfaces at the real scan's pose; None finds them in the volume.
        interval_um: lower and upper end of an 80% interval of the thickness, ``(B, 2, S, X)``.
    """

    volume: Tensor | None = None
    aligned: Tensor | None = None
    surfaces: Surfaces | None = None
    interval_um: Tensor | None = None

    @classmethod
    def of(cls, fake: Fake) -> Given:
        """What a model draws."""
        return cls(fake.volume, fake.aligned)

    @classmethod
    def placed(cls, aligned: Tensor, batch: Batch) -> Given:
        """A volume of the aligned frame, put at the poses of the real scans."""
        return cls(unalign(aligned, batch["pose_um"], batch["spacing_z_mm"]), aligned)

    @classmethod
    def of_heights(cls, heights_um: Tensor, batch: Batch, interval_um: Tensor | None = None) -> Given:
        """Surfaces by their heights above the pose's surface.

        Args:
            heights_um: of inner limiting membrane, pigment epithelium and Bruch's membrane, NaN where
                unknown in all three, shape ``(B, 3, S, X)``.
            batch: of the eyes.
            interval_um: of the thickness.
        """
        pose_um = pose_surface_um(batch["pose_um"], heights_um.shape[-1])
        return cls(surfaces=Surfaces(*(pose_um[:, None] - heights_um).unbind(1)), interval_um=interval_um)

    def eye(self, number: int) -> Given:
        """The answer for one eye of the batch, on the CPU, in memory of its own."""

        def one(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[number : number + 1].detach().float().cpu().clone()

        surfaces = self.surfaces
        if surfaces is not None:
            depths = (one(depth_um) for depth_um in (surfaces.ilm_um, surfaces.rpe_um, surfaces.bm_um))
            surfaces = Surfaces(*depths)  # type: ignore[arg-type]
        return Given(one(self.volume), one(self.aligned), surfaces, one(self.interval_um))


@dataclass(frozen=True)
class Answer:
    """A way to answer the photos of a batch: a model, a floor or a control.

    Args:
        name: in tables and pictures.
        give: answers a batch.
        as_set: whether the distances of its volumes, as a set, from the real set are measured.

    Example:
        >>> black = Answer("black", lambda batch: Given.placed(0 * batch["aligned"], batch))
    """

    name: str
    give: Callable[[Batch], Given]
    as_set: bool = False

    def measured_as_set(self) -> Answer:
        """The same answer, with its distances measured."""
        return replace(self, as_set=True)


def heights_of(surfaces_um: Tensor, pose_um: Tensor) -> Tensor:
    """Heights above the pose's surface of surfaces by their depths.

    Args:
        surfaces_um: depths, NaN where unknown, shape ``(B, n, S, X)``.
        pose_um: pose of each slice, shape ``(B, S, 3)``.
    """
    return pose_surface_um(pose_um, surfaces_um.shape[-1])[:, None] - surfaces_um
