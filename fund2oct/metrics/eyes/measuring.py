"""Everything that can be measured of a generated eye beside its real one, under stable names."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from fund2oct.geometry import ScanPattern
from fund2oct.losses.masking import check_pair
from fund2oct.metrics.eyes.anatomy import layer_violations, map_correlation
from fund2oct.metrics.eyes.findings import Findings
from fund2oct.metrics.eyes.kinds import overlap, true_kinds
from fund2oct.metrics.eyes.layers import Surfaces, failed_share, surface_error_um
from fund2oct.metrics.eyes.lesions import (
    ELEVATION,
    FLUID,
    ascan_area_mm2,
    elevation_um,
    label_um,
    lesion_volume_mm3,
)
from fund2oct.metrics.eyes.perceptual import unweighted_perceptual_distance
from fund2oct.metrics.eyes.quality import (
    retina_local_mean,
    volume_l1,
    volume_ms_ssim,
    volume_psnr,
    volume_ssim,
)
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
    fake: Findings,
    real: Findings,
    fake_aligned: Tensor,
    real_aligned: Tensor,
    mask: Tensor,
    *,
    boundaries_um: Tensor | None = None,
) -> dict[str, Tensor]:
    """Measure generated eyes, one value an eye; their lesions are for :func:`measure_lesions`.

    Always:

    * ``aligned/l1`` (brightness), ``aligned/psnr`` (dB), ``aligned/ssim`` and ``aligned/ms_ssim``: in the
      aligned frame, over the voxels that were scanned, see :func:`fund2oct.metrics.volume_psnr` and its like;
    * ``posed/l1``, ``posed/psnr``, ``posed/ssim`` and ``posed/ms_ssim``: of the volumes as they lie;
    * ``aligned/retina_local_mean`` (brightness): see :func:`retina_local_mean`;
    * ``energy/fake`` and ``energy/real`` (squared brightness): :func:`high_frequency_energy`; over a
      set, the ratio of their sums is the sharpness;
    * ``shadow/agreement`` (correlation): see :func:`shadow_agreement`;
    * what :func:`measure_surfaces` measures.

    Less is better for errors and shares, more for the others; the energies are neither. A
    value is NaN where it cannot be measured, as the function of each says: read a mean over eyes with
    the number of eyes in it, and the errors of surfaces with ``thickness/failed``.

    The surfaces are compared as they lie, so the generated volume has to lie at the real one's pose.

    Args:
        fake: generated volumes at the pose of the real ones, ``(B, 1, S, Z, X)``.
        real: real volumes, likewise; the same findings may serve many answers.
        fake_aligned: generated volumes in the aligned frame, in [0, 1].
        real_aligned: real volumes in the aligned frame.
        mask: aligned voxels that were scanned, bool, shape ``(B, 1, S, Z, X)``.
        boundaries_um: true depths of :data:`fund2oct.retina.BOUNDARIES`, NaN where absent, shape
            ``(B, n, S, X)``.

    Returns:
        Values by name, each float32 of shape ``(B,)`` on the device of ``fake``.

    Raises:
        ValueError: if the shapes do not fit each other.

    Example:
        >>> fake, real = (Findings(each, 0.024, 0.0786) for each in volumes)  # doctest: +SKIP
        >>> measure_eyes(fake, real, *aligned, mask)["thickness/error_um"]  # doctest: +SKIP
    """
    check_pair(fake.volume, real.volume)
    check_pair(fake_aligned, real_aligned, mask)
    values = _voxels(fake.volume, real.volume, fake_aligned, real_aligned, mask)
    local_mean = retina_local_mean(fake_aligned, real_aligned, mask, real.spacing_z_mm)
    values |= {
        "aligned/retina_local_mean": local_mean,
        "energy/fake": fake.energy,
        "energy/real": real.energy,
        "shadow/agreement": map_correlation(fake.shadows, real.shadows),
    }
    values |= measure_surfaces(fake.surfaces, real, boundaries_um)
    return {name: value.detach().to(fake.volume.device, torch.float32) for name, value in values.items()}


def measure_surfaces(
    drawn: Surfaces, real: Findings, boundaries_um: Tensor | None = None
) -> dict[str, Tensor]:
    """Measure surfaces that answer for eyes, found in generated volumes or predicted without any.

    * ``thickness/error_um``, ``ilm/error_um`` and ``rpe/error_um`` (micrometres): thickness of the
      retina, its inner surface and the pigment epithelium, against those found in the real volume;
    * ``thickness/correlation``: of the thickness maps, see :func:`map_correlation`;
    * ``thickness/failed`` (share): A-scans found in the real volume, but not in the answer;
    * ``thickness/failed_real`` (share): A-scans not found in the real volume;
    * ``order/violations`` and ``order/violations_real`` (share): see :func:`layer_violations`.

    With ``boundaries_um``: ``ilm/truth_error_um``, ``rpe/truth_error_um`` and
    ``thickness/truth_error_um``, against the truth instead of what was found in the real volume.

    Args:
        drawn: the answer, at the pose of the real volumes.
        real: the real volumes.
        boundaries_um: true depths of :data:`fund2oct.retina.BOUNDARIES`, NaN where absent, shape
            ``(B, n, S, X)``.

    Returns:
        Values by name, each of shape ``(B,)``, NaN where not measured.

    Raises:
        ValueError: if the shapes differ.
    """
    measured = real.surfaces
    values = {
        "thickness/error_um": surface_error_um(drawn.thickness_um, measured.thickness_um),
        "thickness/correlation": map_correlation(drawn.thickness_um, measured.thickness_um),
        "thickness/failed": failed_share(drawn, measured),
        "thickness/failed_real": 1 - measured.ok.flatten(1).float().mean(1),
        "ilm/error_um": surface_error_um(drawn.ilm_um, measured.ilm_um),
        "rpe/error_um": surface_error_um(drawn.rpe_um, measured.rpe_um),
        "order/violations": layer_violations(drawn, real.spacing_x_mm),
        "order/violations_real": real.violations,
    }
    if boundaries_um is not None:
        values |= _truth_errors(drawn, boundaries_um)
    return values


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


def measure_perceptual(
    fake: Tensor, fake_aligned: Tensor, real: Tensor, real_aligned: Tensor, mask: Tensor, network: nn.Module
) -> dict[str, Tensor]:
    """Perceptual distances of generated eyes, one value an eye.

    Args:
        fake: generated volumes at the pose of the real ones, in [0, 1], ``(B, 1, S, Z, X)``.
        fake_aligned: generated volumes in the aligned frame.
        real: real volumes.
        real_aligned: real volumes in the aligned frame.
        mask: aligned voxels that were scanned.
        network: of the distance, on the volumes' device.

    Returns:
        ``aligned/perceptual_unweighted`` and ``posed/perceptual_unweighted``, in [0, 4], see
        :func:`unweighted_perceptual_distance`; shape ``(B,)``.
    """
    distance = unweighted_perceptual_distance
    return {
        "aligned/perceptual_unweighted": distance(fake_aligned, real_aligned, network, mask),
        "posed/perceptual_unweighted": distance(fake, real, network),
    }


def _voxels(
    fake: Tensor, real: Tensor, fake_aligned: Tensor, real_aligned: Tensor, mask: Tensor
) -> dict[str, Tensor]:
    """Voxel metrics in the aligned frame and as the volumes lie."""
    frames = {"aligned": (fake_aligned, real_aligned, mask), "posed": (fake, real, None)}
    return {
        f"{frame}/{name}": metric(*parts)
        for frame, parts in frames.items()
        for name, metric in _VOXEL_METRICS.items()
    }


def _truth_errors(drawn: Surfaces, boundaries_um: Tensor) -> dict[str, Tensor]:
    ilm_um, rpe_um = (boundaries_um[:, boundary_index(name)] for name in ("ILM", "IZ_RPE"))
    return {
        "ilm/truth_error_um": surface_error_um(drawn.ilm_um, ilm_um),
        "rpe/truth_error_um": surface_error_um(drawn.rpe_um, rpe_um),
        "thickness/truth_error_um": surface_error_um(drawn.thickness_um, rpe_um - ilm_um),
    }


def measure_lesions(
    fake: Findings, real: Findings, *, scan: ScanPattern | None = None, lesions: Tensor | None = None
) -> dict[str, Tensor]:
    """Measure the lesions of generated eyes, one value an eye.

    Always, for each of :data:`fund2oct.metrics.KINDS`, lengths of scan in millimetres:
    ``KIND/fake_mm``, ``KIND/real_mm`` and ``KIND/both_mm``, of the A-scans at which the generated volume
    shows the kind, the real one does, and both do (:func:`fund2oct.metrics.find_kinds`).

    With ``lesions``: ``KIND/truth_mm``, the length by the truth, and ``KIND/confirmed_mm``, the part of
    ``KIND/real_mm`` that is true: how far the detector may be trusted.

    With ``scan``: ``fluid/fake_mm3`` and ``fluid/real_mm3``, estimated volumes of fluid
    (:func:`fund2oct.metrics.fluid_um`), and their absolute difference ``fluid/error_mm3``;
    ``elevation/...`` likewise of what lifts the epithelium (:func:`fund2oct.metrics.elevation_um`).

    With ``scan`` and ``lesions``: ``fluid/truth_mm3`` and ``elevation/truth_mm3``, the true volumes, and
    ``fluid/truth_error_mm3`` and ``elevation/truth_error_mm3``, the absolute difference of the
    generated volume's estimate from them.

    Args:
        fake: generated volumes.
        real: real volumes; the same findings may serve many answers.
        scan: where the B-scans lie.
        lesions: true labels, see :func:`fund2oct.metrics.label_um`, shape ``(B, S, Z, X)``.

    Returns:
        Values by name, each float32 of shape ``(B,)``; volumes are NaN where they cannot be measured.

    Raises:
        ValueError: if the shapes do not fit each other.
    """
    check_pair(fake.volume, real.volume)
    values: dict[str, Tensor] = {}
    for name, lengths in overlap(fake.kinds, real.kinds, real.spacing_x_mm).items():
        values |= {f"{name}/{whose}_mm": length for whose, length in lengths._asdict().items()}
    if lesions is not None:
        for name, lengths in overlap(real.kinds, true_kinds(lesions), real.spacing_x_mm).items():
            values |= {f"{name}/truth_mm": lengths.real, f"{name}/confirmed_mm": lengths.both}
    if scan is not None:
        heights = {
            "fluid/fake": fake.fluid.total_um,
            "fluid/real": real.fluid.total_um,
            "elevation/fake": elevation_um(fake.surfaces),
            "elevation/real": elevation_um(real.surfaces),
        }
        if lesions is not None:
            heights["fluid/truth"] = label_um(lesions, FLUID, real.spacing_z_mm)
            heights["elevation/truth"] = label_um(lesions, ELEVATION, real.spacing_z_mm)
        values |= _volumes(heights, ascan_area_mm2(scan, fake.volume.shape[4]))
    return {name: value.detach().to(fake.volume.device, torch.float32) for name, value in values.items()}


def _volumes(heights_um: dict[str, Tensor], area_mm2: Tensor) -> dict[str, Tensor]:
    """Volumes of the heights by their names, and how far the generated ones are from the others."""
    volumes = {name: lesion_volume_mm3(height_um, area_mm2) for name, height_um in heights_um.items()}
    values = {f"{name}_mm3": volume for name, volume in volumes.items()}
    for name, volume in volumes.items():
        kind, whose = name.split("/")
        if whose != "fake":
            error = "error_mm3" if whose == "real" else "truth_error_mm3"
            values[f"{kind}/{error}"] = (volumes[f"{kind}/fake"] - volume).abs()
    return values
