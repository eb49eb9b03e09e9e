"""Diagnoses in equal shares: of an epoch, within files, and in several processes."""

from collections import Counter

import pytest

from fund2oct.data import DataError, EyeReader, EyeWriter, FundusOCTDataModule
from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.loading.order import EpochOrder, mixed_order
from fund2oct.data.loading.sampler import TrainSampler

DIAGNOSES = ["normal"] * 14 + ["PED"] * 3 + ["PED+GA"] + [""] * 2
"""Twenty eyes; the one of two diagnoses counts as the rarer of them."""
CLASSES = [diagnosis.replace("PED+GA", "GA") for diagnosis in DIAGNOSES]


@pytest.fixture
def path(tmp_path, make_eye):
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        for number, diagnosis in enumerate(DIAGNOSES):
            writer.add(make_eye(number, diagnosis=diagnosis, patient=f"p{number}"))
    return tmp_path / "eyes.h5"


def shown(draws):
    return Counter(CLASSES[draw.index] for draw in draws)


def test_every_diagnosis_is_shown_equally_often(path):
    order = mixed_order(EyeIndex.read(EyeReader(path)), str(path), None, "diagnosis", seed=1)
    for epoch in range(3):
        assert shown(order.draws(epoch)) == {"normal": 5, "PED": 5, "GA": 5, "": 5}
    # Of the frequent ones each epoch shows others, until all were there.
    normal = Counter(d.index for epoch in range(14) for d in order.draws(epoch) if d.index < 14)
    assert set(normal.values()) == {5} and len(normal) == 14
    # An eye that comes again in an epoch is augmented anew.
    rare = [draw.repeat for draw in order.draws(0) if CLASSES[draw.index] == "GA"]
    assert sorted(rare) == [0, 1, 2, 3, 4]


def test_a_diagnosis_is_one_however_it_is_written(tmp_path, make_eye):
    with EyeWriter(tmp_path / "free.h5") as writer:
        for number, diagnosis in enumerate(["normal", "Normal", "PED + GA", "ped+SRF", "PED", " GA"]):
            writer.add(make_eye(number, diagnosis=diagnosis, patient=f"p{number}"))
    index = EyeIndex.read(EyeReader(tmp_path / "free.h5"))
    order = mixed_order(index, str(tmp_path / "free.h5"), None, "diagnosis", seed=1)
    assert sorted(order.groups) == [(0, 1), (2, 5), (3,), (4,)]


def test_a_rare_diagnosis_that_is_shown_very_often_is_told(tmp_path, make_eye, caplog):
    with EyeWriter(tmp_path / "rare.h5") as writer:
        for number in range(30):
            writer.add(make_eye(number, diagnosis="normal" if number else "SRF", patient=f"p{number}"))
    index = EyeIndex.read(EyeReader(tmp_path / "rare.h5"))
    with (
        caplog.at_level("INFO"),
        pytest.warns(UserWarning, match=r"each eye of SRF \(1\) is shown more than"),
    ):
        mixed_order(index, str(tmp_path / "rare.h5"), None, "diagnosis", seed=1)
    assert "balance: an epoch shows SRF 15 times (of 1), normal 15 times (of 29)" in caplog.text


def test_two_processes_share_a_balanced_epoch_by_its_number(path):
    data = FundusOCTDataModule(
        str(path), balance="diagnosis", split={"train": [f"eye{n:02d}" for n in range(20)]}
    )
    samplers = [TrainSampler(data.train_dataset, rank, world_size=2) for rank in range(2)]
    epochs = []
    for epoch in range(3):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        parts = [list(sampler) for sampler in samplers]
        assert [len(part) for part in parts] == [10, 10]
        assert not {draw.position for draw in parts[0]} & {draw.position for draw in parts[1]}
        assert shown(parts[0] + parts[1]) == {"normal": 5, "PED": 5, "GA": 5, "": 5}
        epochs.append(parts)
    assert epochs[0] != epochs[1] != epochs[2]
    samplers[0].set_epoch(1)
    assert list(samplers[0]) == epochs[1][0]


def test_files_keep_their_weights_and_are_balanced_within(path, tmp_path, make_eye):
    with EyeWriter(tmp_path / "more.h5") as writer:
        for number in range(4):
            writer.add(make_eye(number, key=f"more{number}", diagnosis=["SRF", "GA"][number % 2]))
    paths = [str(path), str(tmp_path / "more.h5")]
    index = EyeIndex.read(EyeReader(paths))
    order = mixed_order(index, paths, [1, 2], "diagnosis", seed=0)
    found = Counter((index.keys[d.index][:4] == "more", index.diagnoses[d.index]) for d in order.draws(0))
    assert sum(found[True, name] for name in ("SRF", "GA")) == 16 and found[True, "SRF"] == found[True, "GA"]
    assert found[False, "normal"] == found[False, "PED"] == found[False, ""] == found[False, "PED+GA"] == 2


def test_without_it_an_epoch_is_what_it_was(path):
    data = FundusOCTDataModule(str(path), seed=4)
    assert data.train_dataset.order == EpochOrder((range(len(data.train_dataset)),), seed=4)


def test_what_cannot_be_balanced(make_file):
    with pytest.raises(ValueError, match=r"balance: expected diagnosis or nothing, found 'age'"):
        FundusOCTDataModule("eyes.h5", balance="age")
    data = FundusOCTDataModule(str(make_file(6, diagnosis="")), balance="diagnosis")
    with pytest.raises(
        DataError, match=r"balance: none of \d training eyes has a diagnosis; leave balance out"
    ):
        data.setup()
