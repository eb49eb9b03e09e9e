"""Two processes on the CPU do what one does."""

import csv
import os
import subprocess
import sys

import pytest

QUIET = """
from fund2oct.models import Pix2Vol

class Quiet(Pix2Vol):
    # The noise differs by process; without it the metrics have to agree to the last digits.
    def build_generator(self):
        generator = super().build_generator()
        for name, weight in generator.named_parameters():
            if name.endswith("strength"):
                weight.data.zero_()
        return generator
"""


def run(overrides, folder, name):
    (folder / "quiet.py").write_text(QUIET)
    out = folder / name
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("LOCAL_RANK", "FUND2OCT_RUN_DIR"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "fund2oct", "train", "pix2vol", "--out", str(out), *overrides],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    with (out / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/aligned/l1")]
    return {key: float(value) for key, value in rows[-1].items() if key.startswith("val/")}


def test_validation_of_two_processes_is_that_of_one(tiny_overrides, tmp_path):
    # Nothing is learned, so that both validate the same network.
    still = [
        *tiny_overrides,
        "model.class_path=quiet.Quiet",
        "model.init_args.shape=[6,32,48]",
        "model.init_args.learning_rate=0",
        "trainer.limit_train_batches=1",
        "data.init_args.val_fraction=0.4",
    ]
    distributed = ["trainer.devices=2", "trainer.strategy=ddp_find_unused_parameters_true"]
    one = run(still, tmp_path, "one")
    two = run([*still, *distributed], tmp_path, "two")
    assert set(one) == set(two)
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-5), name
