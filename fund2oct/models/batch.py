"""The batch, the volumes generated for it, and the terms of a loss: what data, model and losses exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, cast

import torch
from torch import Tensor, nn

from fund2oct.networks.features import FeatureNetwork
from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.networks.layered.generator import PredictedAnatomy
from fund2oct.networks.lift import sample_lines
from fund2oct.retina import SURFACES, align, aligned_mask

Losses = dict[str, Tensor]
"""Weighted terms of a loss by name, each a scalar tensor. Their sum is optimised."""


class Batch(TypedDict, total=False):
    """Some eyes, by name: a dictionary of tensors and of texts.

    The first axis is that of the eyes. A sample of a dataset holds the same of one eye, without that axis.
    All pictures are float32 in [0, 1]. An entry is there where each eye has it; a training needs those
    that are marked (needed). A user's own data may hold more.

    Attributes:
        key: names of the eyes, texts. (needed)
        patient: whose eyes they are; an evaluation without it takes each eye for another patient's.
        laterality: ``"OD"``, ``"OS"`` or empty, of each.
        diagnosis: free text of each, empty where unknown.
        metadata: what else is known of each, plain values by name as JSON, such as ``'{"age_years": 63}'``.
        fundus: photos, ``(B, 3, H, H)``. (needed)
        volume: scans, ``(B, 1, S, Z, X)``. (needed)
        rescan: the same eyes scanned again, with other speckle, ``(B, 1, S, Z, X)``.
        grid: place of each A-scan on the photo, in [-1, 1] from edge to edge, ``(B, S, X, 2)``. (needed)
        pose_um: coefficients of the pose of each slice, in micrometres, ``(B, S, K)``. (needed)
        spacing_z_mm: distance of neighbouring rows, ``(B,)``. (needed)
        spacing_x_mm: distance of neighbouring A-scans, ``(B,)``. (needed)
        surfaces_um: depths of :data:`fund2oct.retina.SURFACES` as found in the volume, ``(B, n, S, X)``,
            NaN where they were not. (needed by ``Pix2Vol``, ``SurfaceModel``, ``MaskedVolumes`` and
            ``MaskedPairs``)
        surface_confidence: trust in them, in [0, 1], ``(B, S, X)``.
        boundaries_um: true depths of :data:`fund2oct.retina.BOUNDARIES`, ``(B, n, S, X)``.
        lesions: true labels of the voxels, uint8, ``(B, S, Z, X)``; in evaluations.
        vessels: map of the vessels in the photo, ``(B, 1, H, H)``.
        aligned: the volume in the aligned frame, ``(B, 1, S, Z, X)``; this and the next two are added by
            :meth:`VolumeModel.prepare`.
        mask: the aligned voxels that were scanned, ``(B, 1, S, Z, X)``.
        lines: the photo under each A-scan, ``(B, 3, S, X)``.
        whole: places of all A-scans of the eye on the photo, ``(B, S, X, 2)``, where only some slices
            are in the batch.
        fake: volumes that answer for the eyes, ``(B, 1, S, Z, X)``, where files are compared.
        fake_pose_um: their poses, ``(B, S, K)``.

    Example:
        >>> batch: Batch = {"key": ["a", "b"], "fundus": torch.rand(2, 3, 48, 48)}
    """

    key: list[str]
    patient: list[str]
    laterality: list[str]
    diagnosis: list[str]
    metadata: list[str]
    fundus: Tensor
    volume: Tensor
    rescan: Tensor
    grid: Tensor
    pose_um: Tensor
    spacing_z_mm: Tensor
    spacing_x_mm: Tensor
    surfaces_um: Tensor
    surface_confidence: Tensor
    boundaries_um: Tensor
    lesions: Tensor
    vessels: Tensor
    aligned: Tensor
    mask: Tensor
    lines: Tensor
    whole: Tensor
    fake: Tensor
    fake_pose_um: Tensor


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
    anatomy: PredictedAnatomy | None = None

    def detach(self) -> Fake:
        """The volumes without their gradient."""
        return Fake(self.aligned.detach(), self.volume.detach(), self.anatomy)


def eye_of(batch: Batch, number: int) -> Batch:
    """One eye of a batch, as a batch.

    Example:
        >>> eye_of({"key": ["a", "b"], "fundus": torch.rand(2, 3, 48, 48)}, 1)["fundus"].shape
        torch.Size([1, 3, 48, 48])
    """
    columns: dict[str, Any] = dict(batch)
    return cast(Batch, {name: values[number : number + 1] for name, values in columns.items()})


_PER_SLICE = {
    "volume": 2, "rescan": 2, "grid": 1, "pose_um": 1, "surfaces_um": 2, "surface_confidence": 1,
    "boundaries_um": 2,
}  # fmt: skip
"""Entries of a batch that have a slice dimension, and which it is."""
_DIMENSIONS = {
    "fundus": 4, "volume": 5, "grid": 4, "pose_um": 3, "spacing_z_mm": 1, "spacing_x_mm": 1, "surfaces_um": 4,
}  # fmt: skip
NEEDED = ("fundus", "volume", "grid", "pose_um", "spacing_z_mm", "spacing_x_mm", "key")
"""Entries of a batch that a training needs."""
_SURFACES = (
    f" (depths of {', '.join(SURFACES)} in micrometres, shape (B, {len(SURFACES)}, S, X), NaN where unknown; "
    "fund2oct.retina.retinal_boundaries finds them in a volume)"
)


def check_batch(batch: Mapping[str, Any], needed: Sequence[str] = NEEDED) -> None:
    """Refuse a batch that lacks something, or holds it in another form.

    Args:
        batch: tensors with as many dimensions as :class:`fund2oct.models.Batch` says, and ``key``, a list of
            texts, which is looked at wherever it is there.
        needed: names of the entries that are asked for.

    Raises:
        ValueError: naming what is missing, or of another form.
    """
    if missing := [name for name in needed if name not in batch]:
        raise ValueError(
            f"batch: expected {', '.join(needed)}; missing: {', '.join(missing)}"
            f"{_SURFACES if 'surfaces_um' in missing else ''}. "
            "fund2oct.data.FundusOCTDataset gives all of them"
        )
    for name in (one for one in needed if one in _DIMENSIONS):
        value, ndim = batch[name], _DIMENSIONS[name]
        if not isinstance(value, Tensor) or value.ndim != ndim or not value.is_floating_point():
            found = (
                f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            )
            raise ValueError(f"batch: {name}: expected floats in {ndim} dimensions, found {found}")
    keys = batch.get("key", [])
    wrong = [key for key in keys if not isinstance(key, str)] if isinstance(keys, list | tuple) else [keys]
    if wrong:
        raise ValueError(
            "batch: key: expected a list of texts, the names of the eyes, found "
            f"{type(wrong[0]).__name__}; where the eyes have numbers, have the dataset give str(number), for "
            "a loader makes one tensor of numbers"
        )


def to_device(batch: Mapping[str, Any], device: torch.device | str) -> Batch:
    """The same eyes with their tensors on a device.

    Args:
        batch: of some eyes.
        device: where to.

    Example:
        >>> to_device({"key": ["a"], "grid": torch.zeros(1, 6, 48, 2)}, "cpu")["key"]
        ['a']
    """
    moved = {name: v.to(device) if isinstance(v, Tensor) else v for name, v in batch.items()}
    return cast(Batch, moved)


def prepare_batch(batch: Mapping[str, Any]) -> Batch:
    """Add to a batch what losses and discriminators compare with, see :meth:`VolumeModel.losses`.

    Raises:
        ValueError: if the batch lacks something.
    """
    check_batch(batch)
    where = batch["pose_um"], batch["spacing_z_mm"]
    added: Batch = {
        "aligned": align(batch["volume"], *where),
        "mask": aligned_mask(batch["volume"], *where),
        "lines": sample_lines(batch["fundus"], batch["grid"]),
    }
    return cast(Batch, {**batch, **added})


def some_slices(batch: Batch, chosen: Tensor) -> Batch:
    """Some slices of each eye.

    Args:
        batch: of some eyes.
        chosen: numbers of the slices, on the device of the batch.

    Returns:
        The batch with these slices alone, and with ``whole``.
    """
    entries: dict[str, Any] = dict(batch)
    entries |= {
        name: entries[name].index_select(dim, chosen) for name, dim in _PER_SLICE.items() if name in entries
    }
    return cast(Batch, entries | {"whole": batch["grid"]})


def frozen_features(model: nn.Module) -> tuple[str, ...]:
    """Beginnings of the names of the weights of networks of others that are not trained now.

    Of a network of which a part is trained on, these are the names of the weights that are not, and of the
    buffers, such as batch statistics, of modules of which no weight is.
    """
    found = []
    for name, part in model.named_modules():
        frozen = not any(each.requires_grad for each in part.parameters())
        if isinstance(part, FeatureNetwork) and frozen:
            found.append(f"{name}.")
        elif isinstance(part, Backbone):
            rest = [weight for weight, each in part.named_parameters() if not each.requires_grad]
            for inner, module in part.named_modules(prefix=name):
                if not any(each.requires_grad for each in module.parameters()):
                    found += [f"{inner}.{buffer}" for buffer, _ in module.named_buffers(recurse=False)]
            found += [f"{name}.{weight}" for weight in rest]
    return tuple(found)


def trained_features(model: nn.Module) -> set[str]:
    """Names of the weights of networks of others that are trained now, and of the buffers beside them."""
    theirs = tuple(
        f"{name}." for name, part in model.named_modules() if isinstance(part, FeatureNetwork | Backbone)
    )
    frozen = frozen_features(model)
    return {name for name in model.state_dict() if name.startswith(theirs) and not name.startswith(frozen)}
