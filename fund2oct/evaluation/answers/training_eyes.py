"""Training eyes for the controls, read one after the other so that memory does not grow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import default_collate

from fund2oct.data import DataError, FundusOCTDataModule
from fund2oct.data.loading.skipped import readable
from fund2oct.data.masks.networks import vessels_of, with_vessels
from fund2oct.geometry import Symmetry
from fund2oct.metrics.eyes.layers import Surfaces
from fund2oct.models import Batch, VolumeModel
from fund2oct.models.batch import to_device
from fund2oct.progress import with_progress
from fund2oct.retina import ALIGNED_DEPTH
from fund2oct.retina.pose import heights_of

_PHOTO_PX = 32
_HEIGHTS_BYTES = 256 * 2**20
_MOST_VOLUMES = 1000
"""Memory for the heights whose median is taken, and how many eyes are enough for it. Of more, evenly spaced
ones give the median and the mean, so that a report does not read all volumes that were trained on."""
_COMPARED = 1024
"""Photos compared at a time."""


class _Summary(NamedTuple):
    """What one pass over all eyes that can be read gives; a thumbnail has 3 kilobytes."""

    mean: Tensor
    thumbnails: Tensor
    numbers: list[int]  # of the eyes of the thumbnails
    median_um: Tensor


class TrainingEyes:
    """The training eyes of a datamodule, not augmented.

    Damaged ones that the training may skip are passed over, and a warning names each.

    Args:
        datamodule: a datamodule that was set up.
        device: device of the batches.
    """

    def __init__(self, datamodule: FundusOCTDataModule, device: torch.device) -> None:
        self._dataset, self._device = datamodule.train_dataset, device
        self._vessels = vessels_of(datamodule.vessel_network)
        self._sound: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, numbers: Sequence[int], spacing_z_mm: Tensor | None = None) -> Batch:
        """Some eyes, with what :meth:`fund2oct.models.VolumeModel.prepare` adds.

        Args:
            numbers: of the eyes.
            spacing_z_mm: distances of rows, ``(B,)``, to which the aligned volumes and their masks are
                resampled; None leaves each eye's own. Where they differ from the eyes' own, ``volume`` and
                ``pose_um`` no longer fit the batch's ``spacing_z_mm``.
        """
        collated = to_device(default_collate([self._dataset[number] for number in numbers]), self._device)
        batch = VolumeModel.prepare(with_vessels(collated, self._vessels))
        if spacing_z_mm is not None:
            for name in ("aligned", "mask"):
                batch[name] = with_rows(batch[name], batch["spacing_z_mm"], spacing_z_mm)
            batch["spacing_z_mm"] = spacing_z_mm
        return batch

    def sound(self, number: int) -> int:
        """The number of an eye; of a damaged one that may be skipped, that of the next one that is sound.

        Raises:
            DataError: if none of the eyes can be read.
        """
        if self._dataset.on_corrupt == "raise":  # it is told of where the eye is read
            return number
        if number not in self._sound:
            from_there_on = ((number + step) % len(self) for step in range(len(self)))
            self._sound[number], _ = next(readable(self._dataset.__getitem__, from_there_on, "skip"))
        return self._sound[number]

    def mean(self, lateralities: Sequence[str], spacing_z_mm: Tensor) -> Tensor:
        """Mean aligned volume over the voxels that were scanned, for eyes of some lateralities.

        Of all eyes, or of those of :meth:`median_heights_um`. Eyes of the other side are mirrored, where the
        scan has that symmetry.

        Args:
            lateralities: of the eyes.
            spacing_z_mm: distances of their rows, ``(B,)``.

        Returns:
            Volumes in [0, 1], ``(B, 1, S, Z, X)``.
        """
        means = self._of_sides(self._summary.mean, lateralities)
        return with_rows(means, torch.full_like(spacing_z_mm, self._spacing_z_mm), spacing_z_mm)

    def nearest(self, fundus: Tensor) -> list[int]:
        """Number of the sound eye whose photo, at 32 pixels, is nearest to each of ``(B, 3, H, H)``."""
        photos = _thumbnail(fundus).float()
        blocks = self._summary.thumbnails.to(fundus.device).split(_COMPARED)
        rows = torch.cat([torch.cdist(photos, block.float()) for block in blocks], 1).argmin(1).tolist()
        return [self.sound(self._summary.numbers[row]) for row in rows]

    def median_heights_um(self, lateralities: Sequence[str]) -> Tensor:
        """Median surfaces for eyes of some lateralities, by their heights above the pose's surface.

        At each A-scan the median, over all eyes or 1000 evenly spaced ones (less where 256 MiB are), of the
        surfaces that were found there; eyes of the other side are mirrored, where the scan has that symmetry.

        Returns:
            Inner limiting membrane, pigment epithelium and Bruch's membrane, ``(B, 3, S, X)``.
        """
        return self._of_sides(self._summary.median_um, lateralities)

    def _of_sides(self, right: Tensor, lateralities: Sequence[str]) -> Tensor:
        """What was learned of right eyes, ``(C, S, ..., X)``, for eyes of either side."""
        left = self._mirrored(right)
        return torch.stack([left if side == "OS" else right for side in lateralities]).to(self._device)

    def _mirrored(self, scanned: Tensor) -> Tensor:
        return scanned if self._flip is None else self._flip.apply_to_scan(scanned, slice_dim=1)

    @property
    def _spacing_z_mm(self) -> float:
        return self._dataset.spacing_mm[1]

    @cached_property
    def _flip(self) -> Symmetry | None:
        found = [one for one in self._dataset.scan.symmetries() if one.matrix == ((-1.0, 0.0), (0.0, 1.0))]
        return found[0] if found else None

    @cached_property
    def _summary(self) -> _Summary:
        total = count = None
        thumbnails, numbers, heights = [], list[int](), []
        n_slices, _, n_ascans = self._dataset.shape
        fit = _HEIGHTS_BYTES // (3 * n_slices * n_ascans * 4)
        n_kept = max(1, min(len(self), _MOST_VOLUMES, fit))
        kept = {number * len(self) // n_kept for number in range(n_kept)}
        rows_mm = torch.tensor([self._spacing_z_mm], device=self._device)

        def read(number: int) -> tuple[Tensor, Batch | None]:
            """The photo of an eye, and of those that give mean and median all."""
            if number not in kept:
                return self._dataset.photo(number)[None], None
            eye = self.batch([number], rows_mm)
            return eye["fundus"], eye

        every = with_progress(range(len(self)), len(self), "reading training eyes")
        for number, (photo, eye) in readable(read, every, self._dataset.on_corrupt):
            numbers.append(number)
            thumbnails.append(_thumbnail(photo).cpu())
            if eye is None:
                continue
            aligned, mask = eye["aligned"][0], eye["mask"][0].float()
            if left := eye["laterality"] == ["OS"]:
                aligned, mask = self._mirrored(aligned), self._mirrored(mask)
            total = aligned * mask if total is None else total + aligned * mask
            count = mask if count is None else count + mask
            found = Surfaces.of_stored(eye["surfaces_um"])
            depths = torch.stack([found.ilm_um, found.rpe_um, found.bm_um], 1)
            height = heights_of(depths, eye["pose_um"])[0].cpu()
            heights.append(self._mirrored(height) if left else height)
        if total is None or count is None:
            raise DataError(
                f"none of the {n_kept} training eyes whose mean volume the report needs can be read; the "
                "warnings name them, make their file again"
            )
        median_um = torch.stack(heights).nanmedian(0).values
        return _Summary(total / count.clamp(min=1), torch.cat(thumbnails), numbers, median_um)


def with_rows(volume: Tensor, from_mm: Tensor, to_mm: Tensor) -> Tensor:
    """Resample aligned volumes, or masks of them, to rows of another distance.

    The surface on which they are aligned stays in its row. Beyond the rows that there are, the outermost is
    repeated; a mask is False there.

    Args:
        volume: shape ``(B, C, S, Z, X)``; of a mask the nearest row is taken.
        from_mm: distances of the rows, ``(B,)``.
        to_mm: distances that they shall have, ``(B,)``.

    Returns:
        Shape of ``volume``.
    """
    if torch.allclose(from_mm, to_mm, rtol=1e-4):
        return volume
    n_rows = volume.shape[3]
    base = ALIGNED_DEPTH * n_rows - 0.5
    rows = base + (torch.arange(n_rows, device=volume.device) - base) * (to_mm / from_mm)[:, None]
    there = ((rows > -0.5) & (rows < n_rows - 0.5)).view(-1, 1, 1, n_rows, 1)
    rows = rows.clamp(0, n_rows - 1).view(-1, 1, 1, n_rows, 1)
    if not volume.is_floating_point():
        return volume.gather(3, rows.round().long().expand_as(volume)) & there
    above = rows.long().clamp(max=n_rows - 2)
    upper, lower = (volume.gather(3, (above + step).expand_as(volume)) for step in (0, 1))
    return torch.lerp(upper, lower, rows - above)


def _thumbnail(fundus: Tensor) -> Tensor:
    small = F.interpolate(fundus, (_PHOTO_PX, _PHOTO_PX), mode="bilinear", antialias=True)
    return (small.flatten(1) * 255).round().byte()
