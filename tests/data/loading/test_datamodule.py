import logging
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DistributedSampler

from fund2oct.data import (
    DataError,
    EyeWriter,
    FundusOCTDataModule,
    UnpairedDataModule,
)
from fund2oct.data.loading.sampler import EvaluationSampler, TrainSampler, even_batch_size
from fund2oct.data.store.patients import hashed_patient
from fund2oct.geometry import RadialScan


def assert_same_batches(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.keys() == b.keys()
        for name in b:
            assert torch.equal(a[name], b[name]) if isinstance(b[name], torch.Tensor) else a[name] == b[name]


def patients_of(dataset) -> set[str]:
    return {f"patient{int(key[3:]) // 2}" for key in dataset.keys}


def test_batches_have_the_shapes_of_the_contract(make_file):
    data = FundusOCTDataModule(str(make_file(20)), batch_size=3)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert {name: tuple(value.shape) for name, value in batch.items() if isinstance(value, torch.Tensor)} == {
        "fundus": (3, 3, 16, 16),
        "volume": (3, 1, 6, 8, 10),
        "rescan": (3, 1, 6, 8, 10),
        "grid": (3, 6, 10, 2),
        "pose_um": (3, 6, 7),
        "surfaces_um": (3, 4, 6, 10),
        "surface_confidence": (3, 6, 10),
        "spacing_z_mm": (3,),
        "spacing_x_mm": (3,),
        "boundaries_um": (3, 11, 6, 10),
    }
    assert all(v.dtype == torch.float32 for v in batch.values() if isinstance(v, torch.Tensor))
    assert all(isinstance(text, str) for name in ("key", "laterality", "diagnosis") for text in batch[name])
    assert (data.shape, data.fundus_px, data.scan) == ((6, 8, 10), 16, RadialScan())
    assert data.poses().shape == (len(data.train_dataset), 6, 7)


def test_a_path_is_as_good_as_its_text(make_file, tmp_path):
    one, other = make_file(20), tmp_path / "other.h5"
    other.write_bytes(one.read_bytes())
    for given, text in (
        (one, str(one)),
        ([one], [str(one)]),
        ((str(one),), [str(one)]),
    ):
        data, wanted = FundusOCTDataModule(given, batch_size=3), FundusOCTDataModule(text, batch_size=3)
        data.setup()
        # A checkpoint holds what was seen, and reads plain values alone.
        assert data.path == text and data.seen() == wanted.seen() and type(data.seen().path) is str
        assert_same_batches([*data.train_dataloader()], [*wanted.train_dataloader()])
    with pytest.raises(ValueError, match="a positive number for each of 1 paths, found"):
        FundusOCTDataModule(one, weights=[1.0, 2.0])
    mixed = FundusOCTDataModule([one, other], weights=[1.0, 2.0])
    assert mixed.path == [str(one), str(other)]
    sides = UnpairedDataModule({"path": one}, {"path": [one]})
    sides.setup()
    assert sides.seen().path == str(one)


def test_splits_part_patients_and_lose_no_eye(make_file):
    data = FundusOCTDataModule(str(make_file(60)), val_fraction=0.2, test_fraction=0.2)
    data.setup()
    parts = [patients_of(d) for d in (data.train_dataset, data.val_dataset, data.test_dataset)]
    assert all(parts)
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert sum(len(d) for d in (data.train_dataset, data.val_dataset, data.test_dataset)) == 60


def test_a_patient_of_two_files_is_in_one_part_by_name_and_by_hash(tmp_path, make_eye, make_file):
    with EyeWriter(tmp_path / "scanner.h5") as writer:
        for number in range(40):
            patient = hashed_patient(f"patient{number // 2}", "")
            writer.add(make_eye(number, key=f"oct{number:02d}", patient=patient))
    paths = [str(make_file(40)), str(tmp_path / "scanner.h5")]
    data = FundusOCTDataModule(paths, val_fraction=0.2, test_fraction=0.2)
    data.setup()
    parts = [patients_of(d) for d in (data.train_dataset, data.val_dataset, data.test_dataset)]
    assert all(parts) and sum(map(len, parts)) == 20


def test_evaluation_sees_every_eye_once_and_as_it_is(make_file):
    data = FundusOCTDataModule(str(make_file(60)), val_fraction=0.3, symmetries="all", photometric=1.0)
    keys = [key for batch in data.val_dataloader() for key in batch["key"]]
    assert keys == list(data.val_dataset.keys)
    volumes = torch.cat([batch["volume"] for batch in data.val_dataloader()])
    assert torch.equal(volumes[0], data.val_dataset[0]["volume"])


def test_workers_do_not_change_the_batches(make_file):
    options = {"path": str(make_file(16)), "symmetries": "all", "photometric": 0.5}
    state = torch.random.get_rng_state()
    batches = []
    for workers in (0, 2):
        loader = FundusOCTDataModule(num_workers=workers, **options).train_dataloader()
        batches.append([])
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            batches[-1] += list(loader)
    assert_same_batches(*batches)
    assert torch.equal(state, torch.random.get_rng_state())


def test_each_epoch_has_its_own_order_and_draws(make_file):
    loader = FundusOCTDataModule(str(make_file(16)), symmetries="all").train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        epochs.append(list(loader))
    assert_same_batches(epochs[0], epochs[2])
    assert [b["key"] for b in epochs[0]] != [b["key"] for b in epochs[1]]
    first, second = (
        {k: v for b in e for k, v in zip(b["key"], b["volume"], strict=True)} for e in epochs[:2]
    )
    assert any(not torch.equal(first[key], second[key]) for key in first.keys() & second.keys())


def test_a_last_smaller_batch_is_left_out_unless_it_is_the_only_one(make_file):
    data = FundusOCTDataModule(str(make_file(20)), batch_size=3)
    assert len(data.train_dataset) == 16
    assert [len(batch["key"]) for batch in data.train_dataloader()] == [3] * 5
    data = FundusOCTDataModule(str(make_file(2)), batch_size=3)
    assert [len(batch["key"]) for batch in data.train_dataloader()] == [2]


def test_two_eyes_are_enough_to_try_a_run(make_file):
    with pytest.warns(
        UserWarning, match="expected at least 3 patients to split, found 1: .* scores say nothing"
    ):
        data = FundusOCTDataModule(str(make_file(2)))
        data.setup("fit")
    assert len(data.train_dataset) == len(data.val_dataset) == len(data.test_dataset) == 2


# --- parts as they are given ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            {"train": ["eye00"], "valid": ["eye02"]},
            "split: expected the parts train, val, test, found 'valid'",
        ),
        (
            {"train": ["eye00", "eye0"], "val": ["ey"]},
            "eyes.h5: split names 2 eyes that are not there: eye0, ey",
        ),
    ],
)
def test_a_split_that_cannot_be_is_refused(split, message, make_file):
    with pytest.raises(DataError, match=message):
        FundusOCTDataModule(str(make_file(6)), split=split).prepare_data()


def test_a_part_that_a_split_leaves_empty_is_named_by_it(make_file):
    data = FundusOCTDataModule(str(make_file(6)), split={"train": ["eye00"]})
    for loader in (data.val_dataloader, data.test_dataloader):
        with pytest.raises(DataError, match=r"no eyes to (val|test); split names none that can be used"):
            loader()


def test_patients_in_two_parts_of_a_split_are_warned_of(make_file, make_eye):
    path = make_file(6)
    split = {"train": ["eye00", "eye02", "eye03"], "val": ["eye04"], "test": ["eye01"]}
    with pytest.warns(UserWarning, match=r"2 eyes are of patients who are in two parts .*\(eye00, eye01\)"):
        FundusOCTDataModule(str(path), split=split).setup()


def test_a_photo_of_two_patients_in_two_parts_is_warned_of(tmp_path, make_eye, recwarn):
    path = tmp_path / "eyes.h5"
    with EyeWriter(path) as writer:
        for number in range(8):  # the fifth photo was taken for another patient once more
            photo = make_eye(4 if number == 7 else number).fundus
            writer.add(make_eye(number, fundus=photo, sha256="", patient=f"patient{number}"))

    def split(test):
        train = [f"eye{number:02d}" for number in range(6)]
        FundusOCTDataModule(str(path), split={"train": train, "test": test}).setup()

    split(["eye06"])
    assert not [one for one in recwarn if "photo" in str(one.message)]
    with pytest.warns(UserWarning, match=r"2 eyes have photos .* different patients \(eye04, eye07\)"):
        split(["eye06", "eye07"])


def test_photos_without_a_volume_are_left_out_and_counted(tmp_path, make_eye, caplog):
    nothing = dict.fromkeys(("volume", "rescan", "lesions", "boundaries_um", "pose_um", "surfaces_um"))
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        for number in range(8):
            writer.add(make_eye(number, **(nothing if number == 3 else {})))
    data = FundusOCTDataModule(str(tmp_path / "eyes.h5"))
    with caplog.at_level(logging.INFO):
        data.setup()
    assert "1 eyes without a photo or a volume are left out" in caplog.text
    assert sum(len(d) for d in (data.train_dataset, data.val_dataset, data.test_dataset)) == 7


def test_bad_files_and_arguments(tmp_path, make_file, make_eye):
    with pytest.raises(
        DataError, match=r"data/none.h5: no such file; `fund2oct simulate data/none.h5 --eyes 600`"
    ):
        FundusOCTDataModule("data/none.h5").prepare_data()
    with pytest.raises(ValueError, match=r"batch_size, .*, seed: expected .* found 0, 200, 0 and 0"):
        FundusOCTDataModule("x.h5", batch_size=0)
    with pytest.raises(ValueError, match="val_fraction above 0"):
        FundusOCTDataModule(str(make_file(6)), val_fraction=0).setup()
    with pytest.raises(DataError, match="there are no eyes to test; raise test_fraction"):
        FundusOCTDataModule(str(make_file(6)), test_fraction=0).test_dataloader()
    with pytest.raises(ValueError, match="symmetries: expected"):
        FundusOCTDataModule(str(make_file(6)), symmetries="rotations").setup()  # type: ignore[arg-type]
    nothing = dict.fromkeys(("volume", "rescan", "lesions", "boundaries_um", "pose_um", "surfaces_um"))
    with pytest.raises(DataError, match="expected eyes with a photo and a volume, found none in 2"):
        FundusOCTDataModule(str(make_file(2, **nothing))).setup()
    with pytest.raises(DataError, match=r"eye 'eye0.': expected its pose and surfaces .* `fund2oct surfaces"):
        FundusOCTDataModule(str(make_file(6, pose_um=None, surfaces_um=None))).setup()


class Recorder(pl.LightningModule):
    """Trains nothing and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[Any, ...]] = []

    def training_step(self, batch: dict[str, Any]) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch["key"], batch["volume"].sum((1, 2, 3)).tolist()))
        return self.weight.sum()

    def validation_step(self, batch: dict[str, Any]) -> None:
        self.seen.append(("val", batch["key"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(tmp_path, **options) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, num_sanity_val_steps=0, **options,
    )  # fmt: skip


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(make_file, tmp_path):
    path = str(make_file(16))
    whole, first, rest = Recorder(), Recorder(), Recorder()
    trainer(tmp_path, max_epochs=3).fit(whole, datamodule=FundusOCTDataModule(path, symmetries="all"))
    start = trainer(tmp_path, max_epochs=1)
    start.fit(first, datamodule=FundusOCTDataModule(path, symmetries="all"))
    start.save_checkpoint(tmp_path / "one.ckpt")
    trainer(tmp_path, max_epochs=3).fit(
        rest, datamodule=FundusOCTDataModule(path, symmetries="all"), ckpt_path=tmp_path / "one.ckpt"
    )
    assert first.seen + rest.seen == whole.seen
    assert len({str(seen[1:]) for seen in whole.seen if seen[0] != "val"}) > 3


def test_two_processes_share_the_eyes(make_file):
    dataset = FundusOCTDataModule(str(make_file(21)), batch_size=2).train_dataset
    n_eyes = len(dataset)
    train = [TrainSampler(dataset, rank, 2, even=False) for rank in (0, 1)]
    # Lightning puts its own sampler in the place of every other kind.
    assert all(isinstance(sampler, DistributedSampler) for sampler in train)
    draws = [[draw.index for draw in sampler] for sampler in train]
    assert sorted(draws[0] + draws[1]) == list(range(n_eyes))
    assert [len(sampler) for sampler in train] == [(n_eyes + 1) // 2, n_eyes // 2]
    even = [list(TrainSampler(dataset, rank, 2)) for rank in (0, 1)]
    assert len(even[0]) == len(even[1]) == n_eyes // 2
    assert not set(even[0]) & set(even[1])
    evaluation = [EvaluationSampler(dataset, rank, 2) for rank in (0, 1)]
    assert sorted([*evaluation[0], *evaluation[1]]) == list(range(n_eyes))
    assert [len(sampler) for sampler in evaluation] == [(n_eyes + 1) // 2, n_eyes // 2]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 16])
def test_each_process_has_as_many_batches(world_size, batch_size):
    for n_eyes in range(world_size, 70):
        size = even_batch_size(n_eyes, world_size, batch_size)
        shares = [len(range(rank, n_eyes, world_size)) for rank in range(world_size)]
        assert len({-(-share // size) for share in shares}) == 1
        if world_size == 1:
            assert size == batch_size


def test_more_processes_than_eyes():
    with pytest.raises(DataError, match="1 eyes cannot be shared by 2 processes; use fewer devices"):
        even_batch_size(1, 2, 4)
