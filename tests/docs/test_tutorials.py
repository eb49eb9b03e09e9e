"""Each tutorial is gone through, command by command, on a few tiny eyes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from doc_pages import OURS, ROOT, blocks, commands, files
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import EyeReader
from fund2oct.phantom import PhantomConfig, simulate_eye

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("memory_not_estimated")]
TUTORIALS = ROOT / "docs/tutorials"
SHORT = ["trainer.check_val_every_n_epoch=1", "trainer.limit_train_batches=1"]
OF_TISSUE = tuple(
    f"model.init_args.{name}=" for name in ("tissue_width", "texture", "feature_width", "bscan_width")
)
"""What a model of surfaces alone does not take."""
SMALL = {
    "simulate": ["--eyes", "24", "--seed", "3", "--shape", "32", "48", "--fundus-px", "48", "--workers", "1"],
    "import": ["--workers", "1", "--fundus-px", "48"],
    "evaluate": ["--distances", "none"],
}
"""What is added to commands so that they take a second."""


@pytest.fixture
def here(tmp_path, monkeypatch, tiny_eyes, tiny_checkpoint):
    """A folder in which simulated eyes lie, and a model that was trained on them."""
    monkeypatch.chdir(tmp_path)
    # Twins take longer than all else here, and have tests of their own.
    monkeypatch.setattr("fund2oct.evaluation.checkpoints.twins_of_test_eyes", lambda *_: None)
    Path("data").mkdir()
    shutil.copy(tiny_eyes, "data/phantom.h5")
    for experiment in ("pix2vol", "voxels"):
        folder = Path(f"runs/{experiment}/001/checkpoints")
        folder.mkdir(parents=True)
        shutil.copy(tiny_checkpoint, folder / "last.ckpt")
    return tmp_path


def go_through(name, overrides, only=None):
    """Run what a tutorial shows in the order in which it stands there."""
    page = TUTORIALS / name
    for file, text in files(page).items():
        Path(file).write_text(text)
    ran = []
    for language, block in blocks(page, "bash", "python"):
        if language == "python":
            exec(compile(block, str(page), "exec"), {})
            continue
        for command, *words in commands(block):
            if command == OURS and (only is None or words[0] in only):
                added = SMALL.get(words[0], [])
                if "--resume" in words:  # nothing was stopped here: the end of the training stands for it
                    stopped = Path(words[words.index("--resume") + 1])
                    shutil.copy(stopped.with_name("last.ckpt"), stopped)
                if words[0] == "train":
                    # What is resumed has one epoch behind it.
                    epochs = f"trainer.max_epochs={2 if '--resume' in words else 1}"
                    added = [*overrides, *SHORT, epochs]
                    if words[1] == "surfaces":
                        added = [one for one in added if not one.startswith(OF_TISSUE)]
                assert main([*words, *added]) == 0, words
                ran.append(words[0])
    return ran


def small(tiny_overrides, tiny_layers):
    keep = ("trainer.accelerator", "trainer.devices", "trainer.enable", "data.init_args.batch_size")
    return [*(one for one in tiny_overrides if one.startswith(keep)), *tiny_layers]


def make_clinic(folder: Path) -> None:
    """The export that the page on a clinic's data describes, of simulated eyes."""
    config = PhantomConfig(fundus_px=128, n_depth=492, n_ascans=765)  # pixels of 0.0039 x 0.0115 mm
    for number, name in enumerate(("e1", "e2")):
        eye = simulate_eye(5, number, config)
        photo = np.kron(np.pad(eye.fundus, ((8, 8), (24, 24), (0, 0))), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(photo).save(folder / f"{name}_color.jpg", quality=95)
        (folder / name).mkdir()
        for slice_number in (1, 2):
            bscan = Image.fromarray(eye.volume[3 if slice_number == 1 else 0])
            bscan.save(folder / name / f"oct_00{slice_number}.png")


def test_your_own_data(here, tiny_overrides, tiny_layers, monkeypatch):
    # Reports and panels take longer than all else here, and have tests of their own.
    monkeypatch.setattr("fund2oct.run.train._report", lambda *_: None)
    monkeypatch.setattr("fund2oct.callbacks.PanelCallback._draw", lambda *_: [])
    make_clinic(here)
    ran = go_through("clinic.md", small(tiny_overrides, tiny_layers))
    assert ran == ["import", "check", "info", *3 * ["train"]]
    with EyeReader("data/clinic.h5") as reader:
        eyes = [reader.read(key) for key in reader.keys]
    assert [eye.key for eye in eyes] == ["e1", "e2"] and len({eye.patient for eye in eyes}) == 1
    assert eyes[0].volume.shape == (2, 80, 112) and eyes[0].patient != "0071"
    assert Path("runs/clinic/002/checkpoints/last.ckpt").is_file() and Path("clinic.png").is_file()


def test_evaluate_and_read_a_report(here, capsys):
    shutil.copytree("data", "mine")
    assert go_through("evaluate.md", []) == ["evaluate", "evaluate", "evaluate"]
    told = [line for line in capsys.readouterr().out.splitlines() if line.endswith(" um")]
    assert len(told) > 3 and any("shuffled" in line for line in told)


def test_train(here, tiny_overrides, tiny_layers):
    shutil.rmtree("runs")
    size = ["data.init_args.n_eyes=24", "model.init_args.shape=[6,32,48]"]
    ran = go_through("train.md", [*small(tiny_overrides, tiny_layers), *size])
    assert ran == ["simulate", "info", *5 * ["train"], "evaluate"]


def test_a_cluster(here, tiny_overrides, tiny_layers):
    overrides = [
        *small(tiny_overrides, tiny_layers), "trainer.strategy=auto", "trainer.precision=32-true",
        "data.init_args.num_workers=0", "model.init_args.shape=[6,32,48]",
        "data.class_path=fund2oct.data.FundusOCTDataModule", "data.init_args.path=data/phantom.h5",
    ]  # fmt: skip
    assert go_through("cluster.md", overrides) == 3 * ["train"]


def test_the_challenge(here, tiny_overrides, tiny_layers):
    make_challenge(here / "challenge")
    overrides = [
        *small(tiny_overrides, tiny_layers), "data.init_args.batch_size=1", "data.init_args.num_workers=0",
        "trainer.precision=32-true",
    ]  # fmt: skip
    ran = go_through("challenge.md", overrides)
    assert ran == ["import", "check", "info", "train", "evaluate", "submit", "submit"]


def make_challenge(folder: Path) -> None:
    """The challenge's folder, of simulated eyes."""
    config = PhantomConfig(fundus_px=128, n_depth=320, n_ascans=448)
    for part, numbers in (("train", range(0, 12, 2)), ("val", [12])):
        rows = ["PID,CF_path" + ",OCT_path" * (part == "train")]
        for number in numbers:
            eye, name = simulate_eye(6, number, config), f"{number:06d}-{number}R"
            (folder / part / "CF").mkdir(parents=True, exist_ok=True)
            photo = Image.fromarray(np.pad(eye.fundus, ((8, 8), (24, 24), (0, 0))))
            photo.save(folder / part / "CF" / f"{name}.jpg", quality=95)
            rows.append(f"{number:06d},{name}.jpg" + f",{name}" * (part == "train"))
            if part == "train":
                slices = folder / part / "OCT" / name
                slices.mkdir(parents=True)
                for n, bscan in enumerate(eye.volume):
                    Image.fromarray(bscan).save(slices / f"{name}_{n}.jpg")
        (folder / part / f"{part}.csv").write_text("\n".join(rows) + "\n")
