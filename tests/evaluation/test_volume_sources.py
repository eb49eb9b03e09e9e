"""Where volumes come from: the same eyes whatever holds them, and a line for whatever does not."""

import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from fund2oct.data import DataError, EyeReader, EyeWriter
from fund2oct.data.formats.images import resize
from fund2oct.evaluation.protocol import APTOS2024
from fund2oct.evaluation.sources import open_source


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_a_folder_and_its_zip_give_the_volumes_that_were_written(slices, zipped, volumes, ending):
    folder = slices(ending=ending)
    for source in (open_source(folder), open_source(zipped(folder))):
        assert source.keys == tuple(volumes)
        for key, volume in volumes.items():
            assert np.array_equal(source.read(key).volume, volume)


def test_what_computers_leave_in_folders_is_passed_over(slices, zipped, volumes):
    folder = slices()
    (folder / "notes.txt").write_text("mine")
    (folder / ".DS_Store").write_bytes(b"")
    (folder / "__MACOSX" / "eye0").mkdir(parents=True)
    (folder / "__MACOSX" / "eye0" / "._eye0_0.png").write_bytes(b"")
    assert open_source(folder).keys == open_source(zipped(folder)).keys == tuple(volumes)


def test_an_eye_may_lie_behind_a_link_and_one_that_cannot_be_read_is_named(slices, volumes, close_folder):
    folder = slices()
    (folder / "eye1").rename(folder.parent / "elsewhere")
    (folder / "eye1").symlink_to(folder.parent / "elsewhere")
    (folder / ".cache").mkdir()
    close_folder(".cache")
    assert open_source(folder).keys == tuple(volumes)
    close_folder("eye2")
    with pytest.raises(DataError, match=r"slices/eye2: cannot be read: Permission denied$"):
        open_source(folder)


def test_a_zip_may_hold_its_folder_as_well(slices, zipped, volumes):
    folder = slices("inner/submission").parent
    assert open_source(zipped(folder)).keys == tuple(volumes)


def test_a_file_of_eyes_and_a_folder_of_such_files(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        eyes = [reader.read(key) for key in reader.keys[:3]]
    for eye in eyes:
        with EyeWriter(tmp_path / f"{eye.key}.h5") as writer:
            writer.add(eye)
    for source in (open_source(tmp_path), open_source(tiny_eyes)):
        scan = source.read(eyes[1].key)
        assert np.array_equal(scan.volume, eyes[1].volume) and scan.eye.diagnosis == eyes[1].diagnosis
    assert open_source(tmp_path).keys == tuple(eye.key for eye in eyes)
    with EyeWriter(tmp_path / "again.h5") as writer:
        writer.add(eyes[0])
    with pytest.raises(DataError, match=r"is in .* too; keep one of them"):
        open_source(tmp_path)


def test_the_challenge_crops_and_resizes_real_pictures_as_its_importer_does(tmp_path):
    rng = np.random.default_rng(1)
    bscan = rng.integers(0, 256, (496, 768), dtype=np.uint8)
    export = np.hstack([np.zeros((496, 496), np.uint8), bscan])
    (tmp_path / "a").mkdir()
    for number in range(6):
        Image.fromarray(export if number % 2 else bscan).save(tmp_path / "a" / f"a_{number}.png")
    volume = open_source(tmp_path, adapt=APTOS2024.adapt_real).read("a").volume
    assert volume.shape == APTOS2024.shape
    assert all(np.array_equal(found, resize(bscan, 320, 448)) for found in volume)


def missing_slice(folder):
    (folder / "eye1" / "eye1_3.png").unlink()


def slice_too_many(folder):
    (folder / "eye1" / "eye1_6.png").write_bytes((folder / "eye1" / "eye1_5.png").read_bytes())


def counted_from_one(folder):
    for number in reversed(range(6)):
        (folder / "eye1" / f"eye1_{number}.png").rename(folder / "eye1" / f"eye1_{number + 1}.png")


def twice(folder):
    Image.open(folder / "eye1" / "eye1_2.png").save(folder / "eye1" / "eye1_2.jpg")


def other_name(folder):
    (folder / "eye1" / "eye1_2.png").rename(folder / "eye1" / "scan2.png")


def flat(folder):
    for path in folder.glob("*/*.png"):
        path.rename(folder / path.name)


def two_of_a_name(folder):
    (folder / "more").mkdir()
    (folder / "eye1").rename(folder / "more" / "eye2")
    for path in (folder / "more" / "eye2").iterdir():
        path.rename(path.with_name(path.name.replace("eye1", "eye2")))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (missing_slice, "eye 'eye1': expected 6 slices, _0 to _5, found no _3"),
        (slice_too_many, "eye 'eye1': expected 6 slices, _0 to _5, found also _6"),
        (counted_from_one, "eye 'eye1': expected 6 slices, _0 to _5, found no _0 and also _6"),
        (twice, "eye1/eye1_2.png: slice 2 is there twice; keep one of them"),
        (other_name, "eye1/scan2.png: expected slices named as EYE/EYE_0.png, a folder an eye"),
        (flat, "eye0_0.png: expected slices named as EYE/EYE_0.png, a folder an eye"),
        (two_of_a_name, "eye 'eye2': is there twice, in more/eye2 too; keep one of them"),
    ],
)
def test_a_wrong_layout_is_named(slices, zipped, spoil, message):
    folder = slices()
    spoil(folder)
    for path in (folder, zipped(folder)):
        with pytest.raises(DataError) as error:
            open_source(path)
        assert str(error.value).endswith(message) and str(error.value).startswith(str(path))


def text(path):
    path.write_text("no picture")


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


def empty(path):
    path.write_bytes(b"")


def other_size(path):
    Image.fromarray(np.zeros((10, 13), np.uint8)).save(path)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (text, "cannot be read as a picture, it is damaged or none ("),
        (cut, "cannot be read as a picture, it is damaged or none ("),
        (empty, "is empty"),
        (other_size, "expected 14 x 10 (width x height), the size of the eye's first slice, found 13 x 10"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named(slices, zipped, spoil, message):
    folder = slices()
    spoil(folder / "eye1" / "eye1_3.png")
    for path in (folder, zipped(folder)):
        source = open_source(path)
        assert source.read("eye0").volume.shape == (6, 10, 14)
        with pytest.raises(DataError) as error:
            source.read("eye1")
        assert f"{path}/eye1/eye1_3.png" in str(error.value) and message in str(error.value)


def test_not_a_number_is_not_black(slices):
    folder = slices(ending=".tif")
    values = np.full((10, 14), 0.5, np.float32)
    for number in range(6):
        tifffile.imwrite(folder / "eye1" / f"eye1_{number}.tif", values)
    values[3, 4] = np.nan
    tifffile.imwrite(folder / "eye1" / "eye1_3.tif", values)
    with pytest.raises(DataError, match=r"eye1_3.tif: expected finite intensities, found NaN or infinity"):
        open_source(folder).read("eye1")


def test_what_holds_no_volumes_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    (tmp_path / "scan.nii").write_bytes(b"")
    (tmp_path / "challenge" / "train").mkdir(parents=True)
    (tmp_path / "challenge" / "train" / "train.csv").write_text("PID,CF_path,OCT_path\n")
    for name, message in {
        "absent": "no such file or folder",
        "empty": "found no pictures",
        "none.zip": "found no pictures",
        "text.zip": "cannot be read as a zip, it is damaged or none",
        "scan.nii": "expected an HDF5 file of eyes (.h5), a folder of slices, or a .zip of such a folder",
        "challenge": f"import it first: fund2oct import aptos {tmp_path / 'challenge'} eyes.h5",
    }.items():
        with pytest.raises(DataError) as error:
            open_source(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and message in str(error.value)


def test_a_damaged_member_of_a_zip_is_named(slices, zipped):
    path = zipped(slices())
    source = open_source(path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("eye1/eye1_3.png").header_offset
    content[place + 60] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"eye1/eye1_3.png: cannot be"):
        source.read("eye1")
