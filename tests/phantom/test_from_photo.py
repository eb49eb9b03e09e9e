"""Volumes behind photos: vessels, disc and fovea lie where the photo has them."""

import re
from dataclasses import replace

import numpy as np
import pytest

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader, EyeWriter, find_landmarks
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.data.preparing.landmarks import Landmarks
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


def test_each_photo_has_hidden_anatomy_pose_and_speckle_of_its_own():
    photos = painted(-2.0), painted(1.5), painted(-2.0)
    one, other, again = (
        simulate_behind_photo(SeenAnatomy(photo, (0.0, 0.0), (0.7, -0.1), HALF_MM), 0, 0, CONFIG)
        for photo in photos
    )
    for name in ("volume", "rescan", "boundaries_um", "pose_um"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))

    def mean_thickness_um(eye):
        return np.nanmean(np.diff(eye.boundaries_um, axis=0), axis=(1, 2))

    assert (np.abs(mean_thickness_um(one) - mean_thickness_um(other)) > 0.3).mean() > 0.7
    assert np.abs(one.pose_um - other.pose_um).max() > 10
    # In the vitreous, above both retinas, there is speckle and noise alone.
    n_rows = int(min(np.nanmin(eye.boundaries_um) for eye in (one, other)) / CONFIG.pixel_um[0]) - 2
    assert n_rows > 2
    for name in ("volume", "rescan"):
        above = [getattr(eye, name)[:, :n_rows].ravel() for eye in (one, other)]
        assert abs(np.corrcoef(above)[0, 1]) < 0.2


def test_a_disc_on_the_fovea_is_refused():
    with pytest.raises(ValueError, match="disc and fovea: expected two places"):
        SeenAnatomy(painted(), (0.1, 0.1), (0.1, 0.1), HALF_MM)


def test_photos_of_a_file_come_in_turn_and_what_shows_no_disc_or_no_fovea_is_named(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        history = {"light": "evened", "levels": "evened", "photo_jpeg_ratio": 12.5}
        eye = replace(reader.read(reader.keys[0]), diagnosis="normal", history=history)
    x, y = find_landmarks(eye.fundus, eye.laterality).fovea
    rows, columns = np.indices(eye.fundus.shape[:2])
    half = len(eye.fundus) / 2
    away = np.hypot(columns + 0.5 - half * (1 + x), rows + 0.5 - half * (1 + y)) < 0.35 * half
    hidden = eye.fundus.copy()
    hidden[away] = eye.fundus[~away & (eye.fundus.max(-1) > 30)].mean(0)
    hidden = replace(eye, key="hidden", fundus=hidden)
    blank = replace(eye, key="unlit", fundus=np.zeros_like(eye.fundus), diagnosis="")
    ill = [replace(eye, key=f"ill{number}", diagnosis="drusen") for number in range(2)]
    with EyeWriter(tmp_path / "photos.h5") as writer:
        for one in (hidden, eye, blank, *ill):
            writer.add(one)
    report = simulate_file(
        tmp_path / "out.h5", 3, config=PhantomConfig(n_depth=32, n_ascans=48), photos=tmp_path / "photos.h5"
    )
    assert report.imported == [f"{eye.key}-behind{number}" for number in range(3)]
    expected = {"photo hidden": "fovea", "photo unlit": "disc"}
    assert [name for name, _ in report.skipped] == list(expected)
    for name, reason in report.skipped:
        assert f"expected a photo that shows the {expected[name]}, found it with a confidence of" in reason
    (remark,) = report.remarks
    assert remark.startswith("left out 2 of 5 photos for their diagnosis (drusen 2): only healthy eyes")
    with EyeReader(tmp_path / "out.h5") as reader:
        behind = reader.read(f"{eye.key}-behind1")
    assert behind.patient == eye.patient and (behind.fundus == eye.fundus).all()
    assert behind.surfaces_um is not None
    assert behind.history == {"light": "evened", "photo_jpeg_ratio": 12.5}  # nothing of the volume


def test_a_photo_that_does_not_show_all_of_the_scan_is_refused(tiny_eyes, tmp_path, monkeypatch):
    reason = r"expected a photo that shows the whole scan, found \d+ of its {} A-scans outside the circle"
    with pytest.raises(ValueError, match="scan: " + reason.format(6 * CONFIG.n_ascans)):
        simulate_behind_photo(SeenAnatomy(painted(), (0.3, 0.0), (0.95, -0.05), 4.5), 0, 0, CONFIG)
    with EyeReader(tiny_eyes) as reader:
        eye = replace(reader.read(reader.keys[0]), diagnosis="normal")
    with EyeWriter(tmp_path / "photos.h5") as writer:
        for key in ("aside", "centred"):
            writer.add(replace(eye, key=key))
    # Half of the first photo is 4.5 mm, and half of a line is 4.4 mm.
    places = iter([Landmarks((0.95, -0.05), (-0.1, 0.0), 1, 1), Landmarks((0.7, -0.1), (0.0, 0.0), 1, 1)])
    monkeypatch.setattr("fund2oct.data.importing.simulated_file.find_landmarks", lambda *_: next(places))
    config = PhantomConfig(n_depth=32, n_ascans=48)
    report = simulate_file(tmp_path / "out.h5", 1, config=config, photos=tmp_path / "photos.h5")
    assert report.imported == ["centred-behind0"]
    ((name, told),) = report.skipped
    assert name == "photo aside" and re.search(reason.format(6 * 48), told)


def test_photos_without_a_fovea_alone_are_refused(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        eye = replace(reader.read(reader.keys[0]), diagnosis="normal")
    with EyeWriter(tmp_path / "photos.h5") as writer:
        writer.add(replace(eye, fundus=np.zeros_like(eye.fundus)))
    with pytest.raises(
        DataError,
        match="expected photos that show disc, fovea and the whole scan, found none in 1; the first",
    ):
        simulate_file(tmp_path / "out.h5", 1, photos=tmp_path / "photos.h5")


def test_photos_of_ill_eyes_alone_are_refused(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        eye = replace(reader.read(reader.keys[0]), diagnosis="drusen+SRF")
    with EyeWriter(tmp_path / "photos.h5") as writer:
        writer.add(eye)
    with pytest.raises(
        DataError, match=r"photos.h5: expected photos of healthy eyes, .* all 1 \(drusen\+SRF 1\)"
    ):
        simulate_file(tmp_path / "out.h5", 1, photos=tmp_path / "photos.h5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--diagnosis", "drusen"],
            "diagnosis: expected none, for eyes behind photos are healthy, found 'drusen'",
        ),
        (["--population", "long"], "population: expected ordinary eyes behind photos, found 'long'"),
        (
            ["--fundus-px", "64"],
            "expected no --fundus-px with --photos, which keep their width; leave it out",
        ),
    ],
)
def test_what_cannot_act_on_given_photos_is_refused(words, message, tiny_eyes, tmp_path, capsys):
    out = tmp_path / "out.h5"
    assert main(["simulate", str(out), "--photos", str(tiny_eyes), "--eyes", "1", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not out.exists()
