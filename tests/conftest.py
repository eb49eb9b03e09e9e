"""Fixtures shared by the whole suite."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

_SHARED = Path(os.environ.get("FUND2OCT_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real eyes, which is never part of the repository."""
    folder = _SHARED / "real"
    if not folder.is_dir():
        pytest.skip(f"no real eyes at {folder}; set FUND2OCT_SHARED to the folder that holds real/")
    return folder


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
