"""A file of eyes holds all of its own, and what is no such file is called what it is."""

import h5py
import numpy as np
import pytest
from PIL import Image

from fund2oct.data import EyeReader
from fund2oct.eye import DataError


def link_the_eyes(file, other):
    del file["eyes"]
    file["eyes"] = h5py.ExternalLink(str(other), "/eyes")


def link_an_eye(file, other):
    del file["eyes/eye00"]
    file["eyes/eye00"] = h5py.ExternalLink(str(other), "/eyes/eye00")


def link_softly(file, other):
    file.move("eyes/eye00", "elsewhere")
    file["eyes/eye00"] = h5py.SoftLink("/elsewhere")


def link_an_array(file, other):
    del file["eyes/eye00/volume"]
    file["eyes/eye00/volume"] = h5py.ExternalLink(str(other), "/eyes/eye00/volume")


def store_outside(file, other):
    shape = file["eyes/eye00/volume"].shape
    del file["eyes/eye00/volume"]
    where = [(str(other), 0, int(np.prod(shape)))]
    file["eyes/eye00"].create_dataset("volume", shape, "u1", external=where)


def store_virtually(file, other):
    shape = file["eyes/eye00/volume"].shape
    del file["eyes/eye00/volume"]
    layout = h5py.VirtualLayout(shape, "u1")
    layout[:] = h5py.VirtualSource(str(other), "eyes/eye00/volume", shape)
    file["eyes/eye00"].create_virtual_dataset("volume", layout)


@pytest.mark.parametrize(
    "spoil", [link_the_eyes, link_an_eye, link_softly, link_an_array, store_outside, store_virtually]
)
def test_no_text_in_a_file_of_eyes_is_a_file_to_open(spoil, make_file, tmp_path):
    path = make_file(2)
    other = tmp_path / "other.h5"
    other.write_bytes(path.read_bytes())
    with h5py.File(path, "a") as file:
        spoil(file, other)
    with (
        pytest.raises(
            DataError, match="lies in another file, and a file of eyes holds all of its own; refused"
        ),
        EyeReader(path) as reader,
    ):
        reader.read("eye00")


def checkpoint(path):
    path.write_bytes(b"PK\x03\x04 archive/data.pkl")


def picture(path):
    Image.new("RGB", (8, 8)).save(path, "JPEG")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            checkpoint,
            "cannot be read as HDF5, it is a zip archive, as PyTorch's checkpoints are; expected a file of",
        ),
        (picture, "cannot be read as HDF5, it is a JPEG picture; expected a file of eyes"),
        (lambda path: path.write_text("<html>"), "cannot be read as HDF5, it is an HTML page"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"),
            "it is a pointer of Git LFS",
        ),
    ],
)
def test_what_is_no_file_of_eyes_is_called_what_it_is(make, message, tmp_path):
    make(tmp_path / "eyes.h5")
    with pytest.raises(DataError) as caught:
        EyeReader(tmp_path / "eyes.h5").keys  # noqa: B018
    assert message in str(caught.value)


def test_a_file_that_is_open_elsewhere_is_not_damaged(make_file, monkeypatch):
    def locked(*_, **__):
        raise BlockingIOError(11, "unable to lock file")  # what HDF5 says of another process's file

    path = make_file(1)
    monkeypatch.setattr("fund2oct.data.store.shards.h5py.File", locked)
    with pytest.raises(DataError, match=r"eyes.h5: is open in another program, which writes it; wait"):
        EyeReader(path).keys  # noqa: B018
