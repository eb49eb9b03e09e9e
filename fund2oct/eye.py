"""The record of one eye: what every importer writes and every reader returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fund2oct.geometry import Placement, ScanPattern
from fund2oct.retina.layers import BOUNDARIES, SURFACES
from fund2oct.retina.pose import N_POSE

SCHEMA_VERSION = 4
"""Version of the layout of a file of eyes that this library reads and writes."""
LATERALITIES = ("OD", "OS", "")
"""Right, left, and unknown, which a photo from anywhere may be."""

SIMULATED = "fund2oct phantom"
"""How the source of a simulated eye begins."""
GENERATED = "generated"
"""How the source of an eye begins whose volume a model made."""

Array = np.ndarray[Any, Any]
Plain = str | int | float | bool


class DataError(ValueError):
    """Data that cannot be used; the message names the file and the eye, and says what to do."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Eye:
    """One eye: a colour photo, an OCT volume, or both, and what is known of them.

    Args:
        key: name of the eye, unique in its file, without ``/``.
        patient: name of the patient; splits never separate two eyes of one patient.
        laterality: ``"OD"`` (right), ``"OS"`` (left), or empty where it is not known.
        fundus: photo, RGB uint8, shape ``(H, H, 3)``, the square around the circle of the retina; None
            for a scan without a photo.
        scan: the lines of the scan; None where there is no volume.
        placement: where the scan lies on the photo.
        spacing_mm: distance of neighbouring slices, rows and A-scans ``(s, z, x)``; s is NaN where the slices
            are not parallel.
        volume: B-scans, uint8, shape ``(S, Z, X)``; None for a photo without a scan.
        rescan: the same scan once more, with other speckle, uint8, shape ``(S, Z, X)``; simulated eyes have
            it.
        boundaries_um: depth of each of :data:`fund2oct.retina.BOUNDARIES`, micrometres from the top
            of the frame, float32, shape ``(n, S, X)``, NaN where absent.
        lesions: for each voxel the number of its lesion, counted from 1 in :data:`fund2oct.phantom.LESIONS`,
            and 0 where there is none, uint8, shape ``(S, Z, X)``.
        lesion_fundus: the same for each pixel of the photo, uint8, shape ``(H, H)``.
        pose_um: pose of each slice, micrometres, float32, shape ``(S, 7)``; the
            last coefficients are 0 where a parabola fits.
        surfaces_um: depth of each of :data:`fund2oct.retina.SURFACES` as found in the volume,
            micrometres from the top of the frame, float32, shape ``(4, S, X)``, NaN where not found.
        surface_confidence: trust in them, in [0, 1], float32, shape ``(S, X)``.
        localizer: the scanner's own infrared picture, grey, uint8, shape ``(L, L)``; not the photo.
        localizer_placement: where the scan lies on the localizer.
        diagnosis: free text, empty where unknown; several are joined by ``+``.
        source: where the eye came from, free text.
        sha256: SHA-256 of the file that held the photo, empty where there was none.
        metadata: what else is known of the eye, such as ``age_years``; plain values by name.
        history: what the importer did to make the eye, such as the circle that it cropped the photo
            to; plain values by name.

    Example:
        >>> eye = Eye(key="7-OD", patient="7", laterality="OD", fundus=np.zeros((64, 64, 3), np.uint8))
        >>> eye
        Eye('7-OD', OD, fundus 64 px, volume None)
    """

    key: str
    patient: str
    laterality: str
    fundus: Array | None = None
    scan: ScanPattern | None = None
    placement: Placement = field(default_factory=Placement)
    spacing_mm: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    volume: Array | None = None
    rescan: Array | None = None
    boundaries_um: Array | None = None
    lesions: Array | None = None
    lesion_fundus: Array | None = None
    pose_um: Array | None = None
    surfaces_um: Array | None = None
    surface_confidence: Array | None = None
    localizer: Array | None = None
    localizer_placement: Placement = field(default_factory=Placement)
    diagnosis: str = ""
    source: str = ""
    sha256: str = ""
    metadata: dict[str, Plain] = field(default_factory=dict)
    history: dict[str, Plain] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Shape ``(S, Z, X)`` of the volume."""
        return None if self.volume is None else _three(self.volume.shape)

    @property
    def fundus_px(self) -> int | None:
        """Width of the photo."""
        return None if self.fundus is None else int(self.fundus.shape[0])

    def __repr__(self) -> str:
        return f"Eye({self.key!r}, {self.laterality}, fundus {self.fundus_px} px, volume {self.shape})"


def diagnoses_of(diagnosis: str) -> tuple[str, ...]:
    """The diagnoses of an eye, which are joined by ``+``; none where it is not known.

    Example:
        >>> diagnoses_of("PED + GA"), diagnoses_of("")
        (('PED', 'GA'), ())
    """
    return tuple(part for one in diagnosis.split("+") if (part := one.strip()))


# Letters stand for sizes that must agree within an eye; the first array that has one sets it.
ARRAYS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "fundus": ("uint8", ("H", "H", 3)),
    "volume": ("uint8", ("S", "Z", "X")),
    "rescan": ("uint8", ("S", "Z", "X")),
    "boundaries_um": ("float32", (len(BOUNDARIES), "S", "X")),
    "lesions": ("uint8", ("S", "Z", "X")),
    "lesion_fundus": ("uint8", ("H", "H")),
    "pose_um": ("float32", ("S", N_POSE)),
    "surfaces_um": ("float32", (len(SURFACES), "S", "X")),
    "surface_confidence": ("float32", ("S", "X")),
    "localizer": ("uint8", ("L", "L")),
}
"""Each array of an :class:`Eye`: its type, and its shape."""

SEARCHED = ("pose_um", "surfaces_um", "surface_confidence")
"""Arrays of an eye that the search finds in any volume, which a training needs beside the volume."""


def padded_pose(pose_um: Array) -> Array:
    """A pose of fewer coefficients, as of parabolas alone, with zeros for the rest."""
    missing = N_POSE - pose_um.shape[-1]
    return np.pad(pose_um, ((0, 0), (0, missing))) if missing > 0 else pose_um


def problems(eye: Eye) -> list[str]:
    """List what is wrong with an eye.

    Looked at are the names, the type and the shape of each array, sizes that must agree between arrays, the
    scan's lines against volume and spacing, and the values of pose and surfaces.

    Args:
        eye: the eye; it is not changed.

    Returns:
        A line for each problem, with what was expected and what was found; empty for a sound eye.

    Example:
        >>> for line in problems(Eye(key="7-OD", patient="", laterality="right")):
        ...     print(line)
        patient: expected a name, found none; splits are made by patient
        laterality: expected one of ('OD', 'OS', ''), found 'right'
        expected a photo, a volume or both, found neither
    """
    found = [*_text_problems(eye), *_plain_problems(eye), *_array_problems(eye), *_scan_problems(eye)]
    found += _value_problems(eye)
    if eye.fundus is None and eye.volume is None:
        found.append("expected a photo, a volume or both, found neither")
    return found


def validate(eye: Eye) -> None:
    """Refuse an eye that :func:`problems` finds anything wrong with.

    Args:
        eye: the eye; it is not changed.

    Raises:
        DataError: if there is a problem; the message names the eye and every problem.

    Example:
        >>> photo = np.zeros((64, 64, 3), np.float32)
        >>> validate(Eye(key="7-OD", patient="7", laterality="OD", fundus=photo))
        Traceback (most recent call last):
            ...
        fund2oct.eye.DataError: eye '7-OD': fundus: expected uint8 (H, H, 3), found float32 (64, 64, 3)
    """
    if found := problems(eye):
        raise DataError(f"eye {eye.key!r}: {'; '.join(found)}")


def _text_problems(eye: Eye) -> list[str]:
    found = []
    if not eye.key or "/" in eye.key or eye.key == ".":
        found.append(f"key: expected a name without '/', found {eye.key!r}")
    if any("\ud800" <= letter <= "\udfff" for letter in eye.key):  # a file's name that is not UTF-8
        found.append(f"key: expected a name in UTF-8, found {eye.key!r}; rename the file")
    if not eye.patient:
        found.append("patient: expected a name, found none; splits are made by patient")
    if eye.laterality not in LATERALITIES:
        found.append(f"laterality: expected one of {LATERALITIES}, found {eye.laterality!r}")
    return found


def _plain_problems(eye: Eye) -> list[str]:
    return [
        f"{field_name}: expected plain values, finite numbers among them, found {name!r}: {value!r}"
        for field_name in ("metadata", "history")
        for name, value in getattr(eye, field_name).items()
        if not (isinstance(name, str) and isinstance(value, Plain))
        or (isinstance(value, float) and not math.isfinite(value))
    ]


def _array_problems(eye: Eye) -> list[str]:
    found = []
    known: dict[str, int] = {}
    for name, (dtype, dims) in ARRAYS.items():
        array = getattr(eye, name)
        if array is None:
            continue
        sizes = {dim: size for dim, size in zip(dims, array.shape, strict=False) if isinstance(dim, str)}
        shape = tuple((sizes | known).get(str(dim), dim) for dim in dims)
        if array.dtype == dtype and array.shape == shape and 0 not in shape:
            known |= sizes
        else:
            wanted = ", ".join(str(known.get(str(dim), dim)) for dim in dims)
            found.append(f"{name}: expected {dtype} ({wanted}), found {array.dtype} {array.shape}")
    return found


def _value_problems(eye: Eye) -> list[str]:
    found = []
    if eye.pose_um is not None and not np.isfinite(eye.pose_um).all():
        found.append("pose_um: expected finite micrometres, found NaN or infinity")
    for name in ("boundaries_um", "surfaces_um"):
        array = getattr(eye, name)
        if array is not None and np.isinf(array).any():
            found.append(f"{name}: expected micrometres, or NaN where absent, found infinity")
    if eye.surfaces_um is not None:
        # A comparison with NaN is false: what is unknown is not out of order.
        for upper, lower, rises in zip(
            SURFACES, SURFACES[1:], eye.surfaces_um[1:] < eye.surfaces_um[:-1], strict=False
        ):
            if rises.any():
                found.append(
                    f"surfaces_um: expected {upper} above {lower} or on it, "
                    f"found it below at {rises.sum()} A-scans"
                )
    if (trust := eye.surface_confidence) is not None and not ((trust >= 0) & (trust <= 1)).all():
        found.append("surface_confidence: expected values in [0, 1], found others or NaN")
    return found


def _scan_problems(eye: Eye) -> list[str]:
    if eye.volume is None:
        return []
    if eye.scan is None:
        return ["scan: a volume needs the pattern of its lines, found none"]
    if eye.volume.ndim != 3:
        return []
    found = []
    if eye.scan.n_slices != eye.volume.shape[0]:
        found.append(f"scan: expected a line a slice, {eye.volume.shape[0]}, found {eye.scan.n_slices}")
    between, z, x = eye.spacing_mm
    if not (0 < z < math.inf and 0 < x < math.inf) or between <= 0 or math.isinf(between):
        found.append(f"spacing_mm: expected positive (s, z, x), s NaN for a star, found {eye.spacing_mm}")
    else:
        # Rounded spacings and vendors that count from the first to the last A-scan both pass. Circles around
        # one centre, and lines that were drawn on a photo, differ in length.
        length, slack = x * eye.volume.shape[2], 0.02 + 2 / eye.volume.shape[2]
        mean = sum(eye.scan.length_mm) / eye.scan.n_slices
        if not abs(length / mean - 1) < slack:
            found.append(
                f"spacing_mm: {eye.volume.shape[2]} A-scans {x:.5g} mm apart are {length:.4g} mm, "
                f"but the scan's lines are {mean:.4g} mm"
            )
    return found


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    s, z, x = shape
    return s, z, x
