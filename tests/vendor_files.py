"""Files as scanners write them, with a bright voxel, a patient and dates; the smallest that are valid."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

S, Z, X = 5, 24, 32
BRIGHT = (1, 7, 20)
PATIENT, SURNAME, FIRST = "MRN-4711-XY", "Rumpelstilz", "Wilhelmina"
SERIAL = "SN-0815"


def volume_with_one_bright_voxel(dtype=np.uint8, value=255):
    volume = np.zeros((S, Z, X), dtype)
    volume[BRIGHT] = value
    return volume


def raster_ends(centre=(4.4, 4.6), width=6.0, height=4.0):
    """First and last point of each line, from above to below, in mm from the localizer's corner."""
    y = centre[1] + np.linspace(-height / 2, height / 2, S)
    left, right = centre[0] - width / 2, centre[0] + width / 2
    return np.stack([np.stack([np.full(S, left), y], 1), np.stack([np.full(S, right), y], 1)], 1)


def write_vol(path: Path, *, ends=None, pattern=3, layers=(5.0, 15.5), z_mm=0.0039, size=(S, Z, X)) -> Path:
    """A .vol with one boundary of each number, at the row given; 3.4028e38 is the vendor's absent."""
    n_slices, n_depth, n_ascans = size
    header = bytearray(2048)
    header[:12] = b"HSF-OCT-103\0"
    struct.pack_into("<3I", header, 12, n_ascans, n_slices, n_depth)
    struct.pack_into("<3d", header, 24, 6 / X, 1.0, z_mm)
    struct.pack_into("<2I", header, 48, 40, 40)
    struct.pack_into("<2d", header, 56, 8.8 / 40, 8.8 / 40)
    struct.pack_into("<d", header, 76, -1.25)
    header[84:88] = b"OS\0\0"
    struct.pack_into("<Q", header, 88, int(152_671.5 * 864e9))  # 2019-01-01
    struct.pack_into("<2I", header, 96, pattern, 1024)
    header[140 : 140 + len(PATIENT)] = PATIENT.encode()
    struct.pack_into("<d", header, 164, 18_994.0)  # 1952-01-01
    localizer = np.zeros((40, 40), np.uint8)
    localizer[10, 30] = 200
    parts = [bytes(header), localizer.tobytes()]
    reflectance = volume_with_one_bright_voxel(np.float32, 1.0)
    for number in range(n_slices):
        bscan = bytearray(1024)
        bscan[:11] = b"HSF-BS-103\0"
        if ends is None:
            ends = raster_ends()
        struct.pack_into("<4d", bscan, 16, *ends[number].ravel())
        struct.pack_into("<2I", bscan, 48, len(layers), 256)
        struct.pack_into("<f", bscan, 56, 30.5)
        for place, row in enumerate(layers):
            values = np.full(n_ascans, row, np.float32)
            values[0] = 3.4028235e38
            bscan[256 + 4 * place * n_ascans : 256 + 4 * (place + 1) * n_ascans] = values.tobytes()
        # More boundaries than there is room for are stated, and cut off.
        parts += [bytes(bscan[:1024]), reflectance[number].astype("<f4").tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def _picture(picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def write_fda(path: Path, *, sixteen=False, localizer=True, photo=None, z_um=3.9, device="") -> Path:
    """A .fda; its pictures are PNG, which its readers open as JPEG 2000. Without ``z_um`` it has no size."""
    chunks: list[tuple[str, bytes]] = []
    if sixteen:
        volume = volume_with_one_bright_voxel(np.uint16, 65535)
        head = struct.pack("<B4IBI", 2, X, Z, 16, S, 0, volume.nbytes)
        chunks.append(("@IMG_MOT_COMP_03", head + volume.astype("<u2").tobytes()))
    else:
        frames = [_picture(bscan) for bscan in volume_with_one_bright_voxel()]
        body = b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)
        chunks.append(("@IMG_JPEG", struct.pack("<B6I", 2, 0, 0, X, Z, S, 0) + body))
    if z_um is not None:
        chunks.append(("@PARAM_SCAN_04", struct.pack("<3I5d2B", 0, 0, 0, 6.0, 4.0, z_um, 0, 0, 0, 0)))
    chunks.append(("@CAPTURE_INFO_02", struct.pack("<BBI100s6H", 1, 2, 7, b"", 2019, 6, 1, 9, 5, 5)))
    who = struct.pack(
        "<32s32s32s8sB3H", PATIENT.encode(), FIRST.encode(), SURNAME.encode(), b"", 2, 1952, 1, 2
    )
    chunks.append(("@PATIENT_INFO_02", who + bytes(200)))
    for name, row in (("MULTILAYERS_1", 5), ("MULTILAYERS_7", 15), ("UNKNOWN_9", 9)):
        height = np.full((S, X), Z - row, "<u2")
        height[::-1][BRIGHT[0]] = Z - row - 1  # one row lower in the slice of the bright voxel
        head = struct.pack("<20sBB3I", name.encode(), 0, 0, X, S, height.nbytes)
        chunks.append(("@CONTOUR_INFO", head + height.tobytes()))
    if localizer:
        picture = np.zeros((50, 50), np.uint8)
        picture[12, 30] = 200
        file = _picture(picture)
        chunks.append(("@IMG_TRC_02", struct.pack("<4IBI", 50, 50, 8, 1, 0, len(file)) + file))
        box = struct.pack("<B2I4I32s4I", 0, 0, 0, 0, 0, 0, 0, b"8.0", 10, 15, 40, 35)
        chunks.append(("@REGIST_INFO", box))
    if photo is not None:
        file = _picture(np.ascontiguousarray(photo[..., ::-1]))
        head = struct.pack("<4I4sI", photo.shape[1], photo.shape[0], 24, 1, b"", len(file))
        chunks.append(("@IMG_FUNDUS", head + file))
    if device:
        hardware = struct.pack("<16s16s148s", device.encode(), SERIAL.encode(), b"")
        chunks.append(("@HW_INFO_03", hardware))
    data = b"FOCT" + b"FDA" + struct.pack("<2I", 1, 0)
    for name, body in chunks:
        data += bytes([len(name)]) + name.encode() + struct.pack("<I", len(body)) + body
    path.write_bytes(data + b"\0")
    return path


def write_img(folder: Path, name="P4711_Macular Cube 512x128_1-2-2014_10-31-11_OS_sn1_cube_z.img") -> Path:
    """A Cirrus cube whose bright voxel lies in slice 3, row 100, A-scan 40 once turned."""
    volume = np.zeros((128, 1024, 512), np.uint8)
    volume[3, 1023 - 100, 511 - 40] = 255
    volume.tofile(folder / name)
    return folder / name


def write_dicom(folder: Path, *, localizer=True, sixteen=False) -> Path:
    """An ophthalmic tomogram, and the photograph that it refers to."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import ExplicitVRLittleEndian

    from fund2oct.data.formats.scanners.dicom import OPT, PHOTOGRAPHS

    def new(sop_class, sop_uid, name):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, sop_uid
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(str(folder / name), {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = sop_class, sop_uid
        image.PatientName, image.PatientID = f"{SURNAME}^{FIRST}", PATIENT
        image.PatientBirthDate, image.AcquisitionDateTime = "19520102", "20190601101010"
        image.Manufacturer, image.ManufacturerModelName = "Some Maker", "Scanner 2"
        image.ImageLaterality = "L"
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.PixelRepresentation = 0
        return image

    def pixels(image, array):
        bits = array.dtype.itemsize * 8
        image.BitsAllocated = image.BitsStored = bits
        image.HighBit = bits - 1
        image.Rows, image.Columns = array.shape[-2:]
        image.PixelData = array.tobytes()

    uid, other = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.1.9"
    if localizer:
        photo = new(PHOTOGRAPHS[0], other, "slo.dcm")
        picture = np.zeros((60, 60), np.uint8)
        picture[12, 30] = 200
        pixels(photo, picture)
        photo.save_as(folder / "slo.dcm", enforce_file_format=True)
    image = new(OPT, uid, "opt.dcm")
    volume = volume_with_one_bright_voxel(*((np.uint16, 65535) if sixteen else (np.uint8, 255)))
    image.NumberOfFrames = S
    pixels(image, volume)
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.0039, 6 / X], 1.0
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    ends = raster_ends() / 0.15  # pixels of the photograph
    for line in ends:
        place = Dataset()
        place.ReferencedSOPInstanceUID = other
        place.ReferenceCoordinates = [float(v) for v in line[:, ::-1].ravel()]
        frame = Dataset()
        frame.OphthalmicFrameLocationSequence = Sequence([place])
        frames.append(frame)
    image.PerFrameFunctionalGroupsSequence = Sequence(frames)
    image.save_as(folder / "opt.dcm", enforce_file_format=True)
    return folder / "opt.dcm"


def write_photograph(folder: Path, name: str, uid: str, picture) -> Path:
    """A photograph in colours that is made of the grey one beside a tomogram."""
    import pydicom

    photo = pydicom.dcmread(folder / "slo.dcm")
    photo.SOPInstanceUID = photo.file_meta.MediaStorageSOPInstanceUID = uid
    photo.SamplesPerPixel, photo.PhotometricInterpretation, photo.PlanarConfiguration = 3, "RGB", 0
    photo.Rows, photo.Columns = picture.shape[:2]
    photo.PixelData = picture.tobytes()
    photo.save_as(folder / name)
    return folder / name


def play_e2e(monkeypatch, metas, *, laterality="OS", layers=None, patient=None, device="", n_scans=1):
    """Stand in for eyepy, for no real .e2e is at hand: scans of these B-scans each.

    ``layers`` are rows by eyepy's numbers, ``patient`` what it reads of them, ``device`` the camera's model.
    """

    class Series:
        n_bscans = len(metas)

        def get_bscan_meta(self):
            return metas

        def get_bscans(self):
            reflectance = volume_with_one_bright_voxel(np.float32, 1.0)
            reflectance[0, 0, 0] = 2.0  # eyepy's value for what is absent
            return reflectance

        def get_localizer(self):
            raise KeyError("no localizer")

        def get_layers(self):
            if layers is None:
                raise KeyError("no layers")
            return layers

        def get_heyex_metadata(self):
            return {
                "Patient": patient or {},
                "Device": {"Camera Model": device or None, "Camera S/N": SERIAL},
            }

        def laterality(self):
            return f"Laterality.{laterality}"

    class Reader:
        series = (Series(),) * n_scans

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr("fund2oct.data.formats.scanners.e2e._open", lambda path: Reader())
