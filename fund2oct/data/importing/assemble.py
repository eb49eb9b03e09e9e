"""One eye out of what was read of it: what all importers share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fund2oct.data.formats.exam import Exam, jpeg_history, read_photo_file, with_origin
from fund2oct.data.formats.stacks import Spacing, StackPath, read_stack
from fund2oct.data.importing.en_face import en_face_photo
from fund2oct.data.masks.given import mask_fields, read_masks
from fund2oct.data.preparing.circle import RetinaCircle
from fund2oct.data.preparing.light_and_levels import LEVELS, even_levels
from fund2oct.data.preparing.lines import LocatedScan, locate_lines
from fund2oct.data.preparing.photo import PhotoOptions, PreparedPhoto, prepare_photo
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.data.preparing.scans import PreparedScan, ScanOptions, filled_spacing, prepare_scan
from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.data.store.patients import hashed_patient
from fund2oct.data.tables.eyes import GivenLines
from fund2oct.eye import Array, DataError, Eye, Plain
from fund2oct.file_kinds import file_sha256
from fund2oct.geometry import Placement, Point, RasterScan
from fund2oct.plausible import check_half_width


@dataclass(frozen=True)
class ImportOptions:
    """What an import does to photos and volumes.

    Args:
        scan: what to do with the volumes.
        fundus_px: width to resize photos to, once they are cropped to the circle of retina.
        placement: where the scan lies on the photo; a
            :class:`~fund2oct.data.PhotoPlacement` estimates it from each photo.
        even_light: whether to even out the photos' illumination.
        even_levels: whether to bring volumes of all devices to the same levels.
        en_face: whether the en face projection of a raster stands in for a photo that is missing, see
            :func:`~fund2oct.data.importing.en_face.en_face_photo`.
        salt: hashed with a patient's name, so that the name is not stored; empty stores it as it is.

    Raises:
        ValueError: if ``fundus_px`` is not positive, or no eye has the placement's half width.

    Example:
        >>> options = ImportOptions(ScanOptions(n_slices=6, shape=(320, 448)), even_light=True, salt="k7")
        >>> options.fundus_px, options.scan.shape
        (448, (320, 448))
    """

    scan: ScanOptions = field(default_factory=ScanOptions)
    fundus_px: int = 448
    placement: Placement | PhotoPlacement = field(default_factory=Placement)
    even_light: bool = False
    even_levels: bool = False
    en_face: bool = False
    salt: str = ""

    def __post_init__(self) -> None:
        if self.fundus_px < 1:
            raise ValueError(f"fundus_px: expected a positive width, found {self.fundus_px}")
        if self.placement.half_width_mm is not None:
            check_half_width(self.placement.half_width_mm)

    @property
    def photo(self) -> PhotoOptions:
        """What is done to the photos."""
        return PhotoOptions(self.fundus_px, self.even_light, self.placement)


def read_files(
    photo: Path | None,
    volume: StackPath | None,
    options: ImportOptions,
    masks: Mapping[str, Path] | None = None,
    **known: Any,
) -> Exam:
    """Read a picture, a volume or both from files of common formats, not those of scanners.

    Args:
        photo: a picture file, or None.
        volume: what :func:`~fund2oct.data.formats.stacks.read_stack` takes, or None.
        options: say in which order and direction the file has the volume's axes.
        masks: files of masks of the picture, by their names.
        known: further fields of the :class:`~fund2oct.data.formats.exam.Exam`.

    Returns:
        What the files hold, as they hold it.

    Raises:
        DataError: if a file cannot be read.

    Example:
        >>> exam = read_files(Path("photo.png"), None, ImportOptions(), laterality="OD")
        >>> exam.photo.shape, exam.laterality, exam.volume
        ((144, 176, 3), 'OD', None)
    """
    origin = ""
    history: dict[str, Plain] = {}
    if photo is not None:
        picture, history, notes = read_photo_file(photo)
        drawn, more = read_masks(masks or {}, picture)
        known |= {"photo": picture, "photo_file": str(photo), "masks": drawn}
        known["notes"] = (*known.get("notes", ()), *notes, *more)
        known["sha256"] = file_sha256(photo)
    if volume is not None:
        stack = read_stack(volume, options.scan.axes, options.scan.flip)
        origin = stack.origin
        history |= jpeg_history("volume", stack.files, stack.volume.size)
        known |= {
            "volume": stack.volume,
            "volume_file": str(stack.files[0]),
            "spacing_mm": stack.spacing_mm,
            "levels": stack.levels,
            "notes": (*known.get("notes", ()), *stack.notes),
        }
    return with_origin(Exam(history=history, **known), origin)


def make_eye(
    exam: Exam,
    options: ImportOptions,
    key: str,
    patient: str,
    lines: GivenLines | None = None,
    **known: Any,
) -> tuple[Eye, list[str]]:
    """Make an eye of what was read of it, whatever the files were.

    Args:
        exam: photo, volume or both.
        options: what to do with photo and volume.
        key: name of the eye.
        patient: name of the patient, which is hashed if the options have a salt.
        lines: where the user says that the slices lie; None leaves it to the options and the file.
        known: further fields of the :class:`~fund2oct.data.Eye`.

    Returns:
        The eye, and notes on it.

    Raises:
        NotAFundusError: if its photo shows no retina.
        DataError: if its volume cannot be used.

    Example:
        >>> options = ImportOptions(fundus_px=64)
        >>> exam = read_files(Path("photo.png"), None, options, laterality="OD")
        >>> eye, notes = make_eye(exam, options, key="7-OD", patient="7")
        >>> eye
        Eye('7-OD', OD, fundus 64 px, volume None)
    """
    notes, history = [*exam.notes], dict(exam.history)
    fields: dict[str, Any] = {}
    photo, placement = None, options.placement
    files_own = lines is None and options.scan.pattern is None and not options.scan.radial
    if exam.photo is not None:
        # Lines in pixels of the photo say themselves where they lie, the user's before the file's.
        centre_px = exam.photo_centre_px if files_own else None
        told = centre_px is not None or (lines is not None and lines.unit == "px")
        wanted = replace(options.photo, placement=None) if told else options.photo
        with _named(exam.photo_file):
            photo = prepare_photo(exam.photo, wanted, exam.laterality)
        notes += photo.notes
        # A scanner's file knows better that it scanned the disc.
        history |= {name: value for name, value in photo.history.items() if name not in history}
        fields |= {"fundus": photo.fundus, "sha256": exam.sha256}
        fields |= mask_fields(exam.masks, photo.circle, options.fundus_px)
        placement = photo.placement
        if centre_px is not None:
            placement = _placed(centre_px, exam, photo.circle)
    if exam.volume is not None:
        with _named(exam.volume_file):
            scan_options = options.scan
            if lines is not None:
                located = _located(lines, exam, options, photo)
                notes += located.notes
                history["lines_from"] = f"{lines.unit} in a table"
                scan_options = replace(scan_options, pattern=located.scan, spacing_mm=located.spacing_mm)
                placement = located.placement or placement
            scan = prepare_scan(exam.volume, exam.spacing_mm, scan_options, exam.lines, exam.levels)
            fields |= _volume_fields(scan, options, history, notes)
            notes += _scale_notes(exam, options.scan.spacing_mm) if files_own else []
            if options.en_face and photo is None:
                # The whole raster, of which the scan may be a part that was cut out.
                whole = replace(scan_options, star=None, n_slices=None, shape=None)
                raster = prepare_scan(exam.volume, exam.spacing_mm, whole, exam.lines, exam.levels)
                fields["fundus"], placement = en_face_photo(raster.volume, raster.scan, options.fundus_px)
                history["photo"] = "the en face projection of the volume"
        if exam.boundaries_um is not None:
            fields["boundaries_um"] = _boundaries(exam, scan, notes)
    eye = Eye(
        key=key,
        patient=hashed_patient(patient, options.salt) if options.salt else patient,
        laterality=exam.laterality,
        placement=placement if isinstance(placement, Placement) else placement.otherwise(),
        localizer=exam.localizer,
        localizer_placement=exam.localizer_placement,
        source=exam.source,
        metadata=exam.metadata,
        history=history,
        **fields,
        **known,
    )
    return eye, notes


@contextmanager
def _named(file: str) -> Iterator[None]:
    """Errors name the file, where there is one."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"{file}: {error}" if file else str(error)) from error


def _placed(centre_px: Point, exam: Exam, circle: RetinaCircle) -> Placement:
    """Where the file's lines lie on the photo, once that is cropped to its circle."""
    half_width_mm = circle.radius * exam.photo_pixel_mm
    with _named(exam.photo_file):
        check_half_width(half_width_mm)
    (column, row), radius = centre_px, circle.radius
    return Placement(((column - circle.x) / radius, (row - circle.y) / radius), 0.0, half_width_mm)


def _located(
    lines: GivenLines, exam: Exam, options: ImportOptions, photo: PreparedPhoto | None
) -> LocatedScan:
    """The scan of given lines, and where they lie on the photo once that is cropped."""
    assert exam.volume is not None
    return locate_lines(
        lines,
        filled_spacing(options.scan.spacing_mm, exam.spacing_mm),
        exam.volume.shape[2],
        None if photo is None else photo.circle,
        (0, 0) if exam.photo is None else exam.photo.shape[:2],
        options.placement.half_width_mm,
    )


def _scale_notes(exam: Exam, given: Spacing | None) -> list[str]:
    """What to say where the user's spacing makes a raster of another size than the pictures have it."""
    on_photo = exam.photo is not None and exam.photo_centre_px is not None
    there = {"photo": on_photo, "localizer": exam.localizer is not None}
    pictures = " and ".join(name for name, is_there in there.items() if is_there)
    raster = exam.lines is None or isinstance(exam.lines, RasterScan)
    told = exam.spacing_mm
    if not raster or not pictures or given is None or told is None:
        return []
    if all(math.isnan(given[n]) or math.isclose(given[n], told[n], rel_tol=0.001) for n in (0, 2)):
        return []
    return [
        f"its raster is as large as --spacing-mm says, but the scale of its {pictures} is the file's, so "
        "that its lines lie elsewhere there"
    ]


def _volume_fields(
    scan: PreparedScan, options: ImportOptions, history: dict[str, Plain], notes: list[str]
) -> dict[str, Any]:
    """The fields of an :class:`~fund2oct.data.Eye` that come with a volume, its pose and surfaces among them.

    Args:
        scan: the volume.
        options: whether to bring it to even levels.
        history: the eye's; what is done is added to it.
        notes: the eye's; what is worth knowing is added to them.
    """
    history |= scan.history
    notes += scan.notes
    voxels = scan.volume
    if options.even_levels:
        voxels = even_levels(voxels)
        history[LEVELS[0]] = LEVELS[1]
    return {
        "volume": voxels,
        "scan": scan.scan,
        "spacing_mm": scan.spacing_mm,
        **searched_fields(voxels, scan.spacing_mm, notes),
    }


def _boundaries(exam: Exam, scan: PreparedScan, notes: list[str]) -> Array | None:
    """The vendor's boundaries of the slices that were kept, at their A-scans and on their voxels."""
    assert exam.boundaries_um is not None and exam.volume is not None and exam.spacing_mm is not None
    if scan.slices is None:
        notes.append("the vendor's boundaries were dropped, for the slices were cut anew")
        return None
    # They are micrometres by the file's height of a row, before which the user's may go.
    told_mm = exam.spacing_mm[1] * exam.volume.shape[1]
    used_mm = scan.spacing_mm[1] * scan.volume.shape[1]
    kept = exam.boundaries_um[:, list(scan.slices)] * np.float32(used_mm / told_mm)
    old, new = kept.shape[-1], scan.volume.shape[-1]
    if old == new:
        return np.ascontiguousarray(kept)
    place = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    resized = [np.interp(place, np.arange(old), row) for row in kept.reshape(-1, old)]
    return np.asarray(resized, np.float32).reshape(*kept.shape[:2], new)
