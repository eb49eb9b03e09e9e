"""The flight through the slices, as Pillow and OpenCV play it."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fund2oct.export import export_eye
from fund2oct.geometry import LineScan

LEFT = 368
"""Where the slice begins, behind the photo of 360 pixels."""


def column_and_row(voxel_x, voxel_z):
    """Pixel of the film at a voxel's centre; a slice of 32 x 24 is drawn with 560 x 360 pixels."""
    return LEFT + round((voxel_x + 0.5) * 560 / 32), round((voxel_z + 0.5) * 360 / 24)


def read_gif(path):
    with Image.open(path) as film:
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")))
        return frames, 1000 / film.info["duration"]


def read_mp4(path):
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("av")
    film = cv2.VideoCapture(str(path))
    frames = []
    while (read := film.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames, film.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize(("format", "read"), [("gif", read_gif), ("mp4", read_mp4)])
def test_a_flight_goes_there_and_back_and_lights_its_line(format, read, raster_eye, tmp_path):
    pytest.importorskip("av")
    frames, per_second = read(export_eye(raster_eye, tmp_path, "eye", format))
    assert len(frames) == 8 and per_second == pytest.approx(2)
    assert all(frame.shape == (388, 928, 3) for frame in frames)
    column, row = column_and_row(20, 7)
    # Slice 1 of 0, 1, 2, 3, 4, 3, 2, 1 alone has the bright voxel.
    bright = [frame[row, column].mean() > 200 for frame in frames]
    assert bright == [False, True, False, False, False, False, False, True]
    # The photo of 40 pixels is drawn with 360: its bright red pixel lies up right, as in the photo itself.
    red, green, _ = frames[4][round(8.5 * 9), round(30.5 * 9)]
    assert red > 150 and green < 90
    line = 20 * (1 - 0.05 - 2 / 6.5) * 9  # the first line, 2 mm above the fovea
    lit = frames[0][round(line), 150].astype(int)
    assert lit[0] > 180 and lit[2] < 110  # orange
    unlit = frames[2][round(line), 150].astype(int)
    assert np.ptp(unlit) < 40  # grey


def test_a_flight_without_a_photo_and_of_one_slice(raster_eye, tmp_path):
    eye = replace(raster_eye, fundus=None)
    frames, _ = read_gif(export_eye(eye, tmp_path, "eye", "gif"))
    assert frames[0].shape == (388, 560, 3)
    one = replace(eye, volume=eye.volume[1:2], scan=LineScan((((-3.2, 0.0), (3.2, 0.0)),)))
    with Image.open(export_eye(one, tmp_path, "one", "gif")) as film:
        assert film.n_frames == 1
