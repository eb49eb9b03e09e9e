"""Voxel by voxel quality of generated volumes: L1, PSNR, SSIM and MS-SSIM.

Each function takes volumes in their own pose, or aligned ones with the mask of the voxels that were scanned.
Those of torchmetrics do not fit a volume ``(B, C, S, Z, X)``:

* ``peak_signal_noise_ratio`` averages the squared errors of the whole batch before the logarithm, unless it
  is told which dimensions to reduce.
* ``structural_similarity_index_measure`` takes five dimensions for a three-dimensional image. Its windows
  then run across the slices, which in a radial scan are no neighbours. With the B-scans in the batch
  dimension its map is right, but its mean includes windows over the reflected border. :func:`volume_ssim`
  counts only whole windows, as scikit-image does.
* ``multiscale_structural_similarity_index_measure`` would halve the number of slices with each scale, and
  fails on six. With B-scans of at least 176 pixels in the batch dimension it agrees with
  :func:`volume_ms_ssim`, except for the border at the last scale.
* None of them takes a mask.
"""

from __future__ import annotations

import math

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor
from torch.nn import functional as F

from fund2oct.losses.masking import check_pair
from fund2oct.losses.reconstruction import SSIM_WINDOW, local_mean_loss, ssim_map, whole_windows
from fund2oct.precision import full_precision
from fund2oct.retina.frame import ALIGNED_DEPTH

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_RETINA_UM = (-450.0, 100.0)
"""Depths around the pose's surface that hold the retina, its detachments and the epithelium."""


@full_precision
def volume_l1(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Mean absolute difference of each volume.

    .. math:: \frac{\sum_v m_v |\hat V_v - V_v|}{\sum_v m_v}

    Args:
        fake: generated volumes in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volumes of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all.

    Returns:
        One value in [0, 1] a volume, shape ``(B,)``; NaN where nothing counts.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> real = torch.zeros(2, 1, 3, 8, 10)  # two eyes
        >>> volume_l1(real + 0.25, real)
        tensor([0.2500, 0.2500])
    """
    check_pair(fake, real, mask)
    return _means((fake - real).abs(), mask)


@full_precision
def volume_psnr(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Peak signal-to-noise ratio of each volume in decibels, for a peak of 1.

    .. math:: -10 \log_{10} \frac{\sum_v m_v (\hat V_v - V_v)^2}{\sum_v m_v}

    The error is averaged over the whole volume before the logarithm is taken.

    Args:
        fake: generated volumes in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volumes of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all.

    Returns:
        Decibels, one value a volume, shape ``(B,)``; infinite for equal volumes, NaN where nothing counts.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> real = torch.zeros(2, 1, 3, 8, 10)  # two eyes
        >>> volume_psnr(real + 0.1, real)
        tensor([20., 20.])
    """
    check_pair(fake, real, mask)
    return -10 * _means((fake - real).square(), mask).log10()


@full_precision
def volume_ssim(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean structural similarity (SSIM) of each volume's B-scans.

    The windows are Gaussian, of 11 x 11 pixels, and do not cross the B-scans, see
    :func:`fund2oct.losses.reconstruction.ssim_map`. Only windows that lie wholly in the volume, and wholly
    in the mask, count.

    Args:
        fake: generated volumes in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volumes of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all.

    Returns:
        Similarity in [-1, 1], 1 for equal volumes, shape ``(B,)``; NaN where no window counts.

    Raises:
        ValueError: if the shapes differ or Z or X is below 11.

    References:
        Wang et al., Image quality assessment, IEEE TIP 2004, equation 13.

    Example:
        >>> real = torch.rand(1, 1, 3, 16, 20)
        >>> volume_ssim(real, real), volume_ssim(1 - real, real).item() < 0
        (tensor([1.]), True)
    """
    check_pair(fake, real, mask)
    return _means(ssim_map(fake, real), None if mask is None else whole_windows(mask))


@full_precision
def volume_ms_ssim(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Mean multi-scale structural similarity (MS-SSIM) of each volume's B-scans.

    .. math:: \frac{1}{S} \sum_s l_M^{w_M} \prod_{j=1}^{M} c_j^{w_j}

    with the mean contrast and structure :math:`c_j` of a B-scan whose size was halved :math:`j - 1` times,
    the luminance :math:`l_M` at the last scale, and the weights :math:`w_j` of the paper. As in
    torchmetrics, the mean over the windows of a B-scan is taken before the powers, and a negative mean
    counts as 0. Small B-scans have fewer than five scales, see :func:`ms_ssim_scales`. Their weights are
    scaled up to the same sum, but values of different numbers of scales cannot be compared.

    Args:
        fake: generated volumes in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volumes of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all. At each scale only
            windows wholly in the mask count; a B-scan that has none at some scale is left out.

    Returns:
        Similarity in [0, 1], 1 for equal volumes, shape ``(B,)``; NaN where no B-scan counts.

    Raises:
        ValueError: if the shapes differ or Z or X is below 11.

    References:
        Wang, Simoncelli and Bovik, Multiscale structural similarity, Asilomar 2003, equation 7.

    Example:
        >>> real = torch.rand(1, 1, 3, 48, 64)  # three scales: 48, 24 and 12 rows
        >>> volume_ms_ssim(real, real), volume_ms_ssim(real.flip(-1), real).item() < 0.5
        (tensor([1.]), True)
    """
    check_pair(fake, real, mask)
    n_scales = ms_ssim_scales(*fake.shape[-2:])
    if n_scales == 0:
        raise ValueError(
            f"ms-ssim: expected Z and X of at least {SSIM_WINDOW}, found {tuple(fake.shape[-2:])}"
        )
    missing = sum(_SCALE_WEIGHTS) / sum(_SCALE_WEIGHTS[:n_scales])
    fake, real = (volume.to(torch.promote_types(volume.dtype, torch.float32)) for volume in (fake, real))
    outside = None if mask is None else (mask <= 0).float()
    similarity = torch.ones(fake.shape[:3], device=fake.device)
    measured = torch.ones_like(similarity, dtype=torch.bool)
    for scale, weight in enumerate(_SCALE_WEIGHTS[:n_scales]):
        if scale:
            fake, real = (F.avg_pool3d(volume, (1, 2, 2)) for volume in (fake, real))
            outside = None if outside is None else F.max_pool3d(outside, (1, 2, 2))
        full, contrast = _similarity_and_contrast(fake, real)
        values = full if scale == n_scales - 1 else contrast
        if outside is None:
            means = values.mean((-2, -1))
        else:
            windows = whole_windows(outside == 0)
            count = windows.sum((-2, -1))
            means = (values * windows).sum((-2, -1)) / count.clamp(min=1)
            measured = measured & (count > 0)
        similarity = similarity * means.clamp(min=0) ** (weight * missing)
    return (similarity * measured).flatten(1).sum(1) / measured.flatten(1).sum(1)


def ms_ssim_scales(n_depth: int, n_ascans: int) -> int:
    """Number of scales of :func:`volume_ms_ssim` for B-scans of a size.

    Args:
        n_depth: number of rows, Z.
        n_ascans: number of A-scans, X.

    Returns:
        From 0, where the shorter side is below 11, to 5, where it is at least 176.

    Example:
        >>> ms_ssim_scales(320, 448), ms_ssim_scales(48, 64)
        (5, 3)
    """
    shorter = min(n_depth, n_ascans)
    return sum(shorter >> scale >= SSIM_WINDOW for scale in range(len(_SCALE_WEIGHTS)))


@full_precision
def retina_local_mean(fake: Tensor, real: Tensor, mask: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    """Error of the retina's brightness in the aligned frame, one value a volume.

    It is :func:`fund2oct.losses.local_mean_loss`, to which speckle hardly counts, with windows of 5 x 5
    pixels over the rows from 450 micrometres above the pose's surface to 100 below it. These hold the
    retina of almost any eye, and leave out vitreous and deep choroid.

    Args:
        fake: generated volumes in the aligned frame, in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volumes of the same shape, likewise.
        mask: which voxels were scanned, bool ``(B, 1, S, Z, X)``.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.

    Returns:
        One value in [0, 1] a volume, shape ``(B,)``; NaN where nothing was scanned.

    Raises:
        ValueError: if the shapes differ or Z or X is below 5.

    Example:
        >>> real = torch.zeros(1, 1, 2, 40, 12)
        >>> mask = torch.ones(1, 1, 2, 40, 12, dtype=torch.bool)
        >>> retina_local_mean(real + 0.25, real, mask, spacing_z_mm=0.024)
        tensor([0.2500])
    """
    check_pair(fake, real, mask)
    rows = torch.arange(fake.shape[3], device=fake.device) + 0.5 - ALIGNED_DEPTH * fake.shape[3]
    spacing = torch.as_tensor(spacing_z_mm, device=fake.device).expand(len(fake))
    values = []
    for eye, z_mm in enumerate(spacing):
        depth_um = rows * z_mm * 1000
        band = ((depth_um > _RETINA_UM[0]) & (depth_um < _RETINA_UM[1]))[:, None]
        one = slice(eye, eye + 1)
        retina = (mask[one] > 0) & band
        loss = local_mean_loss(fake[one], real[one], retina)
        values.append(loss if retina.any() else torch.full_like(loss, math.nan))
    return torch.stack(values)


def _means(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.flatten(1).mean(1)
    counts = (mask > 0).expand_as(values)
    return (values * counts).flatten(1).sum(1) / counts.flatten(1).sum(1)


def _similarity_and_contrast(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Structural similarity of each whole window, as :func:`ssim_map`, and without its luminance."""
    moments = torch.stack([fake, real, fake.square(), real.square(), fake * real])
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _window_means(moments)
    spread = (mean_xx - mean_x.square()).clamp(min=0) + (mean_yy - mean_y.square()).clamp(min=0)
    contrast = (2 * (mean_xy - mean_x * mean_y) + 0.03**2) / (spread + 0.03**2)
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x.square() + mean_y.square() + 0.01**2)
    return luminance * contrast, contrast


def _window_means(images: Tensor) -> Tensor:
    """Gaussian mean of each whole window of 11 x 11 pixels, sigma 1.5."""
    margin = SSIM_WINDOW // 2
    folded = images.flatten(2, -3).flatten(0, 1)
    means = gaussian_blur2d(folded, (SSIM_WINDOW, SSIM_WINDOW), (1.5, 1.5))
    return (
        means[..., margin:-margin, margin:-margin]
        .unflatten(0, images.shape[:2])
        .unflatten(2, images.shape[2:-2])
    )
