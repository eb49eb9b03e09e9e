"""DICOM: a volume as ophthalmic tomography (OPT), a frame a B-scan, beside the photo that its frames lie on.

Attributes follow PS3.3 of the standard: the Ophthalmic Tomography Image IOD (A.52) and the Ophthalmic
Photography 8 Bit Image IOD (A.41). Nothing of the patient is written, not even the eye's key: what the
standard asks for and is not known stands empty.

References:
    https://dicom.nema.org/medical/dicom/current/output/html/part03.html
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from fund2oct import __version__
from fund2oct.data.formats.exam import JPEG_RATIO
from fund2oct.export.origin import is_generated, is_synthetic, statement_on
from fund2oct.eye import Array, DataError, Eye, Plain
from fund2oct.geometry import LineScan
from fund2oct.geometry.patterns import ascan_spacing_mm

_OPT = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
_PHOTO = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
_SIDES = {"OD": "R", "OS": "L"}
_N_POINTS = 65
"""Points that a B-scan which is no line is told by."""
_RETINA = ("5665001", "SCT", "Retina")
_TOMOGRAPH = ("392012008", "SCT", "Optical Coherence Tomography Scanner")
_FUNDUS_CAMERA = ("409898007", "SCT", "Fundus Camera")
_SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")
_GENERATED = ("GENERATED", "99FUND2OCT", "Generated from a photograph by a neural network")
_SIMULATED = ("SIMULATED", "99FUND2OCT", "Simulated without a patient")
_RESAMPLED = ("113085", "DCM", "Spatial resampling")


def save_dicom(eye: Eye, path: Path) -> None:
    """Write the volume, and ``NAME.photo.dcm`` beside it where the eye has a photo.

    Args:
        eye: an eye with a volume.
        path: the file to write.

    Raises:
        DataError: if the side of the eye is not known: DICOM has no ophthalmic image without one.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_dicom(eye, Path("eye.dcm"))
        >>> import pydicom
        >>> pydicom.dcmread("eye.dcm").pixel_array.shape
        (6, 32, 48)
    """
    if eye.laterality not in _SIDES:
        raise DataError(
            f"eye {eye.key!r}: DICOM needs the side of the eye, which is not known; "
            "name the photo so that it tells, as in NAME_OD.jpg or NAME_OS.jpg"
        )
    study = {"uid": generate_uid(), "synchronization": generate_uid(), "now": datetime.now()}
    photo = None if eye.fundus is None else _photo(eye, study)
    _write(_tomogram(eye, photo, study), path)
    if photo is not None:
        _write(photo, path.with_name(f"{path.stem}.photo.dcm"))


def _tomogram(eye: Eye, photo: Any, study: dict[str, Any]) -> Any:
    assert eye.volume is not None and eye.scan is not None
    image = _instance(eye, _OPT, "OPT", 1, study)
    image.ImageComments = statement_on(eye)
    _set_pixels(image, eye.volume, "MONOCHROME2")
    image.NumberOfFrames = len(eye.volume)
    image.PresentationLUTShape = "IDENTITY"
    image.OphthalmicVolumetricPropertiesFlag = "NO"
    image.AcquisitionNumber = 1
    # The standard wants these three of each tomogram (C.8.17.7), in one part or in several.
    image.InConcatenationNumber = image.InConcatenationTotalNumber = 1
    image.ConcatenationFrameOffsetNumber = 0
    image.AcquisitionContextSequence = []
    image.FrameOfReferenceUID = generate_uid()
    _set_unknown(image, "PositionReferenceIndicator")
    image.DetectorType = "UNKNOWN"
    image.AcquisitionDeviceTypeCodeSequence = [_code(*_TOMOGRAPH)]
    _set_unknown(image, "EmmetropicMagnification", "IntraOcularPressure", "HorizontalFieldOfView",
                 "PupilDilated", "AxialLengthOfTheEye")  # fmt: skip
    image.RefractiveStateSequence = []
    image.LightPathFilterTypeStackCodeSequence = []
    _set_dimension(image)
    shared, ends = _shared_groups(eye, photo), None if photo is None else _points_px(eye)
    frames = [
        _frame_groups(eye, number, photo, None if ends is None else ends[number])
        for number in range(len(eye.volume))
    ]
    x_mm = ascan_spacing_mm(eye.spacing_mm[2], eye.scan.length_mm)
    # A group stands in all frames, or in what they share (C.7.6.16).
    for groups, each_mm in zip([shared] if len({*x_mm}) == 1 else frames, x_mm, strict=False):
        groups.PixelMeasuresSequence = [_measures(eye, each_mm)]
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], frames
    return image


def _photo(eye: Eye, study: dict[str, Any]) -> Any:
    assert eye.fundus is not None
    image = _instance(eye, _PHOTO, "OP", 2, study)
    _set_pixels(image, eye.fundus[None], "RGB")
    image.PlanarConfiguration = 0
    image.NumberOfFrames = 1
    image.FrameTime = 0
    image.FrameIncrementPointer = 0x00181063  # FrameTime
    # Who looks at a patient has the patient's left at the right.
    image.PatientOrientation = ["L", "F"]
    image.ImageType = ["DERIVED", "PRIMARY", "RESAMPLED", "COLOR"]
    image.DerivationDescription = f"Cropped to the circle of retina and resized by fund2oct {__version__}."
    image.SourceImageSequence = []
    image.PixelSpacing = [_decimal(2 * eye.placement.half_width_mm / eye.fundus.shape[0])] * 2
    image.DetectorType = "UNKNOWN"
    image.AcquisitionDeviceTypeCodeSequence = [_code(*_FUNDUS_CAMERA)]
    _set_unknown(image, "EmmetropicMagnification", "IntraOcularPressure", "HorizontalFieldOfView",
                 "PupilDilated", "PatientEyeMovementCommanded")  # fmt: skip
    for name in ("RefractiveState", "IlluminationTypeCode", "LightPathFilterTypeStackCode",
                 "ImagePathFilterTypeStackCode", "LensesCode"):  # fmt: skip
        setattr(image, f"{name}Sequence", [])
    return image


def _instance(eye: Eye, sop_class: str, modality: str, series: int, study: dict[str, Any]) -> Any:
    """What both images have in common: an anonymous study, a derived image of the retina of one side."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    image.SpecificCharacterSet = "ISO_IR 192"
    # A generated volume has a real photo; of a simulated eye both are simulated.
    synthetic = is_synthetic(eye) and (sop_class == _OPT or not is_generated(eye))
    image.SyntheticData = "YES" if synthetic else "NO"
    _set_unknown(image, "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate",
                 "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName")  # fmt: skip
    image.StudyInstanceUID = study["uid"]
    image.Modality, image.SeriesInstanceUID, image.SeriesNumber = modality, generate_uid(), series
    image.InstanceNumber = 1
    image.SynchronizationFrameOfReferenceUID = study["synchronization"]
    image.SynchronizationTrigger, image.AcquisitionTimeSynchronized = "NO TRIGGER", "N"
    image.Manufacturer = image.ManufacturerModelName = "fund2oct"
    image.DeviceSerialNumber, image.SoftwareVersions = "none", __version__
    image.ContentDate, image.ContentTime = f"{study['now']:%Y%m%d}", f"{study['now']:%H%M%S}"
    image.AcquisitionDateTime = f"{study['now']:%Y%m%d%H%M%S}"
    image.ImageType = ["DERIVED", "PRIMARY"]
    image.BurnedInAnnotation = "NO"
    _set_compression(image, eye.history.get(JPEG_RATIO["volume" if sop_class == _OPT else "photo"]))
    image.ImageLaterality = _SIDES[eye.laterality]
    image.AnatomicRegionSequence = [_code(*_RETINA)]
    return image


def _set_compression(image: Any, jpeg_ratio: Plain | None) -> None:
    """Nothing is lost here; what a JPEG file has lost before has to be told for ever (C.7.6.1.1.5)."""
    image.LossyImageCompression = "00" if jpeg_ratio is None else "01"
    if jpeg_ratio is not None:
        image.LossyImageCompressionRatio = _decimal(float(jpeg_ratio))
        image.LossyImageCompressionMethod = "ISO_10918_1"


def _set_pixels(image: Any, frames: Array, photometric: str) -> None:
    image.SamplesPerPixel = 3 if photometric == "RGB" else 1
    image.PhotometricInterpretation = photometric
    image.Rows, image.Columns = frames.shape[1:3]
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    data = np.ascontiguousarray(frames).tobytes()
    image.PixelData = data + b"\0" * (len(data) % 2)


def _set_dimension(image: Any) -> None:
    """The frames' one dimension: their place in the stack."""
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = index.DimensionOrganizationUID = generate_uid()
    index.DimensionIndexPointer = 0x00209057  # InStackPositionNumber
    index.FunctionalGroupPointer = 0x00209111  # FrameContentSequence
    image.DimensionOrganizationSequence, image.DimensionIndexSequence = [organization], [index]


def _measures(eye: Eye, x_mm: float) -> Any:
    s_mm, z_mm, _ = eye.spacing_mm
    measures = Dataset()
    measures.PixelSpacing = [_decimal(z_mm), _decimal(x_mm)]
    if math.isfinite(s_mm):
        measures.SliceThickness = measures.SpacingBetweenSlices = _decimal(s_mm)
    return measures


def _shared_groups(eye: Eye, photo: Any) -> Any:
    groups, anatomy = Dataset(), Dataset()
    anatomy.AnatomicRegionSequence, anatomy.FrameLaterality = [_code(*_RETINA)], _SIDES[eye.laterality]
    groups.FrameAnatomySequence = [anatomy]
    derivation, source = Dataset(), None
    derivation.DerivationDescription = statement_on(eye)
    if is_generated(eye):
        derivation.DerivationCodeSequence = [_code(*_GENERATED)]
        source = photo
    else:
        derivation.DerivationCodeSequence = [_code(*(_SIMULATED if is_synthetic(eye) else _RESAMPLED))]
    derivation.SourceImageSequence = []
    if source is not None:
        reference = _reference(source)
        reference.PurposeOfReferenceCodeSequence = [_code(*_SOURCE_IMAGE)]
        derivation.SourceImageSequence = [reference]
    groups.DerivationImageSequence = [derivation]
    return groups


def _frame_groups(eye: Eye, number: int, photo: Any, points_px: Array | None) -> Any:
    groups, content = _plane(eye, number), Dataset()
    content.StackID, content.InStackPositionNumber = "1", number + 1
    content.DimensionIndexValues = [number + 1]
    groups.FrameContentSequence = [content]
    if points_px is not None:
        place = _reference(photo)
        # Row before column; 0 is the outer edge of the first pixel (C.8.17.10.1).
        place.ReferenceCoordinates = points_px[:, ::-1].ravel().tolist()
        place.OphthalmicImageOrientation = "LINEAR" if len(points_px) == 2 else "NONLINEAR"
        groups.OphthalmicFrameLocationSequence = [place]
    return groups


def _plane(eye: Eye, number: int) -> Any:
    """Where a frame lies in the patient, in mm around the fovea to the left, back and top (C.7.6.2.1).

    What is at the right of a photo is at the patient's left, and what is down in it is down; depth runs back.
    """
    assert eye.volume is not None and eye.scan is not None
    groups = Dataset()
    if not isinstance(eye.scan, LineScan):
        return groups  # a circle lies in no plane
    line = torch.tensor(eye.scan.lines[number], dtype=torch.float64)
    first, last = eye.placement.turned(line).numpy()
    n_ascans = eye.volume.shape[2]
    along = (last - first) / np.hypot(*(last - first))
    x, y = first + (last - first) / (2 * n_ascans)
    position, orientation = Dataset(), Dataset()
    position.ImagePositionPatient = [_decimal(v) for v in (x, eye.spacing_mm[1] / 2, -y)]
    orientation.ImageOrientationPatient = [_decimal(v) for v in (along[0], 0, -along[1], 0, 1, 0)]
    groups.PlanePositionSequence, groups.PlaneOrientationSequence = [position], [orientation]
    return groups


def _points_px(eye: Eye) -> Array:
    """Course of each B-scan on the photo, a line by its two ends: (column, row), shape ``(S, N, 2)``."""
    assert eye.scan is not None and eye.fundus is not None
    n_points = 2 if isinstance(eye.scan, LineScan) else _N_POINTS
    points = eye.scan.points(torch.linspace(0, 1, n_points, dtype=torch.float64))
    shown: Array = ((eye.placement.to_grid(points) + 1) / 2 * eye.fundus.shape[0]).numpy()
    return shown


def _reference(image: Any) -> Any:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference


def _code(value: str, scheme: str, meaning: str) -> Any:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _set_unknown(image: Any, *names: str) -> None:
    for name in names:
        setattr(image, name, None)


def _decimal(length_mm: float) -> str:
    """A decimal string of at most 16 characters, as the standard allows."""
    return f"{length_mm:.10g}"[:16]


def _write(image: Any, path: Path) -> None:
    image.save_as(path, enforce_file_format=True)
