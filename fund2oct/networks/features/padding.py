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


def padded_for(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Leave SAME padding to the convolution where it can do it, which saves a copy of its input.

    Returns:
        ``x``, or :func:`pad_same` of it where an axis has another padding before than after, and the padding
        of each axis that is left to the convolution.
    """
    axes = same_padding(x.shape[2:], kernel, stride)
    if all(before == after for before, after in axes):
        return x, [before for before, _ in axes]
    return pad_same(x, kernel, stride), [0] * len(axes)
