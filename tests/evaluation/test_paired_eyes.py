"""Real volumes beside those that answer for them: what a batch holds, and what a report says of them."""

from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np
import pytest
import torch
from eye_files import write_eyes

from fund2oct.data import EyeReader
from fund2oct.data.preparing.photo import resize_photo
from fund2oct.data.store.patients import hashed_patient
from fund2oct.evaluation.compare import compare
from fund2oct.evaluation.distances import Distances
from fund2oct.evaluation.files import _given
from fund2oct.evaluation.pairs import PairedEyes
from fund2oct.evaluation.protocol import FILES
from fund2oct.evaluation.sources import open_source
from fund2oct.geometry import RadialScan
from fund2oct.processes import Here


@pytest.fixture(scope="module")
def six(tiny_eyes):
    """The first six tiny eyes, of three patients."""
    with EyeReader(tiny_eyes) as reader:
        return [reader.read(key) for key in reader.keys[:6]]


def paired(folder, real, fake=None, pool=None):
    """Real eyes beside others, or beside themselves."""
    sources = []
    for name, eyes in (("real", real), ("fake", fake or real)):
        sources.append(open_source(write_eyes(folder / f"{name}.h5", eyes)))
    return PairedEyes(*sources, FILES, torch.device("cpu"), pool=pool or Here())


def without_photo(eye):
    return replace(eye, fundus=None, lesion_fundus=None)


def test_slices_along_other_lines_are_said(six, tmp_path):
    # On a line of 8.8 mm an A-scan is 2.2 mm from the fovea in the mean: a quarter of a turn moves it by
    # the square root of 2 times as much, and a degree by 0.04 mm.
    turned = [
        replace(eye, scan=RadialScan(start_deg=deg)) for eye, deg in zip(six, (90, 90, 1), strict=False)
    ]
    eyes = paired(tmp_path, six, [*turned, *six[3:]])
    note = (
        f"**In 2 of 6 pairs the slices of {tmp_path / 'fake.h5'} lie along other lines than the real ones, "
        "3.1 mm apart in the mean: they show other places of the retina.**"
    )
    assert note in eyes.notes
    assert not any("other lines" in note for note in paired(tmp_path / "same", six).notes)


def test_photos_of_other_widths_come_in_that_of_the_first(six, tmp_path):
    wide = resize_photo(six[1].fundus, 64)
    eyes = paired(tmp_path, [six[0], replace(six[1], fundus=wide, lesion_fundus=None), *six[2:]])
    photos = torch.cat([batch["fundus"] for batch in eyes.batches()])
    assert photos.shape == (6, 3, 48, 48)
    shown = (photos * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for photo, expected in zip(shown, (six[0].fundus, resize_photo(wide, 48), six[2].fundus), strict=False):
        assert np.array_equal(photo, expected)


@pytest.mark.parametrize("without", [{1}, set(range(6))])
def test_an_eye_without_a_photo_keeps_its_truth(six, tmp_path, without):
    real = [without_photo(eye) if number in without else eye for number, eye in enumerate(six)]
    eyes = paired(tmp_path, real)
    for batch in eyes.batches():
        assert (
            not {"fundus", "grid"} & batch.keys() and {"boundaries_um", "rescan", "lesions"} <= batch.keys()
        )
    boundaries_um = eyes.batch(eyes.keys[0])["boundaries_um"][0]
    torch.testing.assert_close(boundaries_um, torch.from_numpy(six[0].boundaries_um), equal_nan=True)
    found = compare(eyes, [_given()], Distances([]), Here()).summary()["generated"]
    assert 0 < found["ilm/truth_error_um"]["mean"] < 40


def test_a_patient_of_two_names_is_one(six, tmp_path):
    names = ["0071", hashed_patient("0071", ""), "b", "b", "0071", "b"]
    eyes = paired(tmp_path, [replace(eye, patient=name) for eye, name in zip(six, names, strict=True)])
    who = dict(zip(eyes.keys, eyes.patients, strict=True))
    assert [*who.values()] == [names[1], names[1], "b", "b", names[1], "b"]
    assert all(who[eyes.other(key)] != who[key] for key in eyes.keys)
    assert not any("no other patient" in note for note in eyes.notes)


def test_what_controls_and_errors_cannot_tell_is_said(six, real_slices, tmp_path):
    alone = paired(tmp_path, [replace(eye, patient="a") for eye in six]).notes
    assert alone[0].startswith("**There is no other patient") and not any(
        "Pictures" in note for note in alone
    )
    slices = open_source(real_slices)
    notes = PairedEyes(slices, slices, FILES, torch.device("cpu")).notes
    assert notes[-1].startswith("Pictures name neither patients nor sides")
    assert not any("no other patient" in note for note in notes)


class Lazy(Executor):
    """Does what it is asked to do when the result is asked for, and counts what waits."""

    def __init__(self):
        self.waiting = self.most = 0

    def submit(self, fn, /, *args, **kwargs):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        pool = self

        class Later(Future):
            def result(self, timeout=None):
                pool.waiting -= 1
                return fn(*args, **kwargs)

        return Later()


def test_poses_are_found_in_processes_of_which_few_volumes_wait(six, tmp_path, monkeypatch):
    monkeypatch.setattr("fund2oct.evaluation.pairs.most_waiting", lambda task_bytes: 2)
    pool = Lazy()
    fake = [replace(eye, volume=eye.rescan) for eye in six]
    eyes, alone = paired(tmp_path / "pool", six, fake, pool), paired(tmp_path / "alone", six, fake)
    assert pool.most == 3 and pool.waiting == 0
    assert [note.replace("/pool/", "/alone/") for note in eyes.notes] == alone.notes
    for key in alone.keys:
        assert torch.equal(eyes.batch(key)["pose_um"], alone.batch(key)["pose_um"])
        (volume, pose_um), (same, same_um) = eyes.answer(key), alone.answer(key)
        assert torch.equal(volume, same) and torch.equal(pose_um, same_um)
        assert not torch.equal(pose_um, eyes.batch(key)["pose_um"][0])
