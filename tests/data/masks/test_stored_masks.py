"""Masks of a file of eyes in the batches of a training."""

import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from fund2oct.data import DataError, Eye, EyeReader, EyeWriter, FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.loading.order import Draw
from fund2oct.data.masks.stored import OTHER_ENTRIES, masks_of
from fund2oct.eye import problems
from fund2oct.models import Batch

H = 16


def with_masks(eye, *names):
    """An eye whose masks are the green of its photo, and its blue."""
    channels = np.moveaxis(eye.fundus[..., 1:], -1, 0)[: len(names)]
    return replace(eye, masks=np.ascontiguousarray(channels), mask_names=names)


@pytest.fixture
def path(tmp_path, make_eye):
    """Of twelve eyes three have a mask of the disc, one has two masks, and all have labels of lesions."""
    drawn = {0: ("disc",), 3: ("lesion", "disc"), 5: ("disc",)}
    with EyeWriter(tmp_path / "masks.h5") as writer:
        for number in range(12):
            eye = make_eye(number)
            writer.add(with_masks(eye, *drawn[number]) if number in drawn else eye)
    return str(tmp_path / "masks.h5")


def test_masks_are_stored_with_their_names(path, make_eye):
    with EyeReader(path) as reader:
        eye = reader.read("eye03")
        assert eye.mask_names == ("lesion", "disc") and eye.masks.shape == (2, H, H)
        assert np.array_equal(eye.masks, with_masks(make_eye(3), "lesion", "disc").masks)
        assert reader.read("eye03", skip=["masks"]).mask_names == ()
        assert reader.read("eye01").masks is None
    with h5py.File(path) as file:
        records = [bytes(file["eyes"][key].attrs["record"]) for key in ("eye01", "eye03")]
    # What has no masks is stored as before there were any, to the last byte.
    assert [b"mask_names" in record for record in records] == [False, True]


def test_a_mask_of_ones_is_no_faint_one(make_eye):
    eye = with_masks(make_eye(), "disc")
    disc, faint = np.zeros((2, 1, H, H), np.uint8)
    disc[0, :9, :9] = 1
    faint[0, 3, 3] = 1
    assert problems(replace(eye, masks=disc)) == [
        "masks: disc: expected 0 outside and 255 inside, found 1 inside"
    ]
    assert problems(replace(eye, masks=faint)) == problems(replace(eye, masks=255 * disc)) == []


def test_each_mask_of_a_photo_has_a_name_of_its_own(make_eye):
    eye = with_masks(make_eye(), "disc", "cup")
    assert problems(eye) == []
    for changes in (
        {"mask_names": ("disc",)}, {"mask_names": ("disc", "disc")}, {"mask_names": ()}, {"masks": None},
        {"fundus": None, "lesion_fundus": None}, {"mask_names": ("disc", "cup,disc")},
    ):  # fmt: skip
        assert [line[:11] for line in problems(replace(eye, **changes))] == ["mask_names:"]


def test_a_batch_holds_the_masks_that_are_asked_for(path):
    dataset = FundusOCTDataset(path, masks=["disc", "lesion"])
    batch = default_collate([dataset[number] for number in range(12)])
    known = [0, 3, 5]
    green, blue = batch["fundus"][:, 1:2], batch["fundus"][:, 2:]
    assert batch["disc"].shape == (12, 1, H, H) and "masks_known" not in batch and "masks" not in batch
    assert torch.equal(batch["disc"][[0, 5]], green[[0, 5]]) and torch.equal(batch["disc"][3], blue[3])
    assert batch["disc"][[n for n in range(12) if n not in known]].isnan().all()
    # The labels of the simulation stand for a mask that nobody drew.
    assert torch.equal(batch["lesion"][3], green[3])
    with EyeReader(path) as reader:
        labels = torch.from_numpy(reader.read("eye07").lesion_fundus)
    assert torch.equal(batch["lesion"][7, 0], (labels > 0).float())
    assert "disc" not in FundusOCTDataset(path)[0]


@pytest.mark.parametrize("photo_maps", [0.0, 1.0])
def test_masks_move_with_the_photo_and_keep_their_values(path, photo_maps):
    def darker(pictures, rng):
        assert set(pictures) == {"fundus", "volume"}
        return {}

    moved = {"symmetries": "all", "photo_maps": photo_maps, "transform": darker}
    dataset = FundusOCTDataset(path, masks=["disc"], **moved)
    samples = [dataset[Draw(0, epoch=epoch)] for epoch in range(20)]
    assert all(torch.equal(one["disc"], one["fundus"][1:2]) for one in samples)
    # The star has 24 symmetries.
    assert len({one["disc"].numpy().tobytes() for one in samples}) > (19 if photo_maps else 8)
    # Without masks the photo is the same.
    alone = FundusOCTDataset(path, **moved)
    for epoch, sample in enumerate(samples):
        assert torch.allclose(alone[Draw(0, epoch)]["fundus"], sample["fundus"], rtol=0, atol=1e-6)
    lit = FundusOCTDataset(path, masks=["disc"], photometric=1.0)[Draw(0, epoch=1)]
    assert torch.equal(lit["disc"], dataset[0]["disc"]) and not torch.equal(lit["disc"], lit["fundus"][1:2])


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_datamodule_reads_masks_of_photos_of_any_size(tmp_path, make_eye, n_workers):
    with EyeWriter(tmp_path / "wide.h5") as writer:
        for number in range(12):
            eye = make_eye(number)
            if number % 2:
                wide = np.repeat(np.repeat(eye.fundus, 2, 0), 2, 1)
                eye = replace(eye, fundus=wide, lesion_fundus=None)
            writer.add(with_masks(eye, "disc") if number % 5 else eye)
    data = FundusOCTDataModule(
        str(tmp_path / "wide.h5"), batch_size=3, fundus_px=H, masks=["disc"], num_workers=n_workers,
        photometric=0.0, photo_maps=1.0, symmetries="all", test_fraction=0.0,
    )  # fmt: skip
    data.setup()
    batches = list(data.train_dataloader())
    assert batches
    for batch in batches:
        known = torch.tensor([int(key[3:]) % 5 > 0 for key in batch["key"]])
        assert torch.allclose(batch["disc"][known], batch["fundus"][known, 1:2], atol=1e-6)
        assert batch["disc"][~known].isnan().all()


def test_bytes_of_masks_go_from_one_process_to_another(path):
    dataset = FundusOCTDataset(path, masks=["disc", "lesion"], symmetries="flips")
    raw = dataset.fetch([Draw(number, epoch=1) for number in (0, 3, 4)])
    here, there = dataset.finish(raw), dataset.finish(pickle.loads(pickle.dumps(raw)))
    for name in ("fundus", "disc", "lesion"):
        assert torch.equal(here[name].nan_to_num(-1), there[name].nan_to_num(-1))


def test_the_eye_that_takes_the_place_of_a_damaged_one_brings_its_own_masks(path):
    with h5py.File(path, "r+") as file:
        file["eyes/eye00/fundus"][0, 0] ^= 255
    dataset = FundusOCTDataset(path, masks=["disc"], on_corrupt="skip")
    sample = dataset[Draw(0, epoch=0)]
    assert sample["key"] != "eye00"
    own = dataset[dataset.keys.index(sample["key"])]["disc"]
    assert torch.equal(sample["disc"].nan_to_num(-1), own.nan_to_num(-1))


def test_the_photo_of_another_comes_with_its_own_masks(path):
    dataset = FundusOCTDataset(path, masks=["disc"])
    given = dataset.photo_under(0, 1)
    assert torch.equal(given["disc"], dataset[0]["disc"]) and torch.equal(given["grid"], dataset[1]["grid"])
    assert dataset.photo_under(1, 0)["disc"].isnan().all()
    assert torch.equal(dataset.photo(0), given["fundus"])


def test_an_eye_gives_its_masks_as_wide_as_its_photo(make_eye):
    eye = with_masks(make_eye(), "disc")
    masks = masks_of(eye)
    assert torch.equal(masks["disc"][0, 0], torch.from_numpy(eye.fundus[..., 1]) / 255)
    assert [*masks] == ["lesion", "disc"]
    assert masks_of(replace(eye, fundus=eye.fundus[:8, :8]))["disc"].shape == (1, 1, 8, 8)


def test_what_is_asked_for_is_there_or_refused(path, caplog):
    with pytest.raises(
        DataError, match=r"masks\.h5: masks: expected drusen in at least one .*: disc, lesion$"
    ):
        FundusOCTDataModule(path, masks=["drusen"]).setup()
    with pytest.raises(DataError, match=r"masks: vessels: expected from the file or drawn .* found both"):
        FundusOCTDataModule(path, masks=["vessels"], vessel_network="vessels.pt")
    with pytest.raises(DataError, match="masks: disc: lie on photos, found volumes alone; leave them out"):
        FundusOCTDataModule(path, masks=["disc"], content="volumes")
    with pytest.raises(DataError, match="mask lesions: names something else in a batch; choose another name"):
        FundusOCTDataModule(path, masks="lesions")
    data = FundusOCTDataModule(path, masks=["disc", "lesion"])
    with caplog.at_level("INFO"):
        data.setup()
    trained = data.train_dataset.keys
    n_discs = len({"eye00", "eye03", "eye05"} & {*trained})
    assert f"; masks of the training eyes: disc in {n_discs}, lesion in {len(trained)}\n" in caplog.text


def test_no_mask_has_the_name_of_another_entry():
    assert {*Batch.__annotations__} - OTHER_ENTRIES == {"vessels"}
    assert {name for name in Eye.__annotations__ if name.endswith("_um")} <= OTHER_ENTRIES
