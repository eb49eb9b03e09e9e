"""Eyes of one bright voxel, where S, Z and X differ, under a raster and under a star."""

import math

import numpy as np
import pytest

from fund2oct.data import Eye
from fund2oct.geometry import Placement, RadialScan, RasterScan

S, Z, X = 5, 24, 32
BRIGHT = (1, 7, 20)


def photo(size=40):
    """Dark, with a bright red pixel up right, so that no flip goes unseen."""
    fundus = np.full((size, size, 3), 20, np.uint8)
    fundus[8, 30] = (250, 40, 10)
    return fundus


@pytest.fixture
def raster_eye():
    volume = np.zeros((S, Z, X), np.uint8)
    volume[BRIGHT] = 255
    return Eye(
        key="eye 7", patient="Rumpelstilz", laterality="OS", fundus=photo(), volume=volume,
        scan=RasterScan(S, width_mm=6.4, height_mm=4.0), spacing_mm=(1.0, 0.08, 0.2),
        placement=Placement((0.1, -0.05), 0.0, 6.5), source="generated from Wilhelmina_OS.jpg",
    )  # fmt: skip


@pytest.fixture
def star_eye():
    volume = np.zeros((6, Z, X), np.uint8)
    volume[BRIGHT] = 255
    return Eye(
        key="star", patient="p", laterality="OD", fundus=photo(), volume=volume,
        scan=RadialScan(6, 6.4), spacing_mm=(math.nan, 0.08, 0.2), source="Heidelberg .vol",
    )  # fmt: skip
