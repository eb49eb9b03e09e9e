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
    """Means of what :func:`fund2oct.metrics.measure_eyes` measures, and the sharpness of the set.

    The report at the end of a run measures by the same function.
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
        """Add a batch of volumes ``(B, 1, S, Z, X)`` in [0, 1], as they lie and aligned."""
        drawn, measured = (Findings(volume, spacing_z_mm, spacing_x_mm) for volume in (fake, real))
        values = measure_eyes(drawn, measured, fake_aligned, real_aligned, mask)
        for name, mean in self.means.items():
            mean.update(values[name])  # type: ignore[operator]
        self.sharpness.update(fake, real)

    def named(self) -> dict[str, Metric]:
        """The metrics by the names under which they are reported."""
        return {**self.means, "sharpness": self.sharpness}  # type: ignore[dict-item]
