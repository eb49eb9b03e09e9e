"""The volume that a model draws for one photo."""

from __future__ import annotations

import torch

from fund2oct.eye import Array, DataError
from fund2oct.geometry import Placement, ScanPattern
from fund2oct.models.base import VolumeModel
from fund2oct.networks.noise import NoiseSource, eye_seed
from fund2oct.retina import unalign


def generate(
    model: VolumeModel,
    fundus: Array,
    scan: ScanPattern,
    placement: Placement,
    key: str,
    seed: int = 0,
    draw: bool = False,
) -> tuple[Array, Array]:
    """Generate the volume of a cropped photo, at a pose sampled from the training set's.

    Args:
        model: with a task.
        fundus: RGB, uint8, as wide as the task's photos and prepared as they were.
        scan: the lines to draw, as many as the model has slices.
        placement: where they lie on the photo.
        key: of the eye; with ``seed`` it decides the speckle and the pose.
        seed: another seed gives another volume.
        draw: whether the surfaces are drawn from their distribution in place of the median ones.

    Returns:
        The volume, uint8 ``(S, Z, X)``, and its pose in micrometres, float32 ``(S, K)``.

    Raises:
        DataError: if what the model draws is not finite, or it has no surfaces to draw.
    """
    assert model.task is not None
    if draw and not hasattr(model, "surfaces"):
        raise DataError(f"{key}: a {type(model).__name__} has no surfaces to draw; leave --draw out")
    options = {"draw_surfaces": True} if draw else {}
    noise = NoiseSource.of_keys([key], seed, model.device)
    _, n_depth, n_ascans = model.shape
    grid = placement.to_grid(scan.coordinates(n_ascans, model.device))[None]
    image = torch.from_numpy(fundus.copy()).permute(2, 0, 1)[None].to(model.device) / 255
    pose_um = model.task.poses.sample(1, torch.Generator().manual_seed(eye_seed(key, seed)))
    with torch.inference_mode():
        aligned = model(image, grid, n_depth, rng=noise, **options)
        volume = unalign(aligned, pose_um.to(aligned), model.task.spacing_mm[1])
    if not volume.isfinite().all():
        raise DataError(f"{key}: the model's volume holds NaN or infinity; use an earlier checkpoint")
    return (volume[0, 0] * 255).round().byte().cpu().numpy(), pose_um[0].float().numpy()
