"""The simulator as a whole: determinism, sizes, patients, bad values."""

import os
from dataclasses import fields
from functools import partial

import numpy as np
import pytest

from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.eye import Eye
from fund2oct.geometry import LineScan, RadialScan, RasterScan
from fund2oct.phantom import DIAGNOSES, LESIONS, Optics, PhantomConfig, simulate_eye
from fund2oct.phantom.lesions import sample_diagnosis
from fund2oct.processes import process_pool
from fund2oct.retina import BOUNDARIES, N_POSE

SMALL = PhantomConfig(fundus_px=48, n_depth=56, n_ascans=40)


def assert_same(first: Eye, second: Eye) -> None:
    for field in fields(Eye):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other, err_msg=field.name)
        elif field.name == "spacing_mm":
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other, field.name


def test_same_eye_in_any_order_and_process(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    alone = {number: simulate_eye(3, number, SMALL) for number in (4, 2, 0, 1, 3)}
    with process_pool(1) as pool:  # a second process would take as long again to start
        for number, eye in enumerate(pool.map(partial(simulate_eye, 3, config=SMALL), range(5))):
            assert_same(eye, alone[number])
    assert os.environ["OMP_NUM_THREADS"] == "3", "what the workers need was left behind here"
    assert "MKL_NUM_THREADS" not in os.environ


def test_seed_and_number_change_the_eye():
    eye = simulate_eye(0, 0, SMALL)
    for other in (simulate_eye(1, 0, SMALL), simulate_eye(0, 2, SMALL)):
        assert np.abs(eye.fundus.astype(float) - other.fundus).mean() > 1
        assert np.abs(eye.volume.astype(float) - other.volume).mean() > 5


def test_a_patient_has_two_eyes_that_share_pigment():
    photos_alone = PhantomConfig(fundus_px=48, n_depth=32, n_ascans=16)  # the volumes are not looked at
    eyes = [simulate_eye(5, number, photos_alone) for number in range(80)]
    assert [eye.laterality for eye in eyes[:4]] == ["OD", "OS", "OD", "OS"]
    assert [eye.patient for eye in eyes[:4]] == [f"sim5-000000{n}" for n in (0, 0, 1, 1)]
    assert [eye.key for eye in eyes[:2]] == ["sim5-0000000-OD", "sim5-0000001-OS"]
    # Red to green, the hue that melanin sets, is closer between two eyes of one patient.
    hue = np.array(
        [np.log(eye.fundus[12:36, 12:36, 0].mean() / eye.fundus[12:36, 12:36, 1].mean()) for eye in eyes]
    )
    right, left = hue[0::2], hue[1::2]
    assert np.abs(right - left).mean() < 0.75 * np.abs(right - np.roll(left, 1)).mean()


@pytest.mark.parametrize(
    "config",
    [
        PhantomConfig(fundus_px=96, n_depth=61, n_ascans=47, scan=RadialScan(4, 6.0, start_deg=10)),
        PhantomConfig(fundus_px=64, n_depth=120, n_ascans=50, scan=RasterScan(7, 6.0, 4.0), depth_mm=1.5),
        PhantomConfig(fundus_px=300, n_depth=320, n_ascans=448, scan=RadialScan(1)),
    ],
)
def test_any_scan_and_size(config):
    eye = simulate_eye(0, 1, config)
    shape = (config.scan.n_slices, config.n_depth, config.n_ascans)
    assert eye.volume.shape == eye.rescan.shape == eye.lesions.shape == shape
    assert eye.volume.dtype == eye.fundus.dtype == eye.lesions.dtype == eye.lesion_fundus.dtype == np.uint8
    assert eye.fundus.shape == (config.fundus_px, config.fundus_px, 3)
    assert eye.lesion_fundus.shape == eye.fundus.shape[:2]
    assert eye.boundaries_um.shape == (len(BOUNDARIES), shape[0], shape[2])
    assert eye.pose_um.shape == (shape[0], N_POSE)
    assert eye.spacing_mm[1] == pytest.approx(config.depth_mm / config.n_depth)
    assert eye.spacing_mm[2] == pytest.approx(config.scan.length_mm[0] / config.n_ascans)
    assert 20 < eye.volume.mean() < 110
    if isinstance(config.scan, RasterScan):
        assert eye.spacing_mm[0] == pytest.approx(4.0 / 6)
    else:
        assert np.isnan(eye.spacing_mm[0])


@pytest.mark.parametrize(
    ("lines", "apart_mm"),
    [
        ((((-2, -2), (2, 2)), ((-2, -1.5), (2, 2.5))), 0.5 / 2**0.5),  # moved down along an oblique line
        ((((-2, 0), (2, 0)), ((-1, 0), (3, 0))), float("nan")),  # moved along themselves
    ],
)
def test_slices_are_as_far_apart_as_their_lines(lines, apart_mm):
    eye = simulate_eye(0, 1, PhantomConfig(scan=LineScan(lines), fundus_px=48, n_depth=32, n_ascans=48))
    assert eye.spacing_mm[0] == pytest.approx(apart_mm, nan_ok=True)


def test_anatomy_is_the_same_at_every_resolution():
    coarse = simulate_eye(2, 0, PhantomConfig(fundus_px=64, n_depth=60, n_ascans=50))
    fine = simulate_eye(2, 0, PhantomConfig(fundus_px=320, n_depth=240, n_ascans=250))
    assert coarse.diagnosis == fine.diagnosis
    # The middle one of each five fine A-scans is the coarse one.
    difference = coarse.boundaries_um[0] - fine.boundaries_um[0][:, 2::5]
    assert np.abs(difference).max() < 6


def test_diagnoses_are_spread():
    rng = np.random.default_rng(0)
    found = [sample_diagnosis(rng, normal_share=0.3, second_share=0.2) for _ in range(2000)]
    assert np.mean([name == "normal" for name in found]) == pytest.approx(0.3, abs=0.03)
    assert np.mean(["+" in name for name in found]) == pytest.approx(0.7 * 0.2, abs=0.03)
    parts = [part for name in found for part in name.split("+")]
    assert set(parts) == set(DIAGNOSES)
    for name in DIAGNOSES[1:]:
        assert parts.count(name) / 2000 == pytest.approx(0.7 * 1.2 / 7, abs=0.025)
    assert set(DIAGNOSES[1:]) < set(LESIONS)
    assert simulate_eye(0, 0, PhantomConfig(16, 16, 8, normal_share=1.0)).diagnosis == "normal"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fundus_px": 4}, "fundus_px: expected at least 16, found 4"),
        ({"n_depth": 0}, "n_depth"),
        ({"n_ascans": -1}, "n_ascans"),
        ({"depth_mm": 0.5}, "depth_mm: expected at least 1.2"),
        ({"depth_mm": float("nan")}, "depth_mm"),
        ({"half_width_mm": 0.0}, "half_width_mm"),
        ({"normal_share": 1.5}, r"normal_share: expected a share in \[0, 1\]"),
        ({"second_share": -0.1}, "second_share"),
        ({"scan": RadialScan(length_mm=12.0)}, "shorten the lines or raise half_width_mm"),
        ({"diagnosis": "glaucoma"}, "joined by '\\+', found \\['glaucoma'\\]"),
        ({"diagnosis": "drusen+cold"}, "cold"),
    ],
)
def test_bad_config(values, message):
    with pytest.raises(ValueError, match=message):
        PhantomConfig(**values)


@pytest.mark.parametrize(
    "values", [{"looks": 0}, {"axial_um": 0.0}, {"lateral_um": -1.0}, {"noise_floor": 0.9}]
)
def test_bad_optics(values):
    with pytest.raises(ValueError, match=r"expected .* found"):
        Optics(**values)


def test_bad_arguments():
    with pytest.raises(ValueError, match="seed and number"):
        simulate_eye(-1, 0)
    with pytest.raises(ValueError, match="n_eyes and workers"):
        simulate_file("a.h5", 1, workers=0)
    with pytest.raises(ValueError, match="seed: expected 0 or more, found -1"):
        simulate_file("a.h5", 1, seed=-1)
