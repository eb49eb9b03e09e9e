"""An augmentation of a user's own: what it is given, what it may change, and when it is asked."""

import numpy as np
import pytest

from fund2oct.data import FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.augmenting import own
from fund2oct.data.loading.order import Draw


def mark(pictures, rng):
    volume = pictures["volume"]
    volume[:, 0, 0] = int(rng.integers(1, 255))  # in place, of a copy: it is returned or nothing happens
    return {"fundus": np.full_like(pictures["fundus"], 200), "volume": volume}


def test_training_eyes_are_changed_and_others_are_not(tiny_eyes):
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, transform=mark, symmetries="none", photometric=0)
    data.setup()
    train, val = next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
    assert train["fundus"].eq(200 / 255).all() and not val["fundus"].eq(200 / 255).all()
    marks = train["volume"][:, 0, :, 0, 0]
    assert marks.eq(marks[:, :1]).all() and (marks > 0).all()


def test_its_random_numbers_belong_to_eye_and_epoch(tiny_eyes):
    dataset = FundusOCTDataset(tiny_eyes, transform=mark)
    drawn = {
        (epoch, index): float(dataset[Draw(index, epoch)]["volume"][0, 0, 0, 0])
        for epoch in (0, 1) for index in (0, 1)
    }  # fmt: skip
    assert len(set(drawn.values())) > 2
    again = FundusOCTDataset(tiny_eyes, transform=mark)
    assert float(again[Draw(1, 1)]["volume"][0, 0, 0, 0]) == drawn[1, 1]
    plain = FundusOCTDataset(tiny_eyes)
    assert (dataset[0]["fundus"] == plain[0]["fundus"]).all()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "expected the changed pictures by name, a dict, found NoneType"),
        ({"photo": 1}, "expected fundus and volume, found 'photo'"),
        ({"fundus": np.zeros((2, 2, 3), np.uint8)}, r"fundus: expected uint8 \(4, 4, 3\), found uint8 \(2"),
        ({"fundus": np.zeros((4, 4, 3))}, r"fundus: expected uint8 \(4, 4, 3\), found float64"),
    ],
)  # fmt: skip
def test_an_answer_of_another_kind_is_refused(answer, message):
    eye = {"fundus": np.ones((4, 4, 3), np.uint8), "volume": np.ones((2, 3, 5), np.uint8)}
    with pytest.raises(ValueError, match=f"transform: {message}"):
        own.apply_transform(lambda pictures, rng: answer, eye, np.random.default_rng(0))
    assert (eye["fundus"] == 1).all()


def test_its_import_path_is_checked_before_anything_is_read():
    with pytest.raises(ValueError, match=r"transform: 'my_.nothing': expected an importable"):
        FundusOCTDataModule("nowhere.h5", transform="my_.nothing")
    with pytest.raises(ValueError, match=r"transform: expected a function \(pictures, rng\), found float"):
        FundusOCTDataModule("nowhere.h5", transform="math.pi")
