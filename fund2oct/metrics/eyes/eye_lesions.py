"""The lesions of a generated eye beside those of its real one, under stable names."""

from __future__ import annotations

import torch
from torch import Tensor

from fund2oct.geometry import ScanPattern
from fund2oct.losses.masking import check_pair
from fund2oct.metrics.eyes.findings import Findings
from fund2oct.metrics.eyes.kinds import overlap, true_kinds
from fund2oct.metrics.eyes.lesions import (
    ELEVATION,
    FLUID,
    ascan_area_mm2,
    elevation_um,
    label_um,
    lesion_volume_mm3,
)


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
