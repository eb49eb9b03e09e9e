"""Each benchmark runs, on small eyes; its figures mean nothing here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import unlike
from healthy import pictures_of
from PIL import Image

from fund2oct.data import EyeReader
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.models import load_model
from fund2oct.models.uncertainty.familiar import FamiliarPhotos, photo_features
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.run.train import build

ROOT = Path(__file__).parents[2]
CHECKPOINT, KNOWING, EYES, PHOTOS, FOLDER = "CHECKPOINT", "KNOWING", "EYES", "PHOTOS", "FOLDER"
REAL = "MADE_UP"
SMALL_DATA = f"data.init_args.path={EYES} data.init_args.n_eyes=24"
SMALL_STEP = "--shape 6 32 48 --batch-size 2 --steps 1"
COMMANDS = {
    "adversaries": (f"{CHECKPOINT} --data {EYES} --steps 2", r"relativistic +seed 0 2 steps: image distance"),
    "frechet": ("32", r"\| \d+ \| 32 \|"),
    "i3d": ("", r"of the peak"),
    "kill_and_resume": ("--eyes 24 --kills 2", r"eyes that differ: 0; problems: 0"),
    "loader": (
        "--parts workers training --experiments regression --steps 2",
        r"2 workers .* eyes/s(.|\n)*ratio \d+",
    ),
    "memory": (f"--eyes 200 --epochs 1 --figure {FOLDER}/memory.webp", r"MiB a minute"),
    "heights/positions": (
        f"{EYES} --steps 2 --seeds 1 --arms off rope",
        r"head 3: closed, .* rank .* untrained",
    ),
    "heights/registration": (f"{EYES} --steps 2", r"registered, seed 0: .* µm[^|]*blind, seed 0: .* µm"),
    "heights/told": (f"{EYES} --steps 2 --seeds 1", r"lesions, missing: .* µm; [+-]"),
    "predict": ("--shape 6 32 48 --fundus-px 48 --times 1 --models pix2vol x2ct unet3d", r"unet3d +[\d,]+ "),
    "simulate": ("", r"448 px.* eyes per CPU second"),
    "step": (f"{SMALL_STEP} --models pix2vol x2ct", r"MiB, estimated(.|\n)*x2ct"),
    "step_parts": (
        f"--seconds 0.1 --batch-size 2 data.init_args.path={EYES} data.init_args.n_eyes=24",
        r"discriminator",
    ),
    "photos/healthy": (
        f"{CHECKPOINT} --photos {PHOTOS} --like {EYES}",
        r"photos, 2 eyes:[^|]*tiny.h5, \d+ eyes:(.|\n)* green and blue \| [\d.]+% \| \d of 2 \| \d+ \|",
    ),
    "photos/simulated_to_real": (
        f"{REAL}/model.ckpt --photos {REAL}/people --volume {REAL}/cube.npy --slices {REAL}/slices "
        f"--other {REAL}/other --spacing-mm 0.25 0.024 0.0536 --eyes 4 --steps 1 --seeds 0 --arms both",
        r"behind 6 photos: 4 eyes(.|\n)*\| before \|(.|\n)*\| both, seed 0 \|",
    ),
    "photos/unlike": (
        f"{KNOWING} --data {EYES} --real {PHOTOS}",
        r"1.5 or more [^$]*long eyes[^$]*real photos, photos \(2\)",
    ),
}
NOT_HERE = {
    "x2ct_reference": "needs the published code",
    "heights/cached_eyes": "is what the others share",
}


def test_every_benchmark_is_tried():
    benchmarks = ROOT / "benchmarks"
    paths = [*benchmarks.glob("*.py"), *benchmarks.glob("heights/*.py"), *benchmarks.glob("photos/*.py")]
    there = {path.relative_to(benchmarks).with_suffix("").as_posix() for path in paths}
    assert there == {*COMMANDS, *NOT_HERE}
    assert [path.name for path in benchmarks.rglob("*.sh")] == ["gpu.sh"]


@pytest.fixture(scope="module")
def knowing_checkpoint(tiny_checkpoint, tmp_path_factory):
    """The small model, as if it had seen the photos of a larger training."""
    with torch.no_grad():
        maps = load_model(tiny_checkpoint).generator_ema.module.encoder(torch.rand(1, 3, 48, 48))
    photos = FamiliarPhotos.fit(torch.rand(80, photo_features(maps).shape[1]))
    contents = torch.load(tiny_checkpoint, weights_only=True)
    contents["fund2oct"]["task"]["photos"] = photos.to_dict()
    path = tmp_path_factory.mktemp("models") / "knowing.ckpt"
    torch.save(contents, path)
    return path


@pytest.fixture(scope="module")
def photos(tiny_eyes, tmp_path_factory):
    """A folder of two photos."""
    folder = tmp_path_factory.mktemp("given") / "photos"
    folder.mkdir()
    with EyeReader(tiny_eyes) as reader:
        for key in reader.keys[:2]:
            Image.fromarray(np.asarray(reader.read(key).fundus)).resize((96, 96)).save(folder / f"{key}.png")
    return folder


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """The main model after a step at its usual size, and what stands in for real photos and slices."""
    folder = tmp_path_factory.mktemp("made_up")
    simulate_file(folder / "eyes.h5", 24, seed=3)
    trainer, model, data = build(
        "pix2vol",
        [
            f"data.init_args.path={folder}/eyes.h5", "data.init_args.n_eyes=24",
            "data.init_args.batch_size=2", f"trainer.default_root_dir={folder}", "trainer.accelerator=cpu",
            "trainer.devices=1", "trainer.max_epochs=1", "trainer.limit_train_batches=1",
            "trainer.limit_val_batches=0", "trainer.enable_checkpointing=false",
            "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false",
        ],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(folder / "model.ckpt")
    for name in ("people", "slices", "other"):
        (folder / name).mkdir()
    healthy = PhantomConfig(n_depth=16, n_ascans=16, diagnosis="normal")
    for number in range(12):
        eye = simulate_eye(7, number, healthy)
        Image.fromarray(eye.fundus).save(folder / "people" / f"{number:02d}_{eye.laterality}.png")
    with EyeReader(folder / "eyes.h5") as reader:
        volumes = [reader.read(key).volume for key in reader.keys[:2]]
    for name, volume in zip(("slices", "other"), volumes, strict=True):
        for number, bscan in enumerate(volume):
            Image.fromarray(bscan).save(folder / name / f"slice_{number}.png")
    np.save(folder / "cube.npy", np.repeat(volumes[0][3:4], 25, 0))  # 6 mm wide and 6.25 mm high
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_it_runs_in_small(name, tiny_checkpoint, knowing_checkpoint, tiny_eyes, photos, tmp_path, request):
    words, expected = COMMANDS[name]
    if name == "i3d":
        request.getfixturevalue("need_weights")(name)
    given = {
        CHECKPOINT: tiny_checkpoint, KNOWING: knowing_checkpoint, EYES: tiny_eyes, PHOTOS: photos,
        FOLDER: tmp_path,
    }  # fmt: skip
    if REAL in words:  # for one of them alone, as it takes longest to make
        given[REAL] = request.getfixturevalue("made_up")
    for word, path in given.items():
        words = words.replace(word, str(path))
    run = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}.py", *words.split()],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert re.search(expected, run.stdout), run.stdout


def test_a_folder_without_pictures_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").touch()
    monkeypatch.setattr(sys, "argv", ["unlike.py", "no.ckpt", "--real", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"{tmp_path.name}: expected pictures .*, found none"):
        unlike.main()
    for name in ("b.TIF", "a.jpeg"):
        (tmp_path / name).touch()
    assert [path.name for path in pictures_of(tmp_path)] == ["a.jpeg", "b.TIF"]


@pytest.mark.slow
def test_what_a_gpu_has_to_show_runs_in_small(tmp_path):
    """But for its first part, which is this suite."""
    settings = {"SMALL": "1", "OUT": str(tmp_path), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        ["bash", ROOT / "benchmarks/gpu.sh", "steps", "loader", "training"],
        env=os.environ | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout.splitlines()[-1:] == ["failed: nothing"], run.stdout[-2000:] + run.stderr[-2000:]
