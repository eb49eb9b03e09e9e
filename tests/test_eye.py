import math

import numpy as np
import pytest

from fund2oct.data import DataError, problems, validate
from fund2oct.eye import ARRAYS
from fund2oct.geometry import RadialScan, RasterScan
from fund2oct.retina import BOUNDARIES, SURFACES

U8, F32 = np.uint8, np.float32
RISING = np.full((4, 6, 10), 500, F32)
RISING[:, 2, 3] = (400, 500, 480, np.nan)


def test_a_sound_eye_has_no_problem(make_eye):
    assert problems(make_eye()) == []
    assert ARRAYS["boundaries_um"][1][0] == len(BOUNDARIES) == 11
    assert ARRAYS["surfaces_um"][1][0] == len(SURFACES) == 4


def test_a_photo_needs_no_volume(make_eye):
    optional = dict.fromkeys(name for name in ARRAYS if name != "fundus")
    eye = make_eye(scan=None, spacing_mm=(math.nan,) * 3, **optional)
    assert problems(eye) == []
    assert eye.shape is None
    assert eye.fundus_px == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "a/b"}, "key: expected a name without '/', found 'a/b'"),
        ({"key": ""}, "key: expected a name without '/', found ''"),
        ({"patient": ""}, "patient: expected a name, found none; splits are made by patient"),
        ({"laterality": "left"}, "laterality: expected one of ('OD', 'OS', ''), found 'left'"),
        (
            {"fundus": np.zeros((16, 16, 3), F32)},
            "fundus: expected uint8 (H, H, 3), found float32 (16, 16, 3)",
        ),
        ({"fundus": np.zeros((15, 16, 3), U8)}, "fundus: expected uint8 (H, H, 3), found uint8 (15, 16, 3)"),
        ({"fundus": np.zeros((16, 16), U8)}, "fundus: expected uint8 (H, H, 3), found uint8 (16, 16)"),
        ({"fundus": np.zeros((16, 16, 4), U8)}, "fundus: expected uint8 (H, H, 3), found uint8 (16, 16, 4)"),
        (
            {"volume": np.zeros((6, 8, 10), np.uint16)},
            "volume: expected uint8 (S, Z, X), found uint16 (6, 8, 10)",
        ),
        ({"rescan": np.zeros((6, 10, 8), U8)}, "rescan: expected uint8 (6, 8, 10), found uint8 (6, 10, 8)"),
        ({"rescan": np.zeros((6, 8, 0), U8)}, "rescan: expected uint8 (6, 8, 10), found uint8 (6, 8, 0)"),
        (
            {"boundaries_um": np.zeros((3, 6, 10), F32)},
            "boundaries_um: expected float32 (11, 6, 10), found float32 (3, 6, 10)",
        ),
        (
            {"lesion_fundus": np.zeros((8, 8), U8)},
            "lesion_fundus: expected uint8 (16, 16), found uint8 (8, 8)",
        ),
        ({"pose_um": np.zeros((5, 7), F32)}, "pose_um: expected float32 (6, 7), found float32 (5, 7)"),
        ({"pose_um": np.zeros((6, 7))}, "pose_um: expected float32 (6, 7), found float64 (6, 7)"),
        (
            {"pose_um": np.full((6, 7), np.nan, F32)},
            "pose_um: expected finite micrometres, found NaN or infinity",
        ),
        (
            {"surfaces_um": np.full((4, 6, 10), np.inf, F32)},
            "surfaces_um: expected micrometres, or NaN where absent, found infinity",
        ),
        (
            {"surfaces_um": RISING},
            "surfaces_um: expected OS above RPE or on it, found it below at 1 A-scans",
        ),
        (
            {"surface_confidence": np.full((6, 10), np.nan, F32)},
            "surface_confidence: expected values in [0, 1], found others or NaN",
        ),
        (
            {"surface_confidence": np.full((6, 10), 1.1, F32)},
            "surface_confidence: expected values in [0, 1], found others or NaN",
        ),
        ({"scan": None}, "scan: a volume needs the pattern of its lines, found none"),
        ({"scan": RadialScan(5)}, "scan: expected a line a slice, 6, found 5"),
        (
            {"spacing_mm": (math.nan, 0.0, 0.88)},
            "spacing_mm: expected positive (s, z, x), s NaN for a star, found (nan, 0.0, 0.88)",
        ),
        (
            {"spacing_mm": (math.nan, 0.24, 0.0196)},
            "spacing_mm: 10 A-scans 0.0196 mm apart are 0.196 mm, but the scan's lines are 8.8 mm",
        ),
    ],
)
def test_what_is_wrong_is_said(make_eye, changes, message):
    eye = make_eye(**changes)
    assert problems(eye) == [message]
    with pytest.raises(DataError) as error:
        validate(eye)
    assert str(error.value) == f"eye {eye.key!r}: {message}"


def test_all_problems_are_said_at_once(make_eye):
    eye = make_eye(laterality="left", scan=RadialScan(2), pose_um=np.zeros((6, 2), F32))
    assert len(problems(eye)) == 3


def test_spacing_may_count_from_the_first_to_the_last_ascan(make_eye):
    raster = RasterScan(6, 6.0, 5.0)
    assert problems(make_eye(scan=raster, spacing_mm=(1.0, 0.24, 6.0 / 9))) == []


def test_an_eye_prints_in_a_line(make_eye):
    assert repr(make_eye()) == "Eye('eye00', OD, fundus 16 px, volume (6, 8, 10))"
