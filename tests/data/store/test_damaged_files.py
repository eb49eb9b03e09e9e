"""Files of eyes that are damaged, or of another making: each is named, with what is wrong and what to do."""

import json
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from fund2oct.data import SCHEMA_VERSION, DataError, EyeReader, EyeWriter
from fund2oct.data.store.checksum import eye_digest

EYE = "eyes/eye00"
DAMAGED = ", the file is damaged; make it again"


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
        _replace("rescan", np.zeros((6, 8, 9), np.uint8)),
        r": eye 'eye00': rescan: expected the shape \(6, 8, 10\), found \(6, 8, 9\)",
    ),
    "group for an array": (
        _edit(lambda file: (file.__delitem__(f"{EYE}/volume"), file.create_group(f"{EYE}/volume"))),
        ": eye 'eye00': volume: expected uint8, found no array",
    ),
    "swapped arrays": (
        _swap(f"{EYE}/volume", f"{EYE}/rescan"),
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


def test_only_the_slices_that_are_read_need_be_sound(make_file, make_eye):
    path = make_file()
    _flip_a_bit_of_the_volume(path)
    reader, out = EyeReader(path), np.empty((2, 8, 10), np.uint8)
    reader.read_into("eye00", "volume", out, [1, 3])
    np.testing.assert_array_equal(out, make_eye(0).volume[[1, 3]])
    with pytest.raises(DataError, match="eye 'eye00': volume: the checksum of slices 0 is wrong"):
        reader.read_into("eye00", "volume", out, [0, 1])


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
