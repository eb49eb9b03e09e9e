"""All measures of a generated eye against the real one, under stable names."""

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
from fund2oct.retina.layers import EPITHELIUM_UM, boundary_index

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
    """Measure the quality and the anatomy of generated eyes; see :func:`measure_lesions` for their lesions.

    Measured are:

    * ``aligned/l1`` (brightness), ``aligned/psnr`` (dB), ``aligned/ssim`` and ``aligned/ms_ssim``: in the
      aligned frame, over the voxels that were scanned, see :func:`fund2oct.metrics.volume_psnr` and its like;
    * ``posed/l1``, ``posed/psnr``, ``posed/ssim`` and ``posed/ms_ssim``: of the volumes as they lie;
    * ``aligned/retina_local_mean`` (brightness): see :func:`retina_local_mean`;
    * ``energy/fake`` and ``energy/real`` (squared brightness): see :func:`high_frequency_energy`; the ratio
      of their sums over a set is the sharpness;
    * ``shadow/agreement`` (correlation): how far the shadows of vessels agree, see
      :func:`fund2oct.metrics.vessel_shadows`; speckle keeps it below 1 even between two scans of one eye;
    * what :func:`measure_surfaces` measures.

    Errors and shares are best when small, the other values when large; an energy is neither good nor bad.
    A value is NaN where it cannot be measured. So read a mean over eyes together with their number, and the
    errors of surfaces together with ``thickness/failed``.

    Args:
        fake: generated volumes at the pose of the real ones, ``(B, 1, S, Z, X)``: the surfaces are compared
            by their depth in the frame.
        real: real volumes, likewise. The same findings can be used for many generated volumes.
        fake_aligned: generated volumes in the aligned frame, in [0, 1], shape ``(B, 1, S, Z, X)``.
        real_aligned: real volumes in the aligned frame, same shape.
        mask: aligned voxels that were scanned, bool, same shape.
        boundaries_um: true depths of :data:`fund2oct.retina.BOUNDARIES` in micrometres, NaN where absent,
            shape ``(B, n, S, X)``; None where the truth is not known.

    Returns:
        Values by name, each float32 of shape ``(B,)`` on the device of ``fake``.

    Raises:
        ValueError: if the shapes do not fit each other.

    Example:
        A rescan of a simulated eye, with other speckle, taken as the generated volume:

        >>> from fund2oct.geometry import RadialScan
        >>> from fund2oct.phantom import PhantomConfig, simulate_eye
        >>> eye = simulate_eye(seed=0, number=0, config=PhantomConfig(scan=RadialScan(n_lines=2)))
        >>> real, fake = (torch.from_numpy(each)[None, None] / 255 for each in (eye.volume, eye.rescan))
        >>> from fund2oct.retina import align, aligned_mask
        >>> pose_um, (z_mm, x_mm) = torch.from_numpy(eye.pose_um)[None], eye.spacing_mm[1:]
        >>> aligned = [align(volume, pose_um, z_mm) for volume in (fake, real)]
        >>> found = [Findings(volume, z_mm, x_mm) for volume in (fake, real)]
        >>> values = measure_eyes(*found, *aligned, aligned_mask(real, pose_um, z_mm))
        >>> [round(values[name].item(), 1) for name in ("aligned/psnr", "thickness/error_um")]
        [22.9, 9.9]
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
    """Measure surfaces that were found in generated volumes, or predicted without a volume.

    * ``thickness/error_um``, ``ilm/error_um`` and ``rpe/error_um`` (micrometres): errors of the retina's
      thickness, its inner surface and the pigment epithelium, against those found in the real volume;
    * ``thickness/correlation``: correlation of the thickness maps, see :func:`map_correlation`;
    * ``thickness/failed`` (share): A-scans with surfaces in the real volume, but not in ``drawn``;
    * ``thickness/failed_real`` (share): A-scans without surfaces in the real volume;
    * ``order/violations`` and ``order/violations_real`` (share): implausible A-scans, see
      :func:`layer_violations`.

    With ``boundaries_um`` also ``ilm/truth_error_um``, ``rpe/truth_error_um`` and
    ``thickness/truth_error_um`` (micrometres): the same errors against the truth.

    Args:
        drawn: the surfaces to be measured, at the pose of the real volumes.
        real: what was found in the real volumes.
        boundaries_um: true depths of :data:`fund2oct.retina.BOUNDARIES` in micrometres, NaN where absent,
            shape ``(B, n, S, X)``; None where the truth is not known.

    Returns:
        Values by name, each of shape ``(B,)``, NaN where not measured.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> rpe_um = torch.full((1, 2, 30), 600.0)
        >>> real = Findings(torch.zeros(1, 1, 2, 40, 30), 0.024, 0.08, Surfaces(rpe_um - 280, rpe_um, rpe_um))
        >>> drawn = Surfaces(rpe_um - 300, rpe_um, rpe_um)  # 20 micrometres too thick
        >>> measure_surfaces(drawn, real)["thickness/error_um"]
        tensor([20.])
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

    The mean is exact, also over batches of different size and over several processes. It does not tell over
    how many eyes it was taken, so read it together with ``thickness/failed``.

    Example:
        >>> mean = EyeMean()
        >>> mean.update(torch.tensor([20.0, math.nan]))
        >>> mean.update(torch.tensor([26.0]))
        >>> mean.compute()
        tensor(23.)
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add a batch.

        Args:
            values: one value for each eye, NaN where not measured, shape ``(B,)``.
        """
        self.total += values.double().nansum()
        self.count += (~values.isnan()).sum()

    def compute(self) -> Tensor:
        """The mean, a scalar; NaN while there is no value."""
        mean = self.total / self.count if self.count > 0 else torch.full_like(self.total, math.nan)
        return mean.float()


def measure_perceptual(
    fake: Tensor, fake_aligned: Tensor, real: Tensor, real_aligned: Tensor, mask: Tensor, network: nn.Module
) -> dict[str, Tensor]:
    """Perceptual distances of generated from real eyes, see :func:`unweighted_perceptual_distance`.

    Args:
        fake: generated volumes at the pose of the real ones, in [0, 1], ``(B, 1, S, Z, X)``.
        fake_aligned: generated volumes in the aligned frame, same shape.
        real: real volumes, same shape.
        real_aligned: real volumes in the aligned frame, same shape.
        mask: aligned voxels that were scanned, bool, same shape.
        network: feature network whose features are compared, on the volumes' device.

    Returns:
        ``aligned/perceptual_unweighted`` and ``posed/perceptual_unweighted``, each in [0, 4], shape ``(B,)``.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> class Edges(nn.Module):  # one level: the differences along Z and along X
        ...     def forward(self, images):
        ...         return [torch.cat(torch.gradient(images, dim=(2, 3)), dim=1)]
        >>> real = torch.rand(1, 1, 2, 12, 16)
        >>> values = measure_perceptual(1 - real, real, real, real, torch.ones_like(real).bool(), Edges())
        >>> {name: round(value.item(), 2) for name, value in values.items()}
        {'aligned/perceptual_unweighted': 0.0, 'posed/perceptual_unweighted': 4.0}
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

    For each of :data:`fund2oct.metrics.KINDS`, lengths of scan in millimetres
    (:func:`fund2oct.metrics.find_kinds`):

    * ``KIND/fake_mm``, ``KIND/real_mm``: over which the generated or the real volume shows this kind;
    * ``KIND/both_mm``: over which both show it at the same A-scans;
    * with ``lesions``, ``KIND/truth_mm``: over which the truth has it;
    * with ``lesions``, ``KIND/confirmed_mm``: over which the truth has it and the real volume shows it. It
      tells how far the detector can be trusted.

    With ``scan``, volumes in cubic millimetres of the fluid (:func:`fund2oct.metrics.find_fluid`), and under
    ``elevation/...`` the same of drusen and detachments (:func:`fund2oct.metrics.elevation_um`):

    * ``fluid/fake_mm3``, ``fluid/real_mm3``: estimates in the generated and the real volume;
    * ``fluid/error_mm3``: absolute difference of the two;
    * with ``lesions``, ``fluid/truth_mm3``: true volume;
    * with ``lesions``, ``fluid/truth_error_mm3``: absolute difference of it and ``fluid/fake_mm3``.

    Args:
        fake: what was found in the generated volumes.
        real: what was found in the real volumes. The same findings can be used for many generated volumes.
        scan: where the B-scans lie; None leaves out the volumes.
        lesions: true labels, see :func:`fund2oct.metrics.label_um`, shape ``(B, S, Z, X)``; None where the
            truth is not known.

    Returns:
        Values by name, each float32 of shape ``(B,)``; volumes are NaN where they cannot be measured.

    Raises:
        ValueError: if the shapes do not fit each other.

    Example:
        A rescan of a simulated eye with fluid, taken as the generated volume:

        >>> from fund2oct.geometry import RadialScan
        >>> from fund2oct.phantom import PhantomConfig, simulate_eye
        >>> eye = simulate_eye(seed=0, number=0, config=PhantomConfig(scan=RadialScan(n_lines=2)))
        >>> real, fake = (torch.from_numpy(each)[None, None] / 255 for each in (eye.volume, eye.rescan))
        >>> fake, real = (Findings(volume, *eye.spacing_mm[1:]) for volume in (fake, real))
        >>> values = measure_lesions(fake, real, scan=eye.scan)
        >>> [round(values[f"SRF/{name}_mm"].item(), 1) for name in ("fake", "real", "both")]
        [2.0, 2.0, 2.0]
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
            # The labels hold the epithelium, too, that is lifted: as in elevation_um, it does not count.
            lifted_um = label_um(lesions, ELEVATION, real.spacing_z_mm) - EPITHELIUM_UM
            heights["elevation/truth"] = lifted_um.clamp(min=0)
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
