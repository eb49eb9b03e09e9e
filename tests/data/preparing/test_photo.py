"""One way in for a photo: importers, training and predictions see the same pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.data import FundusOCTDataset, NotAFundusError, PhotoPlacement, crop_retina, find_retina
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.table import import_table
from fund2oct.data.preparing.circle import RetinaCircle
from fund2oct.data.preparing.light_and_levels import even_light
from fund2oct.data.preparing.photo import PhotoOptions, prepare_photo, resize, resize_photo
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.geometry import Placement


@pytest.fixture(scope="module")
def picture():
    """A photo of 150 x 210 pixels, darker to the left."""
    rows, columns = np.indices((150, 210)) + 0.5
    light = (0.4 + columns / 250) * (1 + 0.2 * np.sin(columns / 5) * np.cos(rows / 4))
    colour = np.array([180, 90, 50]) * light[..., None]
    inside = np.hypot(columns - 101, rows - 74) < 70
    return np.where(inside[..., None], colour, 2).clip(0, 255).astype(np.uint8)


def test_the_order_is_crop_then_place_then_light(picture):
    plain = prepare_photo(picture, PhotoOptions(64))
    evened = prepare_photo(picture, PhotoOptions(64, even_light=True, placement=PhotoPlacement(6.5)), "OS")
    circle = find_retina(picture)
    np.testing.assert_array_equal(plain.fundus, crop_retina(picture, circle, 64))
    np.testing.assert_array_equal(evened.fundus, even_light(plain.fundus))
    assert plain.circle == circle and plain.placement == Placement()
    assert plain.history["photo_size"] == "210x150" and "light" not in plain.history
    assert evened.history["light"] == "evened" and "fovea_x" in evened.history
    # The placement does not depend on what is done to the light.
    raw = prepare_photo(picture, PhotoOptions(64, placement=PhotoPlacement(6.5)), "OS")
    assert raw.placement == evened.placement and raw.notes == evened.notes


def test_what_is_no_retina_is_refused_and_sizes_are_positive(picture):
    with pytest.raises(NotAFundusError, match="no disc of retina"):
        prepare_photo(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8), PhotoOptions())
    with pytest.raises(ValueError, match="size_px: expected a positive width, found 0"):
        PhotoOptions(0)


def test_all_resizing_of_photos_is_by_one_filter(picture):
    square = picture[4:144, 31:171]
    circle = RetinaCircle(101, 74, 70, 0.0)
    cut = crop_retina(picture, circle, 50).astype(int)
    assert np.abs(cut - resize_photo(square, 50)).max() <= 1
    small = resize_photo(square, 50)
    exact = resize(torch.from_numpy(square.copy()).permute(2, 0, 1)[None] / 255, (50, 50))[0]
    assert small.dtype == np.uint8 and small.shape == (50, 50, 3)
    assert (torch.from_numpy(small).permute(2, 0, 1) / 255 - exact).abs().max() <= 0.5 / 255 + 1e-6
    assert resize_photo(square, 140) is square


def test_a_prediction_sees_the_pixels_that_the_training_saw(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a-OD.png")
    (tmp_path / "t.csv").write_text("photo,patient\na-OD.png,p\n")
    import_table(tmp_path / "t.csv", tmp_path / "eyes.h5", ImportOptions(fundus_px=64))
    dataset = FundusOCTDataset(tmp_path / "eyes.h5", content="photos", fundus_px=48, even_light=True)
    assert dataset.photo_px == 64
    preparation = Preparation(even_light=True, photo_px=dataset.photo_px)
    photo = prepare_photo(picture, preparation.photo_options(Placement(), 48), "OD").fundus
    assert photo.shape == (64, 64, 3)
    given = torch.from_numpy(resize_photo(photo, 48)).permute(2, 0, 1) / 255
    assert (given - dataset[0]["fundus"]).abs().max() <= 0.5 / 255 + 1e-6
    # Light evened at the network's own size is another picture.
    other = even_light(crop_retina(picture, find_retina(picture), 48))
    assert np.abs(other.astype(int) - resize_photo(photo, 48)).max() > 3
