"""The volume that a model draws for one photo."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.data.tables.eyes import GivenLines
from fund2oct.eye import Array, DataError, Eye, Plain
from fund2oct.geometry import Placement, ScanPattern
from fund2oct.models.predicting.photo_reader import PhotoReader, ReadyPhoto
from fund2oct.models.uncertainty.familiar import photo_distance, unlike_note
from fund2oct.networks.layered.surface_predictor import SurfacePredictor
from fund2oct.networks.noise import NoiseSource, eye_seed
from fund2oct.networks.registration import at_given_places
from fund2oct.retina import unalign

if TYPE_CHECKING:
    from fund2oct.models.base import VolumeModel

# Of the A-scans; the challenge's lines may just reach the edge.
_OUTSIDE = 0.1
_FAR_MM = 1.5
"""A correction of the place that is larger is worth a look."""


def predict(
    model: VolumeModel,
    photo: str | Path | Array | Image.Image,
    placement: Placement | PhotoPlacement | None = None,
    rng: int = 0,
    draw: bool = False,
    lines: GivenLines | None = None,
    metadata: Mapping[str, Plain] | None = None,
    masks: Mapping[str, str | Path] | None = None,
) -> Eye:
    """Generate the volume of one photo, see :meth:`VolumeModel.predict`."""
    files = {name: Path(file) for name, file in (masks or {}).items()}
    for name in files:
        if name not in model.undrawn_masks:
            known = ", ".join(model.undrawn_masks) or "none"
            raise ValueError(f"mask {name}: expected one that the model is told and nothing draws: {known}")
    reader = PhotoReader.of(model, placement, metadata, files)
    return draw_ready(model, reader.read(photo, lines, masks=files), rng, draw)


def draw_ready(model: VolumeModel, ready: ReadyPhoto, seed: int = 0, draw: bool = False) -> Eye:
    """Generate the volume of a photo that was read, and warn of what is unusual of either.

    Args:
        model: the model.
        ready: the photo, and where its B-scans lie.
        seed: of the speckle and of the pose, which also depend on the eye's key.
        draw: whether the surfaces are drawn from their distribution.
    """
    ready = _compared(model, ready)
    for note in ready.notes:
        warnings.warn(note, stacklevel=4)
    return complete(model, ready, seed, draw)


def _compared(model: VolumeModel, ready: ReadyPhoto) -> ReadyPhoto:
    """Note how far a photo that was read is from those of the training, and warn where that is far."""
    eye = ready.eye
    assert eye.fundus is not None
    distance = photo_distance(model, eye.fundus)
    if distance is None:
        return ready
    unlike = unlike_note(distance)
    notes = (*ready.notes, f"{ready.name or eye.key}: {unlike}") if unlike else ready.notes
    history = eye.history | {"photo_distance": round(distance, 2)}
    return replace(ready, eye=replace(eye, history=history), notes=notes)


def complete(model: VolumeModel, ready: ReadyPhoto, seed: int = 0, draw: bool = False) -> Eye:
    """Generate the volume of a photo that was read, and say where a model that registers scans puts it.

    A model that draws no volumes leaves the rest of the eye as it is. How far the scan was moved stands in
    the eye's history. What is unusual of its place is warned of here, for it is known only now.
    """
    eye, fundus = ready.eye, ready.eye.fundus
    assert fundus is not None
    was_training = model.training
    model.eval()
    placement = find_place(model, fundus, eye.placement, ready.scan)
    move = _move(eye.placement, placement) if placement != eye.placement else {}
    for note in _place_notes(move, placement, ready.scan, int(model.shape[2])):
        warnings.warn(f"{ready.name or eye.key}: {note}", stacklevel=5)
    if move:
        eye = replace(eye, placement=placement, history=eye.history | {"registered": True} | move)
    if not model.draws_volumes:
        model.train(was_training)
        return eye
    known = model.known_of(eye)
    with at_given_places(model):
        volume, pose_um = generate(model, fundus, ready.scan, eye.placement, eye.key, seed, draw, **known)
    model.train(was_training)
    return replace(eye, scan=ready.scan, spacing_mm=ready.spacing_mm, volume=volume, pose_um=pose_um)


def _move(given: Placement, found: Placement) -> dict[str, Plain]:
    """How a scan was moved on its photo, as it stands in the history."""
    x, y = (given.half_width_mm * (np.array(found.shift) - given.shift)).tolist()
    return {
        "registered_right_mm": round(x, 3),
        "registered_down_mm": round(y, 3),
        "registered_turn_deg": round(found.rotation_deg - given.rotation_deg, 2),
        "registered_scale": round(given.half_width_mm / found.half_width_mm, 4),
    }


def _place_notes(
    move: Mapping[str, Any], placement: Placement, scan: ScanPattern, n_ascans: int
) -> Iterator[str]:
    """What is unusual of the place where a scan is drawn."""
    moved_mm = math.hypot(move["registered_right_mm"], move["registered_down_mm"]) if move else 0.0
    if moved_mm > _FAR_MM:
        yield (
            f"the model moved the scan by {moved_mm:.1f} mm, over {_FAR_MM:g}, from where it was said to "
            "lie; look at its lines, or keep it there by --as-told (with at_given_places(model) in Python)"
        )
    outside = float((placement.to_grid(scan.coordinates(n_ascans)).norm(dim=-1) > 1).float().mean())
    if outside > _OUTSIDE:
        yield f"{outside:.0%} of the scan lies outside the circle of retina, where the volume is made up"


def check_prepared(model: Any, fundus: Array) -> None:
    """Refuse a photo of another width than those of the training, ``(H, H, 3)``; its grid says nothing of it.

    Raises:
        ValueError: if it is one.
    """
    task = getattr(model, "task", None)
    if task is not None and len(fundus) != task.fundus_px:
        raise ValueError(
            f"photo: expected {task.fundus_px} pixels, as in the training, found {len(fundus)}; give that of "
            "the eye that model.predict returns"
        )


def find_place(model: Any, fundus: Array, placement: Placement, scan: ScanPattern) -> Placement:
    """Where a model finds that a scan lies on a photo.

    Args:
        model: a model, trained with ``registration`` or without.
        fundus: photo, cropped and prepared as in the training, RGB, uint8, shape ``(H, H, 3)``.
        placement: where the scan is said to lie.
        scan: its lines.

    Returns:
        The corrected placement; the given one, if the model does not register scans.

    Example:
        >>> from fund2oct.geometry import RadialScan
        >>> from fund2oct.models import SurfaceModel
        >>> model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)  # does not register
        >>> find_place(model, np.zeros((64, 64, 3), np.uint8), Placement((0.1, 0.0)), RadialScan())
        Placement(shift=(0.1, 0.0), rotation_deg=0.0, half_width_mm=6.5)
    """
    if not getattr(model, "registration", False):
        return placement
    model.configure_model()
    network = model.generator_ema.module
    registering = network.registration if isinstance(network, SurfacePredictor) else None
    # A generator of the user's own may have been built without it.
    if registering is None or not registering.active:
        return placement
    n_ascans, device = model.shape[2], next(network.parameters()).device
    grid = placement.to_grid(scan.coordinates(int(n_ascans), device))[None]
    with torch.inference_mode():
        correction = registering(network.encoder(photo_tensor(fundus).to(device)), grid)
    found: Placement = correction.moved_placement(placement)
    return found


def generate(
    model: VolumeModel,
    fundus: Array,
    scan: ScanPattern,
    placement: Placement,
    key: str,
    seed: int = 0,
    draw: bool = False,
    **known: Any,
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
        known: what is known of the eye, see :meth:`VolumeModel.known_of`.

    Returns:
        The volume, uint8 ``(S, Z, X)``, and its pose in micrometres, float32 ``(S, K)``.

    Raises:
        DataError: if what the model draws is not finite, or ``draw`` is asked of one that draws no surfaces.
    """
    assert model.task is not None
    if draw and not model.draws_surfaces:
        found = type(model).__name__
        raise DataError(f"{key}: expected a model that draws surfaces, found a {found}; leave --draw out")
    options = {"draw_surfaces": True} if draw else {}
    noise = NoiseSource.of_keys([key], seed, model.device)
    _, n_depth, n_ascans = model.shape
    grid = placement.to_grid(scan.coordinates(n_ascans, model.device))[None]
    image = photo_tensor(fundus).to(model.device)
    # A seed of its own: one stream for both would tie the pose to the drawn surfaces.
    pose_um = model.task.poses.sample(1, torch.Generator().manual_seed(eye_seed(f"{key}, pose", seed)))
    with torch.inference_mode():
        aligned = model(image, grid, n_depth, rng=noise, **options, **known)
        volume = unalign(aligned, pose_um.to(aligned), model.task.spacing_mm[1])
    if not volume.isfinite().all():
        raise DataError(f"{key}: the model's volume holds NaN or infinity; use an earlier checkpoint")
    return (volume[0, 0] * 255).round().byte().cpu().numpy(), pose_um[0].float().numpy()
