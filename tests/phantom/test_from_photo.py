"""Volumes behind photos: vessels, disc and fovea lie where the photo has them."""

from dataclasses import replace

import numpy as np
import pytest

from fund2oct.data import EyeReader, EyeWriter
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.eye import SIMULATED
from fund2oct.phantom import PhantomConfig, SeenAnatomy, simulate_behind_photo
from fund2oct.phantom.from_photo import vessel_cover
from fund2oct.retina.layers import BOUNDARIES

CONFIG = PhantomConfig(n_depth=64, n_ascans=96)
HALF_MM, PX = 6.5, 208


def painted(*vessels_mm):
    """A photo of 16 pixels a millimetre with vertical vessels, 0.25 mm wide, at places around its middle."""
    photo = np.zeros((PX, PX, 3), np.uint8)
    rows, columns = np.indices((PX, PX)) + 0.5 - PX / 2
    photo[np.hypot(rows, columns) < PX / 2] = (170, 110, 60)
    for x in vessels_mm:
        photo[:, np.abs(columns[0] * 2 * HALF_MM / PX - x) < 0.125] = (120, 60, 40)
    return photo


def test_the_vessels_of_a_photo_are_found_and_its_rim_is_none():
    cover = vessel_cover(painted(-2.0, 1.5), HALF_MM)
    middle = cover[PX // 2]
    places = (np.arange(PX) + 0.5) * 2 * HALF_MM / PX - HALF_MM
    for x in (-2.0, 1.5):
        assert middle[np.abs(places - x) < 0.1].min() > 0.8
    assert middle[(np.abs(places + 2) > 0.4) & (np.abs(places - 1.5) > 0.4)].max() < 1e-3
    assert not vessel_cover(np.zeros_like(painted()), HALF_MM).any()


@pytest.mark.parametrize(("side", "laterality"), [(1, "OD"), (-1, "OS")])
def test_vessels_and_disc_of_the_photo_are_in_the_volume(side, laterality):
    seen = SeenAnatomy(painted(side * 1.5), (0.0, 0.0), (side * 3.6 / HALF_MM, 0.0), HALF_MM)
    eye = simulate_behind_photo(seen, seed=0, number=0, config=CONFIG, key="eye", patient="p")
    assert (eye.key, eye.patient, eye.laterality, eye.diagnosis) == ("eye-behind0", "p", laterality, "normal")
    assert eye.source.startswith(SIMULATED) and (eye.fundus == seen.photo).all()
    x = CONFIG.scan.coordinates(CONFIG.n_ascans).numpy()[..., 0]
    across = int(np.abs(x).max(1).argmax())  # the horizontal slice
    membrane = eye.boundaries_um[BOUNDARIES.index("BM"), across]
    inside = np.abs(x[across] - side * 3.6) < 0.5
    assert np.isnan(membrane[inside]).all() and np.isfinite(membrane[side * x[across] < 2.5]).all()
    rows = (np.arange(CONFIG.n_depth) + 0.5) * CONFIG.pixel_um[0]
    below = (rows[:, None] > membrane) & (rows[:, None] < membrane + 200)
    light = np.where(below, eye.volume[across], 0).sum(0) / np.maximum(below.sum(0), 1)
    distance = np.abs(x[across] - side * 1.5)
    beside = (distance > 0.3) & (distance < 0.8)
    assert light[distance < 0.06].mean() < 0.8 * light[beside].mean()


def test_the_fovea_of_the_photo_is_the_middle_of_the_scan_and_another_draw_is_another_volume():
    seen = SeenAnatomy(painted(), (0.1, -0.05), (0.8, -0.1), HALF_MM)
    eyes = [simulate_behind_photo(seen, 0, number, CONFIG) for number in (0, 0, 1)]
    assert eyes[0].placement.shift == (0.1, -0.05) and eyes[0].placement.half_width_mm == HALF_MM
    first, same, other = (eye.volume for eye in eyes)
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_a_disc_on_the_fovea_is_refused():
    with pytest.raises(ValueError, match="disc and fovea: expected two places"):
        SeenAnatomy(painted(), (0.1, 0.1), (0.1, 0.1), HALF_MM)


def test_photos_of_a_file_come_in_turn_and_what_shows_no_disc_is_named(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        eye = reader.read(reader.keys[0])
    blank = replace(eye, key="unlit", fundus=np.zeros_like(eye.fundus))
    with EyeWriter(tmp_path / "photos.h5") as writer:
        for one in (eye, blank):
            writer.add(one)
    report = simulate_file(
        tmp_path / "out.h5", 3, config=PhantomConfig(n_depth=32, n_ascans=48), photos=tmp_path / "photos.h5"
    )
    assert report.imported == [f"{eye.key}-behind0", f"{eye.key}-behind1"]
    ((name, reason),) = report.skipped
    assert "unlit" in name and "expected a photo that shows the disc, found it with a confidence of" in reason
    with EyeReader(tmp_path / "out.h5") as reader:
        behind = reader.read(f"{eye.key}-behind1")
    assert behind.patient == eye.patient and (behind.fundus == eye.fundus).all()
    assert behind.surfaces_um is not None
