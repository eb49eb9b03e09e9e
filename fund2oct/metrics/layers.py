"""Retinal thickness of generated volumes, in micrometres, found as in the real ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from fund2oct.losses.masking import check_pair
from fund2oct.retina.search import retinal_boundaries


def retinal_thickness_um(
    volume: Tensor, spacing_z_mm: Tensor | float, spacing_x_mm: Tensor | float
) -> Tensor:
    """Thickness of the retina, from its inner surface to the pigment epithelium's.

    Found by :func:`fund2oct.retina.retinal_boundaries`, on the CPU and without gradient. The pose
    does not matter: a volume in the aligned frame has the thickness of the volume as it lies.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans, likewise.

    Returns:
        Thickness in micrometres, NaN where the search failed and throughout a volume that is not
        finite, shape ``(B, S, X)``.

    Raises:
        ValueError: if the shape is another.
    """
    if volume.ndim != 5 or volume.shape[1] != 1:
        raise ValueError(f"volume: expected (B, 1, S, Z, X), found shape {tuple(volume.shape)}")
    z_mm, x_mm = (torch.as_tensor(mm).expand(len(volume)).tolist() for mm in (spacing_z_mm, spacing_x_mm))
    result = volume.new_full(
        (len(volume), volume.shape[2], volume.shape[4]), math.nan, dtype=torch.float32, device="cpu"
    )
    for number, eye in enumerate(volume.detach().float().cpu()[:, 0]):
        if eye.isfinite().all():
            found = retinal_boundaries(eye.clamp(0, 1).numpy(), (math.nan, z_mm[number], x_mm[number]))
            result[number] = torch.from_numpy(found.thickness_um)
    return result.to(volume.device)


class ThicknessError(Metric):
    r"""Mean absolute error of the retinal thickness in micrometres, over all A-scans seen.

    .. math:: \frac{1}{|K|} \sum_{i \in K} |t_i(\hat V) - t_i(V)|

    over the A-scans :math:`K` at which the search succeeded in both volumes. Read it together with
    the shares of A-scans at which it did not: a volume without a retina is measured nowhere.

    :meth:`compute` returns scalars, NaN where nothing was compared:

    * ``error_um``, against the thickness found in the real volume;
    * ``truth_error_um``, against the true thickness, where it was given;
    * ``failed_fake``, share of A-scans found in the real volume but not in the generated one;
    * ``failed_real``, share of all A-scans not found in the real volume.
    """

    full_state_update = False
    higher_is_better = False
    error: Tensor
    compared: Tensor
    truth_error: Tensor
    truth_compared: Tensor
    found: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("error", "truth_error"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("compared", "truth_compared", "found", "seen"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        fake: Tensor,
        real: Tensor,
        spacing_z_mm: Tensor | float,
        spacing_x_mm: Tensor | float,
        truth_um: Tensor | None = None,
    ) -> None:
        """Add volumes ``(B, 1, S, Z, X)`` in [0, 1], both as they lie or both aligned.

        ``truth_um`` is the true thickness in micrometres, NaN where there is none, ``(B, S, X)``;
        the spacings are those of :func:`retinal_thickness_um`.
        """
        check_pair(fake, real, None)
        drawn = retinal_thickness_um(fake, spacing_z_mm, spacing_x_mm)
        measured = retinal_thickness_um(real, spacing_z_mm, spacing_x_mm)
        error, compared = _absolute_difference(drawn, measured)
        self.error += error
        self.compared += compared
        self.found += measured.isfinite().sum()
        self.seen += measured.numel()
        if truth_um is not None:
            if truth_um.shape != drawn.shape:
                raise ValueError(
                    f"truth: expected (B, S, X) = {tuple(drawn.shape)}, found {tuple(truth_um.shape)}"
                )
            error, compared = _absolute_difference(drawn, truth_um.to(drawn))
            self.truth_error += error
            self.truth_compared += compared

    def compute(self) -> dict[str, Tensor]:
        """The errors in micrometres and the shares of failure, scalars."""
        values = {
            "error_um": self.error / self.compared,
            "failed_fake": 1 - self.compared / self.found,
            "failed_real": 1 - self.found / self.seen,
        }
        if self.truth_compared > 0:
            values["truth_error_um"] = self.truth_error / self.truth_compared
        return {name: value.float() for name, value in values.items()}


def _absolute_difference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over the values that both know, and their number."""
    difference = (a.double() - b.double()).abs()
    return difference.nansum(), difference.isfinite().sum()
