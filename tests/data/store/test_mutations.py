"""A damaged file is read back identical, or the damage is named: never another eye, a crash or a hang."""

import math
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from mutations import MUTATIONS, verdict

from fund2oct.data import EyeWriter

N_DEFAULT, N_SLOW = 33, 1000  # 33: each of eleven kinds of damage to each of three files


def large_arrays(number):
    """Large enough to be compressed, and of a kind that compresses; some eyes have no photo."""
    volume = np.random.default_rng(number).integers(0, 16, (6, 40, 50), dtype=np.uint8)
    photo = np.random.default_rng(number).integers(0, 16, (48, 48, 3), dtype=np.uint8)
    absent = dict.fromkeys(("lesions", "lesion_fundus", "boundaries_um"))
    depths = np.float32([600, 800, 850, 950])[:, None, None] + np.zeros((4, 6, 50), np.float32)
    found = {"surfaces_um": depths, "surface_confidence": np.ones((6, 50), np.float32)}
    arrays = {"volume": volume, "rescan": 255 - volume, "fundus": None if number % 3 == 2 else photo}
    return absent | arrays | found | {"spacing_mm": (math.nan, 0.05, 8.8 / 50)}


@pytest.fixture
def sound_files(tmp_path, make_eye):
    pytest.importorskip("hdf5plugin")
    paths = []
    for compression in ("none", "gzip", "zstd"):
        paths.append(tmp_path / f"{compression}.h5")
        with EyeWriter(paths[-1], compression=compression) as writer:
            for number in range(10):  # more than eight: HDF5 then keeps their names in a tree
                writer.add(make_eye(number, **large_arrays(number)))
    return paths


def judge(sound_files, folder, seeds):
    counts: Counter[tuple[str, str]] = Counter()
    # In another process, so that a crash of the library or a hang fails the test and no more. A fork imports
    # nothing anew.
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    try:
        for seed in seeds:
            sound = sound_files[seed % len(sound_files)]
            kind, found = pool.submit(verdict, sound, folder, seed).result(timeout=60)
            assert found in ("identical", "detected"), f"seed {seed}, {kind} of {sound.name}: {found}"
            counts[kind, found] += 1
    finally:
        for process in list(pool._processes.values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
    return counts


def test_mutations_are_named(tmp_path, sound_files):
    counts = judge(sound_files, tmp_path, range(N_DEFAULT))
    assert {kind for kind, _ in counts} == {mutation.__name__ for mutation in MUTATIONS}
    for kind in ("truncate", "zero_header", "lose_bytes"):
        assert counts[kind, "identical"] == 0, kind


@pytest.mark.slow
def test_a_thousand_mutations_are_named(tmp_path, sound_files):
    counts = judge(sound_files, tmp_path, range(10_000, 10_000 + N_SLOW))
    assert sum(counts.values()) == N_SLOW
    print(*(f"{kind}: {found} {n}" for (kind, found), n in sorted(counts.items())), sep="\n")
