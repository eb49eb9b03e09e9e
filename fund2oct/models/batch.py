"""The batch, the volumes generated for it, and the terms of a loss: what data, model and losses exchange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from fund2oct.networks.features import FeatureNetwork
from fund2oct.networks.layered.generator import Anatomy
from fund2oct.networks.lift import sample_lines
from fund2oct.retina import align, aligned_mask

Batch = dict[str, Any]
"""Tensors and keys of some eyes by name, as :class:`fund2oct.data.FundusOCTDataset` describes them."""
Losses = dict[str, Tensor]
"""Weighted terms of a loss by name, each a scalar tensor. Their sum is optimised."""


class Fake(NamedTuple):
    """Volumes that the generator drew for a batch.

    Args:
        aligned: volumes in the aligned frame, as the generator draws them, in [0, 1], shape
            ``(B, 1, S, Z, X)``.
        volume: the same volumes moved to the poses of the real scans, same shape.
        anatomy: surfaces and tissue before texture was drawn; None for a generator without them.

    Example:
        >>> import torch
        >>> from fund2oct.retina import unalign
        >>> aligned, pose_um = torch.rand(1, 1, 6, 32, 48), torch.zeros(1, 6, 3)
        >>> fake = Fake(aligned, unalign(aligned, pose_um + 900, spacing_z_mm=0.06))
        >>> fake.volume.shape
        torch.Size([1, 1, 6, 32, 48])
    """

    aligned: Tensor
    volume: Tensor
    anatomy: Anatomy | None = None

    def detach(self) -> Fake:
        """The volumes without their gradient."""
        return Fake(self.aligned.detach(), self.volume.detach(), self.anatomy)


_IN_A_BATCH = {"fundus": 4, "volume": 5, "grid": 4, "pose_um": 3, "spacing_z_mm": 1, "spacing_x_mm": 1}


def check_batch(batch: Mapping[str, Any]) -> None:
    """Refuse a batch that lacks something, or holds it in another form.

    Args:
        batch: tensors with as many dimensions as :class:`fund2oct.models.Batch` says, and ``key``.

    Raises:
        ValueError: naming what is missing, or of another form.
    """
    if missing := [name for name in (*_IN_A_BATCH, "key") if name not in batch]:
        raise ValueError(
            f"batch: expected {', '.join((*_IN_A_BATCH, 'key'))}; missing: {', '.join(missing)}. "
            "fund2oct.data.FundusOCTDataset gives all of them"
        )
    for name, ndim in _IN_A_BATCH.items():
        value = batch[name]
        if not isinstance(value, Tensor) or value.ndim != ndim or not value.is_floating_point():
            found = (
                f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            )
            raise ValueError(f"batch: {name}: expected floats in {ndim} dimensions, found {found}")


def prepare_batch(batch: Batch) -> Batch:
    """Add to a batch what losses and discriminators compare with, see :meth:`VolumeModel.losses`.

    Raises:
        ValueError: if the batch lacks something.
    """
    check_batch(batch)
    where = batch["pose_um"], batch["spacing_z_mm"]
    return batch | {
        "aligned": align(batch["volume"], *where),
        "mask": aligned_mask(batch["volume"], *where),
        "lines": sample_lines(batch["fundus"], batch["grid"]),
    }


def frozen_features(model: nn.Module) -> tuple[str, ...]:
    """Beginnings of the names of a model's weights that lie in packages, and are not trained."""
    return tuple(
        f"{name}."
        for name, part in model.named_modules()
        if isinstance(part, FeatureNetwork) and not any(each.requires_grad for each in part.parameters())
    )
