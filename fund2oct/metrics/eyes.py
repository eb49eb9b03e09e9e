"""Everything that can be measured of a generated eye beside its real one, under stable names."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from fund2oct.geometry import ScanPattern
from fund2oct.losses.masking import check_pair
from fund2oct.metrics.anatomy import layer_violations, map_correlation, shadow_agreement
from fund2oct.metrics.layers import Surfaces, failed_share, find_surfaces, surface_error_um
from fund2oct.metrics.lesions import (
    ELEVATION,
    FLUID,
    ascan_area_mm2,
    elevation_um,
    fluid_um,
    label_um,
    lesion_volume_mm3,
)
from fund2oct.metrics.perceptual import unweighted_perceptual_distance
from fund2oct.metrics.quality import (
    retina_local_mean,
    volume_l1,
    volume_ms_ssim,
    volume_psnr,
    volume_ssim,
)
from fund2oct.metrics.sharpness import high_frequency_energy
from fund2oct.precision import full_precision
from fund2oct.retina.layers import boundary_index

_VOXEL_METRICS = {
    "l1": volume_l1,
    "psnr": volume_psnr,
    "ssim": volume_ssim,
    "ms_ssim": volume_ms_ssim,
}


@full_precision
def measure_eyes(
    fake: Tensor,
    real: Tensor,
    fake_aligned: Tensor,
    real_aligned: Tensor,
    mask: Tensor,
    spacing_z_mm: Tensor | float,
    spacing_x_mm: Tensor | float,
    *,
    scan: ScanPattern | None = None,
    real_surfaces: Surfaces | None = None,
    boundaries_um: Tensor | None = None,
    lesions: Tensor | None = None,
    perceptual: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Measure generated eyes, one value an eye.

    Always:

    * ``aligned/l1`` (brightness), ``aligned/psnr`` (dB), ``aligned/ssim`` and ``aligned/ms_ssim``: in the
      aligned frame, over the voxels that were scanned, see :mod:`fund2oct.metrics.quality`;
    * ``lying/l1``, ``lying/psnr``, ``lying/ssim`` and ``lying/ms_ssim``: of the volumes as they lie;
    * ``aligned/retina_local_mean`` (brightness): see :func:`retina_local_mean`;
    * ``energy/fake`` and ``energy/real`` (squared brightness): :func:`high_frequency_energy`; over a
      set, the ratio of their sums is the sharpness;
    * ``thickness/error_um``, ``ilm/error_um`` and ``rpe/error_um`` (micrometres): thickness of the
      retina, its inner surface and the pigment epithelium, against those found in the real volume;
    * ``thickness/correlation``: of the thickness maps, see :func:`map_correlation`;
    * ``thickness/failed`` (share): A-scans found in the real volume, but not in the generated one;
    * ``thickness/failed_real`` (share): A-scans not found in the real volume;
    * ``shadow/agreement`` (correlation): see :func:`shadow_agreement`;
    * ``order/violations`` and ``order/violations_real`` (share): see :func:`layer_violations`.

    With ``perceptual``: ``aligned/perceptual_unweighted`` and ``lying/perceptual_unweighted``, in
    [0, 4], see :func:`unweighted_perceptual_distance`.

    With ``scan``: ``fluid/fake_mm3`` and ``fluid/real_mm3``, estimated volumes of fluid
    (:func:`fluid_um`), and their absolute difference ``fluid/error_mm3``; ``elevation/...`` likewise of
    what lifts the epithelium (:func:`elevation_um`).

    With ``boundaries_um``: ``ilm/truth_error_um``, ``rpe/truth_error_um`` and
    ``thickness/truth_error_um``, against the truth instead of what was found in the real volume.

    With ``scan`` and ``lesions``: ``fluid/truth_mm3`` and ``elevation/truth_mm3``, the true volumes, and
    ``fluid/truth_error_mm3`` and ``elevation/truth_error_mm3``, the absolute difference of the
    generated volume's estimate from them.

    Less is better for errors, shares and distances, more for the others; the energies and volumes are
    neither. A value is NaN where it cannot be measured, as the function of each says: read a mean
    over eyes with the number of eyes in it, and the errors of surfaces with ``thickness/failed``.

    The surfaces are compared as they lie, so the generated volume has to lie at the real one's pose.

    Args:
        fake: generated volumes at the pose of the real ones, in [0, 1], shape ``(B, 1, S, Z, X)``.
        real: real volumes, likewise.
        fake_aligned: generated volumes in the aligned frame.
        real_aligned: real volumes in the aligned frame.
        mask: aligned voxels that were scanned, bool, shape ``(B, 1, S, Z, X)``.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans, likewise.
        scan: where the B-scans lie.
        real_surfaces: :func:`find_surfaces` of ``real``, to search it once for many answers.
        boundaries_um: true depths of :data:`fund2oct.retina.BOUNDARIES`, NaN where absent, shape
            ``(B, n, S, X)``.
        lesions: true labels, see :func:`label_um`, shape ``(B, S, Z, X)``.
        perceptual: network of the perceptual distance, on the volumes' device.

    Returns:
        Values by name, each float32 of shape ``(B,)`` on the device of ``fake``.

    Raises:
        ValueError: if the shapes do not fit each other.
    """
    check_pair(fake, real)
    check_pair(fake_aligned, real_aligned, mask)
    spacing = spacing_z_mm, spacing_x_mm
    drawn = find_surfaces(fake, *spacing)
    measured = real_surfaces or find_surfaces(real, *spacing)
    values = _voxels(fake, real, fake_aligned, real_aligned, mask, perceptual)
    values["aligned/retina_local_mean"] = retina_local_mean(fake_aligned, real_aligned, mask, spacing_z_mm)
    values |= {
        "energy/fake": high_frequency_energy(fake),
        "energy/real": high_frequency_energy(real),
        "thickness/error_um": surface_error_um(drawn.thickness_um, measured.thickness_um),
        "thickness/correlation": map_correlation(drawn.thickness_um, measured.thickness_um),
        "thickness/failed": failed_share(drawn, measured),
        "thickness/failed_real": 1 - measured.ok.flatten(1).float().mean(1),
        "ilm/error_um": surface_error_um(drawn.ilm_um, measured.ilm_um),
        "rpe/error_um": surface_error_um(drawn.rpe_um, measured.rpe_um),
        "shadow/agreement": shadow_agreement(fake, real, drawn, measured, *spacing),
        "order/violations": layer_violations(drawn, spacing_x_mm),
        "order/violations_real": layer_violations(measured, spacing_x_mm),
    }
    if boundaries_um is not None:
        values |= _truth_errors(drawn, boundaries_um)
    if scan is not None:
        heights = {
            "fluid/fake": fluid_um(fake, drawn, *spacing),
            "fluid/real": fluid_um(real, measured, *spacing),
            "elevation/fake": elevation_um(drawn),
            "elevation/real": elevation_um(measured),
        }
        if lesions is not None:
            heights["fluid/truth"] = label_um(lesions, FLUID, spacing_z_mm)
            heights["elevation/truth"] = label_um(lesions, ELEVATION, spacing_z_mm)
        values |= _lesion_volumes(heights, ascan_area_mm2(scan, fake.shape[4]))
    return {name: value.detach().to(fake.device, torch.float32) for name, value in values.items()}


class EyeMean(Metric):
    """Mean of a value of :func:`measure_eyes` over the eyes in which it could be measured.

    Exact over batches and processes. A mean over few eyes looks as good as one over all: it is to be
    read with the value's share of failures.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add values of eyes, NaN where not measured, shape ``(B,)``."""
        self.total += values.double().nansum()
        self.count += (~values.isnan()).sum()

    def compute(self) -> Tensor:
        """The mean, a scalar; NaN while there is no value."""
        mean = self.total / self.count if self.count > 0 else torch.full_like(self.total, math.nan)
        return mean.float()


def _voxels(
    fake: Tensor,
    real: Tensor,
    fake_aligned: Tensor,
    real_aligned: Tensor,
    mask: Tensor,
    perceptual: nn.Module | None,
) -> dict[str, Tensor]:
    """Voxel metrics and the perceptual distance, in the aligned frame and as the volumes lie."""
    values = {}
    frames = {"aligned": (fake_aligned, real_aligned, mask), "lying": (fake, real, None)}
    for frame, (drawn, true, counted) in frames.items():
        for name, metric in _VOXEL_METRICS.items():
            values[f"{frame}/{name}"] = metric(drawn, true, counted)
        if perceptual is not None:
            distance = unweighted_perceptual_distance(drawn, true, perceptual, counted)
            values[f"{frame}/perceptual_unweighted"] = distance
    return values


def _truth_errors(drawn: Surfaces, boundaries_um: Tensor) -> dict[str, Tensor]:
    ilm_um, rpe_um = (boundaries_um[:, boundary_index(name)] for name in ("ILM", "IZ_RPE"))
    return {
        "ilm/truth_error_um": surface_error_um(drawn.ilm_um, ilm_um),
        "rpe/truth_error_um": surface_error_um(drawn.rpe_um, rpe_um),
        "thickness/truth_error_um": surface_error_um(drawn.thickness_um, rpe_um - ilm_um),
    }


def _lesion_volumes(heights_um: dict[str, Tensor], area_mm2: Tensor) -> dict[str, Tensor]:
    """Volumes of the heights by their names, and how far the generated ones are from the others."""
    volumes = {name: lesion_volume_mm3(height_um, area_mm2) for name, height_um in heights_um.items()}
    values = {f"{name}_mm3": volume for name, volume in volumes.items()}
    for name, volume in volumes.items():
        kind, whose = name.split("/")
        if whose != "fake":
            error = "error_mm3" if whose == "real" else "truth_error_mm3"
            values[f"{kind}/{error}"] = (volumes[f"{kind}/fake"] - volume).abs()
    return values
