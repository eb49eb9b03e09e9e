"""The metrics that every training run logs."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from fund2oct.metrics.eyes.findings import Findings
from fund2oct.metrics.eyes.layers import Surfaces
from fund2oct.metrics.eyes.measuring import EyeMean, measure_eyes
from fund2oct.metrics.eyes.sharpness import SharpnessRatio
from fund2oct.processes import Here

LOGGED = (
    *(f"{frame}/{name}" for frame in ("aligned", "lying") for name in ("l1", "psnr", "ssim")),
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

_MOST_PENDING = 16
"""Batches that wait to be measured at most, for each holds its volumes."""


class ValidationMetrics(nn.Module):
    """Means of what :func:`fund2oct.metrics.measure_eyes` measures, and the sharpness of the set.

    The report at the end of a run measures by the same function. The surfaces of a real volume are searched
    when it is first seen, and kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.ModuleDict({name: EyeMean() for name in LOGGED})
        self.sharpness = SharpnessRatio()
        self._pending: deque[list[Future[tuple[dict[str, Tensor], Surfaces]]]] = deque()
        self._names: deque[list[bytes]] = deque()
        self._found: dict[bytes, Surfaces] = {}

    def update(
        self,
        fake: Tensor,
        real: Tensor,
        fake_aligned: Tensor,
        real_aligned: Tensor,
        mask: Tensor,
        spacing_z_mm: Tensor | float,
        spacing_x_mm: Tensor | float,
        pool: Executor | None = None,
    ) -> None:
        """Add a batch of volumes ``(B, 1, S, Z, X)`` in [0, 1], as they lie and aligned.

        Args:
            fake: generated volumes.
            real: real volumes.
            fake_aligned: generated volumes in the aligned frame.
            real_aligned: real volumes in the aligned frame.
            mask: aligned voxels that were scanned.
            spacing_z_mm: distance of two rows, one number or one an eye.
            spacing_x_mm: distance of two A-scans, likewise.
            pool: processes to measure in; None measures here and now. The means are the same, but hold all
                eyes only after :meth:`finish`.
        """
        pool = pool or Here()
        self.sharpness.update(fake, real)
        spacings = (
            torch.as_tensor(spacing).float().expand(len(fake)) for spacing in (spacing_z_mm, spacing_x_mm)
        )
        volumes = (fake.float(), real.float(), fake_aligned.float(), real_aligned.float(), mask)
        parts = [each.detach().cpu() for each in (*volumes, *spacings)]
        names, pending = [], []
        for number in range(len(fake)):
            # Cloned, or the whole batch would be sent with each eye.
            own = [part[number : number + 1].clone() for part in parts]
            name = hashlib.blake2b(b"".join(own[n].numpy().tobytes() for n in (1, 5, 6))).digest()
            names.append(name)
            pending.append(pool.submit(_measure, own, self._found.get(name)))
        self._names.append(names)
        self._pending.append(pending)
        while self._pending and (
            len(self._pending) > _MOST_PENDING or all(one.done() for one in self._pending[0])
        ):
            self._take()

    def finish(self) -> None:
        """Wait for all that is still being measured."""
        while self._pending:
            self._take()

    def named(self) -> dict[str, Metric]:
        """The metrics by the names under which they are reported."""
        return {**self.means, "sharpness": self.sharpness}  # type: ignore[dict-item]

    def _take(self) -> None:
        # In the order of the eyes, so that the sums do not depend on who was done first.
        measured = [one.result() for one in self._pending.popleft()]
        self._found.update(zip(self._names.popleft(), (found for _, found in measured), strict=True))
        for name, mean in self.means.items():
            values = torch.cat([values[name] for values, _ in measured])
            mean.update(values.to(mean.total.device))  # type: ignore[operator, arg-type]


@torch.no_grad()
def _measure(eye: Sequence[Tensor], found: Surfaces | None) -> tuple[dict[str, Tensor], Surfaces]:
    """Measure one eye on the CPU; the surfaces of the real volume come back too."""
    fake, real, fake_aligned, real_aligned, mask, spacing_z_mm, spacing_x_mm = eye
    drawn = Findings(fake, spacing_z_mm, spacing_x_mm)
    measured = Findings(real, spacing_z_mm, spacing_x_mm, found)
    values = measure_eyes(drawn, measured, fake_aligned, real_aligned, mask)
    return {name: values[name] for name in LOGGED}, measured.surfaces
