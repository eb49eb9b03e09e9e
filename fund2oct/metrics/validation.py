"""The metrics that every training run logs."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics import Metric

from fund2oct.metrics.eyes.findings import Findings
from fund2oct.metrics.eyes.measuring import EyeMean, measure_eyes
from fund2oct.metrics.eyes.sharpness import SharpnessRatio

LOGGED = (
    *(f"{frame}/{name}" for frame in ("aligned", "posed") for name in ("l1", "psnr", "ssim")),
    "aligned/retina_local_mean",
    "thickness/error_um",
    "thickness/correlation",
    "thickness/failed",
    "ilm/error_um",
    "rpe/error_um",
    "shadow/agreement",
    "order/violations",
)
"""Values of :func:`fund2oct.metrics.measure_eyes` whose means over the eyes are logged."""


class ValidationMetrics(nn.Module):
    """Means over eyes of what :func:`fund2oct.metrics.measure_eyes` measures, and the sharpness of the set.

    A training logs them after each epoch. The report at the end of a run measures with the same function.

    Example:
        >>> import torch
        >>> from fund2oct.geometry import RadialScan
        >>> from fund2oct.phantom import PhantomConfig, simulate_eye
        >>> from fund2oct.retina import align, aligned_mask
        >>> eye = simulate_eye(seed=0, number=0, config=PhantomConfig(scan=RadialScan(n_lines=2)))
        >>> real, fake = (torch.from_numpy(each)[None, None] / 255 for each in (eye.volume, eye.rescan))
        >>> pose_um, (z_mm, x_mm) = torch.from_numpy(eye.pose_um)[None], eye.spacing_mm[1:]
        >>> aligned = [align(volume, pose_um, z_mm) for volume in (fake, real)]
        >>> metrics = ValidationMetrics()
        >>> metrics.update(fake, real, *aligned, aligned_mask(real, pose_um, z_mm), z_mm, x_mm)
        >>> [round(metrics.named()[name].compute().item(), 1) for name in ("thickness/error_um", "sharpness")]
        [9.9, 1.1]
    """

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.ModuleDict({name: EyeMean() for name in LOGGED})
        self.sharpness = SharpnessRatio()

    def update(
        self,
        fake: Tensor,
        real: Tensor,
        fake_aligned: Tensor,
        real_aligned: Tensor,
        mask: Tensor,
        spacing_z_mm: Tensor | float,
        spacing_x_mm: Tensor | float,
    ) -> None:
        """Add a batch.

        Args:
            fake: generated volumes in [0, 1] at the pose of the real ones, shape ``(B, 1, S, Z, X)``.
            real: real volumes, same shape.
            fake_aligned: generated volumes in the aligned frame, same shape.
            real_aligned: real volumes in the aligned frame, same shape.
            mask: aligned voxels that were scanned, bool, same shape.
            spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, ``(B,)``.
            spacing_x_mm: distance of two A-scans in millimetres, likewise.
        """
        drawn, measured = (Findings(volume, spacing_z_mm, spacing_x_mm) for volume in (fake, real))
        values = measure_eyes(drawn, measured, fake_aligned, real_aligned, mask)
        for name, mean in self.means.items():
            mean.update(values[name])  # type: ignore[operator]
        self.sharpness.update(fake, real)

    def named(self) -> dict[str, Metric]:
        """The metrics by the names under which they are logged and reported."""
        return {**self.means, "sharpness": self.sharpness}  # type: ignore[dict-item]
