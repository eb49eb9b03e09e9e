"""Bytes stream from the file to the batch: in any process, in one order, nothing lost or made up."""

import json
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from tiny_models import quick_trainer

from fund2oct.data import DataError, EyeReader, FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.loading.finish import RawBatch
from fund2oct.data.loading.order import Draw
from fund2oct.models import Task


def same(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name]) if isinstance(b[name], torch.Tensor) else a[name] == b[name]
        for name in b
    )


def epochs(data, n_epochs=2):
    loader = data.train_dataloader()
    batches = []
    for epoch in range(n_epochs):
        loader.sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


def damage(path, eye, name="volume"):
    """Change one byte of a stored picture, behind the library's back."""
    content = bytearray(path.read_bytes())
    content[content.index(getattr(eye, name).tobytes()) + 37] ^= 255
    path.write_bytes(content)


def test_a_worker_passes_bytes_that_become_the_same_batch(make_file, make_eye):
    dataset = FundusOCTDataset(make_file(4), symmetries="all", photometric=0.5)
    raw = dataset.fetch([0, 2])
    assert isinstance(raw, RawBatch)
    assert {name: (many.dtype, tuple(many.shape)) for name, many in raw.pictures.items()} == {
        "fundus": (torch.uint8, (2, 16, 16, 3)),
        "volume": (torch.uint8, (2, 6, 8, 10)),
        "rescan": (torch.uint8, (2, 6, 8, 10)),
    }
    np.testing.assert_array_equal(raw.pictures["volume"][1], make_eye(2).volume)
    draws = [Draw(1, 5), Draw(3, 5)]
    batch = dataset.finish(dataset.fetch(draws).to("cpu"))
    for row, draw in enumerate(draws):
        assert same({name: values[row] for name, values in batch.items()}, dataset[draw])


# A process that is not forked imports everything anew, so that those tests start one alone.
@pytest.mark.parametrize(
    ("start_method", "num_workers"),
    [
        ("fork", 2),
        pytest.param("spawn", 1, marks=pytest.mark.slow),
        pytest.param("forkserver", 1, marks=pytest.mark.slow),
    ],
)
def test_no_start_method_changes_the_batches(make_file, start_method, num_workers):
    path = str(make_file(16))
    options = {"path": path, "symmetries": "all", "photometric": 0.5}
    alone = epochs(FundusOCTDataModule(**options))
    data = FundusOCTDataModule(num_workers=num_workers, start_method=start_method, **options)
    assert all(map(same, epochs(data), alone))


def test_a_damaged_eye_stops_a_training_or_is_replaced_named_and_counted(make_file, make_eye):
    path = make_file(16)
    key = FundusOCTDataModule(str(path)).train_dataset.keys[3]
    number = int(key[3:])
    damage(path, make_eye(number))
    with pytest.raises(DataError, match=rf"eyes\.h5: eye '{key}'"):
        epochs(FundusOCTDataModule(str(path)))
    data = FundusOCTDataModule(str(path), on_corrupt="skip", batch_size=2)
    trainer = quiet_trainer(max_epochs=3)
    recorder = Recorder()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(recorder, datamodule=data)
    said = [str(one.message) for one in caught if "takes its place" in str(one.message)]
    assert len(said) == 1 and key in said[0]
    assert list(data.corrupt) == [key]
    n_eyes = len(data.train_dataset)
    for epoch in range(3):
        keys = [one for seen, batch, _ in recorder.seen for one in batch if seen == epoch]
        assert key not in keys and len(keys) == n_eyes - n_eyes % 2
    assert all(total > 1 for _, _, totals in recorder.seen for total in totals)  # nothing was left at zero


def test_where_no_eye_can_be_read_there_is_an_end(make_file, make_eye):
    path = make_file(3)
    for number in range(3):
        damage(path, make_eye(number))
    dataset = FundusOCTDataset(path, on_corrupt="skip")
    with pytest.raises(DataError, match="none of 3 eyes can be read; make the file again"):
        dataset.fetch([Draw(0, 0)])


def test_an_evaluation_never_replaces_an_eye(make_file, make_eye):
    path = make_file(60)
    data = FundusOCTDataModule(str(path), on_corrupt="skip", val_fraction=0.3)
    key = data.val_dataset.keys[0]
    damage(path, make_eye(int(key[3:])))
    with pytest.raises(DataError, match=key):
        list(data.val_dataloader())


def lose_the_record(path, key):
    """Put something else in the place of all that belongs to an eye."""
    with h5py.File(path, "r+") as file:
        del file[f"eyes/{key}"]
        file[f"eyes/{key}"] = 0


def warnings_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    return found, [str(one.message) for one in caught]


def test_a_training_begins_without_the_records_and_poses_that_are_damaged(make_file, make_eye):
    path = make_file(16)
    sound = FundusOCTDataModule(str(path))
    keys = sound.train_dataset.keys
    lost, without_pose = keys[3], keys[0]
    before = sound.seen()
    lose_the_record(path, lost)
    with pytest.raises(DataError, match=rf"eyes\.h5: eye '{lost}'"):
        FundusOCTDataModule(str(path)).setup()
    damage(path, make_eye(int(without_pose[3:])), "pose_um")
    data = FundusOCTDataModule(str(path), on_corrupt="skip")
    _, said = warnings_of(data.setup)
    task, more = warnings_of(lambda: Task.of(data, (6, 8, 10)))
    assert [lost in line for line in said if "is left out (1 so far)" in line] == [True]
    assert not [line for line in more if lost in line]  # that is told once
    assert [f"eye '{without_pose}'" in line for line in more if "pose_um" in line] == [True]
    there = [key for key in keys if key != lost]
    assert data.train_dataset.keys == tuple(there) and list(data.corrupt) == [lost]
    wanted = [make_eye(int(key[3:])).pose_um for key in there if key != without_pose]
    np.testing.assert_array_equal(warnings_of(data.poses)[0], np.stack(wanted))
    assert [name.key for name in task.seen.parts["train"]] == there
    assert task.seen.parts["test"] == before.parts["test"]
    # What was learned is not taken for what the sound file would have taught, and an evaluation is strict.
    assert task.seen.digest != before.digest
    with EyeReader(path) as reader, pytest.raises(DataError, match=rf"eyes\.h5: eye '{lost}'"):
        reader.digest()


def test_where_no_pose_can_be_read_there_is_an_end(make_file, make_eye):
    path = make_file(3)
    for number in range(3):
        damage(path, make_eye(number), "pose_um")
    dataset = FundusOCTDataset(path, on_corrupt="skip")
    with pytest.raises(DataError, match=r"eyes\.h5: eye 'eye02': pose_um: the checksum"):
        dataset.poses()


@pytest.mark.parametrize("part", ["val", "test"])
def test_an_eye_that_a_split_names_to_judge_is_never_left_out(part, make_file):
    split = {"train": ["eye00", "eye01"], "val": ["eye02", "eye03"], "test": ["eye04", "eye05"]}
    path = make_file(6)
    options = {"path": str(path), "split": split, "on_corrupt": "skip"}
    lose_the_record(path, "eye01")
    data = FundusOCTDataModule(**options)
    data.setup()
    assert data.train_dataset.keys == ("eye00",) and list(data.corrupt) == ["eye01"]
    lose_the_record(path, split[part][1])
    with pytest.raises(DataError, match=rf"eyes\.h5: eye '{split[part][1]}'"):
        FundusOCTDataModule(**options).setup()


class Recorder(pl.LightningModule):
    """Trains nothing and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch):
        self.seen.append((self.current_epoch, batch["key"], batch["volume"].sum((1, 2, 3, 4)).tolist()))
        return self.weight.sum()

    def configure_optimizers(self):
        assert self.trainer.estimated_stepping_batches > 0  # a schedule asks, and the loader is made for it
        return torch.optim.SGD(self.parameters(), 0.1)


class SaveAt(Callback):
    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def quiet_trainer(**options):
    return quick_trainer(num_sanity_val_steps=0, limit_val_batches=0, **options)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 0), (0, 2)])
def test_a_run_goes_on_in_the_middle_of_an_epoch(make_file, tmp_path, before, after):
    options = {"path": str(make_file(24)), "batch_size": 2, "symmetries": "all", "photometric": 0.3}
    whole, rest = Recorder(), Recorder()
    checkpoint = tmp_path / "middle.ckpt"
    n_batches = len(FundusOCTDataModule(**options).train_dataloader())
    step = n_batches + n_batches // 2  # in the middle of the second epoch
    quiet_trainer(max_epochs=3, callbacks=[SaveAt(step, checkpoint)]).fit(
        whole, datamodule=FundusOCTDataModule(num_workers=before, **options)
    )
    quiet_trainer(max_epochs=3).fit(
        rest, datamodule=FundusOCTDataModule(num_workers=after, **options), ckpt_path=checkpoint
    )
    assert len(whole.seen) == 3 * n_batches
    assert rest.seen == whole.seen[step:]


TWO_PROCESSES = """
import json, sys
import pytorch_lightning as pl
import torch
from fund2oct.data import FundusOCTDataModule

class Recorder(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch):
        self.seen.append([self.current_epoch, batch["key"]])
        return self.weight.sum()

    def validation_step(self, batch):
        self.seen.append(["val", batch["key"]])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def on_fit_end(self):
        with open(f"rank{self.global_rank}.json", "w") as file:
            json.dump(self.seen, file)

data = FundusOCTDataModule(sys.argv[1], batch_size=2, val_fraction=0.3, drop_last=False)
pl.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=3, check_val_every_n_epoch=3, logger=False,
    enable_progress_bar=False, enable_checkpointing=False, num_sanity_val_steps=0,
).fit(Recorder(), datamodule=data)
"""


@pytest.mark.slow
def test_two_processes_see_every_eye_exactly_once_an_epoch(make_file, tmp_path):
    path = make_file(33)
    (tmp_path / "run.py").write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, "run.py", str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    data = FundusOCTDataModule(str(path), val_fraction=0.3)
    seen = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    for epoch, wanted in ((0, data.train_dataset), (1, data.train_dataset), (2, data.train_dataset),
                          ("val", data.val_dataset)):  # fmt: skip
        parts = [[key for e, keys in rank if e == epoch for key in keys] for rank in seen]
        assert all(parts)
        assert sorted(parts[0] + parts[1]) == sorted(wanted.keys)
