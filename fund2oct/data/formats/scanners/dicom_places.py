"""Where the frames of a DICOM tomogram lie: on the photographs beside it, or else in the patient."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fund2oct.data.formats.exam import between_slices_mm, centred_scan, square_localizer
from fund2oct.data.formats.scanners.curved import scan_of_curves
from fund2oct.data.formats.scanners.dicom_file import (
    found_levels,
    groups_of,
    is_dicom,
    read_dicom,
    read_pixels,
)
from fund2oct.data.formats.stacks import Spacing
from fund2oct.eye import Array, DataError
from fund2oct.file_kinds import file_sha256
from fund2oct.geometry import ScanPattern
from fund2oct.levels import to_bytes

PHOTOGRAPHS = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")
"""Ophthalmic photography of 8 and 16 bits: what an OPT's localizer is, or in colours its photo."""

_NAMES = ["SOPClassUID", "SOPInstanceUID"]
_STRAIGHT = 0.01
"""How far a direction in the patient may be off, as a share of 1."""
_AS_FAR = 0.1
"""By which share the slices of a raster may lie nearer or farther than the file says elsewhere."""
_COLOURED = 8
"""Levels by which colours differ in the mean of a picture that is no grey one stored in three colours."""


def locate_frames(
    path: Path, image: Any, n_slices: int, n_ascans: int, spacing: Spacing
) -> tuple[dict[str, Any], list[str]]:
    """Lines, distance of slices, localizer and photo, as far as the file tells them.

    The photo is the first photograph in colours that a frame refers to, whether the file tells where the
    frames lie on it or not. Their lines are those on the photo, or else those on another photograph, or else
    those of their planes in the patient.
    """
    places = places_of(image)
    beside = photographs_beside(path, places)
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
    elif (lines := _by_planes(image, n_slices, n_ascans, spacing)) is not None:
        fields |= {"lines": lines, "spacing_mm": (between_slices_mm(lines, spacing[0]), *spacing[1:])}
    if left := len(pictures.keys() - used):
        notes.append(f"photographs that it refers to and that were left out: {left} of {len(pictures)}")
    return fields, notes


def places_of(image: Any) -> dict[str, list[Any]]:
    """Where the frames lie on each photograph, by its UID. What names no photograph is of the first."""
    found: dict[str, list[Any]] = {}
    items = groups_of(image, "OphthalmicFrameLocationSequence")
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


def _by_planes(image: Any, n_slices: int, n_ascans: int, spacing: Spacing) -> ScanPattern | None:
    """The lines by each frame's plane in the patient, around their own centre (C.7.6.2.1.1).

    None where a frame has no plane, two begin at one place or the first at 0 (which counts the slices, and is
    no place), where depth does not run to the back, and where parallel slices are not as far apart as the
    file says elsewhere: then the planes mean something else.
    """
    positions = _numbers(image, "PlanePositionSequence", "ImagePositionPatient", (n_slices, 3))
    turns = _numbers(image, "PlaneOrientationSequence", "ImageOrientationPatient", (n_slices, 6))
    if positions is None or turns is None or not spacing[2] > 0 or not positions[0].any():
        return None
    # The patient's left and feet are right and down as displayed.
    begins, along = positions[:, [0, 2]] * (1, -1), turns[:, [0, 2]] * (1, -1)
    off = np.abs(turns[:, [1, 3, 4, 5]] - (0, 0, 1, 0)).max(), np.abs(np.hypot(*along.T) - 1).max()
    if max(off) > _STRAIGHT or len(np.unique(begins.round(3), axis=0)) < n_slices:
        return None
    pixels = _numbers(image, "PixelMeasuresSequence", "PixelSpacing", (n_slices, 2))
    x_mm = np.full(n_slices, spacing[2]) if pixels is None else pixels[:, 1]
    # A position is that of the first pixel's centre.
    steps = along * x_mm[:, None]
    first = begins - steps / 2
    try:
        scan, _ = centred_scan(np.stack([first, first + n_ascans * steps], 1))
    except DataError:
        return None
    (x, y), moved = along.T, np.diff(first + n_ascans / 2 * steps, axis=0)
    parallel = n_slices > 1 and np.abs(x[1:] * y[:-1] - y[1:] * x[:-1]).max() < _STRAIGHT
    if parallel and spacing[0] > 0:
        # The mean: slices that were chosen from a raster may be unevenly apart.
        apart_mm = np.abs(moved[:, 0] * y[:-1] - moved[:, 1] * x[:-1]).mean()
        if abs(apart_mm / spacing[0] - 1) > _AS_FAR:
            return None
    return scan


def _numbers(image: Any, group: str, name: str, shape: tuple[int, int]) -> Array | None:
    """An element of a functional group as finite numbers for each frame; None where one lacks them."""
    try:
        found = np.array([[float(value) for value in item.get(name)] for item in groups_of(image, group)])
    except (TypeError, ValueError):
        return None
    if found.shape not in (shape, (1, shape[1])) or not np.isfinite(found).all():
        return None
    return np.broadcast_to(found, shape)


def _picture(file: Path) -> Array:
    """A photograph as bytes: RGB where it is in colours, else grey, however it is stored."""
    values, levels = read_pixels(file, read_dicom(file))
    pixels = to_bytes(values, levels or found_levels(file, values))
    while pixels.ndim > (3 if pixels.shape[-1] == 3 else 2):
        pixels = pixels[0]  # the first of several frames
    coloured = pixels.ndim == 3 and np.ptp(pixels, -1).mean() > _COLOURED
    return pixels if coloured else _grey(pixels)


def _grey(pixels: Array) -> Array:
    return pixels if pixels.ndim == 2 else np.asarray(pixels.mean(-1).round(), np.uint8)


def photographs_beside(path: Path, places: Mapping[str, Any]) -> dict[str, Path]:
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
                head = read_dicom(path, stop_before_pixels=True, specific_tags=_NAMES)
            except DataError:
                continue
            if head.get("SOPClassUID") in PHOTOGRAPHS:
                found[str(head.get("SOPInstanceUID"))] = path
    return found
