"""Answers: ways to get volumes, or the retina's surfaces alone, for the photos of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fund2oct.metrics.eyes.layers import Surfaces
from fund2oct.models import Batch, Fake
from fund2oct.retina import pose_surface_um, unalign

OF_SURFACES, NOISE_OFF, SHUFFLED = ", median surfaces", ", noise off", ", shuffled photos"
OTHER_EYES = ", other eyes"
"""Ends of the names of a model's answers: its surfaces alone, without noise, and with photos of other
patients; and of given volumes, those of other eyes."""


@dataclass(frozen=True, eq=False)
class Given:
    """Volumes or surfaces that an :class:`Answer` gives for the eyes of a batch.

    Args:
        volume: volumes at the poses of the real scans, in [0, 1], shape ``(B, 1, S, Z, X)``; None for
            surfaces without a volume.
        aligned: the same volumes in the aligned frame, same shape.
        surfaces: surfaces at the same poses; None has them searched in the volume.
        interval_um: lower and upper end of an 80% interval of the thickness in micrometres, shape
            ``(B, 2, S, X)``; None if there is none.
        pose_um: poses of the volumes, shape ``(B, S, K)``, where they are not those of the real scans.
        mask: aligned voxels that the volumes show, bool, same shape as ``aligned``; None where they show
            all that was scanned of the real eyes.

    Example:
        >>> aligned = torch.rand(1, 1, 6, 32, 48)
        >>> batch = {"pose_um": torch.full((1, 6, 3), 900.0), "spacing_z_mm": torch.tensor([0.06])}
        >>> Given.placed(aligned, batch).volume.shape
        torch.Size([1, 1, 6, 32, 48])
    """

    volume: Tensor | None = None
    aligned: Tensor | None = None
    surfaces: Surfaces | None = None
    interval_um: Tensor | None = None
    pose_um: Tensor | None = None
    mask: Tensor | None = None

    @classmethod
    def of(cls, fake: Fake) -> Given:
        """The volumes that a model drew."""
        return cls(fake.volume, fake.aligned)

    @classmethod
    def placed(cls, aligned: Tensor, batch: Batch) -> Given:
        """Volumes of the aligned frame, moved to the poses of the real scans.

        Args:
            aligned: volumes in the aligned frame, in [0, 1], shape ``(B, 1, S, Z, X)``.
            batch: the eyes.
        """
        return cls(unalign(aligned, batch["pose_um"], batch["spacing_z_mm"]), aligned)

    @classmethod
    def of_heights(cls, heights_um: Tensor, batch: Batch, interval_um: Tensor | None = None) -> Given:
        """Surfaces, given as heights above the pose's surface.

        Args:
            heights_um: heights of inner limiting membrane, pigment epithelium and Bruch's membrane in
                micrometres, NaN in all three where unknown, shape ``(B, 3, S, X)``.
            batch: the eyes.
            interval_um: interval of the thickness in micrometres, shape ``(B, 2, S, X)``.
        """
        pose_um = pose_surface_um(batch["pose_um"], heights_um.shape[-1])
        return cls(surfaces=Surfaces(*(pose_um[:, None] - heights_um).unbind(1)), interval_um=interval_um)

    def eye(self, number: int) -> Given:
        """A copy for one eye of the batch, on the CPU."""

        def one(values: Tensor | None) -> Tensor | None:
            if values is None:
                return None
            eye = values[number : number + 1].detach().cpu().clone()
            return eye.float() if eye.is_floating_point() else eye

        surfaces = self.surfaces
        if surfaces is not None:
            depths = (one(depth_um) for depth_um in (surfaces.ilm_um, surfaces.rpe_um, surfaces.bm_um))
            surfaces = Surfaces(*depths)  # type: ignore[arg-type]
        return Given(
            one(self.volume),
            one(self.aligned),
            surfaces,
            one(self.interval_um),
            one(self.pose_um),
            one(self.mask),
        )

    def counted(self, scanned: Tensor) -> Tensor:
        """The aligned voxels in which volumes are compared: scanned of the real eyes, and shown here.

        Args:
            scanned: aligned voxels of the real eyes that were scanned, bool, shape ``(B, 1, S, Z, X)``.
        """
        return scanned if self.mask is None else scanned & self.mask


@dataclass(frozen=True)
class Answer:
    """A row of a report: a model, a floor or a control.

    Args:
        name: name in tables and pictures.
        give: a function that gives volumes or surfaces for the eyes of a batch.
        as_set: True to measure the distances of the set of its volumes from the set of the real ones.

    Example:
        A control that answers each photo with a black volume:

        >>> black = Answer("black", lambda batch: Given.placed(0 * batch["aligned"], batch))
        >>> batch = {"aligned": torch.rand(1, 1, 6, 32, 48), "pose_um": torch.zeros(1, 6, 3)}
        >>> black.give(batch | {"spacing_z_mm": torch.tensor([0.06])}).volume.max()
        tensor(0.)
    """

    name: str
    give: Callable[[Batch], Given]
    as_set: bool = False
