import math

import h5py
import numpy as np
import pytest

from fund2oct.data import DataError, EyeReader, EyeWriter
from fund2oct.data.check import check_file, summarise_file
from fund2oct.data.simulate import simulate_file
from fund2oct.phantom import PhantomConfig, simulate_eye


def test_a_sound_file_has_no_problem(make_file):
    path = make_file(4)
    assert check_file(path) == []
    assert summarise_file(path) == [
        f"{path}: 4 eyes of 2 patients",
        "laterality: OD (2), OS (2)",
        "diagnosis: SRF (4)",
        "photo: 16x16 (4)",
        "volume (S, Z, X): 6x8x10 (4); 0 without, 4 with pose",
        "scan: radial (4)",
    ]


def test_each_problem_is_reported_with_its_eye(tmp_path, make_eye):
    blank = make_eye(0).volume.copy()
    blank[[1, 4]] = 7
    path = tmp_path / "eyes.h5"
    nothing = dict.fromkeys(("volume", "second", "lesions", "boundaries_um", "pose_um", "outer_um"))
    with EyeWriter(path) as writer:
        writer.add(make_eye(0, volume=blank))
        writer.add(make_eye(1, pose_um=None))
        writer.add(make_eye(2, pose_um=np.float32([[3000, 0, 0]] + [[900, 0, 0]] * 5)))
        writer.add(make_eye(3, fundus=np.full((16, 16, 3), 9, np.uint8)))
        writer.add(make_eye(4))
        writer.add(make_eye(6, fundus=make_eye(4).fundus))
        writer.add(make_eye(7, **nothing))
        writer.add(make_eye(8))
        writer.add(make_eye(9))
    with h5py.File(path, "r+") as file:
        file["eyes/eye08"].attrs["laterality"] = "?"
        del file["eyes/eye09"].attrs["scan"]
    assert check_file(path) == [
        f"{path}: eye 'eye00': volume: blank slices 1, 4",
        f"{path}: eye 'eye01': pose_um: a volume needs its pose to be trained on, found none; "
        "import the eye again",
        f"{path}: eye 'eye02': pose_um: expected the outer retina between 0 and 1920 micrometres, "
        "found it outside the frame in slices 0",
        f"{path}: eye 'eye03': fundus: the photo is of one colour",
        f"{path}: eye 'eye06': patient 'patient3' has the photo of eye 'eye04', whose patient is 'patient2'",
        f"{path}: eye 'eye08': laterality: expected one of ('OD', 'OS', ''), found '?'",
        f"{path}: eye 'eye09': scan: a volume needs the pattern of its lines, found none",
    ]
    assert "6x8x10 (8); 1 without, 7 with pose" in summarise_file(path)[4]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"none.h5: no such file"):
        check_file(tmp_path / "none.h5")


def test_a_file_without_eyes(tmp_path, make_file):
    path = make_file(1)
    with h5py.File(path, "r+") as file:
        del file["eyes/eye00"]
    assert check_file(path) == [f"{path}: holds no eyes"]


def test_simulated_eyes_are_written_as_simulated(tmp_path):
    config = PhantomConfig(fundus_px=32, n_depth=24, n_ascans=28)
    path = tmp_path / "sim.h5"
    simulate_file(path, 3, seed=5, config=config)
    assert check_file(path) == []
    reader = EyeReader(path)
    assert len(reader.keys) == 3
    for number, key in enumerate(reader.keys):
        found, wanted = reader.read(key), simulate_eye(5, number, config)
        assert found.key == wanted.key
        for name in ("fundus", "volume", "second", "boundaries_um", "lesions", "lesion_fundus", "pose_um"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
        assert found.placement == wanted.placement
        assert math.isnan(found.spacing_mm[0])
    with pytest.raises(DataError, match="exists; choose another name"):
        simulate_file(path, 3)
    with pytest.raises(ValueError, match="expected at least 1"):
        simulate_file(tmp_path / "none.h5", 0)
    assert not (tmp_path / "none.h5").exists()
