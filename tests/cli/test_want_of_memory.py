"""Memory that is too small, and errors in other processes, are said in a line."""

import re
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
from torch._utils import ExceptionWrapper

from fund2oct.cli import main
from fund2oct.eye import DataError
from fund2oct.run.ending import explained

SHARED = "unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left on device (28)"


def in_a_worker(error):
    """As torch passes on what was raised in a process of a loader."""
    try:
        raise error
    except Exception:
        wrapper = ExceptionWrapper(where="in DataLoader worker process 0")
    try:
        wrapper.reraise()
    except Exception as passed_on:
        return passed_on


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory.\nTried"),
            "the device's memory is too small: .* --device",
        ),
        (BrokenProcessPool("terminated abruptly"), "a process was killed, perhaps for want of memory"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "a process was killed"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "the memory is too small"),
        (RuntimeError(SHARED), r"the shared memory \(/dev/shm\) is full: .*--shm-size.*num_workers$"),
        (in_a_worker(RuntimeError(SHARED)), "the shared memory"),
        (in_a_worker(DataError("a.h5: eye '7-OD': damaged")), "a.h5: eye '7-OD': damaged$"),
    ],
)
def test_it_is_a_line(error, line, monkeypatch, capfd):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("fund2oct.data.store.check.check_file", fail)
    assert main(["check", "a.h5"]) == 1
    (told,) = capfd.readouterr().err.splitlines()
    assert re.match(f"fund2oct: {line}", told)


def test_full_shared_memory_is_no_full_disk(tmp_path):
    with (
        pytest.raises(MemoryError, match=r"--shm-size.*; nothing was saved yet"),
        explained(tmp_path, "train"),
    ):
        raise RuntimeError(SHARED)
    with pytest.raises(OSError, match="the disk is full"), explained(tmp_path, "train"):
        raise RuntimeError("No space left on device")
