"""Dark pockets within the retina, such as cysts, found in the layer frame."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from fund2oct.precision import no_autocast
from fund2oct.retina.layer_frame import LayerFrame

_DARK = 0.45
"""Brightness, as a share of the way from the vitreous to the retina, below which tissue is fluid."""
_LEAST_SHARE = 1 / 9
"""Least height of a pocket, as a share of the retina's thickness."""
_LEAST_MM = 0.16
_EDGE_SHARE = 1 / 14


def dark_pockets(layers: Tensor, frame: LayerFrame, spacing_x_mm: float) -> Tensor:
    r"""Find the dark pockets of the retina's inner band, from the first surface to the second.

    A voxel belongs to a pocket if the local mean of the brightness is below

    .. math:: v + 0.45 \, (t - v)

    with the median brightness :math:`v` of the B-scan above the first surface and :math:`t` of its inner
    band. A pocket is at least a ninth of the band high and 0.16 mm wide. This is an estimate for training:
    small cysts and those at the edges of the band are not found.

    Args:
        layers: volume in the layer frame, see :func:`fund2oct.retina.to_layers`, in [0, 1], shape
            ``(B, 1, S, R, X)``.
        frame: the layer frame.
        spacing_x_mm: distance of two A-scans in millimetres; a number, for a value on a GPU would have to be
            waited for.

    Returns:
        1 in pockets and 0 elsewhere in the rows of the inner band, shape ``(B, 1, S, rows, X)``.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> frame = LayerFrame((8, 28, 6, 6, 36))
        >>> layers = torch.full((1, 1, 1, 84, 40), 0.5)
        >>> layers[..., :8, :] = 0.05  # vitreous
        >>> layers[..., 16:24, 10:20] = 0.05  # a cyst of 8 rows and 10 A-scans, 0.8 mm wide
        >>> dark_pockets(layers, frame, spacing_x_mm=0.08).sum()  # its four corners are lost
        tensor(76.)
    """
    if layers.ndim != 5 or layers.shape[1] != 1 or layers.shape[3] != frame.n_rows:
        raise ValueError(f"layers: expected (B, 1, S, {frame.n_rows}, X), found shape {tuple(layers.shape)}")
    with no_autocast(layers.device):
        bscans = layers.detach().float().transpose(1, 2).flatten(0, 1)
        top, bottom = frame.edges[:2]
        dark = bscans[:, :, : max(1, top - 1)].flatten(1).median(1).values.view(-1, 1, 1, 1)
        band = bscans[:, :, top:bottom]
        tissue = band.flatten(1).median(1).values.view(-1, 1, 1, 1)
        window = odd_size((bottom - top) * _LEAST_SHARE), odd_size(_LEAST_MM / spacing_x_mm)
        found = (_mean(band, window) - dark < _DARK * (tissue - dark)).float()
        edge = max(1, round((bottom - top) * _EDGE_SHARE))
        found[:, :, :edge] = 0
        found[:, :, band.shape[2] - edge :] = 0
        opened = _dilated(1 - _dilated(1 - found, window), window)
        return opened.unflatten(0, (len(layers), -1)).transpose(1, 2)


def odd_size(size: float) -> int:
    """The odd number that is nearest to a size.

    Args:
        size: any positive number.

    Returns:
        An odd number, at least 3.

    Example:
        >>> odd_size(1.4), odd_size(5.9), odd_size(6.1)
        (3, 5, 7)
    """
    return max(3, 2 * round((size - 1) / 2) + 1)


def _mean(image: Tensor, window: tuple[int, int]) -> Tensor:
    margins = window[0] // 2, window[1] // 2
    return F.avg_pool2d(image, window, 1, margins, count_include_pad=False)


def _dilated(mask: Tensor, window: tuple[int, int]) -> Tensor:
    return F.max_pool2d(mask, window, 1, (window[0] // 2, window[1] // 2))
