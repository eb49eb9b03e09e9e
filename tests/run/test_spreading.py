"""Where nobody says how many processes train, the machine decides."""

import copy
import os

import pytest
import torch

from fund2oct.run.spreading import spread, stay_on_one_device
from fund2oct.run.train import build, train

SPREAD = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_find_unused_parameters_true"}


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("SLURM_NTASKS", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def config(batch_size=4, **trainer):
    return {"trainer": trainer, "data": {"init_args": {"batch_size": batch_size}}}


@pytest.mark.parametrize(("batch_size", "left"), [(4, 2), (2, 1), (6, 3)])
def test_a_batch_is_shared_by_the_cores(batch_size, left):
    wanted = config(batch_size, devices="auto", accelerator="auto")
    spread(wanted)
    assert wanted == {"trainer": SPREAD, "data": {"init_args": {"batch_size": left}}}


def test_no_more_processes_than_divide_the_batch(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    wanted = config(6)
    spread(wanted)
    assert wanted["trainer"]["devices"] == 3
    assert wanted["data"]["init_args"]["batch_size"] == 2
    wanted = config(8)
    spread(wanted)
    assert (wanted["trainer"]["devices"], wanted["data"]["init_args"]["batch_size"]) == (4, 2)


@pytest.mark.parametrize("devices", [1, "auto"])
def test_apples_gpu_is_left_alone(devices, monkeypatch):
    """It has no 64-bit numbers."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    wanted = config(devices=devices, accelerator="auto")
    spread(wanted)
    assert wanted["trainer"] == ({"devices": 1, "accelerator": "cpu"} if devices == 1 else SPREAD)


@pytest.mark.parametrize(
    "untouched",
    [
        config(1),
        config(3),
        config(0),
        config("two"),
        config(None),
        config(2.0),
        config(devices=1),
        config(strategy="fsdp"),
        config(accelerator="tpu"),
        {"trainer": {}, "data": {}},
    ],
)
def test_what_was_chosen_or_cannot_be_shared_stays(untouched):
    before = copy.deepcopy(untouched)
    spread(untouched)
    assert untouched == before


@pytest.mark.parametrize(
    "chosen",
    [
        {"devices": 2},
        {"devices": -1},
        {"devices": "2"},
        {"devices": "0,1"},
        {"devices": [0, 1]},
        {"num_nodes": 2, "devices": 1},
    ],
)
def test_several_processes_that_were_chosen_get_the_strategy_of_a_gan(chosen):
    wanted = config(**chosen)
    spread(wanted)
    assert wanted == config(**chosen, strategy=SPREAD["strategy"])


@pytest.mark.parametrize("chosen", [{"devices": "1"}, {"devices": [0]}, {"devices": "0,"}])
def test_one_device_that_was_chosen_needs_none(chosen):
    wanted = config(**chosen)
    spread(wanted)
    assert wanted == config(**chosen)


@pytest.mark.parametrize(
    ("n_tasks", "trainer"), [("1", {"devices": 1}), ("8", {"strategy": SPREAD["strategy"]})]
)
def test_a_launcher_decides_how_many(monkeypatch, n_tasks, trainer):
    monkeypatch.setenv("SLURM_NTASKS", n_tasks)
    wanted = config()
    spread(wanted)
    assert wanted == config(**trainer)


@pytest.mark.parametrize(("n_gpus", "trainer"), [(1, {}), (4, {"strategy": SPREAD["strategy"]})])
def test_several_gpus_are_told_that_discriminators_rest(monkeypatch, n_gpus, trainer):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    wanted = config()
    spread(wanted)
    assert wanted == config(**trainer)


@pytest.mark.parametrize("name", ["bash", "interactive"])
def test_in_an_interactive_session_of_slurm_lightning_starts_the_processes(monkeypatch, name):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    wanted = config()
    spread(wanted)
    assert wanted == config(strategy=SPREAD["strategy"])


def four_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({}, {"devices": 1}),
        ({"devices": "auto"}, {"devices": 1}),
        ({"devices": 2}, {"devices": 2, "strategy": SPREAD["strategy"]}),
        ({"num_nodes": 2}, {"num_nodes": 2, "devices": 1, "strategy": SPREAD["strategy"]}),
        ({"strategy": "fsdp"}, {"strategy": "fsdp"}),
    ],
)
def test_without_spreading_one_device_is_used(chosen, wanted, monkeypatch):
    four_gpus(monkeypatch)
    given = config(**chosen)
    stay_on_one_device(given)
    assert given == config(**wanted)


def test_without_spreading_a_launcher_decides_too(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    given = config()
    stay_on_one_device(given)
    assert given == config(strategy=SPREAD["strategy"])


def test_from_python_a_training_uses_one_of_several_gpus(monkeypatch, tmp_path):
    four_gpus(monkeypatch)
    monkeypatch.setenv("FUND2OCT_RUN_DIR", "")
    built = []

    class Built:
        trainer = model = datamodule = None

    monkeypatch.setattr("fund2oct.run.train._build", lambda given, run: built.append(given) or Built)
    monkeypatch.setattr("fund2oct.run.train._train", lambda given, *_: built.append(given))
    build("pix2vol")
    train("pix2vol", out=tmp_path / "one")
    train("pix2vol", ["trainer.devices=2"], tmp_path / "two")
    train("pix2vol", out=tmp_path / "all", spread_out=True)
    told = [(given["trainer"]["devices"], given["trainer"].get("strategy")) for given in built]
    several = SPREAD["strategy"]
    assert told == [(1, None), (1, None), (2, several), ("auto", several)]
