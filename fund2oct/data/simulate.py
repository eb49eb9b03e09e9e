"""``fund2oct simulate``: a file of simulated eyes."""

from __future__ import annotations

import os

from fund2oct.data.progress import with_progress
from fund2oct.data.store import EyeWriter
from fund2oct.phantom import PhantomConfig, simulate_eyes


def simulate_file(
    out: str | os.PathLike[str],
    n_eyes: int,
    seed: int = 0,
    config: PhantomConfig | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> None:
    """Write a file of simulated eyes with their truth.

    Args:
        out: the file to make.
        n_eyes: how many eyes; each two are of one patient.
        seed: the same seed makes the same eyes, whatever their number.
        config: sizes, scan and diseases.
        workers: processes to simulate in.
        overwrite: whether ``out`` may be replaced.

    Raises:
        DataError: if ``out`` exists, or cannot be made.
        ValueError: if ``n_eyes`` or ``workers`` is not positive.
    """
    with EyeWriter(out, overwrite) as writer:
        eyes = simulate_eyes(seed, n_eyes, config, workers)
        for eye in with_progress(eyes, n_eyes, "simulating eyes"):
            writer.add(eye)
