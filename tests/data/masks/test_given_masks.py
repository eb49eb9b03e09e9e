"""Masks that graders drew, from their files into a file of eyes."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.table import import_table
from fund2oct.data.masks.given import read_masks
from fund2oct.data.tables.eyes import read_eyes
from fund2oct.data.tables.spreadsheet import read_table
from fund2oct.phantom import PhantomConfig, simulate_eye

ROWS, COLUMNS, TOP, LEFT, WIDTH = 150, 210, 9, 35, 128
DOT = (90, 70)
"""Row and column of a dot on the photo."""


def disc(radius=4.0):
    """A dot as a mask of the whole photo."""
    row, column = np.mgrid[:ROWS, :COLUMNS]
    return np.hypot(row - DOT[0], column - DOT[1]) <= radius


@pytest.fixture(scope="module")
def photo():
    """A photo with frames of four widths, and a green dot on it."""
    picture = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    fundus = simulate_eye(5, 0, PhantomConfig(fundus_px=WIDTH, n_depth=40, n_ascans=56)).fundus
    picture[TOP : TOP + WIDTH, LEFT : LEFT + WIDTH] = fundus
    picture[disc()] = (0, 255, 0)
    return picture


@pytest.fixture
def folder(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "p1_OD.png")
    Image.fromarray(photo[:, ::-1]).save(tmp_path / "p2_OS.png")
    Image.fromarray(disc()).save(tmp_path / "dot.png")  # of one bit
    Image.fromarray(np.zeros((ROWS, COLUMNS), np.uint8)).save(tmp_path / "none.png")
    return tmp_path


def import_rows(folder, *rows, overwrite=True, **options):
    with (folder / "eyes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    options = {"no_patients": "patient" not in rows[0], **options}
    return import_table(
        folder / "eyes.csv", folder / "eyes.h5", ImportOptions(fundus_px=64), overwrite, **options
    )


def centre(weights):
    """Row and column of the middle of what is bright."""
    row, column = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(row * weights).sum(), (column * weights).sum()]) / weights.sum()


def test_a_mask_lies_on_the_stored_photo_where_it_lay_on_the_whole_one(folder):
    report = import_rows(
        folder,
        ("photo", "Mask_Dot", "mask_drusen", "age_years"),
        ("p1_OD.png", "dot.png", "none.png", "61"),
        ("p2_OS.png", "", "NA", "62"),
    )
    assert report.remarks[0].endswith("kept as metadata, as they are: age_years")
    with EyeReader(folder / "eyes.h5") as reader:
        eye, other = map(reader.read, reader.keys)
        assert reader.info("p1_OD").mask_names == ("Dot", "drusen") and other.masks is None
    green = np.clip(eye.fundus[..., 1].astype(float) - eye.fundus[..., 0] - 40, 0, None)
    assert np.abs(centre(eye.masks[0].astype(float)) - centre(green)).max() < 0.2
    circle = [eye.history[f"circle_{name}"] for name in ("row", "column", "radius")]
    # From the corner of the picture, where the middle of its first pixel is at a half.
    expected = 32 + (np.array(DOT) + 0.5 - circle[:2]) * 32 / circle[2]
    assert np.abs(centre(eye.masks[0].astype(float)) + 0.5 - expected).max() < 0.1
    share = disc().sum() / (np.pi * eye.history["circle_radius"] ** 2)
    assert eye.masks[0].mean() / 255 == pytest.approx(share * np.pi / 4, rel=0.1)
    assert eye.masks[1].max() == 0  # graded, and nothing was found


def test_a_column_has_the_name_that_the_user_says(folder):
    rows = ("photo", "OD_path"), ("p1_OD.png", "dot.png"), ("p2_OS.png", "dot.png")
    import_rows(folder, *rows, columns={"mask_disc": "OD_path"})
    with EyeReader(folder / "eyes.h5") as reader:
        assert {reader.info(key).mask_names for key in reader.keys} == {("disc",)}


def test_what_a_file_holds_of_masks_is_told(folder, capsys):
    import_rows(folder, ("photo", "mask_dot"), ("p1_OD.png", "dot.png"), ("p2_OS.png", ""))
    assert main(["info", str(folder / "eyes.h5")]) == 0
    assert "\nmasks: dot (1)\n" in capsys.readouterr().out
    assert main(["check", str(folder / "eyes.h5")]) == 0


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("p1_OD.png", "nowhere.png"), r"nowhere\.png: no such file or folder"),
        (("", "dot.png"), r"expected a photo, on which its masks lie \(dot\), found none"),
    ],
)
def test_an_eye_whose_masks_cannot_be_used_is_left_out_and_named(folder, cells, message):
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(folder / "b0.png")
    photo, mask = cells
    volume = "" if photo else "b0.png"
    report = import_rows(
        folder,
        ("key", "photo", "volume", "patient", "mask_dot"),
        ("bad", photo, volume, "p1", mask),
        ("good", "p2_OS.png", "", "p2", "dot.png"),
    )
    assert report.imported == ["good"]
    (said,) = [reason for _, reason in report.skipped]
    assert re.search(message, said)


def test_a_mask_is_black_outside_and_of_one_level_inside(tmp_path, photo):
    def read(levels, name="disc"):
        Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "mask.png")
        return read_masks({name: tmp_path / "mask.png"}, photo)

    for level in (1, 76, 255):  # 76 is red on black
        (mask,), notes = read(level * disc())[0].values(), read(level * disc())[1]
        assert np.array_equal(mask > 0, disc()) and set(np.unique(mask)) == {0, 255} and notes == []
    with pytest.raises(DataError, match=r"disc: .* large as the photo, 210 x 150 pixels, found 210 x 149;"):
        read(disc()[1:])
    # The rim of the disc and its cup in one picture, on white.
    with pytest.raises(DataError, match="expected black outside and one other level inside, found 3 levels"):
        read(np.where(disc(3), 0, np.where(disc(6), 128, 255)))
    for bright in (1 + disc(), np.full((ROWS, COLUMNS), 255)):
        with pytest.raises(DataError, match=r"inside, found the lowest level (1|255);"):
            read(bright)
    _, (note,) = read(255 * ~disc(), "drusen")
    assert note == "mask drusen covers 100% of the photo; is it inverted? what it shows has to be bright"
    with pytest.raises(DataError, match="mask volume: names something else in a batch; choose another name"):
        read(disc(), "volume")
    with pytest.raises(DataError, match="mask 'soft drusen': expected a name of letters, digits and _"):
        read(disc(), "soft drusen")


def test_a_mask_that_has_changed_is_read_anew(folder):
    rows = ("photo", "mask_dot"), ("p1_OD.png", "dot.png"), ("p2_OS.png", "dot.png")
    import_rows(folder, *rows)
    Image.fromarray(disc(9.0)).save(folder / "dot.png")
    import_rows(folder, *rows)
    with EyeReader(folder / "eyes.h5") as reader:
        wide = reader.read("p1_OD").masks
    assert wide.mean() / 255 == pytest.approx(np.pi * 81 / (4 * 64**2), rel=0.1)  # the circle has radius 64


def test_rows_of_bscans_name_a_mask_once_and_do_not_contradict_each_other(folder):
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(folder / "b0.png")
    rows = [("key", "photo", "bscan", "patient", "mask_dot")]
    rows += [("one", "p1_OD.png", "b0.png", "p1", mask) for mask in ("", "dot.png")]
    rows += [("two", "p2_OS.png", "b0.png", "p2", mask) for mask in ("none.png", "dot.png")]
    with (folder / "eyes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    eyes, refused, _ = read_eyes(read_table(folder / "eyes.csv"))
    assert [(eye.key, eye.masks) for eye in eyes] == [("one", {"dot": "dot.png"})]
    assert "mask_dot: expected the same in all rows of an eye" in refused[0][1]


def test_notes_on_masks_are_told(folder):
    Image.fromarray(~disc()).save(folder / "inverted.png")
    report = import_rows(folder, ("photo", "mask_dot"), ("p1_OD.png", "INVERTED.png"), ("p2_OS.png", ""))
    said = [note for _, note in report.notes]
    assert "the table calls its file by a name in other letters" in said
    assert any("mask dot covers 100% of the photo; is it inverted?" in note for note in said)


def test_a_mask_that_is_drawn_in_transparency_is_not_taken_for_nothing(folder):
    ink = np.zeros((*disc().shape, 4), np.uint8)
    ink[..., 3] = disc()
    Image.fromarray(ink).save(folder / "ink.png")
    report = import_rows(folder, ("photo", "mask_dot"), ("p1_OD.png", "ink.png"), ("p2_OS.png", ""))
    (said,) = [str(one) for one in report.skipped]
    assert "found black that is transparent in places; save it without transparency" in said
