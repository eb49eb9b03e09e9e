"""Twins of test eyes: made once, kept beside the data, refused for eyes that the simulator does not draw."""

import errno
import io
import os
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fund2oct.data import EyeReader
from fund2oct.evaluation.answers import twins as module
from fund2oct.evaluation.answers.floors import MEDIAN_OF_TWINS, ONE_TWIN, twin_answers
from fund2oct.evaluation.answers.twins import find_twins, twin_answer
from fund2oct.phantom import PhantomConfig, simulate_eye, simulate_twins, twin_boundaries
from fund2oct.processes import Here
from fund2oct.retina import boundary_index, retinal_boundaries


class Idle(Executor):
    """Refuses to work."""

    def submit(self, fn, /, *args, **kwargs):
        raise AssertionError("asked to work")


@pytest.fixture(scope="module")
def eye(tiny_eyes):
    with EyeReader(tiny_eyes) as reader:
        return reader.read(reader.keys[4])


@pytest.fixture(scope="module")
def answer(eye):
    return twin_answer(eye)


def test_one_twin_is_the_simulators_and_the_median_is_that_of_many(eye, answer):
    config = PhantomConfig(n_depth=32, n_ascans=48, fundus_px=48)
    assert np.array_equal(answer.volume, simulate_twins(3, 4, 1, config)[0].volume)
    true = twin_boundaries(0, 4, module.DRAWN)
    thickness = true[:, boundary_index("IZ_RPE")] - true[:, boundary_index("ILM")]
    ilm_um, rpe_um, bm_um = twin_answer(simulate_eye(0, 4)).surfaces_um
    known = np.isfinite(thickness).all(0) & np.isfinite(ilm_um)
    assert known.mean() > 0.8
    found, expected = (rpe_um - ilm_um)[known], np.median(thickness, 0)[known]
    # Off by the error of the search, and no more.
    assert np.abs(found - expected).mean() < 15 and np.corrcoef(found, expected)[0, 1] > 0.95
    assert (bm_um >= rpe_um - 1)[np.isfinite(bm_um)].all()


@pytest.mark.slow
def test_the_median_of_twins_is_nearer_than_one_twin():
    errors = {"one": [], "median": []}
    for number in range(4):
        eye = simulate_eye(0, number, PhantomConfig(n_depth=32, n_ascans=48, fundus_px=48))
        answer = twin_answer(eye)
        real = retinal_boundaries(eye.volume, eye.spacing_mm).thickness_um
        one = retinal_boundaries(answer.volume, eye.spacing_mm).thickness_um
        ilm_um, rpe_um, _ = answer.surfaces_um
        errors["one"].append(np.nanmean(np.abs(one - real)))
        errors["median"].append(np.nanmean(np.abs(rpe_um - ilm_um - real)))
    assert np.mean(errors["median"]) < np.mean(errors["one"])


def test_twins_are_kept_for_the_very_same_eye(eye, answer, tmp_path):
    cache = tmp_path / "eyes.twins.h5"
    first = find_twins([eye], cache, Here())
    assert np.array_equal(first[eye.key].volume, answer.volume)
    again = find_twins([eye], cache, Idle())
    assert np.array_equal(again[eye.key].volume, answer.volume)
    assert np.array_equal(again[eye.key].surfaces_um, answer.surfaces_um, equal_nan=True)
    other = replace(eye, volume=eye.volume[:, ::-1].copy())
    with pytest.raises(AssertionError, match="asked to work"):
        find_twins([other], cache, Idle())
    assert [path.name for path in tmp_path.iterdir()] == ["eyes.twins.h5"]
    cache.write_bytes(b"broken")
    assert find_twins([eye], cache, Here()) is not None


def test_fewer_twins_are_not_taken_for_all_of_them(eye, tmp_path, monkeypatch):
    cache = tmp_path / "eyes.twins.h5"
    with monkeypatch.context() as few:
        few.setattr(module, "SCANNED", 1)
        few.setattr(module, "DRAWN", 2)
        find_twins([eye], cache, Here())
        find_twins([eye], cache, Idle())
    with pytest.raises(AssertionError, match="asked to work"):
        find_twins([eye], cache, Idle())


@pytest.mark.usefixtures("few_twins")
def test_a_folder_that_cannot_be_written_to_is_no_error(eye, tmp_path):
    assert find_twins([eye], tmp_path / "nowhere" / "eyes.twins.h5", Here()) is not None
    assert find_twins([eye], None, Here()) is not None


@pytest.mark.usefixtures("few_twins")
def test_neither_is_a_full_disk(eye, tmp_path, monkeypatch):
    class OnFullDisk(h5py.File):
        """At a loss on it, with an error of its own."""

        def __init__(self, name, mode="r", **options):
            if mode == "w" and not isinstance(name, io.BytesIO):
                raise RuntimeError("unable to write")
            super().__init__(name, mode, **options)

    def write_bytes(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(h5py, "File", OnFullDisk)
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert find_twins([eye], tmp_path / "eyes.twins.h5", Here()) is not None
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("few_twins")
def test_a_file_that_holds_something_else_is_made_anew(eye, tmp_path):
    cache = tmp_path / "eyes.twins.h5"
    with h5py.File(cache, "w") as file:
        file.attrs["recipe"] = module._recipe()
        file[eye.key] = 0
        file[eye.key].attrs["eye"] = module._digest(eye)
    first = find_twins([eye], cache, Here())
    again = find_twins([eye], cache, Idle())
    assert np.array_equal(again[eye.key].volume, first[eye.key].volume)


@pytest.mark.usefixtures("few_twins")
def test_other_eyes_have_no_twins(eye, tmp_path):
    assert twin_answer(replace(eye, source="a hospital")) is None
    assert twin_answer(replace(eye, key="011574-64L")) is None
    long = PhantomConfig.of("long", n_depth=32, n_ascans=48, fundus_px=48)
    assert twin_answer(simulate_eye(0, 0, long)) is None
    changed = eye.volume.copy()
    changed[2, 5, 7] ^= 1
    assert twin_answer(replace(eye, volume=changed)) is None
    assert find_twins([eye, replace(eye, source="a hospital")], tmp_path / "t.h5", Here()) is None
    assert find_twins([replace(eye, volume=changed)], tmp_path / "t.h5", Here()) is None
    assert not (tmp_path / "t.h5").exists()


def test_the_answers_are_those_of_the_keys(eye, answer):
    one, median = twin_answers({eye.key: answer})
    assert (one.name, median.name) == (ONE_TWIN, MEDIAN_OF_TWINS)
    batch = {
        "key": [eye.key],
        "volume": torch.from_numpy(eye.volume)[None, None] / 255,
        "pose_um": torch.from_numpy(eye.pose_um)[None],
        "spacing_z_mm": torch.tensor([eye.spacing_mm[1]]),
    }
    given = one.give(batch)
    assert np.array_equal((255 * given.volume[0, 0]).round().byte().numpy(), answer.volume)
    surfaces = median.give(batch)
    assert surfaces.volume is None
    assert np.array_equal(surfaces.surfaces.rpe_um[0].numpy(), answer.surfaces_um[1], equal_nan=True)
