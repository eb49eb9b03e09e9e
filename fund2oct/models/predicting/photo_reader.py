"""A new photo, brought to the form of those that a model was trained with."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from fund2oct.data.formats.exam import read_photo_file
from fund2oct.data.formats.naming import check_utf8, known_text, laterality_of, side_of
from fund2oct.data.masks.given import mask_fields, read_masks
from fund2oct.data.preparing.lines import locate_lines
from fund2oct.data.preparing.photo import PhotoOptions, prepare_photo, resize_photo
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.data.tables.eyes import GivenLines
from fund2oct.eye import GENERATED, Array, DataError, Eye, Plain
from fund2oct.file_kinds import file_sha256
from fund2oct.geometry import Placement, ScanPattern
from fund2oct.models.training.conditions import Conditions
from fund2oct.models.uncertainty.familiar import unknown_note

if TYPE_CHECKING:
    from fund2oct.models.base import VolumeModel


@dataclass(frozen=True, eq=False)
class ReadyPhoto:
    """A photo as a model takes it, with the lines that are to be drawn.

    Args:
        eye: with the photo, without a volume.
        scan: the lines, as many as the model has slices.
        spacing_mm: of the volume ``(s, z, x)``, in millimetres.
        notes: what is unusual, or uncertain.
        name: what notes call it: the path of its file, for eyes of several patients may have one key; empty
            for the key.
    """

    eye: Eye
    scan: ScanPattern
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...]
    name: str = ""


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
        masks: names of the masks whose files come with the photos.
        half_width_mm: retina from the centre of a photo's circle to its edge, as it was told; None where it
            was not.
    """

    options: PhotoOptions
    fundus_px: int
    scan: ScanPattern
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    conditions: Conditions = field(default_factory=Conditions)
    metadata: Mapping[str, Plain] = field(default_factory=dict)
    masks: tuple[str, ...] = ()
    half_width_mm: float | None = None

    @classmethod
    def of(
        cls,
        model: VolumeModel,
        placement: Placement | PhotoPlacement | None = None,
        metadata: Mapping[str, Plain] | None = None,
        masks: Collection[str] = (),
    ) -> PhotoReader:
        """The reader of the photos of a trained model, see :meth:`VolumeModel.predict`.

        Args:
            model: the model.
            placement: where the scan lies on the photos.
            metadata: what is known of all eyes.
            masks: names of the masks whose files will be given with the photos.
        """
        if model.task is None:
            raise ValueError("model: knows nothing of its data; load it with fund2oct.load_model")
        task = model.task
        task.conditions.told(metadata or {})  # refuse it before a photo is read
        if missing := [name for name in model.undrawn_masks if name not in masks]:
            one = missing[0]
            warnings.warn(
                f"the model was trained with masks that are missing: {', '.join(missing)}; name their "
                f"networks, as in --mask {one}=NETWORK or model.draw_masks({{{one!r}: NETWORK}}), or give "
                f"their files, in a column mask_{one} of --table or by predict(..., masks={{{one!r}: FILE}})",
                stacklevel=3,
            )
        if unknown := unknown_note(model):
            warnings.warn(unknown, stacklevel=3)
        options = task.preparation.photo_options(placement or Placement(), task.fundus_px)
        return cls(
            options, task.fundus_px, task.scan, task.spacing_mm, model.shape, task.conditions,
            dict(metadata or {}), tuple(name for name in model.undrawn_masks if name in masks),
            None if placement is None else placement.half_width_mm,
        )  # fmt: skip

    def read(
        self,
        photo: str | Path | Array | Image.Image,
        lines: GivenLines | None = None,
        known: Mapping[str, Plain] | None = None,
        masks: Mapping[str, Path] | None = None,
    ) -> ReadyPhoto:
        """Read and prepare a photo.

        Args:
            photo: a picture file, RGB bytes, or an image of Pillow in RGB.
            lines: where its B-scans lie; None takes those of the training.
            known: what is known of this eye, by name. Side and diagnosis are the eye's; of the rest is taken
                what the model is told.
            masks: files of masks of the photo, by their names, see
                :func:`fund2oct.data.masks.given.read_masks`; those are taken that the model is told.

        Raises:
            DataError: if the photo, its name, its lines or its masks cannot be used.
        """
        path = Path(photo) if isinstance(photo, str | os.PathLike) else None
        if path:
            check_utf8(path)
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
        if told and _says_where(self.options.placement):
            raise DataError(
                f"{path or key}: expected lines in pixels of the photo, or the place of the scan (--fovea, "
                "--placement photo), found both; such lines tell the place themselves, leave the other out"
            )
        options = replace(self.options, placement=None) if told else self.options
        prepared = prepare_photo(picture, options, laterality)
        files = {name: file for name, file in (masks or {}).items() if name in self.masks}
        drawn, mask_notes = read_masks(files, picture)
        mask_notes += [f"its mask {name} is missing" for name in self.masks if name not in files]
        notes, placed = [*file_notes, *told_notes, *prepared.notes, *mask_notes], prepared.placement
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
            # Lines in pixels are as long as those of the training, unless the scale of the photo is told.
            _, z_mm, x_mm = spacing_mm
            told_mm = (math.nan, z_mm, math.nan if lines.unit == "mm" or self.half_width_mm else x_mm)
            located = locate_lines(
                lines, told_mm, n_ascans, prepared.circle, picture.shape[:2], self.half_width_mm
            )
            scan, spacing_mm, placed = located.scan, located.spacing_mm, located.placement or placed
            notes += located.notes
        eye = Eye(
            key=key,
            patient=key,
            laterality=laterality,
            fundus=resize_photo(prepared.fundus, self.fundus_px),
            **mask_fields(drawn, prepared.circle, self.fundus_px),
            placement=placed,
            diagnosis=known_text(metadata.pop("diagnosis", (known or {}).get("diagnosis"))),
            metadata=metadata,
            source=f"{GENERATED} from {path.name if path else 'an array'}",
            history=prepared.history | history,
            sha256=file_sha256(path) if path else "",
        )
        name = str(path or key)
        return ReadyPhoto(eye, scan, spacing_mm, tuple(f"{name}: {note}" for note in notes), name)


def _says_where(placement: Placement | PhotoPlacement | None) -> bool:
    """Whether a placement says more than the scale of a photo."""
    if isinstance(placement, Placement):
        return bool(placement.rotation_deg) or any(placement.shift)
    return placement is not None


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
