"""Photos in a folder or a pattern: each kind that is read where it is named is found there too."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fund2oct.data.formats.images import read_rgb
from fund2oct.eye import DataError
from fund2oct.file_kinds import is_made_here
from fund2oct.run.predicting.photos import expand_photos, name_eyes
from fund2oct.run.submission.layout import find_challenge_photos
from fund2oct.visual.style import new_figure, save_figure

ENDINGS = ("bmp", "jfif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp")


@pytest.mark.parametrize("given", ["", "*"])
def test_each_kind_of_photo_is_found(tmp_path, given):
    for ending in ENDINGS:
        Image.fromarray(np.full((64, 80, 3), 90, np.uint8)).save(tmp_path / f"{ending}-photo.{ending}")
    (tmp_path / "notes.txt").write_text("no photo")
    found = expand_photos([tmp_path / given], out=tmp_path / "out")
    assert [path.suffix[1:] for path in found] == list(ENDINGS)
    assert list(find_challenge_photos(tmp_path).values()) == found
    assert all(read_rgb(path).shape == (64, 80, 3) for path in found)


def test_what_is_hidden_or_drawn_by_fund2oct_is_no_photo(tmp_path):
    Image.fromarray(np.full((64, 80, 3), 90, np.uint8)).save(tmp_path / "7L.jpg")
    (tmp_path / "._7L.jpg").write_bytes(b"what a Mac notes of 7L.jpg")
    (tmp_path / "8L.jpg").mkdir()
    save_figure(new_figure(1, 1), tmp_path / "7L.panel.png")
    assert [*find_challenge_photos(tmp_path).values()] == [tmp_path / "7L.jpg"]
    assert expand_photos(tmp_path, out=tmp_path / "out") == [tmp_path / "7L.jpg"]


def save_photos(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 80, 3), 90, np.uint8)).save(path)


def test_photos_behind_a_link_are_found_and_a_closed_folder_is_said(tmp_path, close_folder):
    clinic, out = tmp_path / "clinic", tmp_path / "out"
    save_photos(clinic / "anna/7L.jpg", clinic / "carl/9L.jpg", tmp_path / "disk/8L.jpg")
    (clinic / "ben").symlink_to(tmp_path / "disk")
    (tmp_path / "none/carl").mkdir(parents=True)
    close_folder("carl")
    said = "carl: cannot be read: Permission denied"
    with pytest.warns(UserWarning, match=rf"clinic/{said}; photos in there are left out"):
        assert expand_photos(clinic, out) == [clinic / "anna/7L.jpg", clinic / "ben/8L.jpg"]
    with pytest.raises(DataError, match=rf"clinic/{said}$"):
        expand_photos(clinic / "carl", out)
    with pytest.raises(DataError, match=rf"none: no photo .*/none/{said}$"):
        expand_photos(tmp_path / "none", out)


def test_a_file_that_cannot_be_opened_counts_as_a_photo(tmp_path, monkeypatch):
    def closed(path):
        if path.name == "7L.jpg":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_made_here(path)

    both = [tmp_path / "7L.jpg", tmp_path / "8L.jpg"]
    save_photos(*both)
    monkeypatch.setattr("fund2oct.run.predicting.photos.is_made_here", closed)
    assert expand_photos(tmp_path, out=tmp_path / "out") == both
    assert list(find_challenge_photos(tmp_path).values()) == both


@pytest.mark.parametrize("given", ["", "*.jpg"])
def test_photos_that_all_lie_among_the_results_are_no_empty_folder(given, tmp_path):
    save_photos(*(tmp_path / "photos" / name for name in ("7L.jpg", "7R.jpg")))
    with pytest.raises(DataError, match=r"all of its photos \(2\) lie in the folder of the results"):
        expand_photos(tmp_path / "photos" / given, out=tmp_path / "photos")
    named = tmp_path / "photos/7L.jpg"
    assert expand_photos(named, out=tmp_path / "photos") == [named]


def test_photos_among_the_results_are_left_out_with_a_warning(tmp_path, recwarn):
    a, b, c = paths = [tmp_path / name for name in ("a/7L.jpg", "b/7L.jpg", "b/c/7R.jpg")]
    save_photos(*paths)
    save_figure(new_figure(1, 1), tmp_path / "b/7L.png")  # of an earlier call: no photo that one would miss
    with pytest.warns(UserWarning, match=r"b: 2 photos lie in the folder of the results and are left out"):
        assert expand_photos(tmp_path, out=tmp_path / "b") == [a]
    recwarn.clear()
    assert expand_photos([tmp_path, b, c], out=tmp_path / "b") == [a, b, c]
    assert not recwarn.list


def test_no_eye_has_a_hidden_name(tmp_path, monkeypatch):
    (tmp_path / "now").mkdir()
    monkeypatch.chdir(tmp_path / "now")
    photos = map(Path, ("a/OD.jpg", "../b/OD.jpg", ".x/OS.jpg", "y/OS.jpg", ".own.jpg"))
    names = name_eyes([*photos], lambda name: [f"{name}.h5"])
    assert names == ["now-a-OD", "b-OD", "_x-OS", "y-OS", "_own"]


def test_names_that_are_not_utf8(tmp_path):
    odd = os.fsdecode(b"7\xffL")
    assert name_eyes([Path(odd, "OD.jpg"), Path("b/OD.jpg")], lambda name: [name]) == ["7_L-OD", "b-OD"]
    save_photos(tmp_path / f"{odd}.jpg", tmp_path / "8L.jpg")
    with pytest.raises(DataError, match=r"L.jpg: expected the name of a file in UTF-8, found .*; rename the"):
        find_challenge_photos(tmp_path)
