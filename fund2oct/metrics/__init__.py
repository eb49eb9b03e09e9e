"""Metrics: distances of sets, and the quality, sharpness and anatomy of each volume."""

from fund2oct.metrics.eyes.anatomy import layer_violations, map_correlation, vessel_shadows
from fund2oct.metrics.eyes.findings import Findings
from fund2oct.metrics.eyes.fluid import Fluid, find_fluid
from fund2oct.metrics.eyes.heights import epithelium_height_um, interval_coverage, pooled_correlation
from fund2oct.metrics.eyes.kinds import KINDS, KindOverlap, find_kinds, overlap, true_kinds
from fund2oct.metrics.eyes.layers import Surfaces, failed_share, find_surfaces, surface_error_um
from fund2oct.metrics.eyes.lesions import ascan_area_mm2, elevation_um, label_um, lesion_volume_mm3
from fund2oct.metrics.eyes.measuring import (
    EyeMean,
    measure_eyes,
    measure_lesions,
    measure_perceptual,
    measure_surfaces,
)
from fund2oct.metrics.eyes.perceptual import unweighted_perceptual_distance
from fund2oct.metrics.eyes.quality import (
    ms_ssim_scales,
    retina_local_mean,
    volume_l1,
    volume_ms_ssim,
    volume_psnr,
    volume_ssim,
)
from fund2oct.metrics.eyes.sharpness import SharpnessRatio, high_frequency_energy
from fund2oct.metrics.sets.estimate import DistanceResult
from fund2oct.metrics.sets.frechet import frechet_distance
from fund2oct.metrics.sets.image_video import ImageDistance, VideoDistance
from fund2oct.metrics.sets.kernel import kernel_distance
from fund2oct.metrics.sets.memorised import EyesInCommon, correlation_between_eyes, deep_contrast
from fund2oct.metrics.sets.slices import slice_protocol
from fund2oct.metrics.validation import ValidationMetrics

__all__ = [
    "KINDS",
    "DistanceResult",
    "EyeMean",
    "EyesInCommon",
    "Findings",
    "Fluid",
    "ImageDistance",
    "KindOverlap",
    "SharpnessRatio",
    "Surfaces",
    "ValidationMetrics",
    "VideoDistance",
    "ascan_area_mm2",
    "correlation_between_eyes",
    "deep_contrast",
    "elevation_um",
    "epithelium_height_um",
    "failed_share",
    "find_fluid",
    "find_kinds",
    "find_surfaces",
    "frechet_distance",
    "high_frequency_energy",
    "interval_coverage",
    "kernel_distance",
    "label_um",
    "layer_violations",
    "lesion_volume_mm3",
    "map_correlation",
    "measure_eyes",
    "measure_lesions",
    "measure_perceptual",
    "measure_surfaces",
    "ms_ssim_scales",
    "overlap",
    "pooled_correlation",
    "retina_local_mean",
    "slice_protocol",
    "surface_error_um",
    "true_kinds",
    "unweighted_perceptual_distance",
    "vessel_shadows",
    "volume_l1",
    "volume_ms_ssim",
    "volume_psnr",
    "volume_ssim",
]
