from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from fund2oct.data.formats.images import read_grey, read_rgb
from fund2oct.data.preparing.circle import crop_retina, find_retina
from fund2oct.data.preparing.light_and_levels import even_levels, even_light
from fund2oct.phantom import PhantomConfig, simulate_eye


@pytest.fixture(scope="module")
def eyes():
    return [simulate_eye(7, number, PhantomConfig(fundus_px=128)) for number in range(4)]


def inside(photo, share=0.85):
    offset = np.arange(len(photo)) + 0.5 - len(photo) / 2
    return np.hypot(offset[:, None], offset[None]) < share * len(photo) / 2


def shaded(photo, gain=0.55):
    """The same retina under a lamp that stands at the left."""
    light = np.linspace(1.15, gain, photo.shape[1])[None, :, None]
    return (photo * light).clip(0, 255).astype(np.uint8)


def test_shade_is_undone(eyes):
    for eye in eyes:
        photo, dark = eye.fundus, shaded(eye.fundus)
        before = np.abs(photo[inside(photo)].astype(float) - dark[inside(photo)]).mean()
        a, b = even_light(photo), even_light(dark)
        after = np.abs(a[inside(photo)].astype(float) - b[inside(photo)]).mean()
        assert after < 0.25 * before, (before, after)


def test_the_background_is_level_and_the_hue_kept(eyes):
    for eye in eyes:
        even = even_light(shaded(eye.fundus)).astype(float)
        left, right = (
            np.median(half.mean(-1)[inside(even, 0.7)[:, columns]])
            for half, columns in ((even[:, :64], slice(0, 64)), (even[:, 64:], slice(64, 128)))
        )
        assert left == pytest.approx(110, abs=12) and right == pytest.approx(110, abs=12)
        pixel = eye.fundus[64, 40].astype(float)
        assert even[64, 40] / even[64, 40].sum() == pytest.approx(pixel / pixel.sum(), abs=0.03)


def test_black_stays_black_and_sizes_and_vessels_stay():
    photo = np.zeros((90, 120, 3), np.uint8)
    photo[10:80, 20:100] = (150, 80, 40)
    photo[44:47, 20:100] = (90, 30, 20)
    even = even_light(photo)
    assert even.shape == photo.shape and even.dtype == np.uint8
    assert not even[:8].any() and not even[:, :18].any()
    assert even[45, 60].sum() < 0.65 * even[30, 60].sum()
    blank = np.zeros((40, 50, 3), np.uint8)
    assert even_light(blank) is blank


@pytest.mark.parametrize(("gain", "offset"), [(0.6, 0), (0.6, 35), (1.0, 25), (0.8, -6), (1.15, 0)])
def test_gain_and_offset_of_the_device_are_undone(eyes, gain, offset):
    for eye in eyes:
        other = (eye.volume * gain + offset).round().clip(1, 255).astype(np.uint8)
        a, b = (even_levels(volume).astype(float) for volume in (eye.volume, other))
        seen = (eye.volume > 6) & (other < 250) & (a < 250) & (a > 0)
        assert np.abs(a - b)[seen].mean() < 3


def test_height_of_the_frame_matters_little(eyes):
    volume = eyes[0].volume
    room = np.random.default_rng(0).choice(volume[:, :8].ravel(), (6, 40, volume.shape[2]))
    a = even_levels(volume)
    b = even_levels(np.concatenate([room, volume], 1))[:, 40:]
    assert np.abs(a.astype(float) - b).mean() < 6


def test_fill_does_not_count_and_zeros_stay(eyes):
    volume = eyes[1].volume
    framed = np.pad(volume, ((0, 0), (20, 20), (10, 10)), constant_values=0)
    even = even_levels(framed)
    assert not even[:, :18].any()
    inner = even[:, 20:-20, 10:-10].astype(float)
    assert np.abs(inner - even_levels(volume)).mean() < 4
    blank = np.full((2, 9, 11), 40, np.uint8)
    assert even_levels(blank) is blank


def test_a_vitreous_without_noise_is_the_floor_and_no_fill():
    rng = np.random.default_rng(0)
    volume = np.full((2, 80, 60), 19, np.uint8)  # as of a denoised scan
    volume[:, 40:] = rng.integers(60, 120, (2, 40, 60))
    volume[:, 62:67] = rng.integers(200, 221, (2, 5, 60))
    framed = np.pad(volume, ((0, 0), (12, 0), (0, 0)), constant_values=2)  # black that was compressed
    for given in (volume, framed):
        even = even_levels(given)[:, -80:]
        assert (even[:, :38] == 24).all() and even[:, 64].mean() == pytest.approx(200, abs=8)


@pytest.mark.parametrize(
    ("function", "array", "message"),
    [
        (even_light, np.zeros((9, 9, 3)), "photo: expected RGB uint8 .* found float64"),
        (even_light, np.zeros((9, 9), np.uint8), r"photo: .* found uint8 \(9, 9\)"),
        (even_levels, np.zeros((9, 9), np.uint8), r"volume: expected uint8 \(S, Z, X\), found"),
        (even_levels, np.zeros((2, 9, 9)), "volume: .* found float64"),
    ],
)
def test_the_wrong_type_is_refused(function, array, message):
    with pytest.raises(ValueError, match=message):
        function(array)


def test_real_photos_become_alike(real_data: Path):
    photos = []
    for path in sorted((real_data / "chase_db1").glob("*.jpg"))[::4]:
        photo = read_rgb(path)
        photos.append(crop_retina(photo, find_retina(photo), 160))
    before = [np.median(photo[inside(photo)].mean(-1)) for photo in photos]
    after = [np.median(even_light(photo)[inside(photo)].mean(-1)) for photo in photos]
    assert np.ptp(after) < 8 < np.ptp(before)


def test_real_bscans_become_alike(real_data: Path):
    paths = [
        *sorted((real_data / "srf_bscans").glob("*.png"))[::10],
        *(real_data / "duke_dme").glob("*_3*.png"),
    ]
    assert len(paths) > 8

    def band(bscan):
        # What reaches in from the frame is white where a registration left it so.
        tissue = np.where(bscan >= 250, 0, bscan)[20:-20, 20:-20].astype(float)
        return np.median(ndimage.uniform_filter(tissue, (3, 5)).max(0))

    before = [band(read_grey(path)) for path in paths]
    after = [band(even_levels(read_grey(path)[None])[0]) for path in paths]
    print(np.round(before), np.round(after))
    assert np.std(after) < 0.7 * np.std(before)
