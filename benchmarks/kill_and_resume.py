"""Kill a simulation at random moments, run it again, and compare with one that was left alone.

python benchmarks/kill_and_resume.py --eyes 2000 --kills 10
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fund2oct.data import EyeReader
from fund2oct.data.store.check import check_file

_SIZES = ("--shape", "24", "28", "--fundus-px", "32")


def main() -> None:
    """Print where it was killed, and how many eyes differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--eyes", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole.h5", Path(folder) / "killed.h5"
        start = time.perf_counter()
        _start(whole, options).wait()
        seconds = time.perf_counter() - start
        print(f"left alone: {options.eyes} eyes in {seconds:.0f} s", flush=True)
        parts = Path(folder) / ".killed.h5.parts"
        for number in range(options.kills):
            # Some while after so many eyes; the last while the parts are put together.
            last = number == options.kills - 1
            share = 1.0 if last else (number + rng.random()) / options.kills
            process = _start(killed, options)
            while process.poll() is None and _count(parts) < share * options.eyes:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.3))
            ended = process.poll() is not None
            process.send_signal(signal.SIGKILL)
            process.wait()
            state = f"{_count(parts)} parts, {ended=}, {killed.exists()=}"
            print(f"kill {number}: {state}", flush=True)
        again = _start(killed, options)
        print(f"last run: exit status {again.wait()}")
        print(f"left over: {sorted(path.name for path in Path(folder).iterdir())}")
        print(f"eyes that differ: {len(differences(whole, killed))}; problems: {len(check_file(killed))}")
        print(f"bytes of both files are the same: {whole.read_bytes() == killed.read_bytes()}")


def differences(first: Path, second: Path) -> list[str]:
    """Keys of the eyes that are not the same in both files."""
    a, b = EyeReader(first), EyeReader(second)
    if a.keys != b.keys:
        return sorted(set(a.keys) ^ set(b.keys))
    return [key for key in a.keys if not _same(a.read(key), b.read(key))]


def _count(parts: Path) -> int:
    return len(list(parts.glob("*.h5")))


def _same(a: object, b: object) -> bool:
    pairs = ((getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))  # type: ignore[arg-type]
    return all(
        np.array_equal(left, right, equal_nan=not isinstance(left, str))
        if isinstance(left, (np.ndarray, tuple))
        else left == right
        for left, right in pairs
    )


def _start(out: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    eyes = ("--eyes", str(options.eyes), "--workers", options.workers)
    return subprocess.Popen([sys.executable, "-m", "fund2oct", "simulate", str(out), *eyes, *_SIZES])


if __name__ == "__main__":
    main()
