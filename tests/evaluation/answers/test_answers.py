"""Answers: what each gives, and that surfaces alone are measured as surfaces found in a volume."""

import math

import numpy as np
import pytest
import torch

from fund2oct import processes
from fund2oct.data import DataError, EyeReader, FundusOCTDataModule
from fund2oct.evaluation.answers import training_eyes
from fund2oct.evaluation.answers.answer import Answer, Given
from fund2oct.evaluation.answers.controls import (
    MEDIAN_SURFACES,
    controls,
    model_answers,
    shuffled,
    surface_answers,
)
from fund2oct.evaluation.answers.floors import rescan
from fund2oct.evaluation.answers.training_eyes import TrainingEyes
from fund2oct.evaluation.checkpoints import HeldOutEyes
from fund2oct.evaluation.compare import REAL, compare
from fund2oct.evaluation.distances import Distances
from fund2oct.evaluation.measuring import EyeTask, measure_eye
from fund2oct.metrics.eyes.layers import Surfaces, find_surfaces
from fund2oct.models import load_model
from fund2oct.networks.noise import NoNoise
from fund2oct.processes import Here, processes_beside, submit_by_value
from fund2oct.retina.pose import heights_of

CPU = torch.device("cpu")


def found_in(batch):
    return find_surfaces(batch["volume"], batch["spacing_z_mm"], batch["spacing_x_mm"])


def measured(batch, given, scan, number=0):
    return measure_eye(EyeTask.of(batch, number, {"answer": given.eye(number)}, scan))["answer"]


def test_the_real_surfaces_have_no_error_and_no_volume(eyes):
    batch = next(eyes.batches())
    found = found_in(batch)
    heights = heights_of(torch.stack([found.ilm_um, found.rpe_um, found.bm_um], 1), batch["pose_um"])
    thickness = found.thickness_um
    interval = torch.stack([thickness - 1, thickness + torch.arange(48) - 10], 1)
    one = measured(batch, Given.of_heights(heights, batch, interval), eyes.scan)
    assert one["thickness/error_um"] < 1e-3 and one["rpe/error_um"] < 1e-3
    assert one["thickness/covered"] == pytest.approx(38 / 48, abs=0.03)
    assert "aligned/l1" not in one and "PED/fake_mm" not in one
    aa, bb, ab = (one[f"sums/height/{part}"] for part in ("aa", "bb", "ab"))
    assert aa == pytest.approx(bb, rel=1e-4) and ab == pytest.approx(bb, rel=1e-4) and bb > 0


def test_an_eye_is_measured_alike_in_any_place_of_its_batch(eyes):
    batch = next(eyes.batches())
    key = batch["key"][1]
    alone = eyes.batch(key)
    answer = rescan()
    here = measured(batch, answer.give(batch), eyes.scan, 1)
    there = measured(alone, answer.give(alone), eyes.scan)
    for name, value in here.items():
        assert there[name] == pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True)


def test_median_surfaces_are_the_median_of_mirrored_eyes(datamodule, eyes):
    training = TrainingEyes(datamodule, CPU)
    heights = []
    for number in range(len(training)):
        eye = training.batch([number])
        found = Surfaces.of_stored(eye["surfaces_um"])
        height = heights_of(torch.stack([found.ilm_um, found.rpe_um, found.bm_um], 1), eye["pose_um"])[0]
        if eye["laterality"] == ["OS"]:
            # Left for right, line by line: the star's lines follow each other clockwise from below.
            height = height[:, [0, 5, 4, 3, 2, 1]]
            height = torch.cat([height[:, :1], height[:, 1:].flip(-1)], 1)
        heights.append(height)
    expected = torch.stack(heights).nanmedian(0).values
    right, left = training.median_heights_um(["OD", "OS"])
    torch.testing.assert_close(right, expected)
    assert not torch.equal(left, right)
    torch.testing.assert_close(left[:, 0], right[:, 0])
    torch.testing.assert_close(left[:, 1], right[:, 5].flip(-1))
    answer = {one.name: one for one in controls(training)}[MEDIAN_SURFACES]
    batch = next(eyes.batches())
    given = answer.give(batch)
    assert given.volume is None
    one = {"OD": right, "OS": left}[batch["laterality"][0]]
    depths = torch.stack([given.surfaces.ilm_um, given.surfaces.rpe_um, given.surfaces.bm_um], 1)
    torch.testing.assert_close(heights_of(depths, batch["pose_um"])[0], one, atol=1e-2, rtol=0)


def test_of_more_eyes_than_fit_in_memory_evenly_spaced_ones_give_median_and_mean(datamodule, monkeypatch):
    everyone = TrainingEyes(datamodule, CPU)
    monkeypatch.setattr(training_eyes, "_HEIGHTS_BYTES", 3 * (3 * 6 * 48 * 4) + 1)
    few = TrainingEyes(datamodule, CPU)
    chosen = [number * len(few) // 3 for number in range(3)]
    monkeypatch.setattr(TrainingEyes, "__len__", lambda self: 3)
    monkeypatch.setattr(
        TrainingEyes,
        "batch",
        lambda self, numbers, rows, whole=TrainingEyes.batch: whole(self, [chosen[numbers[0]]], rows),
    )
    three, rows_mm = TrainingEyes(datamodule, CPU), torch.tensor([0.06])
    median_um, mean = three.median_heights_um(["OD"]), three.mean(["OD"], rows_mm)
    monkeypatch.undo()
    monkeypatch.setattr(training_eyes, "_HEIGHTS_BYTES", 3 * (3 * 6 * 48 * 4) + 1)
    torch.testing.assert_close(few.median_heights_um(["OD"]), median_um, equal_nan=True)
    torch.testing.assert_close(few.mean(["OD"], rows_mm), mean)
    photos = torch.stack([datamodule.train_dataset.photo(number) for number in range(len(everyone))])
    assert few.nearest(photos) == everyone.nearest(photos) == [*range(len(everyone))]  # photos are all known


def test_controls_do_without_a_damaged_training_eye_that_may_be_skipped(datamodule, tiny_eyes, tmp_path):
    keys, path = datamodule.train_dataset.keys, tmp_path / "eyes.h5"
    damaged, others = keys[2], [*keys[:2], *keys[3:]]
    with EyeReader(tiny_eyes) as reader:
        volume = reader.read(damaged).volume
    content = bytearray(tiny_eyes.read_bytes())
    content[content.index(volume.tobytes()) + 37] ^= 255
    path.write_bytes(content)
    strict = TrainingEyes(FundusOCTDataModule(str(path), test_fraction=0.4), CPU)
    with pytest.raises(DataError, match=rf"eye '{damaged}': volume: the checksum"):
        strict.median_heights_um(["OD"])
    training = TrainingEyes(FundusOCTDataModule(str(path), test_fraction=0.4, on_corrupt="skip"), CPU)
    without = TrainingEyes(FundusOCTDataModule(str(tiny_eyes), split={"train": others}), CPU)
    with pytest.warns(UserWarning, match=rf"eye '{damaged}': volume: the checksum .* it is passed over"):
        median_um = training.median_heights_um(["OD", "OS"])
    torch.testing.assert_close(median_um, without.median_heights_um(["OD", "OS"]), equal_nan=True)
    rows_mm = torch.tensor([0.06])
    torch.testing.assert_close(training.mean(["OD"], rows_mm), without.mean(["OD"], rows_mm))
    photos = torch.stack([datamodule.train_dataset.photo(number) for number in range(len(keys))])
    nearest = training.nearest(photos)
    assert nearest.pop(2) != 2 and nearest == [0, 1, *range(3, len(keys))]
    # Where an eye is drawn, the next one takes the place of a damaged one.
    assert [training.sound(number) for number in (1, 2, 3)] == [1, 3, 3]
    assert strict.sound(2) == 2


def test_the_photo_of_another_comes_as_a_batch_shows_it_with_the_scan_around_its_fovea(datamodule, eyes):
    everyone = [datamodule.test_dataset[number] for number in range(len(eyes.keys))]
    for own, key in zip(everyone, eyes.keys, strict=True):
        given = eyes.photo_of_another(key)
        (other,) = [one for one in everyone if torch.equal(one["fundus"], given["fundus"])]
        # All eyes of the file have the same lines, so that this scan on that photo is that eye's own scan.
        assert given.keys() == {"fundus", "grid"} and other["key"] != key
        assert torch.equal(given["grid"], other["grid"]) and not torch.equal(given["grid"], own["grid"])


def test_an_answer_that_knows_nothing_of_the_eye_is_no_worse_with_another_photo(datamodule, eyes):
    """It draws one retina around the fovea of whatever photo it is shown."""
    everyone = [datamodule.test_dataset[number] for number in range(len(eyes.keys))]

    def fovea_of(photo):
        (found,) = (one["grid"].mean((0, 1)) for one in everyone if torch.equal(one["fundus"], photo))
        return found

    class SameForAll(Surfacer):
        def __init__(self, median_um=None):
            self.median_um = median_um

        def surfaces(self, fundus, grid):
            fovea = torch.stack([fovea_of(photo) for photo in fundus])
            far = (grid - fovea[:, None, None]).norm(dim=-1)[:, None]
            flat = torch.zeros_like(far)
            return SameForAll(torch.cat([300 - 60 * (-far / 0.1).exp(), flat + 30, flat + 26, flat], 1))

        def distance_um(self, first, last):
            distance_um = self.median_um[:, first] - self.median_um[:, last]
            return distance_um, torch.full_like(distance_um, 10.0)

    own, *_ = surface_answers("same", SameForAll(), None, 0)
    for batch in eyes.batches():
        here, there = own.give(batch), shuffled(own, eyes.photo_of_another).give(batch)
        thickness = [(given.surfaces.rpe_um - given.surfaces.ilm_um) for given in (here, there)]
        # Only the scale of a photo is left, which differs by some percent; foveas lie 0.03 apart.
        assert (thickness[0] - thickness[1]).abs().max() < 3


def test_noise_off_is_the_model_without_noise(tiny_checkpoint, eyes):
    model = load_model(tiny_checkpoint)
    batch = next(eyes.batches())
    with torch.inference_mode():
        right, silent, shuffled = (
            one.give(batch).aligned for one in model_answers({"m": model}, eyes.photo_of_another, 0)
        )
        expected = model(batch["fundus"], batch["grid"], 32, rng=NoNoise())
    torch.testing.assert_close(silent, expected)
    assert not torch.equal(right, silent) and not torch.equal(right, shuffled)


class Surfacer:
    """Predicts one and the same surfaces, and dark tissue."""

    median_um = torch.tensor([300.0, 30.0, 26.0, 0.0]).view(1, 4, 1, 1).expand(2, -1, 6, 48)

    def surfaces(self, fundus, grid):
        return self

    def distance_um(self, first, last):
        heights = self.median_um
        return heights[:, first] - heights[:, last], torch.full((2, 6, 48), 10.0)

    heights_um = median_um
    image = torch.full((2, 1, 6, 32, 48), 0.25)

    def anatomy(self, fundus, grid, spacing_z_mm):
        return self


def test_a_surface_model_answers_by_surfaces_and_by_borrowed_tissue(datamodule):
    loader = FundusOCTDataModule(str(datamodule.path), test_fraction=0.4, batch_size=2)
    loader.setup()
    batch = next(HeldOutEyes(loader, CPU).batches())
    training = TrainingEyes(datamodule, CPU)
    surfaces, retrieved, borrowed = surface_answers("m", Surfacer(), training, 0)
    given = surfaces.give(batch)
    torch.testing.assert_close(given.surfaces.thickness_um, torch.full((2, 6, 48), 274.0), atol=1e-2, rtol=0)
    torch.testing.assert_close(
        given.interval_um.diff(dim=1)[:, 0], torch.full((2, 6, 48), 25.632), atol=1e-2, rtol=0
    )
    for answer in (retrieved, borrowed):
        drawn = answer.give(batch)
        assert drawn.volume.shape == batch["volume"].shape and answer.as_set
        found = find_surfaces(drawn.volume, batch["spacing_z_mm"], batch["spacing_x_mm"])
        # Rows of 60 um: the search sees the surfaces where they were put, to about half a row.
        assert (found.thickness_um - 274).abs().nanmedian() < 45
    assert [one.name for one in surface_answers("m", Surfacer(), None, 0)] == [surfaces.name]


class SpeltOtherwise:
    """The same eyes; the letters of their diagnoses that were small are capital, and the other way round."""

    def __init__(self, eyes):
        self._eyes = eyes

    def __getattr__(self, name):
        return getattr(self._eyes, name)

    def batches(self):
        for batch in self._eyes.batches():
            yield batch | {"diagnosis": [one.swapcase() for one in batch["diagnosis"]]}


def test_sets_are_compared_over_all_eyes(eyes):
    def fence(batch):
        drawn = torch.linspace(0, 1, 48).expand_as(batch["aligned"]).contiguous()
        return Given.placed(drawn, batch)

    answers = [rescan(), Answer("fence", fence)]
    found = compare(SpeltOtherwise(eyes), answers, Distances([]), Here())
    assert found.sets["fence"]["deep/in_common"] == pytest.approx(1, abs=1e-4)
    assert abs(found.sets[REAL]["deep/in_common"]) < 0.2
    lifted = [eye for eye in found.eyes["fence"] if {"ped", "DRUSEN"} & set(eye["diagnosis"].split("+"))]
    assert lifted and found.sets["floor: rescan"]["epithelium/correlation"] > 0.8
    assert [row["key"] for row in found.eyes["fence"]] == list(eyes.keys)
    assert "epithelium/correlation" in found.sets["fence"]
    rows, parts = found.eyes["floor: rescan"], ("n", "a", "b", "aa", "bb", "ab")
    sums = [[row[f"sums/height/{part}"] for part in parts] for row in rows if "sums/height/n" in row]
    assert len(sums) == len(lifted)
    n, a, b, aa, bb, ab = np.sum(sums, 0)
    pooled = (ab - a * b / n) / math.sqrt((aa - a * a / n) * (bb - b * b / n))
    assert found.sets["floor: rescan"]["epithelium/correlation"] == pytest.approx(pooled, abs=1e-5)
    assert not any(name.startswith("sums/") for name in found.summary()["floor: rescan"])


def test_work_here_and_in_processes_is_the_same(monkeypatch):
    monkeypatch.setattr(processes, "n_cores", lambda: 2)  # on one core nothing is started
    tensors = [torch.full((2,), float(number)) for number in range(40)]
    with processes_beside(3) as here:
        assert isinstance(here, Here)
        assert here.submit(math.sqrt, 4.0).result() == 2.0
        with pytest.raises(ValueError, match="math domain"):
            here.submit(math.sqrt, -1.0).result()
        assert submit_by_value(here, torch.sum, tensors[3]).result().item() == 6.0
    with processes_beside(16) as beside:
        assert not isinstance(beside, Here)
        assert list(beside.map(math.sqrt, [1.0, 9.0])) == [1.0, 3.0]
        waiting = [submit_by_value(beside, torch.sum, each) for each in tensors]
        assert [future.result().item() for future in waiting] == [2.0 * number for number in range(40)]
    # Sent by value, so that none of them holds a file descriptor.
    assert not any(each.is_shared() for each in tensors)


@pytest.mark.parametrize(
    ("cores", "eye_bytes", "expected"), [(2, 10**6, 8), (32, 10**6, 128), (32, 10**9, 18), (8, 10**9, 6)]
)
def test_few_large_eyes_wait_and_many_small_ones(monkeypatch, cores, eye_bytes, expected):
    monkeypatch.setattr(processes, "n_cores", lambda: cores)
    assert processes.most_waiting(eye_bytes) == expected
