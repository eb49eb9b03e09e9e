"""Eyes that an import is asked to read: of a photo alone, odd by turns, and some that cannot be read."""

from functools import partial

import numpy as np

from fund2oct.data import DataError, Eye
from fund2oct.data.importing.engine import Candidate


def read(number: int, key: str = "", fails: str = "", log: str = "") -> tuple[Eye, list[str]]:
    """An eye and its notes; the log has a line for each that was read."""
    if log:
        with open(log, "a") as file:
            file.write(f"{number}\n")
    if fails:
        raise (PermissionError if fails == "locked" else DataError)(fails)
    photo = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    eye = Eye(key=key or f"eye{number}", patient=f"p{number}", laterality="", fundus=photo)
    return eye, ["odd, but usable"] * (number % 2)


def candidates(n: int = 6, log: str = "", fingerprint: str = "seen") -> list[Candidate]:
    return [Candidate(f"file {i}", partial(read, i, log=str(log)), fingerprint) for i in range(n)]
