"""An en face projection that stands in for a photo: each A-scan lies on its own pixel."""

import numpy as np
import pytest

from fund2oct.data import DataError, EyeReader
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.en_face import en_face_photo
from fund2oct.data.importing.volumes import import_volumes
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.geometry import LineScan, RadialScan, RasterScan


@pytest.mark.parametrize("upwards", [False, True])
def test_a_bright_ascan_is_bright_where_it_was_scanned(upwards):
    scan = RasterScan(31, 6.0, 5.0, upwards)
    volume = np.full((31, 20, 40), 80, np.uint8)
    volume[6:9, :, 30:33] = 160
    picture, placement = en_face_photo(volume, scan, 260)
    assert picture.shape == (260, 260, 3) and placement.half_width_mm == 6.5
    points = scan.coordinates(40)
    column, row = placement.to_pixels(points[7, 31], 260).round().int().tolist()
    bright = np.argwhere(picture[..., 1] > 0.9 * picture[..., 1].max())
    assert np.abs(bright.mean(0) - (row, column)).max() < 1
    rows, columns = np.nonzero(picture.any(-1))
    # 6 mm of A-scans, and 31 slices of 5/30 mm, at 20 pixels a millimetre.
    assert abs(np.ptp(columns) + 1 - 120) <= 2 and abs(np.ptp(rows) + 1 - 103.3) <= 2


def test_a_wide_raster_has_a_smaller_scale_and_a_turned_one_lies_turned():
    volume = np.random.default_rng(0).integers(0, 256, (21, 10, 30), np.uint8)
    _, placement = en_face_photo(volume, RasterScan(21, 12.0, 9.0), 64)
    assert placement.half_width_mm == pytest.approx(7.5)
    upright = LineScan(tuple(((x, -2.0), (x, 2.0)) for x in np.linspace(-1, 1, 21).tolist()))
    volume[:] = 100
    volume[18] = 120
    volume[:, :, 25] = 200
    picture, _ = en_face_photo(volume, upright, 260)
    bright = np.argwhere(picture[..., 1] > 0.9 * picture[..., 1].max())
    assert bright[:, 0].mean() == pytest.approx(130 + (25.5 / 30 * 4 - 2) * 20, abs=1)


UNEVEN = LineScan((((-1, 0), (1, 0)), ((-1, 1), (1, 1)), ((-1, 5), (1, 5))))


@pytest.mark.parametrize("scan", [RadialScan(6), UNEVEN])
def test_what_is_no_raster_is_refused(scan):
    volume = np.full((scan.n_slices, 10, 30), 90, np.uint8)
    with pytest.raises(DataError, match="en face: expected parallel B-scans, equally far apart, found"):
        en_face_photo(volume, scan, 64)


def test_a_star_that_is_cut_out_of_a_raster_lies_on_the_picture_of_the_whole(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        bscan = reader.read(reader.keys[0]).volume[3]
    volume = np.repeat(bscan[None], 25, 0)
    volume[..., 30:32] //= 3  # a vessel from above to below
    np.save(tmp_path / "cube.npy", volume)
    scan = ScanOptions(spacing_mm=(0.25, 0.06, 0.125), star=RadialScan(4, 5.0))
    report = import_volumes(
        tmp_path / "cube.npy", tmp_path / "cube.h5", ImportOptions(scan, fundus_px=208, en_face=True)
    )
    with EyeReader(tmp_path / "cube.h5") as reader:
        eye = reader.read(report.imported[0])
    assert eye.volume.shape[0] == 4 and eye.history["photo"] == "the en face projection of the volume"
    light = eye.fundus[104, :, 1].astype(float)
    assert np.flatnonzero(light).size == pytest.approx(6 * 16, abs=2)
    dark = 72 + light[72:136].argmin()  # within the raster's middle
    assert dark + 0.5 == pytest.approx(104 + (31 / 48 * 6 - 3) * 16, abs=2)
