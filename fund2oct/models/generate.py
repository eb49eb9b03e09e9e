"""The volume that a model draws for one photo."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fund2oct.data.formats.images import read_rgb
from fund2oct.data.formats.naming import laterality_of
from fund2oct.data.preparing.landmarks import PhotoPlacement
from fund2oct.data.preparing.lines import locate_lines
from fund2oct.data.preparing.photo import prepare_photo, resize_photo
from fund2oct.data.tables.eyes import GivenLines
from fund2oct.eye import Array, DataError, Eye
from fund2oct.geometry import Placement, ScanPattern
from fund2oct.networks.noise import NoiseSource, eye_seed
from fund2oct.retina import unalign

if TYPE_CHECKING:
    from fund2oct.models.base import VolumeModel

# Of the A-scans; the challenge's lines may just reach the edge.
_OUTSIDE = 0.1


def predict(
    model: VolumeModel,
    photo: str | Path | Array,
    placement: Placement | PhotoPlacement | None = None,
    rng: int = 0,
    draw: bool = False,
    lines: GivenLines | None = None,
) -> Eye:
    """Generate the volume of one photo, see :meth:`VolumeModel.predict`."""
    if model.task is None:
        raise ValueError("model: knows nothing of its data; load it with fund2oct.load_model")
    task = model.task
    path = None if isinstance(photo, np.ndarray) else Path(photo)
    picture = _checked(photo) if isinstance(photo, np.ndarray) else read_rgb(photo)
    key = path.stem if path else f"photo-{hashlib.sha256(picture.tobytes()).hexdigest()[:12]}"
    laterality = laterality_of(key) if path else ""
    placement = placement or Placement()
    options = task.preparation.photo_options(placement, task.fundus_px)
    prepared = prepare_photo(picture, options, laterality)
    fundus, placed = resize_photo(prepared.fundus, task.fundus_px), prepared.placement
    notes = list(prepared.notes)
    scan, spacing_mm = task.scan, task.spacing_mm
    if lines is not None:
        if len(lines.ends) != model.shape[0]:
            raise DataError(
                f"expected {model.shape[0]} lines, as the model has slices, found {len(lines.ends)}"
            )
        # Lines in pixels are taken to be as long as those of the training.
        located = locate_lines(
            lines,
            spacing_mm,
            model.shape[2],
            prepared.circle,
            picture.shape[:2],
            options.placement.half_width_mm,
        )
        scan, spacing_mm, placed = located.scan, located.spacing_mm, located.placement or placed
        notes += located.notes
    grid = placed.to_grid(scan.coordinates(model.shape[2]))
    outside = float((grid.norm(dim=-1) > 1).float().mean())
    if outside > _OUTSIDE:
        notes.append(
            f"{outside:.0%} of the scan lies outside the circle of retina, where the volume is made up"
        )
    for note in notes:
        warnings.warn(f"{path or key}: {note}", stacklevel=3)
    drawn: dict[str, Any] = {}
    if model.draws_volumes:
        was_training = model.training
        volume, pose_um = generate(model.eval(), fundus, scan, placed, key, rng, draw)
        model.train(was_training)
        drawn = {"scan": scan, "spacing_mm": spacing_mm, "volume": volume, "pose_um": pose_um}
    return Eye(
        key=key,
        patient=key,
        laterality=laterality,
        fundus=fundus,
        placement=placed,
        source=f"generated from {path.name if path else 'an array'}",
        history=prepared.history,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest() if path else "",
        **drawn,
    )


def _checked(picture: Array) -> Array:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise DataError(
            f"photo: expected RGB bytes, uint8 (rows, columns, 3), or a file, found {picture.dtype} "
            f"{picture.shape}"
        )
    return picture


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
