import math

import h5py
import numpy as np
import pytest

from fund2oct.data import DataError, EyeReader, EyeWriter
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.data.store.check import check_file
from fund2oct.data.store.patients import hashed_patient
from fund2oct.data.store.summary import summarise_file
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.retina import find_retina


def test_a_sound_file_has_no_problem(make_file):
    path = make_file(4)
    assert check_file(path) == []


def test_what_a_file_holds(make_file, tmp_path, make_eye):
    path = make_file(4)
    mib = path.stat().st_size / 2**20
    assert summarise_file(path).lines() == [
        f"{path}: 4 eyes of 2 patients",
        "pairs of photo and volume: 4; photos alone: 0; volumes alone: 0",
        "laterality: OD (2), OS (2)",
        "diagnosis: SRF (4)",
        "photo: 16x16 (4)",
        "volume (S, Z, X): 6x8x10 (4); 4 with pose, 4 with pose and surfaces",
        "scan: radial (4)",
        "also: rescan (4), boundaries_um (4), lesions (4), lesion_fundus (4)",
        "metadata: none",
        "source: made up (4)",
        f"on disk: {mib:.1f} MiB, compression none (1)",
    ]
    with EyeWriter(tmp_path / "more.h5", compression="gzip") as writer:
        writer.add(make_eye(8, fundus=None, lesion_fundus=None, laterality="", metadata={"age_years": 61}))
    lines = summarise_file([path, tmp_path / "more.h5"]).lines()
    assert lines[0] == f"{path} (2 files): 5 eyes of 3 patients"
    assert lines[1] == "pairs of photo and volume: 4; photos alone: 0; volumes alone: 1"
    assert lines[2] == "laterality: OD (2), OS (2), not stated (1)"
    assert lines[4] == "photo: 16x16 (4), none (1)"
    assert lines[8] == "metadata: age_years (1)"
    assert "compression none (1), gzip (1)" in lines[10]


def test_each_problem_is_reported_with_its_eye(tmp_path, make_eye):
    blank = make_eye(0).volume.copy()
    blank[[1, 4]] = 7
    path = tmp_path / "eyes.h5"
    nothing = dict.fromkeys(("volume", "rescan", "lesions", "boundaries_um", "pose_um", "surfaces_um"))
    with EyeWriter(path) as writer:
        writer.add(make_eye(0, volume=blank))
        writer.add(make_eye(1, pose_um=None))
        writer.add(make_eye(2, pose_um=np.float32([[3000] + 6 * [0]] + [[900] + 6 * [0]] * 5)))
        writer.add(make_eye(3, fundus=np.full((16, 16, 3), 9, np.uint8)))
        writer.add(make_eye(4))
        writer.add(make_eye(6, fundus=make_eye(4).fundus))
        writer.add(make_eye(7, **nothing))
        writer.add(make_eye(8))
        writer.add(make_eye(9))
    with h5py.File(path, "r+") as file:
        del file["eyes/eye08"].attrs["record"]
        file["eyes/eye09/volume"][3, 0, 0] ^= 1
    apart = np.median(3000 - make_eye(2).surfaces_um[3, 0])
    assert check_file(path) == [
        f"{path}: eye 'eye00': volume: blank slices 1, 4",
        f"{path}: eye 'eye01': pose_um: a volume needs its pose to be trained on, found none; "
        "`fund2oct surfaces OLD.h5 NEW.h5` finds it",
        f"{path}: eye 'eye02': pose_um: expected the outer retina between 0 and 1920 micrometres, "
        "found it outside the frame in slices 0",
        f"{path}: eye 'eye02': surfaces_um: expected BM within 150 micrometres of the pose's surface, "
        f"found {apart:.0f} in slice 0",
        f"{path}: eye 'eye03': fundus: the photo is of one colour",
        f"{path}: eye 'eye06': patient 'patient3' has the photo of eye 'eye04', whose patient is 'patient2'",
        f"{path}: eye 'eye08': attribute 'record' is missing, the file is damaged; make it again",
        f"{path}: eye 'eye09': volume: the checksum of slices 3 is wrong, the file is damaged; make it again",
    ]
    with pytest.raises(DataError, match="eye 'eye08': attribute 'record' is missing"):
        summarise_file(path)


def test_surfaces_that_would_spoil_training_are_reported(tmp_path, make_eye):
    path = tmp_path / "eyes.h5"
    lost, high = make_eye(0).surfaces_um.copy(), make_eye(2).surfaces_um.copy()
    lost[:, :, 2:] = np.nan
    high[0] -= 700
    with EyeWriter(path) as writer:
        writer.add(make_eye(0, surfaces_um=lost))
        writer.add(make_eye(1, surfaces_um=None, surface_confidence=None))
        writer.add(make_eye(2, surfaces_um=high))
    assert check_file(path) == [
        f"{path}: eye 'eye00': surfaces_um: found at 20% of the A-scans, expected at least 25%; "
        "the search does not follow this volume, leave the eye out",
        f"{path}: eye 'eye02': surfaces_um: expected ILM between 0 and 1920 micrometres, "
        "found it outside the frame at 100% of the A-scans",
    ]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"none.h5: no such file"):
        check_file(tmp_path / "none.h5")


def test_a_file_without_eyes(tmp_path, make_file):
    path = make_file(1)
    with h5py.File(path, "r+") as file:
        del file["eyes/eye00"]
    assert check_file(path) == [
        f"{path}: its list of eyes does not agree with its digest, the file is damaged; make it again",
        f"{path}: holds no eyes",
    ]


def test_several_files_are_checked_together(make_file, tmp_path):
    first, second, third = make_file(2, "a.h5"), make_file(3, "b.h5", patient="other"), tmp_path / "c.h5"
    third.write_bytes(b"no")
    found = check_file(tmp_path)
    assert [line.split(": ", 1)[0] for line in found] == [str(second)] * 4 + [str(third)]
    assert f"eye 'eye00': is in {first} as well; keys are unique" in found[0]
    assert (
        "eye 'eye00': patient 'other' has the photo of eye 'eye00', whose patient is 'patient0'" in found[1]
    )
    assert "cannot be read as HDF5" in found[4]


def test_a_name_and_its_hash_are_one_patient(tmp_path, make_eye):
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        for key, patient in (("a", "0071"), ("b", hashed_patient("0071", ""))):
            writer.add(make_eye(0, key=key, patient=patient))
    assert check_file(tmp_path / "eyes.h5") == []
    assert summarise_file(tmp_path / "eyes.h5").n_patients == 1


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
        for name in ("fundus", "volume", "rescan", "boundaries_um", "lesions", "lesion_fundus"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
        # The phantom's truth is for tests: what is trained on is found in the volume, as in a real one.
        surfaces, pose = find_retina(wanted.volume, wanted.spacing_mm)
        np.testing.assert_array_equal(found.pose_um, pose.pose_um)
        np.testing.assert_array_equal(found.surfaces_um, surfaces.surfaces_um)
        np.testing.assert_array_equal(found.surface_confidence, surfaces.confidence)
        assert found.placement == wanted.placement
        assert math.isnan(found.spacing_mm[0])
    with pytest.raises(DataError, match="exists; choose another name"):
        simulate_file(path, 3)
    with pytest.raises(ValueError, match="expected at least 1"):
        simulate_file(tmp_path / "none.h5", 0)
    assert not (tmp_path / "none.h5").exists()
