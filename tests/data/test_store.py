import dataclasses
import math
import multiprocessing
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

import fund2oct
from fund2oct.data import SCHEMA_VERSION, DataError, EyeReader, EyeWriter
from fund2oct.data.schema import ARRAYS, Eye
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
        assert dict(file.attrs) == {
            "format": "fund2oct",
            "schema_version": SCHEMA_VERSION,
            "created_with": f"fund2oct {fund2oct.__version__}",
        }
        assert file["eyes/eye00/volume"].fletcher32


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
    with pytest.raises(DataError, match=r"its folder does not exist; make .*nowhere first"):
        EyeWriter(tmp_path / "nowhere" / "eyes.h5")
    with (
        pytest.raises(DataError, match="not written, because there is no eye"),
        EyeWriter(tmp_path / "no.h5"),
    ):
        pass
    with EyeWriter(tmp_path / "two.h5") as writer:
        writer.add(make_eye())
        with pytest.raises(DataError, match="eye 'eye00': there is an eye of that key already"):
            writer.add(make_eye())
        with pytest.raises(DataError, match="eye 'eye01': laterality: expected one of"):
            writer.add(make_eye(1, laterality="X"))
    assert EyeReader(tmp_path / "two.h5").keys == ("eye00",)


def _not_hdf5(path: Path) -> None:
    path.write_bytes(b"PID,CF_path\n" * 100)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_bit_of_the_volume(path: Path) -> None:
    with h5py.File(path) as file:
        stored = file["eyes/eye00/volume"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[stored.byte_offset + 3] ^= 1
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


def _replace(name: str, array):
    def change(file: h5py.File) -> None:
        del file[f"eyes/eye00/{name}"]
        if array is not None:
            file[f"eyes/eye00/{name}"] = array

    return _edit(change)


EYE = "eyes/eye00"
BAD_FILES = {
    "missing": (Path.unlink, r": no such file; `fund2oct simulate .*eyes.h5 --eyes 800` makes one"),
    "text": (_not_hdf5, ": cannot be read as HDF5, it is damaged or something else .*signature not found"),
    "empty": (_empty, ": cannot be read as HDF5, it is damaged or something else"),
    "truncated": (_truncate, ": cannot be read as HDF5, .*truncated file"),
    "other format": (
        _set("/", "format", "other"),
        ": expected an HDF5 file of format 'fund2oct', found 'other'",
    ),
    "no format": (_unset("/", "format"), ": expected an HDF5 file of format 'fund2oct', found None"),
    "no eyes": (_edit(lambda file: file.__delitem__("eyes")), ": expected an HDF5 file of format"),
    "newer": (
        _set("/", "schema_version", SCHEMA_VERSION + 1),
        rf": has schema version {SCHEMA_VERSION + 1}, .* reads up to {SCHEMA_VERSION}; upgrade fund2oct",
    ),
    "odd version": (_set("/", "schema_version", "one"), ": schema_version: expected a number .* found 'one'"),
    "no patient": (_unset(EYE, "patient"), ": eye 'eye00': attribute 'patient' is missing"),
    "no spacing": (_unset(EYE, "spacing_mm"), ": eye 'eye00': attribute 'spacing_mm' is missing"),
    "two spacings": (
        _set(EYE, "spacing_mm", [0.2, 0.3]),
        ": eye 'eye00': attribute 'spacing_mm' makes no sense: .*not enough values",
    ),
    "odd placement": (
        _set(EYE, "placement", "{"),
        ": eye 'eye00': attribute 'placement' makes no sense: '{'",
    ),
    "unknown scan": (
        _set(EYE, "scan", '{"kind": "spiral"}'),
        ": eye 'eye00': attribute 'scan' makes no sense: .*expected a kind of",
    ),
    "scan is a list": (_set(EYE, "scan", "[1]"), ": eye 'eye00': attribute 'scan' makes no sense"),
    "laterality": (
        _set(EYE, "laterality", "both"),
        ": eye 'eye00': laterality: expected one of .* found 'both'",
    ),
    "no fundus": (_replace("fundus", None), ": eye 'eye00': fundus: expected a photo, found none"),
    "float volume": (
        _replace("volume", np.zeros((6, 8, 10), np.float32)),
        r": eye 'eye00': volume: expected uint8 \(S, Z, X\), found float32 \(6, 8, 10\)",
    ),
    "other shape": (
        _replace("second", np.zeros((6, 8, 9), np.uint8)),
        r": eye 'eye00': second: expected uint8 \(6, 8, 10\), found uint8 \(6, 8, 9\)",
    ),
    "NaN pose": (
        _replace("pose_um", np.full((6, 3), np.nan, np.float32)),
        ": eye 'eye00': pose_um: expected finite micrometres, found NaN",
    ),
    "bit rot": (
        _flip_a_bit_of_the_volume,
        ": eye 'eye00': cannot be read, the file is damaged; make it again",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(make_file, name):
    damage, message = BAD_FILES[name]
    path = make_file()
    damage(path)
    with pytest.raises(DataError, match=message) as error:
        EyeReader(path).read("eye00")
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


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
