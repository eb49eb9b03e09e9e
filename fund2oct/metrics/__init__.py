"""Metrics: quality of volumes, their sharpness, and the retina's thickness in them."""

from fund2oct.metrics.layers import ThicknessError, retinal_thickness_um
from fund2oct.metrics.quality import (
    VolumeL1,
    VolumePSNR,
    VolumeSSIM,
    volume_l1,
    volume_psnr,
    volume_ssim,
)
from fund2oct.metrics.sharpness import SharpnessRatio, high_frequency_energy
from fund2oct.metrics.validation import ValidationMetrics

__all__ = [
    "SharpnessRatio",
    "ThicknessError",
    "ValidationMetrics",
    "VolumeL1",
    "VolumePSNR",
    "VolumeSSIM",
    "high_frequency_energy",
    "retinal_thickness_um",
    "volume_l1",
    "volume_psnr",
    "volume_ssim",
]
