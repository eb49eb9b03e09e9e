"""DICOM: ophthalmic tomography (OPT), a frame each B-scan, and the photograph that it refers to."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fund2oct.data.formats.by_library import by_library
from fund2oct.data.formats.exam import (
    Exam,
    age_years,
    between_slices_mm,
    centred_scan,
    square_localizer,
    with_origin,
)
from fund2oct.data.formats.naming import laterality_of
from fund2oct.data.formats.scanners.curved import scan_of_curves
from fund2oct.data.formats.stacks import Spacing
from fund2oct.eye import GENERATED, Array, DataError, Plain, stated_origin
from fund2oct.file_kinds import file_sha256
from fund2oct.geometry import ScanPattern
from fund2oct.levels import Levels, find_levels, to_bytes

OPT = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
PHOTOGRAPHS = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")
"""Ophthalmic photography of 8 and 16 bits: what an OPT's localizer is, or in colours its photo."""

_MAGIC_AT = 128
_COLOURED = 8
"""Levels by which colours differ in the mean of a picture that is no grey one stored in three colours."""
_ALIKE = 1.001
_RESCALE = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, whatever its name."""
    with path.open("rb") as file:
        file.seek(_MAGIC_AT)
        return file.read(4) == b"DICM"


def list_scans(path: Path) -> list[str]:
    """A name for the scan; none for a photograph, which belongs to the scan that refers to it.

    Raises:
        ImportError: if pydicom is not installed.
        DataError: if the file cannot be read.
    """
    head = _read(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return [] if head.get("SOPClassUID") in PHOTOGRAPHS else [path.name]


def photographs_of(path: Path) -> list[Path]:
    """The photographs that a scan refers to, if they lie beside it: localizer and photo are read from there.

    Raises:
        ImportError: if pydicom is not installed.
        DataError: if the file cannot be read.
    """
    image = _read(path, stop_before_pixels=True)
    return list(_beside(path, _places(image)).values())


def read_opt(path: Path, given: Spacing | None = None) -> Exam:
    """Read an ophthalmic tomogram.

    Args:
        path: the file.
        given: ``(s, z, x)`` as the user says; x scales the places of the frames where the file tells none.

    Raises:
        ImportError: if pydicom is not installed.
        DataError: if the file cannot be read, is of another class, or has no usable pixels.
    """
    image = _read(path)
    found = image.get("SOPClassUID")
    if found != OPT:
        name = getattr(found, "name", None) or "no class"
        raise DataError(f"{path}: expected DICOM of the class Ophthalmic Tomography Image, found {name}")
    volume, levels = _pixels(path, image)
    if volume.ndim == 2:
        volume = volume[None]
    if volume.ndim != 3:
        raise DataError(f"{path}: expected grey frames, found pixels of shape {volume.shape}")
    spacing = _spacing(path, image)
    s_mm, z_mm, x_mm = spacing or (math.nan,) * 3
    x_mm = x_mm if x_mm > 0 or given is None else given[2]
    metadata: dict[str, Plain] = age_years(
        _date(image.get("PatientBirthDate")),
        _date(image.get("AcquisitionDateTime") or image.get("ContentDate") or image.get("StudyDate")),
    )
    if device := " ".join(filter(None, (image.get("Manufacturer"), image.get("ManufacturerModelName")))):
        metadata["device"] = device
    fields, notes = _located(path, image, len(volume), volume.shape[2], (s_mm, z_mm, x_mm))
    exam = Exam(
        volume=volume,
        spacing_mm=fields.pop("spacing_mm", spacing),
        levels=levels,
        laterality=_laterality(image),
        patient=str(image.get("PatientID") or image.get("PatientName") or "").strip(),
        source="DICOM OPT",
        metadata=metadata,
        notes=tuple(notes),
        **fields,
    )
    return with_origin(exam, _origin(image))


def _origin(image: Any) -> str:
    """How the source of a volume begins that is called synthetic; of other makers it counts as generated."""
    synthetic = str(image.get("SyntheticData") or "").strip().upper() == "YES"
    return stated_origin(str(image.get("ImageComments") or "")) or (GENERATED if synthetic else "")


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError:
        raise ImportError('DICOM needs pydicom: pip install "fund2oct[vendor]"') from None
    return pydicom


def _read(path: Path, **options: Any) -> Any:
    pydicom = _pydicom()
    with by_library(path, "DICOM"):
        image = pydicom.dcmread(path, **options)
        # pydicom converts an element when it is first asked for: here, so that damage is met in this place.
        for _ in image.iterall():
            pass
    return image


def _pixels(path: Path, image: Any) -> tuple[Array, Levels | None]:
    """All frames as the file's numbers, rescaled as it says, and its black and white.

    Unsigned numbers run over the depth that is stated. Signed ones are of any range, and only a display
    window tells which; where none does, none is returned.
    """
    if not image.get("PixelData"):
        raise DataError(f"{path}: expected pixels, found none; it is truncated or holds only a description")
    with by_library(path, "pixels of DICOM"):
        try:
            values = _pydicom().pixels.pixel_array(image)  # in RGB, whatever colours are stored
        except RuntimeError as error:
            if "missing dependencies" not in str(error):
                raise
            raise DataError(
                f"{path}: its pixels are compressed by {image.file_meta.TransferSyntaxUID.name}, which needs "
                "packages: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
            ) from error
    if image.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise DataError(f"{path}: expected grey frames, found a palette of colours; export it in grey")
    slope, intercept = (_number(image.get(name), default) for name, default in _RESCALE.items())
    if slope == 0:
        raise DataError(f"{path}: RescaleSlope: expected another number than 0")
    levels: Levels | None = None
    if values.dtype.kind == "u":
        levels = intercept, (2.0 ** int(image.get("BitsStored") or 8) - 1) * slope + intercept
    elif (width := _number(image.get("WindowWidth"), 0.0)) > 0:
        centre = _number(image.get("WindowCenter"), 0.0)
        levels = centre - width / 2, centre + width / 2
    if (slope, intercept) != (1, 0):
        values = values * slope + intercept
    if image.get("PhotometricInterpretation") == "MONOCHROME1":
        black, white = levels or _found_levels(path, values)
        levels = white, black
    return values, levels


def _found_levels(path: Path, values: Array) -> Levels:
    try:
        return find_levels(values)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _number(value: Any, default: float) -> float:
    """A number, or the first of several, as of windows."""
    if value is None or value == "":
        return default
    return float(value if isinstance(value, (int, float)) else value[0])


def _groups(image: Any, name: str) -> list[Any]:
    """The items of a functional group of all frames that have it, or else of the one that they share."""
    for sequence in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        if items := [item for group in image.get(sequence, []) for item in group.get(name) or []]:
            return items
    return []


def _spacing(path: Path, image: Any) -> Spacing | None:
    """What the file tells of its lengths. Circles of several radii differ in that of A-scans: their mean."""
    groups = [group for group in _groups(image, "PixelMeasuresSequence") if group.get("PixelSpacing")]
    stated = groups or [image] * bool(image.get("PixelSpacing"))
    if not stated:
        return None
    pixels = [measures.PixelSpacing for measures in stated]
    if wrong := [pixel for pixel in pixels if isinstance(pixel, (str, float)) or len(pixel) != 2]:
        raise DataError(f"{path}: PixelSpacing: expected two numbers, found {wrong[0]}")
    z_mm, x_mm = np.array([[*map(float, pixel)] for pixel in pixels]).T
    low, high = z_mm.min(), z_mm.max()
    if high > low * _ALIKE:
        raise DataError(f"{path}: PixelSpacing: expected one height of rows, found {low:g} to {high:g} mm")
    apart = stated[0].get("SpacingBetweenSlices") or stated[0].get("SliceThickness")
    return float(apart) if apart else math.nan, float(z_mm[0]), float(x_mm.mean())


def _located(
    path: Path, image: Any, n_slices: int, n_ascans: int, spacing: Spacing
) -> tuple[dict[str, Any], list[str]]:
    """Lines, distance of slices, localizer and photo, as far as the file tells them.

    The photo is the first photograph in colours that a frame refers to, whether the file tells where the
    frames lie on it or not. Their lines are those on the photo, or else those on another photograph.
    """
    places = _places(image)
    beside = _beside(path, places)
    pictures = {uid: _picture(file) for uid, file in beside.items()}
    photo = next((uid for uid, pixels in pictures.items() if pixels.ndim == 3), None)
    points = {uid: _points(items, n_slices) for uid, items in places.items()}
    told = {uid: found for uid, found in points.items() if found is not None}
    fields: dict[str, Any] = {}
    notes: list[str] = []
    used = {photo}
    if any(places) and not pictures:
        notes.append("the photograph that it refers to is not beside it")
    if points and not told:
        notes.append("it does not tell of each frame where it lies; their places were dropped")
    if told and not spacing[2] > 0:
        notes.append("the places of its frames were dropped: their scale is not known without --spacing-mm")
        told = {}
    if photo is not None:
        fields |= {"photo": pictures[photo], "photo_file": str(beside[photo])}
        fields["sha256"] = file_sha256(beside[photo])
    if told:
        uid = min(told, key=lambda uid: (uid != photo, uid not in pictures))
        scan, centre, pixel_mm = _lines(path, told[uid], n_ascans, spacing)
        fields |= {"lines": scan, "spacing_mm": (between_slices_mm(scan, spacing[0]), *spacing[1:])}
        if uid == photo:
            fields["photo_centre_px"] = (centre[0] / pixel_mm, centre[1] / pixel_mm)
            fields["photo_pixel_mm"] = pixel_mm
        if uid in pictures:
            used.add(uid)
            square, placement = square_localizer(_grey(pictures[uid]), (pixel_mm, pixel_mm), centre)
            fields |= {"localizer": square, "localizer_placement": placement}
    if left := len(pictures.keys() - used):
        notes.append(f"photographs that it refers to and that were left out: {left} of {len(pictures)}")
    return fields, notes


def _places(image: Any) -> dict[str, list[Any]]:
    """Where the frames lie on each photograph, by its UID. What names no photograph is of the first."""
    found: dict[str, list[Any]] = {}
    items = _groups(image, "OphthalmicFrameLocationSequence")
    uids = [str(item.get("ReferencedSOPInstanceUID") or "") for item in items]
    first = next(filter(None, uids), "")
    for uid, item in zip(uids, items, strict=True):
        found.setdefault(uid or first, []).append(item)
    return found


def _points(places: Sequence[Any], n_slices: int) -> Array | None:
    """Column and row of points along each frame, shape ``(S, P, 2)``; None where some are not told."""
    given = [np.atleast_1d(np.array(place.get("ReferenceCoordinates") or (), float)) for place in places]
    n_values = len(given[0])
    if len(given) != n_slices or n_values < 4 or n_values % 2 or any(len(p) != n_values for p in given):
        return None
    points: Array = np.stack(given).reshape(n_slices, -1, 2)[..., ::-1]  # row before column
    return points


def _lines(
    path: Path, points: Array, n_ascans: int, spacing: Spacing
) -> tuple[ScanPattern, tuple[float, float], float]:
    """The scan, its centre in millimetres from the photograph's corner, and the width of a pixel."""
    lengths = np.hypot(*np.moveaxis(np.diff(points, axis=1), -1, 0)).sum(1)
    if not (lengths > 0).all():
        raise DataError(f"{path}: expected frames along lines, found one that begins where it ends")
    # The A-scans' distance is stated in millimetres; the localizer's pixels need not be.
    pixel_mm = n_ascans * spacing[2] / float(lengths.mean())
    try:
        locate = centred_scan if points.shape[1] == 2 else scan_of_curves
        return *locate(points * pixel_mm), pixel_mm
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _picture(file: Path) -> Array:
    """A photograph as bytes: RGB where it is in colours, else grey, however it is stored."""
    values, levels = _pixels(file, _read(file))
    pixels = to_bytes(values, levels or _found_levels(file, values))
    while pixels.ndim > (3 if pixels.shape[-1] == 3 else 2):
        pixels = pixels[0]  # the first of several frames
    coloured = pixels.ndim == 3 and np.ptp(pixels, -1).mean() > _COLOURED
    return pixels if coloured else _grey(pixels)


def _grey(pixels: Array) -> Array:
    return pixels if pixels.ndim == 2 else np.asarray(pixels.mean(-1).round(), np.uint8)


def _beside(path: Path, places: Mapping[str, Any]) -> dict[str, Path]:
    """The photographs on which frames are placed, as far as they lie beside the file, by their UID."""
    found = _photographs(path.parent) if any(places) else {}
    return {uid: found[uid] for uid in places if uid in found}


def _photographs(folder: Path) -> dict[str, Path]:
    """The ophthalmic photographs of a folder by their UID."""
    files = [Path(entry.path) for entry in os.scandir(folder) if entry.is_file()]
    states = [(path, path.stat()) for path in sorted(files)]
    return _photographs_among(tuple((path, state.st_size, state.st_mtime_ns) for path, state in states))


@lru_cache(maxsize=8)
def _photographs_among(files: tuple[tuple[Path, int, int], ...]) -> dict[str, Path]:
    """Those among files, each with its size and time: a file that was added or changed is read anew."""
    found = {}
    for path, _, _ in files:
        if is_dicom(path):
            try:
                head = _read(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
            except DataError:
                continue
            if head.get("SOPClassUID") in PHOTOGRAPHS:
                found[str(head.get("SOPInstanceUID"))] = path
    return found


def _laterality(image: Any) -> str:
    frames = {str(frame.get("FrameLaterality") or "") for frame in _groups(image, "FrameAnatomySequence")}
    stated = image.get("ImageLaterality") or image.get("Laterality") or ""
    return laterality_of(str(stated or (frames.pop() if len(frames) == 1 else "")))


def _date(text: Any) -> date | None:
    digits = str(text or "")[:8]
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None
