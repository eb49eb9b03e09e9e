"""Files of eyes, written and read: nothing lost, in any process, from one file or from several."""

import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import pickle
import sys
import zlib

import h5py
import numpy as np
import pytest

import fund2oct
from fund2oct.data import SCHEMA_VERSION, DataError, EyeReader, EyeWriter
from fund2oct.eye import ARRAYS, Eye
from fund2oct.geometry import RasterScan


def assert_same(found: Eye, wanted: Eye) -> None:
    for field in dataclasses.fields(Eye):
        a, b = getattr(found, field.name), getattr(wanted, field.name)
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        elif field.name == "spacing_mm":
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b, field.name


def test_round_trip_keeps_every_field(tmp_path, make_eye):
    eyes = [
        make_eye(1),
        make_eye(0, scan=RasterScan(6, 6.0, 5.0), spacing_mm=(1.0, 0.24, 0.6), diagnosis="drüsen, 2 µm"),
        make_eye(2, **dict.fromkeys(name for name in ARRAYS if name != "fundus"), scan=None),
    ]
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        for eye in eyes:
            writer.add(eye)
    assert writer.n_eyes == 3
    with EyeReader(tmp_path / "eyes.h5") as reader:
        assert reader.keys == ("eye00", "eye01", "eye02")
        for eye in eyes:
            assert_same(reader.read(eye.key), eye)
        np.testing.assert_array_equal(reader.array("eye01", "pose_um"), eyes[0].pose_um)
        assert reader.array("eye02", "pose_um") is None


def test_reading_skips_what_is_not_needed(make_file):
    eye = EyeReader(make_file()).read("eye00", skip=("volume", "lesions"))
    assert eye.volume is None and eye.lesions is None
    assert eye.rescan is not None


def test_info_reads_no_array(make_file):
    info = EyeReader(make_file()).info("eye01")
    assert (info.patient, info.laterality, info.diagnosis) == ("patient0", "OS", "SRF")
    assert info.arrays["volume"] == (6, 8, 10)
    assert info.scan.n_slices == 6


def test_root_says_what_the_file_is(make_file):
    with h5py.File(make_file()) as file:
        digest = file.attrs["keys_digest"].decode()
        assert dict(file.attrs) == {
            "format": b"fund2oct",
            "schema_version": SCHEMA_VERSION,
            "created_with": f"fund2oct {fund2oct.__version__}".encode(),
            "compression": b"none",
            "keys_digest": digest.encode(),
        }
        # Closed forms: SHA-256 of the sorted keys, a line each; CRC-32 of each slice.
        assert digest == hashlib.sha256(b"eye00\neye01\neye02").hexdigest()
        group = file["eyes/eye00"]
        stored = json.loads(group.attrs["record"])["arrays"]
        assert stored["volume"]["crc32"] == [zlib.crc32(bscan.tobytes()) for bscan in group["volume"]]
        assert stored["fundus"]["crc32"] == [zlib.crc32(group["fundus"][()].tobytes())]
        assert len(stored["boundaries_um"]["crc32"]) == 11
        assert file.id.get_create_plist().get_version()[0] == 3  # superblock: with checksums


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_any_compression_gives_the_same_eye(tmp_path, make_eye, compression):
    if compression == "zstd":
        pytest.importorskip("hdf5plugin")
    volume = np.repeat(np.arange(6, dtype=np.uint8), 40 * 50).reshape(6, 40, 50)
    nothing = dict.fromkeys(("rescan", "lesions", "boundaries_um", "surfaces_um", "surface_confidence"))
    eye = make_eye(0, volume=volume, spacing_mm=(math.nan, 0.05, 8.8 / 50), **nothing)
    path = tmp_path / "eyes.h5"
    with EyeWriter(path, compression=compression) as writer:
        writer.add(eye)
    assert_same(EyeReader(path).read("eye00"), eye)
    with h5py.File(path) as file:
        assert file["eyes/eye00/volume"].chunks == (None if compression == "none" else (1, 40, 50))
        assert file["eyes/eye00/pose_um"].chunks is None
    assert (path.stat().st_size < volume.nbytes) == (compression != "none")


def test_an_unknown_compression_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"compression: expected one of \('none', 'gzip', 'zstd'\), found 'lzf'"
    ):
        EyeWriter(tmp_path / "eyes.h5", compression="lzf")


def test_zstd_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(DataError, match=r'zstd needs hdf5plugin: pip install "fund2oct\[zstd\]"'):
        EyeWriter(tmp_path / "eyes.h5", compression="zstd")


@pytest.mark.parametrize("slices", [None, [0, 1, 2], [5, 0, 3, 4], [2], []])
@pytest.mark.parametrize("name", ["volume", "boundaries_um", "pose_um"])
def test_reading_into_a_buffer(make_file, make_eye, name, slices):
    array = getattr(make_eye(1), name)
    wanted = array if slices is None else array[slices]
    out = np.full_like(wanted, 7)
    EyeReader(make_file()).read_into("eye01", name, out, slices)
    np.testing.assert_array_equal(out, wanted)


def test_a_buffer_that_does_not_fit_is_refused(make_file):
    reader = EyeReader(make_file())
    shape = (6, 8, 10)
    for message, name, out, slices in (
        (r"volume: expected a buffer uint8 \(6, 8, 10\), found uint8 \(6, 8, 9\)", "volume",
         np.empty((6, 8, 9), np.uint8), None),
        (r"volume: expected a buffer uint8 \(2, 8, 10\)", "volume", np.empty(shape, np.uint8), [0, 1]),
        ("found float32", "volume", np.empty(shape, np.float32), None),
        ("contiguous, writable", "volume", np.empty((6, 10, 8), np.uint8).transpose(0, 2, 1), None),
        (r"expected slices from 0 to 5, found \[6\]", "volume", np.empty((1, 8, 10), np.uint8), [6]),
        ("a picture has no slices", "fundus", np.empty((1, 16, 3), np.uint8), [0]),
        (r"eyes.h5: eye 'eye00': has no localizer", "localizer", np.empty(shape, np.uint8), None),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            reader.read_into("eye00", name, out, slices)


def test_a_failed_write_leaves_the_old_file(tmp_path, make_file, make_eye):
    path = make_file(1)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), EyeWriter(path, overwrite=True) as writer:
        writer.add(make_eye(5))
        raise RuntimeError("power cut")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["eyes.h5"]


def test_the_writer_refuses(tmp_path, make_file, make_eye):
    path = make_file(1)
    with pytest.raises(DataError, match=r"eyes.h5: exists; choose another name"):
        EyeWriter(path)
    with h5py.File(tmp_path / "network.h5", "w") as file:
        file["weights"] = [1.0, 2.0]
    with pytest.raises(DataError, match=r"network.h5: is an HDF5 file that fund2oct did not make; choose"):
        EyeWriter(tmp_path / "network.h5", overwrite=True)
    (tmp_path / "half.h5").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(
        DataError, match=r"half.h5: cannot be read as HDF5 \(.*truncated file.*choose another"
    ):
        EyeWriter(tmp_path / "half.h5", overwrite=True)
    with (
        pytest.raises(DataError, match="not written, because there is no eye"),
        EyeWriter(tmp_path / "no.h5"),
    ):
        pass
    with EyeWriter(tmp_path / "new/folder/two.h5") as writer:
        writer.add(make_eye())
        with pytest.raises(DataError, match="eye 'eye00': there is an eye of that key already"):
            writer.add(make_eye())
        with pytest.raises(DataError, match="eye 'eye01': laterality: expected one of"):
            writer.add(make_eye(1, laterality="X"))
    assert EyeReader(tmp_path / "new/folder/two.h5").keys == ("eye00",)


def test_a_file_of_an_old_version_is_replaced(make_file, make_eye):
    path = make_file(1)
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 1
    with EyeWriter(path, overwrite=True) as writer:
        writer.add(make_eye(5))
    assert EyeReader(path).keys == ("eye05",)


def test_an_unknown_key_is_named(make_file):
    path = make_file()
    with pytest.raises(DataError, match=r"eyes.h5: eye 'nobody': there is no eye of that key"):
        EyeReader(path).read("nobody")


def test_a_pickled_reader_holds_no_file(make_file):
    reader = EyeReader(make_file())
    eye = reader.read("eye00")
    assert_same(pickle.loads(pickle.dumps(reader)).read("eye00"), eye)
    reader.close()
    assert_same(reader.read("eye00"), eye)


def _read_all(reader: EyeReader) -> list[int]:
    return [int(reader.read(key).volume.sum()) for key in reader.keys]


@pytest.mark.parametrize(("method", "n_processes"), [("fork", 2), ("spawn", 1)])
def test_a_reader_in_use_works_in_another_process(make_file, method, n_processes):
    reader = EyeReader(make_file())
    wanted = _read_all(reader)
    with multiprocessing.get_context(method).Pool(n_processes) as pool:
        assert pool.map(_read_all, [reader] * 4) == [wanted] * 4
    assert _read_all(reader) == wanted


def _read_inherited() -> list[int]:
    return _read_all(_INHERITED[0])


_INHERITED: list[EyeReader] = []


def test_a_reader_inherited_by_a_fork_opens_its_own_file(make_file):
    reader = EyeReader(make_file())
    wanted = _read_all(reader)
    _INHERITED[:] = [reader]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = [pool.apply_async(_read_inherited) for _ in range(6)]
        assert all(_read_all(reader) == wanted for _ in range(6))
        assert [result.get(60) for result in results] == [wanted] * 6


def test_spacing_of_a_star_is_nan_between_slices(make_file):
    assert math.isnan(EyeReader(make_file()).read("eye00").spacing_mm[0])


def test_shards_are_read_as_one(tmp_path, make_eye):
    for number in range(5):
        with EyeWriter(tmp_path / f"part{number % 2}{number}.h5") as writer:
            writer.add(make_eye(number))
    everything = tuple(f"eye{number:02d}" for number in range(5))
    for path in (tmp_path, f"{tmp_path}/part*.h5", [tmp_path / "part00.h5", f"{tmp_path}/part[01][1-4].h5"]):
        reader = pickle.loads(pickle.dumps(EyeReader(path)))
        assert reader.keys == everything
        assert len(reader.paths) == 5
        for number, key in enumerate(everything):
            assert_same(reader.read(key), make_eye(number))
    assert EyeReader(str(tmp_path)).path == tmp_path
