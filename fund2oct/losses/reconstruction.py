"""Voxel by voxel distances between a generated and a real volume, over the voxels that count."""

from __future__ import annotations

import kornia.metrics
import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.losses.masking import check_pair, masked_mean
from fund2oct.precision import no_autocast

SSIM_WINDOW = 11


def l1_loss(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Mean absolute difference.

    .. math:: E |\hat V - V|

    Args:
        fake: generated volume in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all.

    Returns:
        A scalar; 0 where nothing counts.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> real = torch.zeros(1, 1, 2, 12, 14)
        >>> l1_loss(real + 0.25, real)
        tensor(0.2500)
    """
    check_pair(fake, real, mask)
    return masked_mean((fake - real).abs(), mask)


def charbonnier_loss(fake: Tensor, real: Tensor, mask: Tensor | None = None, eps: float = 1e-3) -> Tensor:
    r"""An L1 loss that is smooth at 0.

    .. math:: E \sqrt{(\hat V - V)^2 + \epsilon^2}

    Equal volumes cost ``eps``.

    Args:
        fake: generated volume in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all.
        eps: width of the smooth part, in units of the intensity.

    Returns:
        A scalar, at least ``eps``; 0 where nothing counts.

    Raises:
        ValueError: if the shapes differ.

    References:
        Charbonnier et al., ICIP 1994; this form and its ``eps`` of 1e-3 are those of Lai et al.,
        arXiv:1710.01992.

    Example:
        >>> real = torch.zeros(1, 1, 2, 12, 14)
        >>> charbonnier_loss(real, real, eps=0.01)
        tensor(0.0100)
    """
    check_pair(fake, real, mask)
    return masked_mean(((fake - real).square() + eps**2).sqrt(), mask)


def local_mean_loss(
    fake: Tensor, real: Tensor, mask: Tensor | None = None, window: tuple[int, int] = (5, 5)
) -> Tensor:
    r"""L1 between intensities averaged over small windows of a B-scan.

    .. math:: \frac{\sum_w |\sum_{v \in w} m_v (\hat V_v - V_v)|}{\sum_w \sum_{v \in w} m_v}

    over all windows :math:`w` that lie inside the B-scan, with :math:`m_v = 1` for the voxels that count
    and 0 for the others. The mean of a window hardly depends on its speckle. So this loss asks for the right
    anatomy and leaves the speckle to the discriminator. A plain L1 loss would ask for the median of each
    voxel, an image without speckle.

    Args:
        fake: generated volume in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all. A window's weight is the
            number of its voxels that count.
        window: height and width in pixels ``(z, x)``; (1, 1) is the L1 loss.

    Returns:
        A scalar; 0 where nothing counts.

    Raises:
        ValueError: if the shapes differ or the window does not fit the volume.

    Example:
        >>> real = torch.zeros(1, 1, 2, 12, 14)
        >>> speckle = 0.5 * (-1.0) ** torch.arange(14)  # bright and dark A-scans in turn
        >>> local_mean_loss(real + speckle, real, window=(1, 2))
        tensor(0.)
    """
    check_pair(fake, real, mask)
    _check_window(window, fake)
    height, width = window
    difference = fake - real
    if mask is None:
        return masked_mean(F.avg_pool3d(difference, (1, height, width), stride=1).abs())
    valid = mask.to(difference.dtype)
    share = F.avg_pool3d(valid, (1, height, width), stride=1)
    total = F.avg_pool3d(difference * valid, (1, height, width), stride=1)
    counted = share.expand_as(total).sum()
    return total.abs().sum() / counted.clamp(min=torch.finfo(total.dtype).tiny)


def local_square_loss(
    fake: Tensor, real: Tensor, mask: Tensor | None = None, window: tuple[int, int] = (3, 3)
) -> Tensor:
    r"""Squared difference of intensities averaged over small windows of a B-scan.

    .. math:: \frac{1}{N} \sum_w \left( \frac{1}{|w|} \sum_{v \in w} m_v (\hat V_v - V_v) \right)^2

    over the :math:`N` windows :math:`w` that lie inside the B-scan. As in :func:`local_mean_loss`, speckle
    hardly counts. The square makes large differences weigh more than small ones. Most voxels of an aligned
    volume are vitreous and choroid. Their brightness differs a little from eye to eye, and no photo shows
    by how much; they decide the value of an L1 loss. A displaced layer or a missing detachment is a large
    difference in few voxels; it decides the value of this one.

    Args:
        fake: generated volume in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all. The others are taken as equal.
        window: height and width in pixels ``(z, x)``.

    Returns:
        A scalar; 0 where nothing counts.

    Raises:
        ValueError: if the shapes differ or the window does not fit the volume.

    Example:
        >>> real = torch.zeros(1, 1, 2, 12, 14)
        >>> local_square_loss(real + 0.5, real)
        tensor(0.2500)
    """
    check_pair(fake, real, mask)
    _check_window(window, fake)
    height, width = window
    difference = fake - real
    if mask is not None:
        difference = torch.where(mask > 0, difference, 0)
    return F.avg_pool3d(difference, (1, height, width), stride=1).square().mean()


def ssim_map(fake: Tensor, real: Tensor) -> Tensor:
    r"""Structural similarity at each voxel, from Gaussian windows within its own B-scan.

    .. math:: \frac{(2 \mu_x \mu_y + c_1)(2 \sigma_{xy} + c_2)}
        {(\mu_x^2 + \mu_y^2 + c_1)(\sigma_x^2 + \sigma_y^2 + c_2)}

    with 11 x 11 pixels, sigma 1.5, :math:`c_1 = 0.01^2`, :math:`c_2 = 0.03^2`. No window crosses
    the slices: those of a radial scan are not neighbours in space.

    Args:
        fake: volume in [0, 1], shape ``(B, C, S, Z, X)``.
        real: volume of the same shape.

    Returns:
        Similarity in [-1, 1] wherever a whole window fits, shape ``(B, C, S, Z - 10, X - 10)``.

    Raises:
        ValueError: if the shapes differ or Z or X is below 11.

    References:
        Wang et al., Image quality assessment, IEEE TIP 2004, equation 13.

    Example:
        >>> real = torch.rand(1, 1, 2, 16, 20)
        >>> similarity = ssim_map(real, real)
        >>> similarity.shape, round(similarity.mean().item(), 4)
        (torch.Size([1, 1, 2, 6, 10]), 1.0)
    """
    check_pair(fake, real)
    if min(fake.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"ssim: expected Z and X of at least {SSIM_WINDOW}, found {tuple(fake.shape[-2:])}")
    # Half precision loses the variances, which are small differences of large numbers.
    wide = torch.promote_types(fake.dtype, torch.float32)
    folded = [volume.to(wide).flatten(1, 2) for volume in (fake, real)]
    with no_autocast(fake.device):
        similarity = kornia.metrics.ssim(folded[0], folded[1], SSIM_WINDOW, eps=0.0, padding="valid")
    return similarity.unflatten(1, fake.shape[1:3])


def whole_windows(mask: Tensor) -> Tensor:
    """Which windows of :func:`ssim_map` hold only voxels that count.

    Args:
        mask: which voxels count, bool ``(B, 1, S, Z, X)``.

    Returns:
        Bool, shape ``(B, 1, S, Z - 10, X - 10)``.
    """
    outside = 1 - mask.to(torch.float32)
    return F.max_pool3d(outside, (1, SSIM_WINDOW, SSIM_WINDOW), stride=1) == 0


def ssim_loss(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    """One minus the mean structural similarity of the B-scans.

    Args:
        fake: generated volume in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; only windows wholly inside are compared.

    Returns:
        A scalar in [0, 2]; 0 for equal volumes, and where no window counts.

    Raises:
        ValueError: if the shapes differ or Z or X is below 11.

    References:
        Wang et al., Image quality assessment, IEEE TIP 2004, equation 13.

    Example:
        >>> volume = torch.rand(1, 1, 2, 12, 14)
        >>> ssim_loss(volume, volume).item()
        0.0
    """
    check_pair(fake, real, mask)
    dissimilarity = 1 - ssim_map(fake, real)
    return masked_mean(dissimilarity, None if mask is None else whole_windows(mask))


def _check_window(window: tuple[int, int], volume: Tensor) -> None:
    n_depth, n_ascans = volume.shape[-2:]
    if not (1 <= window[0] <= n_depth and 1 <= window[1] <= n_ascans):
        raise ValueError(f"window: expected (z, x) within {(n_depth, n_ascans)}, found {window}")
