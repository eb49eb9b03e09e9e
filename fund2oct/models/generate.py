"""The volume that a model draws for one photo."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps

from fund2oct.data.formats.exam import read_photo_file
from fund2oct.data.formats.naming import known_text, laterality_of, side_of
from fund2oct.data.preparing.lines import locate_lines
from fund2oct.data.preparing.photo import PhotoOptions, photo_tensor, prepare_photo, resize_photo
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.data.tables.eyes import GivenLines
from fund2oct.eye import GENERATED, Array, DataError, Eye, Plain
from fund2oct.geometry import Placement, ScanPattern
from fund2oct.models.training.conditions import Conditions
from fund2oct.models.uncertainty.familiar import photo_distance, unknown_note, unlike_note
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


@dataclass(frozen=True, eq=False)
class ReadyPhoto:
    """A photo as a model takes it, with the lines that are to be drawn.

    Args:
        eye: with the photo, without a volume.
        scan: the lines, as many as the model has slices.
        spacing_mm: of the volume ``(s, z, x)``, in millimetres.
        notes: what is unusual, or uncertain.
    """

    eye: Eye
    scan: ScanPattern
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PhotoReader:
    """Brings photos to the form of those of a model's training; it may be sent to another process.

    Args:
        options: what is done to a photo.
        fundus_px: width of the model's photos.
        scan: the lines of the training.
        spacing_mm: of its volumes ``(s, z, x)``, in millimetres.
        shape: of the model's volumes, ``(S, Z, X)``.
        conditions: what the model is told of an eye beside its photo.
        metadata: what is known of all eyes, by name.
    """

    options: PhotoOptions
    fundus_px: int
    scan: ScanPattern
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    conditions: Conditions = field(default_factory=Conditions)
    metadata: Mapping[str, Plain] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: VolumeModel,
        placement: Placement | PhotoPlacement | None = None,
        metadata: Mapping[str, Plain] | None = None,
    ) -> PhotoReader:
        """The reader of the photos of a trained model, see :meth:`VolumeModel.predict`."""
        if model.task is None:
            raise ValueError("model: knows nothing of its data; load it with fund2oct.load_model")
        task = model.task
        task.conditions.told(metadata or {})  # refuse it before a photo is read
        if model.undrawn_masks:
            one = model.undrawn_masks[0]
            warnings.warn(
                f"the model was trained with masks that are missing: {', '.join(model.undrawn_masks)}; name "
                f"their networks, as in --mask {one}=NETWORK or model.draw_masks({{{one!r}: NETWORK}})",
                stacklevel=3,
            )
        if unknown := unknown_note(model):
            warnings.warn(unknown, stacklevel=3)
        options = task.preparation.photo_options(placement or Placement(), task.fundus_px)
        return cls(
            options, task.fundus_px, task.scan, task.spacing_mm, model.shape, task.conditions,
            dict(metadata or {}),
        )  # fmt: skip

    def read(
        self,
        photo: str | Path | Array | Image.Image,
        lines: GivenLines | None = None,
        known: Mapping[str, Plain] | None = None,
    ) -> ReadyPhoto:
        """Read and prepare a photo.

        Args:
            photo: a picture file, RGB bytes, or an image of Pillow in RGB.
            lines: where its B-scans lie; None takes those of the training.
            known: what is known of this eye, by name. Side and diagnosis are the eye's; of the rest is taken
                what the model is told.

        Raises:
            DataError: if the photo or its lines cannot be used.
        """
        path = Path(photo) if isinstance(photo, str | os.PathLike) else None
        picture, history, file_notes = read_photo_file(path) if path else (_checked(photo), {}, ())
        key = path.stem if path else f"photo-{hashlib.sha256(picture.tobytes()).hexdigest()[:12]}"
        own = {name: value for name, value in (known or {}).items() if name in self.conditions.fields}
        try:
            metadata, told_notes = self.conditions.told({**self.metadata, **own})
            side = side_of(str((known or {}).get("laterality", "")))
        except ValueError as error:
            raise DataError(f"{path or key}: {error}") from None
        by_name = laterality_of(key) if path else ""
        laterality = str(metadata.pop("laterality", side or by_name))
        # Lines in pixels of the photo say themselves where they lie.
        told = lines is not None and lines.unit == "px"
        options = replace(self.options, placement=None) if told else self.options
        prepared = prepare_photo(picture, options, laterality)
        notes, placed = [*file_notes, *told_notes, *prepared.notes], prepared.placement
        if by_name and laterality != by_name:
            notes.append(
                f"its name says {by_name}, and it is taken for {laterality or 'unknown'} as was told"
            )
        scan, spacing_mm = self.scan, self.spacing_mm
        n_slices, _, n_ascans = self.shape
        if lines is not None:
            if len(lines.ends) != n_slices:
                raise DataError(
                    f"expected {n_slices} lines, as the model has slices, found {len(lines.ends)}"
                )
            # Lines in pixels are taken to be as long as those of the training.
            half_width_mm = self.options.placement.half_width_mm if self.options.placement else None
            located = locate_lines(
                lines, spacing_mm, n_ascans, prepared.circle, picture.shape[:2], half_width_mm
            )
            scan, spacing_mm, placed = located.scan, located.spacing_mm, located.placement or placed
            notes += located.notes
        eye = Eye(
            key=key,
            patient=key,
            laterality=laterality,
            fundus=resize_photo(prepared.fundus, self.fundus_px),
            placement=placed,
            diagnosis=known_text(metadata.pop("diagnosis", (known or {}).get("diagnosis"))),
            metadata=metadata,
            source=f"{GENERATED} from {path.name if path else 'an array'}",
            history=prepared.history | history,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest() if path else "",
        )
        return ReadyPhoto(eye, scan, spacing_mm, tuple(f"{path or key}: {note}" for note in notes))


def predict(
    model: VolumeModel,
    photo: str | Path | Array | Image.Image,
    placement: Placement | PhotoPlacement | None = None,
    rng: int = 0,
    draw: bool = False,
    lines: GivenLines | None = None,
    metadata: Mapping[str, Plain] | None = None,
) -> Eye:
    """Generate the volume of one photo, see :meth:`VolumeModel.predict`."""
    ready = compared(model, PhotoReader.of(model, placement, metadata).read(photo, lines))
    for note in ready.notes:
        warnings.warn(note, stacklevel=3)
    return complete(model, ready, rng, draw)


def compared(model: VolumeModel, ready: ReadyPhoto) -> ReadyPhoto:
    """Note how far a photo that was read is from those of the training, and warn where that is far."""
    eye = ready.eye
    assert eye.fundus is not None
    distance = photo_distance(model, eye.fundus)
    if distance is None:
        return ready
    unlike = unlike_note(distance)
    notes = (*ready.notes, f"{eye.key}: {unlike}") if unlike else ready.notes
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
        warnings.warn(f"{eye.key}: {note}", stacklevel=4)
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
    assert isinstance(network, SurfacePredictor) and network.registration is not None
    if not network.registration.active:
        return placement
    n_ascans, device = model.shape[2], next(network.parameters()).device
    grid = placement.to_grid(scan.coordinates(int(n_ascans), device))[None]
    with torch.inference_mode():
        correction = network.registration(network.encoder(photo_tensor(fundus).to(device)), grid)
    found: Placement = correction.moved_placement(placement)
    return found


def _checked(photo: Any) -> Array:
    if isinstance(photo, Image.Image):
        photo = np.asarray(ImageOps.exif_transpose(photo))
    if not isinstance(photo, np.ndarray):
        found = type(photo).__name__
        raise DataError(f"photo: expected a file, an array or an image of Pillow, found {found}")
    picture: Array = photo
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
