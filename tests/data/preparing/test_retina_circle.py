import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fund2oct.data import NotAFundusError, crop_retina, find_retina
from fund2oct.data.formats.images import read_rgb


def draw(rows: int, columns: int, x: float, y: float, radius: float, seed: int = 0) -> np.ndarray:
    """A disc of mottled orange on a dark, noisy ground."""
    rng = np.random.default_rng(seed)
    row, column = np.indices((rows, columns)) + 0.5
    distance = np.hypot(column - x, row - y)
    light = (1 - 0.4 * (distance / radius) ** 2) * (1 + 0.1 * np.sin(column / 9) * np.cos(row / 7))
    colour = np.array([190, 95, 50]) * light.clip(0.1)[..., None]
    photo = np.where((distance < radius)[..., None], colour, 3) + rng.normal(0, 2, (rows, columns, 3))
    return photo.clip(0, 255).astype(np.uint8)


CASES = {
    "square": (300, 300, 150, 150, 145),
    "wide": (400, 640, 322.5, 203.5, 190),
    "tall": (640, 400, 198, 330, 170),
    "sides cut": (400, 500, 250, 200, 230),
    "top and bottom cut": (300, 640, 320, 150, 210),
    "corners only": (400, 400, 200, 200, 250),
    "off the middle": (500, 700, 260, 220, 180),
    "small": (60, 90, 45, 30, 27),
    "large": (1500, 2200, 1100, 750, 700),
}


@pytest.mark.parametrize("case", CASES)
def test_a_drawn_circle_is_found(case):
    rows, columns, x, y, radius = CASES[case]
    circle = find_retina(draw(*CASES[case]))
    tolerance = max(1.0, 0.006 * max(rows, columns))
    assert circle.found
    assert circle.x == pytest.approx(x, abs=tolerance)
    assert circle.y == pytest.approx(y, abs=tolerance)
    assert circle.radius == pytest.approx(radius, abs=tolerance)


def test_labels_notch_grey_and_darkness_do_not_move_it():
    photo = draw(400, 640, 320, 200, 185)
    image = Image.fromarray(photo)
    pen = ImageDraw.Draw(image)
    pen.text((5, 5), "PATIENT 0123 OD", fill="white", font_size=24)
    pen.rectangle((560, 360, 630, 390), fill=(200, 200, 200))
    pen.polygon([(495, 180), (515, 200), (495, 220)], fill=(150, 80, 40))
    grey = np.repeat(np.asarray(Image.fromarray(photo).convert("L"))[..., None], 3, -1)
    for changed in (np.asarray(image), grey, (photo * 0.3).astype(np.uint8), photo[:, ::-1], photo // 2 + 12):
        circle = find_retina(np.ascontiguousarray(changed))
        assert circle.found
        assert (circle.x, circle.y) == pytest.approx((320, 200), abs=5)
        assert circle.radius == pytest.approx(185, abs=5)


def test_the_crop_is_the_circle_and_black_around():
    photo = draw(400, 640, 300, 190, 180)
    crop = crop_retina(photo, find_retina(photo), 128)
    assert crop.shape == (128, 128, 3) and crop.dtype == np.uint8
    level = crop.max(-1)
    assert not level[:10, :10].any() and not level[-10:, -10:].any()
    for edge in (level[64, :3], level[64, -3:], level[:3, 64], level[-3:, 64]):
        assert edge.max() > 40
    # A mark at the circle's centre is in the middle of the crop.
    photo[186:195, 296:305] = (10, 250, 10)
    marked = crop_retina(photo, find_retina(photo), 128)
    rows, columns = np.nonzero(marked[..., 1] > 200)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((64, 64), abs=1.0)


def test_what_leaves_the_photo_is_black():
    photo = draw(300, 640, 320, 150, 210)
    crop = crop_retina(photo, find_retina(photo), 140)
    assert not crop[:18].any() and not crop[-18:].any()
    assert crop[70, 3:-3].max(-1).min() > 20


def test_a_photo_cropped_inside_the_retina_is_taken_whole():
    photo = draw(700, 700, 350, 350, 340)[200:440, 200:500]
    circle = find_retina(photo)
    assert not circle.found
    assert circle.box == (30, 0, 270, 240)
    np.testing.assert_array_equal(crop_retina(photo, circle, 240), photo[:, 30:270])


def test_turning_the_photo_turns_the_circle():
    photo = draw(400, 640, 300, 190, 180)
    circle, turned = find_retina(photo), find_retina(np.rot90(photo))
    assert (turned.x, turned.y, turned.radius) == pytest.approx(
        (circle.y, 640 - circle.x, circle.radius), abs=1.5
    )


@pytest.mark.parametrize("width", [1, 3, 10])
@pytest.mark.parametrize("level", [90, 255])
def test_a_frame_does_not_hide_the_circle(width, level):
    photo = draw(400, 640, 320, 200, 185)
    photo[:width] = photo[-width:] = level
    photo[:, :width] = photo[:, -width:] = level
    circle = find_retina(photo)
    assert circle.found and circle.notes == ()
    assert (circle.x, circle.y, circle.radius) == pytest.approx((320, 200, 185), abs=3)


def test_a_photo_on_a_page_is_found():
    photo = draw(400, 640, 300, 190, 150)
    row, column = np.indices((400, 640)) + 0.5
    photo[np.hypot(column - 300, row - 190) > 150] = 250
    circle = find_retina(photo)
    assert circle.found
    assert (circle.x, circle.y, circle.radius) == pytest.approx((300, 190, 150), abs=3)


@pytest.mark.parametrize(("x", "y", "radius"), [(320, 200, 60), (150, 100, 25)])
def test_a_small_disc_is_found_and_said(x, y, radius):
    circle = find_retina(draw(400, 640, x, y, radius))
    assert circle.found
    assert (circle.x, circle.y, circle.radius) == pytest.approx((x, y, radius), abs=1.5)
    assert circle.notes == (f"the retina fills only {2 * radius / 640:.0%} of the photo's width",)
    with pytest.raises(NotAFundusError, match="is 20 pixels wide, expected a retina of at least 32"):
        find_retina(draw(400, 640, x, y, 10))
    with pytest.raises(NotAFundusError, match="almost black, its brightest level is"):
        find_retina((draw(400, 640, 320, 200, 185) * 0.05).astype(np.uint8))


@pytest.mark.parametrize(("wide", "high"), [(300, 160), (250, 190), (220, 190)])
def test_an_ellipse_is_no_circle(wide, high):
    tall = np.asarray(Image.fromarray(draw(400, 400, 200, 200, 180)).resize((400 * wide // high, 400)))
    circle = find_retina(tall)
    assert not circle.found
    said = re.search(r"is an ellipse, ([\d.]+) times as long as wide", circle.notes[0])
    assert float(said[1]) == pytest.approx(wide / high, rel=0.03)
    assert circle.notes[1] == "no circle of retina in the photo; took its central square"


def test_oblong_pixels_are_said_and_the_circle_of_the_same_area_is_taken():
    circle = find_retina(np.asarray(Image.fromarray(draw(400, 400, 200, 200, 180)).resize((424, 400))))
    assert circle.found and "is an ellipse, 1.06 times as long as wide" in circle.notes[0]
    assert (circle.x, circle.y, circle.radius) == pytest.approx((212, 200, 180 * 1.06**0.5), abs=2)


def test_photos_that_are_not_red_are_said():
    photo = draw(400, 640, 320, 200, 185)
    assert find_retina(photo).notes == ()
    (note,) = find_retina(np.ascontiguousarray(photo[..., ::-1])).notes
    assert "blue where a retina is red: its channels may be in the order blue, green, red" in note
    (note,) = find_retina(np.repeat(photo[..., 1:2], 3, -1)).notes
    assert note.startswith("the photo is grey, as red-free and infrared ones are")


def text_page() -> np.ndarray:
    image = Image.new("RGB", (600, 800), "white")
    for line in range(40):
        ImageDraw.Draw(image).text(
            (20, 20 * line), "the quick brown fox jumps over the lazy dog" * 2, fill="black"
        )
    return np.asarray(image)


NOT_A_FUNDUS = {
    "black": np.zeros((99, 99, 3), np.uint8),
    "red": np.full((200, 300, 3), (200, 80, 40), np.uint8),
    "tiny": draw(30, 30, 15, 15, 14),
    "text": text_page(),
    "white on black text": 255 - text_page(),
    "noise": np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8),
    "grey ramp": np.tile(np.arange(200, dtype=np.uint8)[:, None, None], (1, 300, 3)),
    "flat disc": np.where(draw(300, 300, 150, 150, 120).max(-1, keepdims=True) > 20, 128, 0)
    .astype(np.uint8)
    .repeat(3, -1),
    "sky": np.ascontiguousarray(draw(700, 700, 350, 350, 340)[200:440, 200:500, ::-1]),
}


@pytest.mark.parametrize("name", NOT_A_FUNDUS)
def test_other_pictures_are_refused(name):
    with pytest.raises(NotAFundusError):
        find_retina(NOT_A_FUNDUS[name])


def test_the_wrong_type_is_refused():
    with pytest.raises(ValueError, match=r"photo: expected RGB uint8 \(rows, columns, 3\), found float64"):
        find_retina(np.zeros((99, 99, 3)))


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])  # an odd one takes both sides
def test_real_photos(real_data: Path, step: int):
    paths = sorted((real_data / "chase_db1").glob("*.jpg"))
    assert len(paths) == 28
    for path in paths[::step]:
        circle = find_retina(read_rgb(path))
        assert circle.confidence > 0.95, path.name
        # All were taken by one camera; its disc fills 925 of 960 rows, in one pair a little less.
        assert (circle.x, circle.y) == pytest.approx((494, 479), abs=4), path.name
        assert 445 < circle.radius < 468, path.name
    for path in sorted((real_data / "aptos_mini/train/CF").glob("*.jpg")):
        circle = find_retina(read_rgb(path))
        assert circle.found
        assert (circle.x, circle.y, circle.radius) == pytest.approx((50, 50, 49), abs=1.5), path.name


def test_real_bscans_are_not_photos(real_data: Path):
    paths = [
        *sorted((real_data / "srf_bscans").rglob("*.*"))[::4],
        *sorted((real_data / "duke_dme").glob("*.png"))[::10],
        *sorted((real_data / "aptos_mini/train/OCT").rglob("*.jpg")),
    ]
    assert len(paths) > 25
    for path in paths:
        with pytest.raises(NotAFundusError):
            find_retina(read_rgb(path))
