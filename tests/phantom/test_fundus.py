"""The simulated photo, held against what real photos were measured to be."""

from dataclasses import replace

import numpy as np
import pytest

from fund2oct.eye import Eye
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.phantom.grid import Array
from fund2oct.phantom.rendering.fundus import render_fundus
from fund2oct.phantom.simulate import sample_retina, streams

CONFIG = PhantomConfig(n_depth=16, n_ascans=16, diagnosis="normal")


def colour_between(eye: Eye, least_mm: float, most_mm: float) -> Array:
    """Median colour of a ring around the fovea."""
    assert eye.fundus is not None and eye.placement is not None
    width_px = len(eye.fundus)
    centres = (np.arange(width_px) + 0.5) * 2 / width_px - 1
    x, y = np.meshgrid(centres, centres)
    fovea = eye.placement.shift
    distance_mm = np.hypot(x - fovea[0], y - fovea[1]) * eye.placement.half_width_mm
    return np.median(eye.fundus[(distance_mm >= least_mm) & (distance_mm < most_mm)].astype(float), axis=0)


@pytest.fixture(scope="module")
def eyes() -> list[Eye]:
    return [simulate_eye(0, number, CONFIG) for number in range(80)]


@pytest.mark.parametrize(
    ("least_mm", "most_mm", "drive", "hrf"),
    [
        (0.0, 0.2, (0.78, 0.75, 0.79), (0.76, 0.69, 0.57)),
        (0.4, 0.6, (0.82, 0.86, 0.87), (0.80, 0.73, 0.73)),
        (0.8, 1.0, (0.89, 0.93, 0.94), (0.86, 0.84, 0.83)),
    ],
)
def test_the_fovea_is_as_dark_as_in_real_photos(eyes, least_mm, most_mm, drive, hrf):
    # Medians of healthy photos, 24 of DRIVE and 8 of HRF, relative to the ring from 1.8 to 2.4 mm.
    found = np.median(
        [colour_between(eye, least_mm, most_mm) / colour_between(eye, 1.8, 2.4) for eye in eyes], axis=0
    )
    real = np.array([drive, hrf])
    assert (found > real.min(0) - 0.06).all() and (found < real.max(0) + 0.06).all(), found
    assert abs(found[0] - drive[0]) < 0.03, "by red, subretinal fluid and the fovea are told apart"


def test_foveas_differ_as_much_as_real_ones(eyes):
    # 10th and 90th percentile of the same photos.
    found = [colour_between(eye, 0, 0.2) / colour_between(eye, 1.8, 2.4) for eye in eyes]
    low, high = np.percentile(found, [10, 90], axis=0)
    np.testing.assert_allclose(low, (0.70, 0.66, 0.65), atol=0.06)
    np.testing.assert_allclose(high, (0.84, 0.84, 0.89), atol=0.08)


def test_cameras_differ_in_blue_as_real_ones(eyes):
    # Blue by green: 0.16 (CHASE_DB1), 0.58 (DRIVE), 0.23 and 0.45 (two photos of the challenge).
    blue = [colour[2] / colour[1] for eye in eyes for colour in [colour_between(eye, 1.8, 2.4)]]
    low, high = np.percentile(blue, [5, 95])
    assert low < 0.36 and high > 0.62


def test_both_eyes_of_a_patient_have_one_foveal_tint_and_it_is_the_photos_alone():
    first, second = (sample_retina(streams(4, number), 4, number, CONFIG)[0] for number in (6, 7))
    stranger = sample_retina(streams(4, 8), 4, 8, CONFIG)[0]
    shades = [retina.anatomy.foveal_shade for retina in (first, second, stranger)]
    assert shades[0] == shades[1] != shades[2]
    darker = replace(first, anatomy=replace(first.anatomy, foveal_shade=shades[0] + 0.2))
    photos = [render_fundus(streams(4, 6)["photo"], retina, 128) for retina in (first, darker)]
    changed = (photos[0].astype(int) - photos[1]).max(-1)
    assert changed[56:72, 56:72].mean() > 10, "the fovea lies near the photo's middle"
    assert changed[:, :20].mean() < 0.1 and changed[:, -20:].mean() < 0.1
