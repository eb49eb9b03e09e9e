"""What is measured of one eye and all its answers, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fund2oct.evaluation.answers.answer import Given
from fund2oct.evaluation.own import Measure, measure_own
from fund2oct.geometry import ScanPattern
from fund2oct.metrics import (
    Findings,
    epithelium_height_um,
    interval_coverage,
    measure_eyes,
    measure_lesions,
    measure_surfaces,
)
from fund2oct.metrics.eyes.heights import correlation_sums
from fund2oct.models import Batch

SUMS = "sums/"
"""Beginning of the names of an eye's sums, of which a value of any set of eyes can be made. Alone they tell
nothing, so that no table shows them."""
HEIGHT = f"{SUMS}height/"

_REAL = ("volume", "aligned", "mask", "pose_um", "spacing_z_mm", "spacing_x_mm", "boundaries_um", "lesions")


@dataclass(frozen=True, eq=False)
class EyeTask:
    """A real eye and its answers, on the CPU.

    Args:
        real: what :class:`fund2oct.evaluation.compare.EyeSet` says of the eye, each ``(1, ...)``.
        given: the answers by name.
        scan: where the B-scans lie.
        measures: the user's own.
    """

    real: dict[str, Tensor]
    given: Mapping[str, Given]
    scan: ScanPattern | None
    measures: Sequence[tuple[str, Measure]] = ()

    @classmethod
    def of(
        cls,
        batch: Batch,
        number: int,
        given: Mapping[str, Given],
        scan: ScanPattern | None,
        measures: Sequence[tuple[str, Measure]] = (),
    ) -> EyeTask:
        """The eye of that number in a batch."""
        real = {
            name: value[number : number + 1].cpu().clone()
            for name, value in batch.items()
            if name in _REAL and isinstance(value, Tensor)
        }
        return cls(real, given, scan, measures)


@torch.inference_mode()
def measure_eye(task: EyeTask) -> dict[str, dict[str, float]]:
    """Measure all answers for an eye; what is found in the real volume is found once.

    Returns:
        For each answer what :func:`fund2oct.metrics.measure_eyes` and
        :func:`fund2oct.metrics.measure_lesions` measure, or of surfaces alone what
        :func:`fund2oct.metrics.measure_surfaces` does, ``thickness/covered`` where it has an interval, and
        the sums of the epithelium's heights above the surface of its own pose (``a``) and of the real one's
        (``b``), such as ``sums/height/ab``, see :func:`fund2oct.metrics.eyes.heights.correlation_sums`.
    """
    real = task.real
    spacing = real["spacing_z_mm"], real["spacing_x_mm"]
    findings = Findings(real["volume"], *spacing)
    real_height_um = epithelium_height_um(findings.surfaces.rpe_um, real["pose_um"])
    measured = {}
    for name, given in task.given.items():
        surfaces, drawn = given.surfaces, None
        if given.volume is not None and given.aligned is not None:
            drawn = Findings(given.volume, *spacing, surfaces)
            surfaces = drawn.surfaces
            frames = given.aligned, real["aligned"], given.counted(real["mask"])
            values = measure_eyes(drawn, findings, *frames, boundaries_um=real.get("boundaries_um"))
            values |= measure_lesions(drawn, findings, scan=task.scan, lesions=real.get("lesions"))
        else:
            assert surfaces is not None, f"{name}: an answer has a volume or surfaces"
            values = measure_surfaces(surfaces, findings, real.get("boundaries_um"))
        if given.interval_um is not None:
            covered = interval_coverage(given.interval_um, findings.surfaces.thickness_um)
            values["thickness/covered"] = covered
        pose_um = real["pose_um"] if given.pose_um is None else given.pose_um
        height_um = epithelium_height_um(surfaces.rpe_um, pose_um)
        values |= {HEIGHT + part: each for part, each in correlation_sums(height_um, real_height_um).items()}
        measured[name] = {value: float(column[0]) for value, column in values.items()}
        measured[name] |= measure_own(task.measures, drawn, findings)
    return measured
