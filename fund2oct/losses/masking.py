"""Means over the voxels that count."""

from __future__ import annotations

import torch
from torch import Tensor


def check_pair(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> None:
    """Refuse volumes that cannot be compared voxel by voxel.

    Args:
        fake: generated volume, shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        mask: which voxels count, shape ``(B, 1, S, Z, X)``.

    Raises:
        ValueError: if a shape does not fit; silent broadcasting would compare other voxels.
    """
    if fake.ndim != 5 or fake.shape != real.shape:
        raise ValueError(
            "fake and real: expected two volumes (B, C, S, Z, X) of one shape, "
            f"found {tuple(fake.shape)} and {tuple(real.shape)}"
        )
    expected = (fake.shape[0], 1, *fake.shape[2:])
    if mask is not None and tuple(mask.shape) != expected:
        raise ValueError(f"mask: expected (B, 1, S, Z, X) = {expected}, found {tuple(mask.shape)}")


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Mean of the values that count.

    .. math:: \frac{\sum_i m_i v_i}{\sum_i m_i}

    Args:
        values: what is averaged, any shape.
        mask: which values count, bool, or how much each counts, at least 0; a shape that can be broadcast
            to that of ``values``. None counts all alike.

    Returns:
        A scalar; 0 where nothing counts, so that a batch without a valid voxel trains nothing.

    Example:
        >>> masked_mean(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([True, True, False]))
        tensor(1.5000)
    """
    # The sum of many bfloat16 weights is rounded to three digits.
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    if mask is None:
        return values.mean()
    weights = mask.to(values.dtype).expand_as(values)
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(values.dtype).tiny)
