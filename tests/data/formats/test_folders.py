"""A folder is searched with all below it, also behind links, each folder once; a closed one is named."""

import errno
from pathlib import Path

import pytest

from fund2oct.data.formats.folders import files_below
from fund2oct.eye import DataError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_behind_links_are_looked_into_once(tmp_path):
    top, other = tmp_path / "top", tmp_path / "other"
    touch(top / "z/a.jpg", other / "deep/b.jpg", tmp_path / "beside.jpg")
    (top / "a").symlink_to(top / "z")  # has a name of its own in the folder
    (top / "m").symlink_to(other)
    (other / "again").symlink_to(top)
    (top / "up").symlink_to(tmp_path)
    (top / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    files, closed = files_below(top)
    assert sorted(files) == [top / "m/deep/b.jpg", top / "z/a.jpg"] and closed == []


def test_a_folder_that_cannot_be_read_is_told_with_the_reason(tmp_path, close_folder):
    touch(tmp_path / "7L.jpg", tmp_path / "p12/8L.jpg")
    close_folder("p12")
    reason = "cannot be read: Permission denied"
    assert files_below(tmp_path) == ([tmp_path / "7L.jpg"], [(tmp_path / "p12", reason)])
    with pytest.raises(DataError, match=rf"p12: {reason}$"):
        files_below(tmp_path / "p12")


def test_what_cannot_be_looked_at_counts_as_a_file(tmp_path, monkeypatch):
    def closed(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    touch(tmp_path / "7L.jpg")
    monkeypatch.setattr(Path, "is_file", closed)
    assert files_below(tmp_path)[0] == [tmp_path / "7L.jpg"]


def test_a_link_shows_what_lies_in_a_hidden_folder(tmp_path):
    touch(tmp_path / ".snapshots/3/a.jpg", tmp_path / ".hidden/b.jpg")
    (tmp_path / "latest").symlink_to(tmp_path / ".snapshots/3")
    assert sorted(files_below(tmp_path)[0]) == [tmp_path / ".hidden/b.jpg", tmp_path / "latest/a.jpg"]
