"""Fixtures shared by the whole suite."""

import errno
import math
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from eye_files import write_eyes
from tiny_models import TINY_PIX2VOL, quick_trainer

from fund2oct.eye import Eye
from fund2oct.geometry import Placement, RadialScan
from fund2oct.networks.features.weights import find_weights

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


@pytest.fixture(autouse=True, scope="session")
def _nothing_is_left_behind() -> Iterator[None]:
    """A test writes to folders of its own, and never to where the tests are started."""
    before = {path.name for path in Path.cwd().iterdir()}
    yield
    left = {path.name for path in Path.cwd().iterdir() if not path.name.startswith(".")} - before
    assert not left, f"left where the tests were started: {', '.join(sorted(left))}"


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Seed what several tests share: otherwise it would depend on which of them comes first."""
    if fixturedef.scope == "function":
        return (yield)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return (yield)


TINY = {"n_depth": 32, "n_ascans": 48, "fundus_px": 48}
"""Sizes of :func:`tiny_eyes`, where S != Z != X."""


@pytest.fixture(scope="session")
def tiny_eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 24 small simulated eyes."""
    from fund2oct.data.importing.simulated_file import simulate_file
    from fund2oct.phantom import PhantomConfig

    path = tmp_path_factory.mktemp("data") / "tiny.h5"
    simulate_file(path, 24, seed=3, config=PhantomConfig(**TINY))
    return path


@pytest.fixture(scope="session")
def tiny_overrides(tiny_eyes: Path) -> list[str]:
    """What makes any experiment on simulated eyes a matter of seconds."""
    return [
        f"data.init_args.path={tiny_eyes}",
        "data.init_args.n_eyes=24",
        "data.init_args.batch_size=2",
        "model.init_args.shape=[6,32,48]",
        "model.init_args.bscan_width=8",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.max_epochs=1",
        "trainer.check_val_every_n_epoch=1",
        "trainer.log_every_n_steps=4",
        "trainer.enable_progress_bar=false",
    ]


@pytest.fixture(scope="session")
def tiny_layers() -> list[str]:
    """Overrides that make a Pix2Vol small, which needs nobody's weights then."""
    return [
        f"model.init_args.{name}={list(value) if isinstance(value, tuple) else value}"
        for name, value in TINY_PIX2VOL.items()
    ]


@pytest.fixture(scope="session")
def tiny_voxels() -> list[str]:
    """Overrides that make a VoxelGAN small."""
    return ["model.init_args.channels=[8,8,16]", "model.init_args.n_layers=2"]


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_eyes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one step on :func:`tiny_eyes`."""
    from fund2oct.data import FundusOCTDataModule
    from fund2oct.models import Pix2Vol

    model = Pix2Vol((6, 32, 48), **TINY_PIX2VOL)
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    path = tmp_path_factory.mktemp("models") / "tiny.ckpt"
    trainer.save_checkpoint(path)
    return path


@pytest.fixture
def few_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few twins of each test eye, for reports whose twins are not looked at: many take longest of all."""
    monkeypatch.setattr("fund2oct.evaluation.answers.twins.SCANNED", 1)
    monkeypatch.setattr("fund2oct.evaluation.answers.twins.DRAWN", 2)


@pytest.fixture
def plain_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty panels and maps, and reports without pictures, for tests that look at something else.

    To draw a panel takes a second or two.
    """
    from fund2oct.visual.style import new_figure

    for caller in (
        "callbacks.panel.draw_panel",
        "run.predicting.results.draw_panel",
        "run.predicting.results.draw_thickness",
        "run.predicting.results.draw_intervals",
    ):
        monkeypatch.setattr(f"fund2oct.{caller}", lambda *_, **__: new_figure(1, 1))
    for pictures in ("chart_pictures", "eye_pictures"):
        monkeypatch.setattr(f"fund2oct.evaluation.report.folder.{pictures}", lambda *_: iter(()))


@pytest.fixture
def no_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without twins, for those whose eyes are new: to simulate their twins takes long."""
    monkeypatch.setattr("fund2oct.evaluation.checkpoints.twins_of_test_eyes", lambda *_: None)


@pytest.fixture
def one_eye_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """All eyes of a report have the values of its first: where keys and notes alone are looked at.

    To measure the eyes takes most of such a report. It is for fewer than 16 eyes, which are measured in this
    process.
    """
    from fund2oct.evaluation.measuring import EyeTask, measure_eye

    known: dict[tuple[str, ...], dict[str, dict[str, float]]] = {}

    def measured(task: EyeTask) -> dict[str, dict[str, float]]:
        answers = tuple(task.given)
        if answers not in known:
            known[answers] = measure_eye(task)
        return known[answers]

    monkeypatch.setattr("fund2oct.evaluation.compare.measure_eye", measured)


@pytest.fixture
def memory_not_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that begin at once: to estimate the memory of a step is to run one or two."""
    from fund2oct.models.training.memory import StepMemory

    monkeypatch.setattr("fund2oct.callbacks.memory.step_memory", lambda *_: StepMemory(0, 0, 0))


@pytest.fixture
def make_eye() -> Callable[..., Eye]:
    """Eyes without an anatomy, of S != Z != X, a call each."""
    s, z, x, h, n = 6, 8, 10, 16, 11

    def make(number: int = 0, **changes: Any) -> Eye:
        rng = np.random.default_rng(number)
        values: dict[str, Any] = {
            "key": f"eye{number:02d}",
            "patient": f"patient{number // 2}",
            "laterality": "OD" if number % 2 == 0 else "OS",
            "diagnosis": "SRF",
            "source": "made up",
            "sha256": "ab" * 32,
            "fundus": rng.integers(0, 256, (h, h, 3), dtype=np.uint8),
            "volume": rng.integers(0, 256, (s, z, x), dtype=np.uint8),
            "rescan": rng.integers(0, 256, (s, z, x), dtype=np.uint8),
            "boundaries_um": rng.random((n, s, x), dtype=np.float32) * 1000,
            "lesions": rng.integers(0, 3, (s, z, x), dtype=np.uint8),
            "lesion_fundus": rng.integers(0, 3, (h, h), dtype=np.uint8),
            "pose_um": (rng.random((s, 7), dtype=np.float32) * 100 + np.float32([900] + 6 * [0])),
            "surfaces_um": rng.random((4, s, x), dtype=np.float32) * 30
            + np.float32([600, 800, 850, 950])[:, None, None],
            "surface_confidence": rng.random((s, x), dtype=np.float32),
            "scan": RadialScan(),
            "placement": Placement((0.02, -0.03), 4.0, 6.1),
            "spacing_mm": (math.nan, 1.92 / z, 8.8 / x),
        }
        return Eye(**(values | changes))

    return make


@pytest.fixture
def make_file(tmp_path: Path, make_eye: Callable[..., Eye]) -> Callable[..., Path]:
    """Files of such eyes."""

    def make(n_eyes: int = 3, name: str = "eyes.h5", **changes: Any) -> Path:
        return write_eyes(tmp_path / name, (make_eye(number, **changes) for number in range(n_eyes)))

    return make


@pytest.fixture
def close_folder(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes folders of a name unreadable, also for the superuser, whom tests may run as."""

    def close(name: str) -> None:
        def closed(listed: Callable[..., Any]) -> Callable[..., Any]:
            def listing(path: Any = ".") -> Any:
                if not isinstance(path, int) and Path(os.fsdecode(path)).name == name:
                    raise PermissionError(errno.EACCES, "Permission denied", os.fsdecode(path))
                return listed(path)

            return listing

        monkeypatch.setattr(Path, "iterdir", closed(Path.iterdir))
        monkeypatch.setattr("os.scandir", closed(os.scandir))

    return close


@pytest.fixture(scope="session")
def need_weights() -> Callable[[str], None]:
    """Skips a test, with the reason, where weights of others are not on this machine."""

    def need(name: str) -> None:
        try:
            find_weights(name)
        except FileNotFoundError as error:
            pytest.skip(str(error))

    return need
