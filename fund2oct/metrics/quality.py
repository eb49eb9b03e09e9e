"""Voxel by voxel quality of generated volumes: L1, PSNR and SSIM."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from fund2oct.losses.masking import check_pair
from fund2oct.losses.reconstruction import ssim_map, whole_windows


def volume_l1(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Mean absolute difference of each volume.

    .. math:: \frac{\sum_v m_v |\hat V_v - V_v|}{\sum_v m_v}

    Args:
        fake: generated volumes in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volumes of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all.

    Returns:
        One value a volume, shape ``(B,)``; NaN where nothing counts.

    Raises:
        ValueError: if the shapes differ.
    """
    check_pair(fake, real, mask)
    return _means((fake - real).abs(), mask)


def volume_psnr(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Peak signal-to-noise ratio of each volume in decibels, for a peak of 1.

    .. math:: -10 \log_{10} \frac{\sum_v m_v (\hat V_v - V_v)^2}{\sum_v m_v}

    The error is averaged over the whole volume before the logarithm is taken. It is infinite for
    equal volumes. Arguments, shape and errors as :func:`volume_l1`.
    """
    check_pair(fake, real, mask)
    return -10 * _means((fake - real).square(), mask).log10()


def volume_ssim(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean structural similarity of each volume's B-scans, in [-1, 1].

    Gaussian windows of 11 x 11 pixels within the B-scans, see
    :func:`fund2oct.losses.reconstruction.ssim_map`; of a masked volume only windows wholly inside
    the mask. Arguments, shape and errors as :func:`volume_l1`; Z and X must be at least 11.
    """
    check_pair(fake, real, mask)
    return _means(ssim_map(fake, real), None if mask is None else whole_windows(mask))


class _VolumeMean(Metric):
    """Mean over all volumes seen, whatever the batches they came in."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def _add(self, values: Tensor, mask: Tensor | None) -> None:
        # By the mask, not by isnan: what a diverged generator gives must show.
        if mask is not None:
            values = values[(mask > 0).flatten(1).any(1)]
        self.total += values.sum()
        self.count += len(values)

    def compute(self) -> Tensor:
        """Mean over the volumes, a scalar; NaN before the first one."""
        if self.count == 0:
            return torch.tensor(math.nan, device=self.total.device)
        return self.total / self.count


class VolumeL1(_VolumeMean):
    """Mean of :func:`volume_l1` over the volumes seen. A volume in which nothing counts is left out."""

    higher_is_better = False

    def update(self, fake: Tensor, real: Tensor, mask: Tensor | None = None) -> None:
        """Add volumes ``(B, C, S, Z, X)`` in [0, 1]."""
        self._add(volume_l1(fake.float(), real.float(), mask), mask)


class VolumePSNR(_VolumeMean):
    """Mean of :func:`volume_psnr` over the volumes seen, in decibels; each volume weighs the same.

    A volume in which nothing counts is left out. One perfect volume makes the mean infinite.
    """

    higher_is_better = True

    def update(self, fake: Tensor, real: Tensor, mask: Tensor | None = None) -> None:
        """Add volumes ``(B, C, S, Z, X)`` in [0, 1]."""
        self._add(volume_psnr(fake.float(), real.float(), mask), mask)


class VolumeSSIM(_VolumeMean):
    """Mean of :func:`volume_ssim` over the volumes seen.

    The structural similarity of torchmetrics takes a volume as one three-dimensional image; here
    each B-scan is an image of its own. A volume without a window that counts is left out.
    """

    higher_is_better = True

    def update(self, fake: Tensor, real: Tensor, mask: Tensor | None = None) -> None:
        """Add volumes ``(B, C, S, Z, X)`` in [0, 1], Z and X at least 11."""
        similarity = volume_ssim(fake.float(), real.float(), mask)
        self._add(similarity, None if mask is None else whole_windows(mask))


def _means(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.flatten(1).mean(1)
    counts = (mask > 0).expand_as(values)
    return (values * counts).flatten(1).sum(1) / counts.flatten(1).sum(1)
