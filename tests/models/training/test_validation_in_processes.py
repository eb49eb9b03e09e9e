"""Validation in processes, or on several loaders, is that of one, each real volume searched once."""

import contextlib
import logging
import pickle
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest
import torch
from tiny_models import quick_trainer
from torch.utils.data import DataLoader

from fund2oct import processes
from fund2oct.data import EyeReader, FundusOCTDataModule, FundusOCTDataset
from fund2oct.metrics import validation
from fund2oct.metrics.eyes import findings
from fund2oct.models import SurfaceModel, VoxelGAN, load_model
from fund2oct.models.pretraining import MaskedPhotos


class Elsewhere(Executor):
    """Threads that are given copies, as processes are, and are done in any order."""

    def __init__(self):
        self.threads, self.n_tasks = ThreadPoolExecutor(2), 0

    def submit(self, function, /, *args):
        assert all(isinstance(one, bytes) for one in args)  # tensors would take shared memory
        self.n_tasks += 1
        return self.threads.submit(pickle.loads(pickle.dumps(function)), *pickle.loads(pickle.dumps(args)))


def validated(model, path):
    data = FundusOCTDataModule(str(path), batch_size=2, val_fraction=0.25)
    trainer = quick_trainer()
    (found,) = trainer.validate(model, datamodule=data, verbose=False)
    return found, data


def test_values_are_those_of_one_process_and_real_volumes_are_searched_once(
    tiny_eyes, tiny_checkpoint, monkeypatch
):
    searched, search = [], findings.find_surfaces
    monkeypatch.setattr(findings, "find_surfaces", lambda *given: searched.append(1) or search(*given))
    elsewhere, asked = Elsewhere(), []

    @contextlib.contextmanager
    def beside(n_tasks, n_alike):
        asked.append((n_tasks, n_alike))
        yield elsewhere

    monkeypatch.setattr(validation, "processes_beside", beside)
    model = load_model(tiny_checkpoint)
    here, data = validated(model, tiny_eyes)
    n_eyes = len(data.val_dataset)
    assert n_eyes > 2 and len(searched) == 2 * n_eyes
    assert validated(model, tiny_eyes)[0] == pytest.approx(here, rel=1e-6, nan_ok=True)
    assert len(searched) == 3 * n_eyes  # of the real ones, none
    assert not asked  # for so little work no process is started
    monkeypatch.setattr(validation, "_WORTH_S", 0.0)
    model = load_model(tiny_checkpoint)  # knows no surface of any eye
    assert validated(model, tiny_eyes)[0] == pytest.approx(here, rel=0, nan_ok=True)
    assert elsewhere.n_tasks == n_eyes and asked == [(n_eyes + n_eyes % 2, 1)]


def test_some_eyes_are_validated_on_of_as_many_patients_as_can_be(tiny_eyes, caplog):
    data, few = (FundusOCTDataModule(str(tiny_eyes), val_fraction=0.4, n_validation_eyes=n) for n in (200, 3))
    with caplog.at_level(logging.INFO):
        few.setup()
    whole, kept = data.val_dataset, few.val_dataset
    assert len(whole) > 4 and len(kept) == 3 and set(kept.keys) < set(whole.keys)
    assert f"to validate on 3 of {len(whole)}, " in caplog.text
    patients = dict(zip(whole._index.keys, whole._index.patients, strict=True))
    assert len({patients[key] for key in kept.keys}) == 3
    # All of the part are kept from the training, and said to be so.
    assert few.seen().parts == data.seen().parts
    with pytest.raises(ValueError, match="n_validation_eyes"):
        FundusOCTDataModule(str(tiny_eyes), n_validation_eyes=0)


def test_a_part_that_an_evaluation_does_not_have_is_not_counted(tiny_eyes, caplog):
    one, two, other = EyeReader(tiny_eyes).keys[:3]
    data = FundusOCTDataModule(str(tiny_eyes), split={"train": [one, two], "val": [], "test": [other]})
    with caplog.at_level(logging.INFO):
        data.setup()
    assert "2 eyes to train, 1 to test" in caplog.text and "validate" not in caplog.text


class OnlyWhenAsked(Executor):
    """Measures nothing before its result is asked for, as a process that is far behind."""

    _max_workers = 3

    def __init__(self):
        self.n_waiting = self.most_waiting = 0

    def submit(self, function, /, *args):
        self.n_waiting += 1
        self.most_waiting = max(self.most_waiting, self.n_waiting)
        future = Future()
        future.result = lambda: self._done(function, args)
        return future

    def _done(self, function, args):
        self.n_waiting -= 1
        return function(*args)


def a_quarter(eye, found):
    return dict.fromkeys(validation.LOGGED, torch.tensor([0.25])), None


def test_few_eyes_wait_to_be_measured_however_large_a_batch_is(monkeypatch):
    pool = OnlyWhenAsked()
    monkeypatch.setattr(validation, "processes_beside", lambda *_: contextlib.nullcontext(pool))
    monkeypatch.setattr(validation, "_measure", a_quarter)
    metrics = validation.ValidationMetrics()
    metrics.start(n_eyes=10**6, n_voxels=10**6)
    volume = torch.rand(20, 1, 2, 32, 48)
    metrics.update(volume, volume, volume, volume, volume > 0, 0.02, 0.1)
    assert pool.most_waiting == 2 * 3 + 2  # two for each process, and one that is just handed over
    assert pool.n_waiting == 2 * 3 + 1
    metrics.finish()
    assert pool.n_waiting == 0
    assert metrics.named()["aligned/l1"].compute().item() == 0.25
    assert metrics.means["aligned/l1"].total.item() == 20 * 0.25


@pytest.mark.parametrize(
    "n_tasks, per_task, n_mine, n_alike, n_used",
    [
        ("4", "8", 8, 4, 5),  # the launcher gave each task its cores: half of them and one more
        ("4", "8", 32, 4, 5),  # all tasks may use those of the job
        ("1", "32", 32, 4, 5),  # a session in which Lightning starts the processes
        ("", "", 32, 4, 5),
        ("1", "8", 8, 1, 5),
    ],
)
def test_cores_are_shared_once(monkeypatch, n_tasks, per_task, n_mine, n_alike, n_used):
    monkeypatch.setenv("SLURM_NTASKS", n_tasks)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", per_task)
    monkeypatch.setattr(processes, "n_cores", lambda: n_mine)
    asked = []
    monkeypatch.setattr(processes, "process_pool", lambda n: contextlib.nullcontext(asked.append(n)))
    with processes.processes_beside(100, n_alike):
        assert asked == [n_used]


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (lambda: VoxelGAN((6, 32, 48), channels=(8, 8), weights={"l1": 1.0}), "pairs"),
        (lambda: SurfaceModel((6, 32, 48), encoder="own", surface_width=8), "pairs"),
        (lambda: MaskedPhotos("own"), "photos"),
    ],
)
def test_the_eyes_of_several_loaders_are_measured_as_one_set(make, content, tiny_eyes):
    with EyeReader(tiny_eyes) as reader:
        keys = reader.keys
    model = make()

    def loaders(*parts):
        sets = (FundusOCTDataset(tiny_eyes, part, content=content) for part in parts)
        return [DataLoader(one, batch_size=2) for one in sets]

    (whole,) = quick_trainer().validate(model, loaders(keys[:5]), verbose=False)
    first, second = quick_trainer().validate(model, loaders(keys[:2], keys[2:5]), verbose=False)
    assert whole and first == pytest.approx(whole, rel=1e-4, nan_ok=True)
    assert second == pytest.approx(whole, rel=1e-4, nan_ok=True)
    tested, _ = quick_trainer().test(model, loaders(keys[:1], keys[1:2]), verbose=False)
    assert {name.replace("test/", "val/") for name in tested} == set(whole)
