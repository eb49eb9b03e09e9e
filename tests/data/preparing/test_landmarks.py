import math

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import EyeReader, PhotoPlacement, crop_retina, find_landmarks, find_retina
from fund2oct.data.formats.images import read_rgb
from fund2oct.data.preparing.placing import place_on
from fund2oct.geometry import Placement
from fund2oct.phantom import PhantomConfig, simulate_eye


def draw(disc_mm=(4.7, -0.5), half_mm=6.5, shift_mm=(0.0, 0.0), width=320, dark=0.25):
    """A right eye of a bright disc, a dark fovea and vessels that arch from one around the other."""
    centres = ((np.arange(width) + 0.5) * 2 / width - 1) * half_mm
    x, y = np.meshgrid(centres - shift_mm[0], centres - shift_mm[1])
    light = 1 - 0.05 * np.cos(0.9 * x) * np.cos(0.7 * y)
    light -= dark * np.exp(-0.5 * (np.hypot(x, y) / 0.6) ** 2)
    along = disc_mm[0] - x
    for height in (1.6, -1.6, 2.4, -2.4):
        arch = disc_mm[1] + np.sign(along) * height * np.sqrt(np.abs(along))
        light -= 0.3 * np.exp(-0.5 * ((y - arch) / 0.09) ** 2) * (along != 0)
    light += 0.5 * (np.hypot(x - disc_mm[0], y - disc_mm[1]) < 0.85)
    photo = np.array([190, 100, 50]) * light.clip(0.1)[..., None]
    inside = np.hypot(*np.meshgrid(centres, centres)) < half_mm
    return np.where(inside[..., None], photo, 0).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shift_mm", [(0, 0), (-0.4, -0.6), (-1.5, 0.5), (-2.4, 0.2)])
@pytest.mark.parametrize("half_mm", [5.5, 6.5, 7.5])
def test_a_drawn_disc_and_fovea_are_found_at_any_scale(half_mm, shift_mm):
    found = find_landmarks(draw(half_mm=half_mm, shift_mm=shift_mm))
    fovea_mm, disc_mm = np.array(found.fovea) * half_mm, np.array(found.disc) * half_mm
    assert np.linalg.norm(fovea_mm - shift_mm) < 0.35
    assert np.linalg.norm(disc_mm - shift_mm - (4.7, -0.5)) < 0.35
    assert found.half_width_mm == pytest.approx(half_mm, rel=0.08)


def test_a_mirrored_photo_has_mirrored_landmarks():
    photo = draw(shift_mm=(-0.6, 0.4))
    found, mirrored = find_landmarks(photo), find_landmarks(photo[:, ::-1].copy())
    np.testing.assert_allclose(mirrored.disc, (-found.disc[0], found.disc[1]), atol=0.01)
    np.testing.assert_allclose(mirrored.fovea, (-found.fovea[0], found.fovea[1]), atol=0.01)


def test_landmarks_do_not_depend_on_the_photos_width():
    photo = draw(width=960)
    small = np.asarray(Image.fromarray(photo).resize((320, 320), Image.Resampling.BOX))
    np.testing.assert_allclose(find_landmarks(photo).fovea, find_landmarks(small).fovea, atol=0.01)


def test_the_known_side_is_where_the_disc_is_sought():
    """A photo with a disc on either side of the fovea."""
    right = draw()
    both = np.maximum(right, right[:, ::-1])
    for side, sign in (("OD", 1), ("OS", -1)):
        assert find_landmarks(both, side).disc[0] * sign > 0.5


def test_simulated_eyes_are_rarely_misplaced_with_confidence():
    n_eyes, sure, discs = 40, [], []
    for number in range(n_eyes):
        eye = simulate_eye(3, number, PhantomConfig(n_depth=32, n_ascans=16))
        truth = eye.placement
        found = find_landmarks(eye.fundus, eye.laterality, 6.5)
        side = 1 if eye.laterality == "OD" else -1
        disc = truth.to_grid(torch.tensor([4.6 * side, -0.35])).tolist()
        discs.append(math.dist(found.disc, disc) * truth.half_width_mm)
        if found.fovea_confidence >= 0.5:
            sure.append(math.dist(found.fovea, truth.shift) * truth.half_width_mm)
    assert len(sure) >= 0.6 * n_eyes
    assert np.median(sure) < 0.3 and np.mean(np.array(sure) > 1.0) <= 0.05
    assert np.mean(np.array(discs) < 0.8) >= 0.9


@pytest.mark.parametrize("level", [0, 120])
def test_a_photo_without_landmarks_is_uncertain(level):
    found = find_landmarks(np.full((200, 200, 3), level, np.uint8))
    assert found.fovea_confidence < 0.5
    assert math.isfinite(found.half_width_mm)


@pytest.mark.parametrize("photo", [np.zeros((9, 8, 3), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8))])
def test_an_odd_photo_is_refused(photo):
    with pytest.raises(ValueError, match="photo: expected RGB uint8"):
        find_landmarks(photo)


def test_the_placement_follows_or_stays_at_the_centre_with_a_note():
    history, notes = {}, []
    placed = place_on(draw(shift_mm=(0.8, -0.6)), "OD", PhotoPlacement(6.5), history, notes)
    assert placed.half_width_mm == 6.5 and placed.rotation_deg == 0 and not notes
    assert math.dist(placed.shift, (0.8 / 6.5, -0.6 / 6.5)) < 0.05
    assert history["placement"] == "photo" and history["fovea_confidence"] >= 0.5
    assert history["fovea_x"] == pytest.approx(placed.shift[0], abs=1e-4)
    history, notes = {}, []
    grey = np.full((200, 200, 3), 120, np.uint8)
    assert place_on(grey, "", PhotoPlacement(5.0), history, notes) == Placement(half_width_mm=5.0)
    assert history["placement"] == "centre" and "around the centre" in notes[0]
    given = Placement((0.1, 0.2), 3.0, 6.0)
    notes = []
    assert place_on(grey, "", given, {}, notes) is given and not notes
    assert place_on(None, "", PhotoPlacement(), {}, []) == Placement()
    with pytest.raises(ValueError, match="half_width_mm"):
        PhotoPlacement(0.0)


def test_a_photo_centred_on_the_disc_is_not_taken_for_one_of_the_macula():
    """Its fovea is not seen."""
    history, notes = {}, []
    photo = draw(shift_mm=(-4.7, 0.5), dark=-0.1)
    placed = place_on(photo, "OD", PhotoPlacement(), history, notes)
    assert history["placement"] == "photo" and history["fovea_confidence"] < 0.5
    assert "centred on the disc" in notes[0]
    assert math.dist(placed.shift, (-4.7 / 6.5, 0.5 / 6.5)) < 0.2


def test_a_scan_over_the_disc_is_noted():
    """Around the middle of a photo of the disc, or where a user takes the disc for the fovea."""
    of_disc, of_macula = draw(shift_mm=(-4.7, 0.5), dark=-0.1), draw(shift_mm=(-0.4, 0.3))
    at_disc = Placement((4.3 / 6.5, -0.2 / 6.5))
    for photo, given in ((of_disc, Placement()), (of_macula, at_disc)):
        history, notes = {}, []
        assert place_on(photo, "OD", given, history, notes) is given
        assert history["placement"] == "on the disc" and history["disc_confidence"] >= 0.5
        disc = (history["disc_x"], history["disc_y"])
        assert math.dist(disc, given.shift) * 6.5 < 0.35
        assert "the optic disc lies under the scan" in notes[0] and "expected it 4.8 mm away" in notes[0]
    # Not around the fovea, nor where the place is known from elsewhere.
    for photo, given in ((of_macula, Placement()), (of_disc, None)):
        history, notes = {}, []
        assert place_on(photo, "OD", given, history, notes) == Placement()
        assert not history and not notes


def test_an_atrophy_is_no_disc():
    """As pale and as large, in the middle of the photo, with vessels that run around it."""
    photo = draw().astype(int)
    y, x = (np.indices((320, 320)) + 0.5) * 13 / 320 - 6.5
    photo[np.hypot(x, y) < 0.9] = (230, 190, 130)
    history, notes = {}, []
    place_on(photo.astype(np.uint8), "OD", Placement(), history, notes)
    assert not notes and not history


def test_import_with_the_placement_from_the_photo(tmp_path, capsys):
    Image.fromarray(draw(shift_mm=(0.8, -0.6))).save(tmp_path / "scan_OD.png")
    (tmp_path / "eyes.csv").write_text("photo\nscan_OD.png\n")
    arguments = ["import", "table", str(tmp_path / "eyes.csv")]
    for name, more in (
        ("photo.h5", ["--placement", "photo"]),
        ("centre.h5", []),
        ("wide.h5", ["--half-width-mm", "7.5"]),
    ):
        assert main([*arguments, str(tmp_path / name), "--workers", "1", *more]) == 0
    capsys.readouterr()
    placed = {}
    for name in ("photo", "centre", "wide"):
        with EyeReader(tmp_path / f"{name}.h5") as reader:
            placed[name] = reader.read("scan_OD")
    assert placed["centre"].placement == Placement()
    assert placed["wide"].placement == Placement(half_width_mm=7.5)
    assert math.dist(placed["photo"].placement.shift, (0.8 / 6.5, -0.6 / 6.5)) < 0.06
    assert placed["photo"].placement.half_width_mm == pytest.approx(6.5, rel=0.08)
    assert placed["photo"].history["placement"] == "photo"
    sheets = {}
    for name in ("photo", "centre"):
        sheets[name] = tmp_path / f"{name}.png"
        assert main(["info", str(tmp_path / f"{name}.h5"), "--out", str(sheets[name])]) == 0
    photo, centre = (np.asarray(Image.open(sheets[name]).convert("L"), int) for name in ("photo", "centre"))
    assert 50 < ((photo - centre) > 40).sum() < 2000, "rings around disc and fovea"
    assert main([*arguments, str(tmp_path / "bad.h5"), "--placement", "photo", "--half-width-mm", "-1"]) != 0
    assert "of retina from the centre of the photo's circle to its edge, found -1" in capsys.readouterr().err


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])  # an odd one takes both sides
def test_the_disc_of_real_photos_is_found(real_data, step):
    """CHASE_DB1's photos are centred on the disc."""
    photos = sorted((real_data / "chase_db1").glob("*.jpg"))
    assert len(photos) == 28
    for path in photos[::step]:
        picture = read_rgb(path)
        square = crop_retina(picture, find_retina(picture), 224)
        found = find_landmarks(square, "OS" if path.stem.endswith("L") else "OD")
        assert math.hypot(*found.disc) < 0.3, path.name
        assert found.disc_confidence > 0.45, path.name
