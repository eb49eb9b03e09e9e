"""Two processes on the CPU do what one does."""

import csv
import os
import subprocess
import sys

import pytest
import torch

SILENT = """
from fund2oct.models import VoxelGAN
from fund2oct.networks.noise import NoNoise


class Silent(VoxelGAN):
    # Each process draws noise of its own in training; without any, two have to learn what one learns.
    def step_noise(self):
        return NoNoise()
"""
DISTRIBUTED = ["trainer.devices=2"]


def run(overrides, folder, name):
    (folder / "silent.py").write_text(SILENT)
    out = folder / name
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("LOCAL_RANK", "FUND2OCT_RUN_DIR"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "fund2oct", "train", "voxels", "--out", str(out), *overrides],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def validated(out):
    with (out / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/aligned/l1")]
    return {key: float(value) for key, value in rows[-1].items() if key.startswith("val/")}


def test_validation_of_two_processes_is_that_of_one(tiny_overrides, tiny_voxels, tmp_path):
    # Nothing is learned, so that both validate the same network.
    still = [
        *tiny_overrides,
        *tiny_voxels,
        "model.init_args.learning_rate=0",
        "trainer.limit_train_batches=1",
        "data.init_args.val_fraction=0.4",
    ]
    one = validated(run(still, tmp_path, "one"))
    two = validated(run([*still, *DISTRIBUTED], tmp_path, "two"))
    assert set(one) == set(two)
    for name, value in one.items():
        # Batches of another size are summed in another order; an eye more or less would be a hundredth.
        assert two[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name


def test_two_processes_learn_what_one_learns_of_the_whole_batch(tiny_overrides, tmp_path):
    # The adversary joins half way, so that both sides and the clipped gradients are compared.
    learning = [
        *tiny_overrides, "model.class_path=silent.Silent", "model.init_args.shape=[6,32,48]",
        "model.init_args.channels=[8,8,16]", "model.init_args.bscan_width=8", "model.init_args.n_layers=2",
        "model.init_args.learning_rate=0.001", "model.init_args.decay_from=1",
        "model.init_args.adversaries_from=0.5", "trainer.limit_train_batches=6",
        "trainer.limit_val_batches=0",
    ]  # fmt: skip
    run(learning, tmp_path, "one")
    run([*learning, *DISTRIBUTED, "data.init_args.batch_size=1"], tmp_path, "two")
    run([*learning, "model.init_args.learning_rate=0", "trainer.limit_train_batches=1"], tmp_path, "start")
    one, two, start = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("one", "two", "start")
    )
    assert one["global_step"] == two["global_step"] == 6
    for part in ("generator", "discriminators", "generator_ema"):
        moved, apart = (
            sum(
                float((value - other["state_dict"][name]).square().sum())
                for name, value in one["state_dict"].items()
                if name.startswith(f"{part}.")
            )
            for other in (start, two)
        )
        assert moved > 0 and apart < 1e-3 * moved, (part, moved, apart)
