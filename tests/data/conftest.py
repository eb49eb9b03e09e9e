import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fund2oct.data.store.reader import EyeWriter
from fund2oct.eye import Eye
from fund2oct.geometry import Placement, RadialScan

S, Z, X, H, N = 6, 8, 10, 16, 11


@pytest.fixture
def make_eye() -> Callable[..., Eye]:
    def make(number: int = 0, **changes: Any) -> Eye:
        rng = np.random.default_rng(number)
        values: dict[str, Any] = {
            "key": f"eye{number:02d}",
            "patient": f"patient{number // 2}",
            "laterality": "OD" if number % 2 == 0 else "OS",
            "diagnosis": "SRF",
            "source": "made up",
            "sha256": "ab" * 32,
            "fundus": rng.integers(0, 256, (H, H, 3), dtype=np.uint8),
            "volume": rng.integers(0, 256, (S, Z, X), dtype=np.uint8),
            "second": rng.integers(0, 256, (S, Z, X), dtype=np.uint8),
            "boundaries_um": rng.random((N, S, X), dtype=np.float32) * 1000,
            "lesions": rng.integers(0, 3, (S, Z, X), dtype=np.uint8),
            "lesion_fundus": rng.integers(0, 3, (H, H), dtype=np.uint8),
            "pose_um": (rng.random((S, 7), dtype=np.float32) * 100 + np.float32([900] + 6 * [0])),
            "surfaces_um": rng.random((4, S, X), dtype=np.float32) * 30
            + np.float32([600, 800, 850, 950])[:, None, None],
            "surface_confidence": rng.random((S, X), dtype=np.float32),
            "scan": RadialScan(),
            "placement": Placement((0.02, -0.03), 4.0, 6.1),
            "spacing_mm": (math.nan, 1.92 / Z, 8.8 / X),
        }
        return Eye(**(values | changes))

    return make


@pytest.fixture
def make_file(tmp_path: Path, make_eye: Callable[..., Eye]) -> Callable[..., Path]:
    def make(n_eyes: int = 3, name: str = "eyes.h5", **changes: Any) -> Path:
        with EyeWriter(tmp_path / name, overwrite=True) as writer:
            for number in range(n_eyes):
                writer.add(make_eye(number, **changes))
        return tmp_path / name

    return make
