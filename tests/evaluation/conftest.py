import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.evaluation.checkpoints import HeldOutEyes


def save_slices(folder: Path, volumes: Mapping[str, np.ndarray], ending: str = ".png") -> Path:
    """Write volumes as a submission is laid out."""
    for key, volume in volumes.items():
        (folder / key).mkdir(parents=True)
        for number, bscan in enumerate(volume):
            Image.fromarray(bscan).save(folder / key / f"{key}_{number}{ending}")
    return folder


@pytest.fixture
def zipped() -> Callable[[Path], Path]:
    """A function that zips a folder, beside it."""
    return lambda folder: Path(shutil.make_archive(str(folder), "zip", folder))


@pytest.fixture
def volumes() -> dict[str, np.ndarray]:
    """Three eyes, where S != Z != X."""
    rng = np.random.default_rng(0)
    return {f"eye{i}": rng.integers(0, 256, (6, 10, 14), dtype=np.uint8) for i in range(3)}


@pytest.fixture
def slices(tmp_path: Path, volumes: dict[str, np.ndarray]) -> Callable[..., Path]:
    """A function that writes the three eyes to a new folder."""
    return lambda name="slices", ending=".png": save_slices(tmp_path / name, volumes, ending)


@pytest.fixture(scope="session")
def real_slices(tiny_eyes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volumes of the first six tiny eyes as a folder of slices."""
    with EyeReader(tiny_eyes) as reader:
        volumes = {key: reader.read(key).volume for key in reader.keys[:6]}
    return save_slices(tmp_path_factory.mktemp("real") / "slices", volumes)


@pytest.fixture(scope="session")
def rescan_slices(tiny_eyes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rescans of the first six tiny eyes."""
    with EyeReader(tiny_eyes) as reader:
        volumes = {key: reader.read(key).rescan for key in reader.keys[:6]}
    return save_slices(tmp_path_factory.mktemp("rescan") / "slices", volumes)


@pytest.fixture(scope="module")
def datamodule(tiny_eyes: Path) -> FundusOCTDataModule:
    """The tiny eyes, ten of them to test on."""
    datamodule = FundusOCTDataModule(str(tiny_eyes), test_fraction=0.4)
    datamodule.setup()
    return datamodule


@pytest.fixture(scope="module")
def few(tiny_eyes: Path) -> FundusOCTDataModule:
    """The tiny eyes, four of them, of two patients, to test on: for reports that are measured to the end."""
    with EyeReader(tiny_eyes) as reader:
        keys = list(reader.keys)
    split = {"train": keys[:14], "val": [], "test": keys[14:18]}
    datamodule = FundusOCTDataModule(str(tiny_eyes), split=split)
    datamodule.setup()
    return datamodule


@pytest.fixture(scope="module")
def eyes(datamodule: FundusOCTDataModule) -> HeldOutEyes:
    """Those ten."""
    return HeldOutEyes(datamodule, torch.device("cpu"))
