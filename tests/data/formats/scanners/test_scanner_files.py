"""Scanners' files: values against eyepy and OCT-Converter, conventions by one bright voxel."""

import copy
import hashlib
import math
from datetime import date

import numpy as np
import pytest
from vendor_files import (
    BRIGHT,
    FIRST,
    PATIENT,
    SURNAME,
    S,
    X,
    play_e2e,
    raster_ends,
    volume_with_one_bright_voxel,
    write_dicom,
    write_fda,
    write_img,
    write_photograph,
    write_vol,
)

from fund2oct.data import DataError
from fund2oct.data.formats.exam import Exam, age_years, centred_scan
from fund2oct.data.formats.scanners.dicom import photographs_of, read_opt
from fund2oct.data.formats.scanners.e2e import MM_A_DEGREE, read_scan
from fund2oct.data.formats.scanners.heyex import LAYERS, read_vol
from fund2oct.data.formats.scanners.topcon import read_fda
from fund2oct.data.formats.scanners.zeiss import read_img
from fund2oct.geometry import RadialScan, RasterScan
from fund2oct.retina.layers import boundary_index

BRIGHTNESS = {False: (np.uint8, 255), True: (np.uint16, 65535)}
VOL = "heidelberg/octolyzer_Linescan_1.vol"


def localizer_point(exam: Exam, row: int, column: int):
    """Where a pixel of the localizer lies in the scan's own millimetres."""
    assert exam.localizer is not None
    size = exam.localizer.shape[0]
    placement = exam.localizer_placement
    half = placement.half_width_mm
    x, y = ((column + 0.5) / size * 2 - 1) * half, ((row + 0.5) / size * 2 - 1) * half
    return x - placement.shift[0] * half, y - placement.shift[1] * half


def test_vol_has_voxel_boundaries_lines_and_localizer_in_place(tmp_path):
    exam = read_vol(write_vol(tmp_path / "a.vol"))
    assert np.array_equal(exam.volume, volume_with_one_bright_voxel())
    assert isinstance(exam.lines, RasterScan)
    np.testing.assert_allclose(exam.spacing_mm, (1.0, 0.0039, 6 / X))
    np.testing.assert_allclose(exam.lines.lines[0], ((-3, -2), (3, -2)), atol=1e-9)
    assert (exam.laterality, exam.patient) == ("OS", PATIENT)
    assert exam.metadata == {"age_years": 67, "scan_focus_d": -1.25, "quality_db": 30.5}
    ilm, bm = exam.boundaries_um[boundary_index("ILM")], exam.boundaries_um[boundary_index("BM")]
    np.testing.assert_allclose(ilm[:, 1:], 5.5 * 3.9, rtol=1e-6)
    np.testing.assert_allclose(bm[:, 1:], 16 * 3.9, rtol=1e-6)
    assert np.isnan(exam.boundaries_um[:, :, 0]).all()
    # The bright pixel, column 30 of 40 over 8.8 mm; the scan's centre lies at (4.4, 4.6).
    row, column = np.argwhere(exam.localizer == 200)[0]
    np.testing.assert_allclose(
        localizer_point(exam, row, column), (30.5 * 0.22 - 4.4, 10.5 * 0.22 - 4.6), atol=1e-6
    )


def test_vol_agrees_with_eyepy_on_a_real_scan(real_data):
    eyepy = pytest.importorskip("eyepy", reason="the independent reader of .vol is not installed")
    from eyepy.io.he.vol_reader import HeVolReader

    path = real_data / VOL
    if not path.exists():
        pytest.skip(f"no {VOL} here")
    exam, theirs = read_vol(path), eyepy.import_heyex_vol(path)
    assert exam.volume.shape == theirs.shape
    # eyepy shows levels through another curve; its raw reflectance is the same.
    reflectance = HeVolReader(path).parsed_file.bscans[0].data
    expected = np.where(reflectance < 1.1, reflectance.clip(0, 1), 0) ** 0.25 * 255
    assert np.abs(exam.volume[0] - expected).max() <= 0.51
    np.testing.assert_allclose(exam.spacing_mm[1:], (theirs.scale_y, theirs.scale_x), rtol=1e-6)
    compared = 0
    for name, layer in theirs.layers.items():
        ours = {"RPE": "IZ_RPE", "PR1": "EZ", "RNFL": "RNFL_GCL", "GCL": "GCL_IPL"}.get(name, name)
        if ours not in LAYERS.values():
            continue
        rows = exam.boundaries_um[boundary_index(ours)] / exam.spacing_mm[1] / 1000 - 0.5
        known = np.isfinite(rows)
        np.testing.assert_allclose(rows[known], np.asarray(layer.data)[known], atol=1e-3)
        compared += int(known.sum())
    assert compared > 500


@pytest.mark.parametrize("sixteen", [False, True])
def test_fda_has_voxel_boundaries_and_localizer_in_place(tmp_path, sixteen):
    exam = read_fda(write_fda(tmp_path / "a.fda", sixteen=sixteen))
    assert np.array_equal(exam.volume, volume_with_one_bright_voxel(*BRIGHTNESS[sixteen]))
    assert exam.levels == ((0, 65535) if sixteen else None)
    np.testing.assert_allclose(exam.spacing_mm, (4 / S, 0.0039, 6 / X))
    assert (exam.laterality, exam.patient) == ("OS", PATIENT)
    assert exam.metadata == {"age_years": 67}
    ilm = exam.boundaries_um[boundary_index("ILM")] / 3.9
    np.testing.assert_allclose(np.delete(ilm, BRIGHT[0], 0), 5.5, rtol=1e-6)
    np.testing.assert_allclose(ilm[BRIGHT[0]], 6.5, rtol=1e-6)
    assert any("UNKNOWN_9" in note for note in exam.notes)
    # The scan covers columns 10 to 40 and rows 15 to 35 of the picture, 6 mm by 4 mm.
    row, column = np.argwhere(exam.localizer == 200)[0]
    expected = (5.5 * 0.2, -12.5 * 0.2)
    np.testing.assert_allclose(localizer_point(exam, row, column), expected, atol=1e-6)


@pytest.mark.parametrize("z_um", [None, 0.0])
def test_fda_without_the_height_of_a_row_says_that_its_boundaries_are_dropped(tmp_path, z_um):
    exam = read_fda(write_fda(tmp_path / "a.fda", z_um=z_um))
    assert exam.boundaries_um is None
    assert "the vendor's boundaries were dropped: the file does not tell the height of a row" in exam.notes


def test_fda_tells_the_model_and_keeps_the_number_of_the_device_out(tmp_path):
    exam = read_fda(write_fda(tmp_path / "a.fda", device="3DOCT-1Maestro"))
    assert exam.metadata == {"age_years": 67, "device": "3DOCT-1Maestro"}


def test_fda_agrees_with_oct_converter(tmp_path, monkeypatch):
    fda = pytest.importorskip("oct_converter.readers.fda", reason="OCT-Converter is not installed")
    # It calls what NumPy 2.3 has removed.
    monkeypatch.setattr(np, "fromstring", np.frombuffer)
    path = write_fda(tmp_path / "a.fda")
    exam, theirs = read_fda(path), fda.FDA(path).read_oct_volume()
    assert np.array_equal(exam.volume, np.stack(theirs.volume))
    x_mm, s_mm, z_mm = theirs.pixel_spacing
    np.testing.assert_allclose(exam.spacing_mm, (s_mm, z_mm, x_mm))
    assert (exam.laterality, exam.patient) == (
        "O" + {"L": "S", "R": "D"}[theirs.laterality],
        theirs.patient_id,
    )
    rows = exam.boundaries_um[boundary_index("ILM")] / 3.9 - 0.5
    assert np.allclose(rows, np.asarray(theirs.contours["ILM"]), atol=1e-4)


def test_img_is_turned_upright(tmp_path):
    exam = read_img(write_img(tmp_path))
    assert exam.volume.shape == (128, 1024, 512) and exam.volume.sum() == 255
    assert exam.volume[3, 100, 40] == 255
    assert (exam.laterality, exam.patient) == ("OS", "P4711")
    np.testing.assert_allclose(exam.spacing_mm, (6 / 128, 2 / 1024, 6 / 512))


@pytest.mark.parametrize(
    ("name", "patient", "said"),
    [
        ("CLINIC_0071_Macular Cube 512x128_1-2-2014_10-31-11_OD_sn1_cube_z.img", "CLINIC_0071", ""),
        ("CLINIC_0072_Optic Disc Cube 200x200_1-2-2014_9-1-1_OD_sn2_cube_z.img", "CLINIC_0072", "optic disc"),
        ("P3_Optic_Disc_Cube_200x200_1-2-2014_9-1-1_OD_sn3_cube_z.img", "P3", "optic disc"),
        ("P4_OD_cube_z.img", "P4", "first word was taken for the patient"),
    ],
)
def test_the_name_of_an_img_tells_its_patient_and_a_cube_around_the_disc(tmp_path, name, patient, said):
    exam = read_img(write_img(tmp_path, name))
    assert (exam.patient, exam.laterality) == (patient, "OD")
    assert (said in exam.notes[0]) if said else exam.notes == ()
    assert exam.history == ({"placement": "on the disc"} if said == "optic disc" else {})


@pytest.mark.parametrize("sixteen", [False, True])
def test_dicom_has_voxel_lines_and_localizer_in_place(tmp_path, sixteen):
    pytest.importorskip("pydicom")
    exam = read_opt(write_dicom(tmp_path, sixteen=sixteen))
    assert np.array_equal(exam.volume, volume_with_one_bright_voxel(*BRIGHTNESS[sixteen]))
    assert exam.levels == ((0, 65535) if sixteen else (0, 255))
    assert isinstance(exam.lines, RasterScan)
    np.testing.assert_allclose(exam.lines.lines[-1], ((-3, 2), (3, 2)), atol=1e-6)
    np.testing.assert_allclose(exam.spacing_mm, (1.0, 0.0039, 6 / X), rtol=1e-6)
    assert (exam.laterality, exam.patient) == ("OS", PATIENT)
    assert exam.metadata == {"age_years": 67, "device": "Some Maker Scanner 2"}
    row, column = np.argwhere(exam.localizer == 200)[0]
    # A pixel's centre is half a pixel from its corner, where coordinates begin.
    expected = (30.5 * 0.15 - 4.4, 12.5 * 0.15 - 4.6)
    np.testing.assert_allclose(localizer_point(exam, row, column), expected, atol=1e-6)


COLOURED = np.full((120, 120, 3), (180, 60, 20), np.uint8)


def test_a_photo_in_colours_is_read_where_not_each_frame_tells_its_place(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    path = write_dicom(tmp_path)
    image = pydicom.dcmread(path)
    frames = image.PerFrameFunctionalGroupsSequence
    uid = frames[0].OphthalmicFrameLocationSequence[0].ReferencedSOPInstanceUID
    photograph = write_photograph(tmp_path, "slo.dcm", uid, COLOURED)
    del frames[-1].OphthalmicFrameLocationSequence
    image.save_as(path)
    exam = read_opt(path)
    np.testing.assert_array_equal(exam.photo, COLOURED)
    assert exam.sha256 == hashlib.sha256(photograph.read_bytes()).hexdigest()
    assert exam.photo_centre_px is None and exam.lines is None and exam.localizer is None
    assert exam.notes == ("it does not tell of each frame where it lies; their places were dropped",)


def test_of_two_photographs_the_one_in_colours_is_the_photo_with_the_lines_on_it(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    path = write_dicom(tmp_path)
    coloured = write_photograph(tmp_path, "colours.dcm", "1.2.826.0.1.3680043.8.498.1.8", COLOURED)
    image = pydicom.dcmread(path)
    for frame in image.PerFrameFunctionalGroupsSequence:
        place = copy.deepcopy(frame.OphthalmicFrameLocationSequence[0])
        place.ReferencedSOPInstanceUID = "1.2.826.0.1.3680043.8.498.1.8"
        place.ReferenceCoordinates = [2 * float(value) for value in place.ReferenceCoordinates]
        frame.OphthalmicFrameLocationSequence.append(place)
    image.save_as(path)
    assert photographs_of(path) == [tmp_path / "slo.dcm", coloured]
    exam = read_opt(path)
    np.testing.assert_array_equal(exam.photo, COLOURED)
    # Its pixels are half as wide as those of the grey one.
    assert exam.photo_pixel_mm == pytest.approx(0.075, rel=1e-5)
    assert exam.photo_centre_px == pytest.approx((4.4 / 0.075, 4.6 / 0.075), rel=1e-5)
    np.testing.assert_allclose(exam.lines.lines[-1], ((-3, 2), (3, 2)), atol=1e-5)
    assert exam.notes == ("photographs that it refers to and that were left out: 1 of 2",)
    del image.PerFrameFunctionalGroupsSequence[-1].OphthalmicFrameLocationSequence[-1]
    image.save_as(path)
    exam = read_opt(path)
    np.testing.assert_array_equal(exam.photo, COLOURED)
    assert exam.photo_centre_px is None and exam.localizer.shape == (60, 60)
    np.testing.assert_allclose(exam.lines.lines[-1], ((-3, 2), (3, 2)), atol=1e-5)
    assert exam.notes == ()


def test_places_that_nobody_can_scale_are_said_to_be_dropped(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    path = write_dicom(tmp_path)
    image = pydicom.dcmread(path)
    del image.SharedFunctionalGroupsSequence
    image.save_as(path)
    dropped = "the places of its frames were dropped: their scale is not known without --spacing-mm"
    for given in (None, (1.0, 0.0039, math.nan)):
        exam = read_opt(path, given)
        assert exam.lines is None and exam.spacing_mm is None and dropped in exam.notes
    exam = read_opt(path, (math.nan, math.nan, 6 / X))
    np.testing.assert_allclose(exam.lines.lines[-1], ((-3, 2), (3, 2)), atol=1e-5)
    np.testing.assert_allclose(exam.spacing_mm, (1.0, math.nan, 6 / X), rtol=1e-5)
    assert exam.notes == ()


def test_a_dicom_whose_codec_is_missing_is_not_called_damaged(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEGLSLossless

    if get_decoder(JPEGLSLossless).is_available:
        pytest.skip("a codec for JPEG-LS is installed")
    path = write_dicom(tmp_path, localizer=False)
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = JPEGLSLossless
    image.PixelData = encapsulate([b"\xff\xd8\xff\xd9"] * S)
    image.save_as(path)
    with pytest.raises(DataError, match=r"opt.dcm: .* by JPEG-LS Lossless .*: pip install pylibjpeg "):
        read_opt(path)


def test_a_star_of_lines_is_known_as_one(tmp_path):
    star = np.array(RadialScan(S, 6.0, 90.0, False).lines)
    exam = read_vol(write_vol(tmp_path / "a.vol", ends=star + np.array([4.0, 5.0])))
    assert isinstance(exam.lines, RadialScan) and np.isnan(exam.spacing_mm[0])
    np.testing.assert_allclose(exam.lines.lines, star, atol=1e-6)


def test_lines_out_of_any_order_are_kept_as_they_are():
    ends = raster_ends()[[2, 0, 1, 4, 3]]
    scan, centre = centred_scan(ends)
    assert not isinstance(scan, RadialScan | RasterScan)
    np.testing.assert_allclose(np.array(scan.lines) + centre, ends)


def test_e2e_of_a_reader_that_gives_degrees(tmp_path, monkeypatch):
    ends = (raster_ends((0, 0)) / MM_A_DEGREE).tolist()
    metas = [{"scan_pattern": 3, "start_pos": a, "end_pos": b, "scale_y": 0.0039} for a, b in ends]
    layers = {0: np.full((S, X), 5.0), 1: np.full((S, X), 15.5), 40: np.full((S, X), 3.0)}
    patient = {"Patient ID": PATIENT, "Surname": SURNAME, "First Name": FIRST}
    play_e2e(monkeypatch, metas, layers=layers, patient=patient, device="Spectralis HRA+OCT")
    exam = read_scan(tmp_path / "a.e2e", 0)
    assert np.array_equal(exam.volume, volume_with_one_bright_voxel())
    assert isinstance(exam.lines, RasterScan) and exam.localizer is None
    np.testing.assert_allclose(exam.spacing_mm, (1.0, 0.0039, 6 / X), rtol=1e-6)
    np.testing.assert_allclose(exam.boundaries_um[boundary_index("BM")], 16 * 3.9, rtol=1e-6)
    assert exam.laterality == "OS" and "40" in " ".join(exam.notes)
    assert exam.metadata == {"device": "Spectralis HRA+OCT"}


READERS = {
    ".vol": (lambda f: write_vol(f / "a.vol"), read_vol),
    ".fda": (lambda f: write_fda(f / "a.fda", photo=np.full((20, 20, 3), 90, np.uint8)), read_fda),
    ".dcm": (lambda f: write_dicom(f, localizer=False), read_opt),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", READERS)
def test_a_damaged_file_is_read_or_named_and_never_anything_else(tmp_path, ending):
    """150 seeded bit flips, truncations and zeroed or overwritten blocks of each format."""
    if ending == ".dcm":
        pytest.importorskip("pydicom")
    make, read = READERS[ending]
    path = make(tmp_path)
    sound = path.read_bytes()
    named = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        data = bytearray(sound)
        # Headers, where damage does most, are hit as often as all the rest.
        place = int(rng.integers(0, 3000 if rng.random() < 0.5 else len(data)) % len(data))
        match seed % 4:
            case 0:
                data[place] ^= 1 << int(rng.integers(8))
            case 1:
                del data[place:]
            case 2:
                data[place : place + 64] = bytes(len(data[place : place + 64]))
            case 3:
                block = data[place : place + 8]
                data[place : place + 8] = rng.bytes(len(block))
        path.write_bytes(data)
        try:
            exam = read(path)
        except DataError as error:
            assert str(path) in str(error)
            named += 1
        else:
            assert exam.volume.dtype == np.uint8 and exam.volume.ndim == 3
    assert named > 30


def test_ages_over_90_are_not_told_apart():
    assert age_years(date(1920, 1, 1), date(2019, 1, 1)) == {"age_years": 90}
    assert age_years(date(1960, 6, 2), date(2020, 6, 1)) == {"age_years": 59}
    assert age_years(date(2021, 1, 1), date(2020, 1, 1)) == {} == age_years(None, date(2020, 1, 1))
