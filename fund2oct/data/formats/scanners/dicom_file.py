"""A DICOM file as pydicom reads it: its elements, its pixels, and what its frames share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fund2oct.data.formats.by_library import by_library
from fund2oct.eye import Array, DataError
from fund2oct.levels import Levels, find_levels

_MAGIC_AT = 128
_RESCALE = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, whatever its name."""
    with path.open("rb") as file:
        file.seek(_MAGIC_AT)
        return file.read(4) == b"DICM"


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError:
        raise ImportError('DICOM needs pydicom: pip install "fund2oct[vendor]"') from None
    return pydicom


def read_dicom(path: Path, **options: Any) -> Any:
    """Read a file by pydicom, which takes the options.

    Raises:
        ImportError: if pydicom is not installed.
        DataError: if the file cannot be read.
    """
    pydicom = _pydicom()
    with by_library(path, "DICOM"):
        image = pydicom.dcmread(path, **options)
        # pydicom converts an element when it is first asked for: here, so that damage is met in this place.
        for _ in image.iterall():
            pass
    return image


def read_pixels(path: Path, image: Any) -> tuple[Array, Levels | None]:
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
        black, white = levels or found_levels(path, values)
        levels = white, black
    return values, levels


def found_levels(path: Path, values: Array) -> Levels:
    """Black and white by the numbers themselves, where the file states none."""
    try:
        return find_levels(values)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _number(value: Any, default: float) -> float:
    """A number, or the first of several, as of windows."""
    if value is None or value == "":
        return default
    return float(value if isinstance(value, (int, float)) else value[0])


def groups_of(image: Any, name: str) -> list[Any]:
    """The items of a functional group of all frames that have it, or else of the one that they share."""
    for sequence in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        if items := [item for group in image.get(sequence, []) for item in group.get(name) or []]:
            return items
    return []
