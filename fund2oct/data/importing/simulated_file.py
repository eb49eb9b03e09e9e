"""``fund2oct simulate``: a file of simulated eyes."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from fund2oct.data.importing.engine import Candidate, fingerprint_of, make_file
from fund2oct.data.importing.report import ImportReport
from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.data.store.layout import Compression
from fund2oct.eye import Eye
from fund2oct.phantom import PhantomConfig, simulate_eye


def simulate_file(
    out: str | os.PathLike[str],
    n_eyes: int,
    seed: int = 0,
    config: PhantomConfig | None = None,
    workers: int = 1,
    overwrite: bool = False,
    compression: Compression = "none",
    wait: bool = False,
) -> ImportReport:
    """Write a file of simulated eyes with their truth.

    Pose and surfaces are those that the search finds, as in real eyes: a network that is trained on the
    file sees what it would see of a scanner. The truth is in ``boundaries_um`` and ``lesions``.

    A simulation that was interrupted goes on where it was.

    Args:
        out: the file to make; one that holds these very eyes is left as it is.
        n_eyes: how many eyes; each two are of one patient.
        seed: the same seed makes the same eyes, whatever their number.
        config: sizes, scan and diseases.
        workers: processes to simulate in.
        overwrite: whether ``out`` may be replaced.
        compression: how the file is compressed, see :class:`~fund2oct.data.EyeWriter`.
        wait: whether to wait where another process is making the file.

    Returns:
        What became of each eye; here every one is imported.

    Raises:
        DataError: if ``out`` exists, or cannot be made.
        ValueError: if ``n_eyes`` or ``workers`` is not positive.

    Example:
        >>> small = PhantomConfig(n_depth=32, n_ascans=48, fundus_px=48)
        >>> simulate_file("mine.h5", 1, seed=7, config=small).imported
        ['sim7-0000000-OD']
    """
    if n_eyes < 1 or workers < 1:
        raise ValueError(f"n_eyes and workers: expected at least 1, found {n_eyes} and {workers}")
    config = config or PhantomConfig()
    candidates = [
        Candidate(
            f"simulated eye {number}",
            partial(_simulate, seed, number, config),
            fingerprint_of((), "phantom", seed, number, config),
        )
        for number in range(n_eyes)
    ]
    return make_file(
        candidates,
        out,
        overwrite,
        workers=workers,
        compression=compression,
        wait=wait,
        description="simulating eyes",
    )


def _simulate(seed: int, number: int, config: PhantomConfig) -> tuple[Eye, list[str]]:
    eye, notes = simulate_eye(seed, number, config), list[str]()
    assert eye.volume is not None
    return replace(eye, **searched_fields(eye.volume, eye.spacing_mm, notes)), notes
