"""The metrics that every training run logs."""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from fund2oct.metrics.eyes.findings import Findings
from fund2oct.metrics.eyes.layers import Surfaces
from fund2oct.metrics.eyes.measuring import EyeMean, measure_eyes
from fund2oct.metrics.eyes.sharpness import SharpnessRatio
from fund2oct.processes import Here, processes_beside, submit_by_value

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

_S_A_VOXEL = 2.8e-6
"""Time to measure an eye on one core, by its voxels."""
_WORTH_S = 30.0
"""Time to measure all eyes from which on processes pay, which have to be started for it."""


class ValidationMetrics(nn.Module):
    """Means over eyes of what :func:`fund2oct.metrics.measure_eyes` measures, and the sharpness of the set.

    A training logs them after each epoch. The report at the end of a run measures with the same function. The
    surfaces of a real volume are searched when it is first seen, and kept.

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
        self._pending: deque[tuple[bytes, Future[tuple[dict[str, Tensor], Surfaces]]]] = deque()
        self._most_pending = 1
        self._found: dict[bytes, Surfaces] = {}
        self._pool: Executor = Here()
        self._pool_ends = ExitStack()

    def start(self, n_eyes: int, n_voxels: int, n_alike: int = 1) -> None:
        """Start processes to measure in, where there is enough to measure and a core for them.

        The means are the same as without, but hold all eyes only after :meth:`finish`.

        Args:
            n_eyes: number of eyes that will be measured.
            n_voxels: number of voxels of a volume.
            n_alike: number of trainings on this machine, which share its cores.
        """
        if n_eyes * n_voxels * _S_A_VOXEL > _WORTH_S:
            self._pool = self._pool_ends.enter_context(processes_beside(n_eyes, n_alike))
            # Each eye that waits holds its volumes: one more for each process is enough to keep it at work.
            self._most_pending = 2 * getattr(self._pool, "_max_workers", 1) + 1

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
        self.sharpness.update(fake, real)
        spacings = (
            torch.as_tensor(spacing).float().expand(len(fake)) for spacing in (spacing_z_mm, spacing_x_mm)
        )
        volumes = (fake.float(), real.float(), fake_aligned.float(), real_aligned.float(), mask)
        parts = [each.detach().cpu() for each in (*volumes, *spacings)]
        for number in range(len(fake)):
            # Cloned, or the whole batch would be sent with each eye.
            own = [part[number : number + 1].clone() for part in parts]
            name = hashlib.blake2b(b"".join(own[n].numpy().tobytes() for n in (1, 5, 6))).digest()
            self._pending.append((name, submit_by_value(self._pool, _measure, own, self._found.get(name))))
            while self._pending and (len(self._pending) > self._most_pending or self._pending[0][1].done()):
                self._take()

    def finish(self) -> None:
        """Wait for all that is still being measured, and end the processes."""
        while self._pending:
            self._take()
        self._pool = Here()
        self._pool_ends.close()

    def named(self) -> dict[str, Metric]:
        """The metrics by the names under which they are logged and reported."""
        return {**self.means, "sharpness": self.sharpness}  # type: ignore[dict-item]

    def _take(self) -> None:
        # In the order of the eyes, so that the sums do not depend on who was done first.
        eye, measured = self._pending.popleft()
        values, found = measured.result()
        self._found[eye] = copy.deepcopy(found)  # what comes from a process keeps its file descriptors
        for name, mean in self.means.items():
            mean.update(values[name].to(mean.total.device))  # type: ignore[operator, arg-type]


@torch.no_grad()
def _measure(eye: Sequence[Tensor], found: Surfaces | None) -> tuple[dict[str, Tensor], Surfaces]:
    """Measure one eye on the CPU; the surfaces of the real volume come back too."""
    fake, real, fake_aligned, real_aligned, mask, spacing_z_mm, spacing_x_mm = eye
    drawn = Findings(fake, spacing_z_mm, spacing_x_mm)
    measured = Findings(real, spacing_z_mm, spacing_x_mm, found)
    values = measure_eyes(drawn, measured, fake_aligned, real_aligned, mask)
    return {name: values[name] for name in LOGGED}, measured.surfaces
