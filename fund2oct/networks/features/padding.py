"""TensorFlow's SAME padding, with which the published networks were trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def same_padding(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    r"""Padding of each axis, before and after.

    .. math:: p = \max\left(\left(\lceil n / s \rceil - 1\right) s + k - n, 0\right)

    in all, for a size n, kernel k and stride s; the odd one comes after.
    """
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, stride, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pad images ``(N, C, H, W)`` or volumes ``(N, C, S, Z, X)`` with zeros for a convolution."""
    axes = same_padding(x.shape[2:], kernel, stride)
    # PyTorch counts the axes from the last.
    pads = [pad for axis in reversed(axes) for pad in axis]
    return F.pad(x, pads) if any(pads) else x
