"""DICOM: ophthalmic tomography (OPT), a frame each B-scan, and the photograph that it refers to."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from fund2oct.data.formats.exam import Exam, age_years, with_origin
from fund2oct.data.formats.naming import laterality_of
from fund2oct.data.formats.scanners.dicom_file import groups_of, read_dicom, read_pixels
from fund2oct.data.formats.scanners.dicom_places import (
    PHOTOGRAPHS,
    locate_frames,
    photographs_beside,
    places_of,
)
from fund2oct.data.formats.stacks import Spacing
from fund2oct.eye import GENERATED, DataError, Plain, stated_origin

OPT = "1.2.840.10008.5.1.4.1.1.77.1.5.4"

_ALIKE = 1.001


def list_scans(path: Path) -> list[str]:
    """A name for the scan; none for a photograph, which belongs to the scan that refers to it.

    Raises:
        ImportError: if pydicom is not installed.
        DataError: if the file cannot be read.
    """
    head = read_dicom(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return [] if head.get("SOPClassUID") in PHOTOGRAPHS else [path.name]


def photographs_of(path: Path) -> list[Path]:
    """The photographs that a scan refers to, if they lie beside it: localizer and photo are read from there.

    Raises:
        ImportError: if pydicom is not installed.
        DataError: if the file cannot be read.
    """
    image = read_dicom(path, stop_before_pixels=True)
    return list(photographs_beside(path, places_of(image)).values())


def read_opt(path: Path, given: Spacing | None = None) -> Exam:
    """Read an ophthalmic tomogram.

    Args:
        path: the file.
        given: ``(s, z, x)`` as the user says; x scales the places of the frames where the file tells none.

    Raises:
        ImportError: if pydicom is not installed.
        DataError: if the file cannot be read, is of another class, or has no usable pixels.
    """
    image = read_dicom(path)
    found = image.get("SOPClassUID")
    if found != OPT:
        name = getattr(found, "name", None) or "no class"
        raise DataError(f"{path}: expected DICOM of the class Ophthalmic Tomography Image, found {name}")
    volume, levels = read_pixels(path, image)
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
    fields, notes = locate_frames(path, image, len(volume), volume.shape[2], (s_mm, z_mm, x_mm))
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


def _spacing(path: Path, image: Any) -> Spacing | None:
    """What the file tells of its lengths. Circles of several radii differ in that of A-scans: their mean."""
    groups = [group for group in groups_of(image, "PixelMeasuresSequence") if group.get("PixelSpacing")]
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


def _laterality(image: Any) -> str:
    frames = {str(frame.get("FrameLaterality") or "") for frame in groups_of(image, "FrameAnatomySequence")}
    stated = image.get("ImageLaterality") or image.get("Laterality") or ""
    return laterality_of(str(stated or (frames.pop() if len(frames) == 1 else "")))


def _date(text: Any) -> date | None:
    digits = str(text or "")[:8]
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None
