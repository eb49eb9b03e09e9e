"""Mean and interval of what a model draws for a photo: of each voxel, and of each surface."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.eye import Eye
from fund2oct.file_kinds import MADE_HERE
from fund2oct.metrics.eyes.layers import find_surfaces
from fund2oct.models.predicting.generate import check_prepared
from fund2oct.models.thickness import INTERVAL, PredictsSurfaces
from fund2oct.networks.layered.surfaces import surface_intervals_um
from fund2oct.networks.noise import NoiseSource
from fund2oct.networks.registration import at_given_places
from fund2oct.retina import SURFACES, pose_surface_um, unalign

if TYPE_CHECKING:
    from fund2oct.models.base import VolumeModel

N_DRAWS = 9
"""Draws of an eye. Of nine draws and a tenth, the tenth lies between the others 8 times of 10."""
_SEARCHED = ("ILM", "RPE", "BM")


@dataclass(frozen=True, eq=False)
class Intervals:
    """What a model draws for a photo, and between which ends it lies with a probability of 80%.

    Args:
        mean: of each voxel over the draws, in [0, 1], shape ``(S, Z, X)``.
        low: lower end of its interval, same shape.
        high: upper end, same shape.
        names: of the surfaces, vitreous to choroid.
        surfaces_um: their depths below the top of the volume in micrometres: median, upper (inner) end and
            lower (outer) end of the interval, shape ``(3, n, S, X)``; NaN where not known. Where a surface
            was searched, both ends are NaN unless it was found in every draw, and the median is that of the
            draws in which it was found.

    Example:
        >>> flat = torch.zeros(6, 32, 48)
        >>> depths_um = torch.tensor([300.0, 280.0, 320.0]).view(3, 1, 1, 1).expand(-1, -1, 6, 48)
        >>> Intervals(flat, flat, flat + 0.2, ("ILM",), depths_um).widths["ILM"].mean()
        tensor(40.)
    """

    mean: Tensor
    low: Tensor
    high: Tensor
    names: tuple[str, ...]
    surfaces_um: Tensor

    @property
    def widths(self) -> dict[str, Tensor]:
        """Widths of the surfaces' intervals at each A-scan in micrometres, by name, each ``(S, X)``."""
        wide = self.surfaces_um[2] - self.surfaces_um[1]
        return dict(zip(self.names, wide.unbind(0), strict=True))

    def save(self, path: Path) -> None:
        """Write all as a NumPy archive: voxels as bytes, surfaces as float32, both by their names here.

        The file has the name that is given; ``.npz`` is usual.
        """
        mean, low, high = (part.mul(255).round().byte().numpy() for part in (self.mean, self.low, self.high))
        names, surfaces_um = np.array(self.names), self.surfaces_um.numpy()
        # Given a path and no open file, NumPy adds the ending where there is none.
        with open(path, "wb") as file:
            np.savez_compressed(file, mean=mean, low=low, high=high, names=names, surfaces_um=surfaces_um)
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = MADE_HERE.encode()


@torch.inference_mode()
def draw_volumes(
    model: VolumeModel, fundus: Tensor, grid: Tensor, keys: Sequence[str], seed: int = 0, **known: Any
) -> Tensor:
    """Draw volumes for photos several times, each with other noise, and other surfaces where it draws them.

    Args:
        model: a model that draws volumes.
        fundus: photos in [0, 1], shape ``(B, 3, H, H)``.
        grid: positions of the A-scans in grid units, shape ``(B, S, X, 2)``.
        keys: of the eyes; with ``seed`` they decide the noise.
        seed: another seed gives other draws.
        known: what is known of the eyes, see ``VolumeModel.known``.

    Returns:
        Volumes in the aligned frame, in [0, 1], shape ``(N_DRAWS, B, 1, S, Z, X)``.

    Example:
        >>> from fund2oct.models import VoxelGAN
        >>> model = VoxelGAN((6, 32, 48), channels=[8, 8, 16])  # untrained
        >>> draw_volumes(model, torch.rand(1, 3, 48, 48), torch.zeros(1, 6, 48, 2), ["eye"]).shape
        torch.Size([9, 1, 1, 6, 32, 48])
    """
    options = {"draw_surfaces": True} if model.draws_surfaces else {}
    draws = []
    for number in range(N_DRAWS):
        noise = NoiseSource.of_keys([f"{key}, draw {number}" for key in keys], seed, model.device)
        draws.append(model(fundus, grid, rng=noise, **options, **known).float())
    return torch.stack(draws)


def has_one_answer(draws: Tensor) -> bool:
    """Whether a model draws without noise: each draw is the same, and lies in no interval.

    Args:
        draws: volumes that were drawn with other noise each, shape ``(n, ...)``.

    Example:
        >>> one = torch.rand(1, 6, 32, 48)
        >>> has_one_answer(one.expand(9, -1, -1, -1)), has_one_answer(torch.rand(9, 6, 32, 48))
        (True, False)
    """
    return torch.equal(draws[0], draws[1])


@torch.inference_mode()
def predict_intervals(model: VolumeModel, eye: Eye, seed: int = 0) -> Intervals:
    """Find mean and interval of what a model draws for the photo of an eye.

    The interval of a voxel is that of nine draws: from the least to the greatest. It holds one
    more draw with a probability of 80%, and the real voxel as often if the model is calibrated. The intervals
    of surfaces are those of the predicted distribution; of a model without one, they are searched in the
    draws.

    Args:
        model: a model that draws volumes.
        eye: with the prepared photo, and the generated volume whose pose is taken.
        seed: of the draws.

    Returns:
        The intervals, at the pose of the eye's volume, on the CPU.

    Raises:
        ValueError: if the model draws no volumes, or draws without noise and predicts no distribution of
            surfaces; or if the eye has no photo or no generated volume.

    Example:
        >>> from fund2oct.models import load_model
        >>> model = load_model("model.ckpt")
        >>> found = predict_intervals(model, model.predict("photo.png"))
        >>> found.mean.shape, found.names, found.surfaces_um.shape
        (torch.Size([6, 32, 48]), ('ILM', 'OS', 'RPE', 'BM'), torch.Size([3, 4, 6, 48]))
    """
    check_has_intervals(model)
    with at_given_places(model):  # where the model put the scan
        return _predict_intervals(model, eye, seed)


def check_has_intervals(model: VolumeModel) -> None:
    """Refuse a model that draws no volumes.

    Raises:
        ValueError: if it is one.
    """
    if not model.draws_volumes:
        raise ValueError(
            f"intervals: expected a model that draws volumes, found a {type(model).__name__}, which draws "
            "none; its thickness map and its .tif (fund2oct.models.thickness.predict_thickness) have the 80% "
            "interval of the thickness anyway; leave --intervals out"
        )


def _predict_intervals(model: VolumeModel, eye: Eye, seed: int) -> Intervals:
    if eye.fundus is None or eye.volume is None or eye.scan is None:
        raise ValueError(
            f"eye {eye.key!r}: expected its photo and the generated volume with its scan, found not all of "
            "them; give the eye that model.predict returns"
        )
    check_prepared(model, eye.fundus)
    rows, row_mm = eye.volume.shape[1], eye.spacing_mm[1]
    if model.task and (rows != model.shape[1] or not math.isclose(row_mm, model.task.spacing_mm[1])):
        raise ValueError(
            f"eye {eye.key!r}: expected a generated volume of {model.shape[1]} rows, each "
            f"{1000 * model.task.spacing_mm[1]:.3g} µm high, found {rows} of {1000 * row_mm:.3g} µm; give "
            "the eye that model.predict returns"
        )
    n_ascans, spacing_mm, known = eye.volume.shape[-1], eye.spacing_mm, model.known_of(eye)
    fundus = photo_tensor(eye.fundus).to(model.device)
    grid = eye.placement.to_grid(eye.scan.coordinates(n_ascans, model.device))[None]
    pose_um = torch.from_numpy(np.array(eye.pose_um))[None].to(model.device)
    aligned = draw_volumes(model, fundus, grid, [eye.key], seed, **known)[:, 0]
    if not isinstance(model, PredictsSurfaces) and has_one_answer(aligned):
        raise ValueError(
            f"intervals: expected a model that draws with noise, found a {type(model).__name__}, which draws "
            "without noise: it has one answer to a photo and no interval; leave --intervals out"
        )
    draws = unalign(aligned, pose_um.expand(N_DRAWS, -1, -1), spacing_mm[1]).cpu()
    if isinstance(model, PredictsSurfaces):
        pose = pose_surface_um(pose_um, n_ascans).cpu()
        middle, (low, high) = _heights_um(model.surfaces(fundus, grid, **known))
        names, surfaces_um = SURFACES, torch.cat([pose - middle, pose - high, pose - low])
    else:
        found = find_surfaces(draws, spacing_mm[1], spacing_mm[2])
        depths = torch.stack([found.ilm_um, found.rpe_um, found.bm_um], 1).float()
        # Fewer than all draws reach less far, and hold less than 80%: NaN of one is NaN of both ends.
        names = _SEARCHED
        surfaces_um = torch.stack([depths.nanmedian(0).values, depths.amin(0), depths.amax(0)])
    voxels = draws[:, 0]
    return Intervals(voxels.mean(0), voxels.amin(0), voxels.amax(0), names, surfaces_um.float())


def _heights_um(found: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    low, high = surface_intervals_um(found, INTERVAL).cpu().unbind(2)
    return found.median_um.cpu(), (low, high)
