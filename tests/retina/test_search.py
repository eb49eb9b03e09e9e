"""The search on drawn and on simulated retinas, whose truth is known."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.phantom.rendering import scanner
from fund2oct.retina import BOUNDARIES, N_POSE, estimate_pose, pose_surface_um, retinal_boundaries
from fund2oct.retina.working import find_fill, resample

SPACING = (float("nan"), 1.92 / 192, 8.8 / 150)


def _draw(bm_um, thickness_um=280.0, lift_um=0.0, nfl=0.9, n_rows=192, seed=0):
    """B-scans of a vitreous, a bright nerve fibre layer, retina, a band of epithelium, a choroid."""
    rng = np.random.default_rng(seed)
    dz = 1920 / n_rows
    depth = ((np.arange(n_rows) + 0.5) * dz)[None, :, None]
    bm = np.asarray(bm_um, float)[:, None]
    rpe = bm - 26 - np.asarray(lift_um, float)
    ilm = rpe - thickness_um
    image = np.full((*np.broadcast_shapes(depth.shape, bm.shape),), 0.05)
    for top, bottom, value in (
        (ilm, rpe, 0.4),
        (ilm, ilm + 45, nfl),
        (rpe - 90, rpe, 0.2),
        (rpe, rpe + 26, 0.9),
        (rpe + 26, bm, 0.15),
    ):
        image = np.where((depth >= top) & (depth < bottom), value, image)
    image = np.where(depth >= bm, 0.05 + 0.4 * np.exp(-np.maximum(depth - bm, 0) / 150), image)
    image = ndimage.gaussian_filter1d(image, 6 / dz, axis=1) * rng.gamma(6, 1 / 6, image.shape)
    return image.clip(0, 1).astype(np.float32), ilm[:, 0], rpe[:, 0]


def _arc(tilt_um=80.0, bend_um=-60.0, height_um=1150.0, n=4, n_ascans=150):
    pose = torch.zeros(n, N_POSE)
    pose[:, :3] = torch.tensor([height_um, tilt_um, bend_um])
    return pose.numpy(), pose_surface_um(pose, n_ascans).numpy()


def test_drawn_surfaces_are_found_to_a_few_micrometres():
    pose, bm = _arc()
    volume, ilm, rpe = _draw(bm)
    found = retinal_boundaries(volume, SPACING)
    assert found.ok.all()
    for surface, truth in ((found.ilm_um, ilm), (found.rpe_um, rpe), (found.bm_um, bm)):
        assert surface.shape == truth.shape and surface.dtype == np.float32
        assert np.median(np.abs(surface - truth)) < 8
    np.testing.assert_allclose(np.nanmean(found.thickness_um), 280, atol=10)
    estimate = estimate_pose(volume, SPACING)
    assert estimate.ok.all() and estimate.confidence.min() > 0.95
    np.testing.assert_allclose(estimate.pose_um, pose, atol=12)


def test_a_brighter_nerve_fibre_layer_is_not_taken_for_the_outer_retina():
    _, bm = _arc()
    volume, _, rpe = _draw(bm, nfl=1.6)
    assert np.abs(retinal_boundaries(volume, SPACING).rpe_um - rpe).max() < 40


def test_a_detachment_lifts_the_epithelium_and_not_the_pose():
    pose, bm = _arc()
    u = (np.arange(150) + 0.5) / 150
    lift = 300 * np.clip(1 - ((u - 0.55) / 0.22) ** 2, 0, None)
    volume, _, rpe = _draw(bm, lift_um=lift)
    estimate, found = estimate_pose(volume, SPACING), retinal_boundaries(volume, SPACING)
    np.testing.assert_allclose(estimate.pose_um, pose, atol=15)
    top = slice(70, 95)
    assert np.median((found.rpe_um - rpe)[:, top]) < 40
    assert np.median(np.abs(found.bm_um - bm)[:, top]) < 15


@pytest.mark.parametrize("above_um", [110.0, 220.0])
@pytest.mark.parametrize("bright", [0.5, 1.0])
def test_a_line_in_the_vitreous_is_not_the_inner_surface(above_um, bright):
    """A detached hyaloid over two thirds of each slice, and a level reflection, each 16 um thick."""
    _, bm = _arc()
    volume, ilm, _ = _draw(bm)
    depth = ((np.arange(192) + 0.5) * 10)[:, None]
    hyaloid, reflection = ilm[:, None] - above_um, 0 * ilm[:, None] + 300
    for line, ascans in ((hyaloid, slice(0, 100)), (reflection, slice(60, 120))):
        there = (np.abs(depth - line) < 8)[..., ascans]
        volume[..., ascans][there] = bright
    found = retinal_boundaries(volume, SPACING)
    off = np.abs(found.ilm_um - ilm)
    assert np.median(off) < 8 and (off > 30).mean() < 0.02
    assert found.ok.mean() > 0.98


def test_white_and_black_fill_around_the_scan_changes_nothing():
    _, bm = _arc()
    volume, _, _ = _draw(bm)
    plain = retinal_boundaries(volume, SPACING)
    for value in (0.0, 1.0):
        filled = volume.copy()
        edge = 25 + np.arange(150) // 10
        filled[:, np.arange(192)[:, None] < edge] = value
        filled[:, 175:] = value
        found = retinal_boundaries(filled, SPACING)
        assert np.abs(found.rpe_um - plain.rpe_um).max() < 12
        assert np.median(np.abs(found.ilm_um - plain.ilm_um)) < 6


@pytest.mark.parametrize("vitreous", [20, 0])
def test_a_vitreous_without_noise_is_not_taken_for_fill(vitreous, monkeypatch):
    """As in denoised scans, in those whose dark was cut off, and in means of volumes."""
    monkeypatch.setattr(scanner, "_speckle", lambda rng, shape, sigma, looks: np.ones(shape, np.float32))
    eye = simulate_eye(seed=3, number=1, config=PhantomConfig(fundus_px=64, n_depth=320, n_ascans=448))
    volume = np.where(eye.volume < 25, vitreous, eye.volume).astype(np.uint8)
    found = retinal_boundaries(volume, eye.spacing_mm)
    off = np.abs(found.ilm_um - eye.boundaries_um[BOUNDARIES.index("ILM")])
    assert found.ok.mean() > 0.99 and off[found.ok].mean() < 4


def test_ascans_without_a_measurement_are_flagged():
    _, bm = _arc()
    volume, _, _ = _draw(bm)
    volume[..., 120:] = 0
    found = retinal_boundaries(volume, SPACING)
    assert found.ok[:, 5:110].all() and not found.ok[:, 125:].any()
    assert np.isnan(found.thickness_um[:, 125:]).all()


def test_a_mirrored_volume_has_mirrored_surfaces_and_pose():
    _, bm = _arc()
    volume, _, _ = _draw(bm)
    one, other = (estimate_pose(v, SPACING) for v in (volume, volume[..., ::-1]))
    np.testing.assert_allclose(one.pose_um * [1, -1, 1, -1, 1, -1, 1], other.pose_um, atol=1.0)


def test_depth_is_counted_from_the_frames_edge_in_micrometres():
    """Rows added above, or an A-scan resampled to twice the rows, move the surfaces as they must."""
    _, bm = _arc()
    volume, _, _ = _draw(bm)
    plain = estimate_pose(volume, SPACING).pose_um
    lower = np.concatenate([volume[:, :20], volume], 1)
    np.testing.assert_allclose(estimate_pose(lower, SPACING).pose_um, plain + np.eye(7)[0] * 200, atol=4)
    fine = estimate_pose(volume.repeat(2, 1), (SPACING[0], SPACING[1] / 2, SPACING[2]))
    np.testing.assert_allclose(fine.pose_um, plain, atol=4)


def test_bytes_and_floats_agree():
    volume = (_draw(_arc()[1])[0] * 255).round().astype(np.uint8)
    one, other = estimate_pose(volume, SPACING), estimate_pose(volume / np.float32(255), SPACING)
    np.testing.assert_array_equal(one.pose_um, other.pose_um)


@pytest.mark.parametrize(
    "volume",
    [
        np.zeros((2, 40, 30), np.float32),
        np.ones((2, 40, 30), np.float32),
        np.random.default_rng(0).random((2, 40, 30), np.float32) * 0.2,
    ],
    ids=["black", "white", "noise"],
)
def test_odd_content_is_flagged_and_raises_nothing(volume):
    found, estimate = retinal_boundaries(volume, (1, 0.048, 0.29)), estimate_pose(volume, (1, 0.048, 0.29))
    assert found.ok.mean() < 0.5 and not estimate.ok.any()
    assert np.isfinite(estimate.pose_um).all() and np.isfinite(found.rpe_um).all()


@pytest.mark.parametrize("function", [estimate_pose, retinal_boundaries])
@pytest.mark.parametrize(
    "volume, spacing, message",
    [
        (np.zeros((1, 1, 2, 40, 30)), SPACING, r"\(S, Z, X\)"),
        (np.zeros((2, 4, 30)), SPACING, "at least 8 rows"),
        (np.zeros((0, 40, 30)), SPACING, r"\(S, Z, X\)"),
        (np.full((2, 40, 30), np.nan), SPACING, "NaN"),
        (np.full((2, 40, 30), 200.0), SPACING, r"\[0, 1\]"),
        (np.zeros((2, 40, 30)), (1.0, float("nan"), 0.1), "millimetres"),
        (np.zeros((2, 40, 30)), (1.0, 0.01, 0.0), "millimetres"),
    ],
)
def test_wrong_arguments_are_refused(function, volume, spacing, message):
    with pytest.raises(ValueError, match=message):
        function(volume, spacing)


@pytest.mark.parametrize("diagnosis", ["normal", "PED", "SRF", "IRF", "GA", "ERM", "drusen", "haemorrhage"])
def test_simulated_eyes_truth(diagnosis):
    """Medians over A-scans: measured 3.5 for the epithelium, 9 for the inner surface, 3 for the pose."""
    for number in range(2):
        eye = simulate_eye(11, number, PhantomConfig(diagnosis=diagnosis))
        truth = {name: eye.boundaries_um[row] for row, name in enumerate(BOUNDARIES)}
        found, estimate = (f(eye.volume, eye.spacing_mm) for f in (retinal_boundaries, estimate_pose))
        assert found.ok.mean() > 0.95 and estimate.ok.all()
        assert np.nanmedian(np.abs(found.rpe_um - truth["IZ_RPE"])) < 10
        assert np.nanmedian(np.abs(found.ilm_um - truth["ILM"])) < 16
        thickness = truth["IZ_RPE"] - truth["ILM"]
        assert np.nanmedian(np.abs(found.thickness_um - thickness)) < 20
        n = eye.volume.shape[2]
        off = pose_surface_um(torch.from_numpy(estimate.pose_um) - torch.from_numpy(eye.pose_um), n)
        assert off.abs().mean(-1).median() < 15


def test_two_scans_of_one_eye_agree():
    eye = simulate_eye(11, 5)
    one, other = (retinal_boundaries(v, eye.spacing_mm) for v in (eye.volume, eye.rescan))
    assert np.nanmedian(np.abs(one.thickness_um - other.thickness_um)) < 6


def test_resampling_keeps_the_mean_and_the_place():
    values = np.random.default_rng(0).random((2, 12, 9), np.float32)
    for size in (4, 6, 5):
        np.testing.assert_allclose(resample(values, size, 1).mean(1), values.mean(1), rtol=1e-5)
    np.testing.assert_allclose(resample(values, 4, 1), values.reshape(2, 4, 3, 9).mean(2), rtol=1e-5)
    ramp = np.arange(8, dtype=np.float32)[None, :, None] + 0.5
    for size in (4, 16):
        middle = ((np.arange(size) + 0.5) * 8 / size)[2:-2]
        np.testing.assert_allclose(resample(ramp, size, 1)[0, 2:-2, 0], middle, rtol=1e-5)


def test_fill_is_found_from_the_edges_only():
    image = np.random.default_rng(0).random((1, 50, 60), np.float32) * 0.8
    image[0, :10] = 1
    image[0, :, 50:] = 0.05
    image[0, 25:35, 20:30] = 0
    filled = find_fill(image)[0]
    assert filled[:9].all() and filled[:, 52:].all()
    assert not filled[14:, :46].any()
