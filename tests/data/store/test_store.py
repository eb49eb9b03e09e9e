import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import pickle
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

import fund2oct
from fund2oct.data import SCHEMA_VERSION, DataError, EyeReader, EyeWriter
from fund2oct.data.store.checksum import eye_digest
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
    assert eye.second is not None


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
    nothing = dict.fromkeys(("second", "lesions", "boundaries_um", "surfaces_um", "surface_confidence"))
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


def test_only_the_slices_that_are_read_need_be_sound(make_file, make_eye):
    path = make_file()
    _flip_a_bit_of_the_volume(path)
    reader, out = EyeReader(path), np.empty((2, 8, 10), np.uint8)
    reader.read_into("eye00", "volume", out, [1, 3])
    np.testing.assert_array_equal(out, make_eye(0).volume[[1, 3]])
    with pytest.raises(DataError, match="eye 'eye00': volume: the checksum of slices 0 is wrong"):
        reader.read_into("eye00", "volume", out, [0, 1])


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


def _not_hdf5(path: Path) -> None:
    path.write_bytes(b"PID,CF_path\n" * 100)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_bit_of_the_volume(path: Path) -> None:
    with h5py.File(path) as file:
        offset = file["eyes/eye00/volume"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset + 3] ^= 1
    path.write_bytes(content)


def _edit(change):
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return edit


def _set(place: str, name: str, value):
    return _edit(lambda file: file[place].attrs.__setitem__(name, value))


def _unset(place: str, name: str):
    return _edit(lambda file: file[place].attrs.__delitem__(name))


def _record(change, redo_digest: bool = True):
    """Change the record of an eye, as a program with a mistake in it would."""

    def edit(file: h5py.File) -> None:
        attributes = file[EYE].attrs
        record = json.loads(attributes["record"])
        change(record)
        attributes["record"] = np.bytes_(json.dumps(record).encode())
        if redo_digest:
            attributes["digest"] = np.bytes_(eye_digest("eye00", attributes["record"]).encode())

    return _edit(edit)


def _put(name: str, value, redo_digest: bool = True):
    return _record(lambda record: record.__setitem__(name, value), redo_digest)


def _replace(name: str, array):
    def change(file: h5py.File) -> None:
        if name in file[EYE]:
            del file[f"{EYE}/{name}"]
        if array is not None:
            file[f"{EYE}/{name}"] = array

    return _edit(change)


def _swap(a: str, b: str):
    def change(file: h5py.File) -> None:
        file.move(a, "kept")
        file.move(b, a)
        file.move("kept", b)

    return _edit(change)


EYE = "eyes/eye00"
DAMAGED = ", the file is damaged; make it again"
BAD_FILES = {
    "missing": (Path.unlink, r": no such file; `fund2oct simulate .*eyes.h5 --eyes 600` makes one"),
    "text": (_not_hdf5, ": cannot be read as HDF5, it is damaged or something else .*signature not found"),
    "empty": (_empty, ": cannot be read as HDF5, it is empty: it was copied or downloaded in part"),
    "truncated": (_truncate, ": cannot be read as HDF5, .*truncated file"),
    "other format": (
        _set("/", "format", "other"),
        ": expected an HDF5 file of format 'fund2oct', found 'other'",
    ),
    "no format": (_unset("/", "format"), ": expected an HDF5 file of format 'fund2oct', found None"),
    "no eyes": (_edit(lambda file: file.__delitem__("eyes")), ": expected an HDF5 file of format"),
    "newer": (
        _set("/", "schema_version", SCHEMA_VERSION + 1),
        rf": has schema version {SCHEMA_VERSION + 1}, .* reads {SCHEMA_VERSION}; upgrade fund2oct",
    ),
    "older": (
        _set("/", "schema_version", SCHEMA_VERSION - 1),
        rf": has schema version {SCHEMA_VERSION - 1}, .* reads {SCHEMA_VERSION}; make it again",
    ),
    "odd version": (_set("/", "schema_version", "one"), ": schema_version: expected a number .* found 'one'"),
    "odd compression": (_set("/", "compression", "lzf"), ": compression: expected one of .* found 'lzf'"),
    "no record": (_unset(EYE, "record"), ": eye 'eye00': attribute 'record' is missing" + DAMAGED),
    "no digest": (_unset(EYE, "digest"), ": eye 'eye00': attribute 'digest' is missing" + DAMAGED),
    "record of any length": (
        _set(EYE, "record", "{}"),
        ": eye 'eye00': attribute 'record': expected text of fixed length, found object",
    ),
    "other patient": (
        _put("patient", "nobody", redo_digest=False),
        ": eye 'eye00': its record does not agree with its digest" + DAMAGED,
    ),
    "another eye's": (
        _swap(EYE, "eyes/eye01"),
        ": eye 'eye00': its record does not agree with its digest" + DAMAGED,
    ),
    "no patient": (
        _record(lambda record: record.pop("patient")),
        ": eye 'eye00': its record makes no sense: KeyError: 'patient'",
    ),
    "two spacings": (
        _put("spacing_mm", [0.2, 0.3]),
        ": eye 'eye00': its record makes no sense: ValueError: not enough values",
    ),
    "odd placement": (_put("placement", [1]), ": eye 'eye00': its record makes no sense: TypeError"),
    "unknown scan": (
        _put("scan", {"kind": "spiral"}),
        ": eye 'eye00': its record makes no sense: .*expected a kind of",
    ),
    "laterality": (
        _put("laterality", "both"),
        ": eye 'eye00': laterality: expected one of .* found 'both'",
    ),
    "unknown array": (
        _record(lambda record: record["arrays"].__setitem__("extra", record["arrays"]["volume"])),
        ": eye 'eye00': has arrays that fund2oct does not know: extra",
    ),
    "no fundus": (_replace("fundus", None), ": eye 'eye00': expected 9 arrays, found 8" + DAMAGED),
    "added array": (
        _replace("localizer", np.zeros((4, 4), np.uint8)),
        ": eye 'eye00': expected 9 arrays, found 10" + DAMAGED,
    ),
    "float volume": (
        _replace("volume", np.zeros((6, 8, 10), np.float32)),
        ": eye 'eye00': volume: expected uint8, found float32",
    ),
    "other shape": (
        _replace("second", np.zeros((6, 8, 9), np.uint8)),
        r": eye 'eye00': second: expected the shape \(6, 8, 10\), found \(6, 8, 9\)",
    ),
    "group for an array": (
        _edit(lambda file: (file.__delitem__(f"{EYE}/volume"), file.create_group(f"{EYE}/volume"))),
        ": eye 'eye00': volume: expected uint8, found no array",
    ),
    "swapped arrays": (
        _swap(f"{EYE}/volume", f"{EYE}/second"),
        ": eye 'eye00': volume: the checksum of slices 0, 1, 2, 3, 4, 5 is wrong" + DAMAGED,
    ),
    "another eye's photo": (
        _swap(f"{EYE}/fundus", "eyes/eye01/fundus"),
        ": eye 'eye00': fundus: the checksum is wrong" + DAMAGED,
    ),
    "NaN pose": (
        _record(lambda record: record["arrays"]["pose_um"].update(_stored(np.full((6, 7), np.nan, "f4")))),
        ": eye 'eye00': pose_um: the checksum of slices 0, 1, 2, 3, 4, 5 is wrong",
    ),
    "bit rot": (
        _flip_a_bit_of_the_volume,
        ": eye 'eye00': volume: the checksum of slices 0 is wrong" + DAMAGED,
    ),
}


def _stored(array):
    return {"crc32": [zlib.crc32(row.tobytes()) for row in array]}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(make_file, name):
    damage, message = BAD_FILES[name]
    path = make_file()
    damage(path)
    with pytest.raises(DataError, match=message) as error:
        EyeReader(path).read("eye00")
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_lost_and_an_added_eye_are_noticed(make_file):
    for change in (
        _edit(lambda file: file.__delitem__(EYE)),
        _edit(lambda file: file.copy(EYE, "eyes/more")),
    ):
        path = make_file()
        change(path)
        with pytest.raises(
            DataError, match=f"eyes.h5: its list of eyes does not agree with its digest{DAMAGED}"
        ):
            EyeReader(path).keys  # noqa: B018


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


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_in_use_works_in_another_process(make_file, method):
    reader = EyeReader(make_file())
    wanted = _read_all(reader)
    with multiprocessing.get_context(method).Pool(2) as pool:
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
        assert [result.get(10) for result in results] == [wanted] * 6


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


def test_bad_shards(tmp_path, make_eye):
    for name, number in (("a.h5", 0), ("b.h5", 1), ("c.h5", 0)):
        with EyeWriter(tmp_path / name) as writer:
            writer.add(make_eye(number))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"eye 'eye00' is in .*a.h5 and in .*c.h5; keys are unique"):
        EyeReader(tmp_path).keys  # noqa: B018
    with pytest.raises(DataError, match=r"empty: expected files of eyes \(.h5\) in this folder, found none"):
        EyeReader(tmp_path / "empty").keys  # noqa: B018
    with pytest.raises(DataError, match=r"d\*.h5: no file matches this pattern"):
        EyeReader(f"{tmp_path}/d*.h5").keys  # noqa: B018
    with pytest.raises(DataError, match="expected at least one file of eyes, found an empty list"):
        EyeReader([]).keys  # noqa: B018
    with pytest.raises(DataError, match="eye 'nobody': there is no eye of that key in 2 files"):
        EyeReader([tmp_path / "a.h5", tmp_path / "b.h5"]).read("nobody")
    (tmp_path / "b.h5").write_bytes(b"none")
    with pytest.raises(DataError, match=r"b.h5: cannot be read as HDF5"):
        EyeReader([tmp_path / "a.h5", tmp_path / "b.h5"]).keys  # noqa: B018
