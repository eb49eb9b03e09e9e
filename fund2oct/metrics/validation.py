"""The metrics that every training run logs."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics import Metric

from fund2oct.metrics.quality import VolumeL1, VolumePSNR, VolumeSSIM
from fund2oct.metrics.sharpness import SharpnessRatio


class ValidationMetrics(nn.Module):
    """Voxel metrics of volumes as they lie and in the aligned frame, and their sharpness.

    ``aligned/...`` compares what the generator draws with the real volume in the aligned frame,
    over the voxels that were scanned; ``lying/...`` compares the volumes as a viewer shows them,
    the generated one at the real one's pose.
    """

    def __init__(self) -> None:
        super().__init__()
        self.aligned = nn.ModuleDict({"l1": VolumeL1(), "psnr": VolumePSNR(), "ssim": VolumeSSIM()})
        self.lying = nn.ModuleDict({"l1": VolumeL1(), "psnr": VolumePSNR(), "ssim": VolumeSSIM()})
        self.sharpness = SharpnessRatio()

    def update(
        self, fake_aligned: Tensor, real_aligned: Tensor, mask: Tensor, fake: Tensor, real: Tensor
    ) -> None:
        """Add a batch of volumes ``(B, 1, S, Z, X)`` in [0, 1]."""
        for metric in self.aligned.values():
            metric.update(fake_aligned, real_aligned, mask)  # type: ignore[operator]
        for metric in self.lying.values():
            metric.update(fake, real)  # type: ignore[operator]
        self.sharpness.update(fake, real)

    def named(self) -> dict[str, Metric]:
        """The metrics by the names under which they are reported."""
        named = {f"aligned/{name}": metric for name, metric in self.aligned.items()}
        named |= {f"lying/{name}": metric for name, metric in self.lying.items()}
        return named | {"sharpness": self.sharpness}  # type: ignore[return-value]
