"""One eye out of a photo, a volume, or both: what the importers of single files share."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fund2oct.data.formats.images import read_rgb
from fund2oct.data.formats.stacks import read_stack
from fund2oct.data.preparing.circle import NotAFundusError, crop_retina, find_retina
from fund2oct.data.preparing.illumination import normalise_illumination, normalise_intensity
from fund2oct.data.preparing.landmarks import PhotoPlacement, place_on
from fund2oct.data.preparing.preparation import LEVELS, LIGHT
from fund2oct.data.preparing.scans import PreparedScan, ScanOptions, prepare_scan
from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.eye import Array, DataError, Eye, Plain
from fund2oct.geometry import Placement


@dataclass(frozen=True)
class ImportOptions:
    """What to do with photos and volumes.

    Args:
        scan: with the volumes.
        fundus_px: width to resize photos to, once cropped to the circle of retina.
        placement: where the scan lies on the photo, or that it is to be estimated from each photo.
        even_light: whether to even out the photos' illumination.
        even_levels: whether to bring volumes of all devices to the same levels.
        salt: hashed with a patient's name, so that the name is not stored; empty stores it as it is.
    """

    scan: ScanOptions = field(default_factory=ScanOptions)
    fundus_px: int = 448
    placement: Placement | PhotoPlacement = field(default_factory=Placement)
    even_light: bool = False
    even_levels: bool = False
    salt: str = ""

    def __post_init__(self) -> None:
        if self.fundus_px < 1:
            raise ValueError(f"fundus_px: expected a positive width, found {self.fundus_px}")


def assemble_eye(
    key: str,
    patient: str,
    laterality: str,
    options: ImportOptions,
    photo: Path | None = None,
    volume: Path | None = None,
    **known: Any,
) -> tuple[Eye, list[str]]:
    """Read the files of an eye.

    Args:
        key: of the eye.
        patient: hashed if there is a salt.
        laterality: ``"OD"``, ``"OS"`` or empty.
        options: what to do.
        photo: a picture file, or None.
        volume: what :func:`~fund2oct.data.formats.stacks.read_stack` takes, or None.
        known: further fields of the :class:`~fund2oct.data.Eye`.

    Returns:
        The eye, and notes on it.

    Raises:
        DataError: if a file cannot be read, or is not what it should be.
    """
    history: dict[str, Plain] = {}
    notes: list[str] = []
    fields: dict[str, Any] = {}
    if photo is not None:
        try:
            fields["fundus"] = photo_of(read_rgb(photo), options, history, notes)
        except NotAFundusError as error:
            raise DataError(f"{photo}: {error}") from error
        fields["sha256"] = hashlib.sha256(photo.read_bytes()).hexdigest()
    if volume is not None:
        stack = read_stack(volume, options.scan.axes)
        try:
            scan = prepare_scan(stack.volume, stack.spacing_mm, options.scan)
        except DataError as error:
            raise DataError(f"{volume}: {error}") from error
        fields |= volume_fields(scan, options, history, notes)
    placement = place_on(fields.get("fundus"), laterality, options.placement, history, notes)
    if options.salt:
        patient = hashed_patient(patient, options.salt)
    eye = Eye(
        key=key,
        patient=patient,
        laterality=laterality,
        placement=placement,
        history=history,
        **(fields | known),
    )
    return eye, notes


def hashed_patient(patient: str, salt: str) -> str:
    """What is stored in place of a patient's name."""
    return hashlib.sha256(f"{salt}:{patient}".encode()).hexdigest()[:16]


def volume_fields(
    scan: PreparedScan, options: ImportOptions, history: dict[str, Plain], notes: list[str]
) -> dict[str, Any]:
    """The fields of an :class:`~fund2oct.data.Eye` that come with a volume, its pose and surfaces among them.

    Args:
        scan: the volume.
        options: whether to bring it to even levels.
        history: is added to.
        notes: is added to.
    """
    history |= scan.history
    voxels = scan.volume
    if options.even_levels:
        voxels = normalise_intensity(voxels)
        history[LEVELS[0]] = LEVELS[1]
    return {
        "volume": voxels,
        "scan": scan.scan,
        "spacing_mm": scan.spacing_mm,
        **searched_fields(voxels, scan.spacing_mm, notes),
    }


def photo_of(picture: Array, options: ImportOptions, history: dict[str, Plain], notes: list[str]) -> Array:
    """Cut a photo to the circle of retina and resize it.

    Args:
        picture: RGB uint8, shape ``(rows, columns, 3)``.
        options: size and light.
        history: is added to.
        notes: is added to.

    Raises:
        NotAFundusError: if it is no photo of a retina.
    """
    circle = find_retina(picture)
    if not circle.found:
        notes.append("no circle of retina in the photo; took its central square")
    history |= {
        "photo_size": f"{picture.shape[1]}x{picture.shape[0]}",
        "circle_column": round(float(circle.x), 2),
        "circle_row": round(float(circle.y), 2),
        "circle_radius": round(float(circle.radius), 2),
    }
    fundus = crop_retina(picture, circle, options.fundus_px)
    if options.even_light:
        history[LIGHT[0]] = LIGHT[1]
        return normalise_illumination(fundus)
    return fundus


def plain_value(text: str) -> Plain | None:
    """A cell of a table as a number where it is one; None where it is empty or no finite number."""
    if not (text := text.strip()):
        return None
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return text
