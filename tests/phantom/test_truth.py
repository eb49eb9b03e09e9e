"""The truth beside the pictures, and that both pictures show it."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy import ndimage

from fund2oct.geometry import RasterScan
from fund2oct.phantom import DIAGNOSES, LESIONS, Optics, PhantomConfig, simulate_eye
from fund2oct.retina import BOUNDARIES, align, pose_surface_um

NO_SPECKLE = Optics(looks=2000, noise_floor=0.0)
N_EYES = 4


@lru_cache
def eye_of(diagnosis, number, clean=False, px=128):
    optics = NO_SPECKLE if clean else Optics()
    return simulate_eye(11, number, PhantomConfig(fundus_px=px, diagnosis=diagnosis, optics=optics))


def depth(eye, name):
    return eye.boundaries_um[BOUNDARIES.index(name)]


@pytest.mark.parametrize("diagnosis", [*DIAGNOSES, "PED+SRF", "IRF+ERM"])
def test_boundaries_are_ordered_and_inside_the_frame(diagnosis):
    for number in range(N_EYES):
        eye = eye_of(diagnosis, number)
        outside_disc = np.isfinite(depth(eye, "BM"))
        assert outside_disc.mean() > 0.9
        assert np.isfinite(depth(eye, "ILM")).all()
        assert (np.diff(eye.boundaries_um, axis=0)[:, outside_disc] > -1e-3).all()
        assert depth(eye, "ILM").min() >= 0.03 * 1920 - 1
        assert depth(eye, "BM")[outside_disc].max() <= 0.80 * 1920 + 1


def test_thickness_is_that_of_published_normal_eyes():
    """Means of Grover et al., Am J Ophthalmol 2009: centre 270, inner ring 334 to 345, outer 285 to 315."""
    config = PhantomConfig(diagnosis="normal", n_ascans=60, scan=RasterScan(61, 6.0, 6.0), fundus_px=64)
    points = config.scan.coordinates(config.n_ascans).numpy()
    radius = np.hypot(points[..., 0], points[..., 1])
    rings = {
        "centre": radius < 0.5,
        "inner": (radius > 0.5) & (radius < 1.5),
        "outer": (radius > 1.5) & (radius < 3),
    }
    eyes = [simulate_eye(0, number, config) for number in range(12)]
    thickness = np.stack([depth(eye, "BM") - depth(eye, "ILM") for eye in eyes])
    means = {name: thickness[:, ring].mean(1) for name, ring in rings.items()}
    assert 250 < means["centre"].mean() < 290
    assert 315 < means["inner"].mean() < 355
    assert 275 < means["outer"].mean() < 320
    assert 5 < means["centre"].std() < 35
    assert (thickness[:, radius < 0.15].mean(1) < means["inner"] - 60).all(), "no foveal pit"
    choroid = np.stack([depth(eye, "CSI") - depth(eye, "BM") for eye in eyes])[:, rings["centre"]]
    assert 200 < choroid.mean() < 350


def test_nerve_fibres_thicken_towards_the_disc():
    config = PhantomConfig(diagnosis="normal", scan=RasterScan(3, 7.0, 1.0))
    for number in range(4):
        eye = simulate_eye(1, number, config)
        rnfl = depth(eye, "RNFL_GCL") - depth(eye, "ILM")
        nasal, temporal = (-8, 8) if eye.laterality == "OD" else (8, -8)
        assert rnfl[1, nasal] > 1.5 * rnfl[1, temporal]


@pytest.mark.parametrize("diagnosis", ["normal", "PED", "SRF", "GA"])
def test_pose_is_the_membrane_to_a_few_micrometres(diagnosis):
    for number in range(N_EYES):
        eye = eye_of(diagnosis, number)
        surface = pose_surface_um(torch.from_numpy(eye.pose_um), eye.volume.shape[2]).numpy()
        assert np.nanmax(np.abs(surface - depth(eye, "BM"))) < 12


def test_pose_varies_between_slices_and_eyes():
    poses = np.stack([eye_of("normal", number).pose_um for number in range(N_EYES)])
    assert (poses.std(1)[:, :2] > 5).all()
    assert poses[..., 0].mean(1).std() > 10


@pytest.mark.parametrize("diagnosis", DIAGNOSES[1:])
def test_lesions_are_labelled_where_they_are_and_nowhere_else(diagnosis):
    names = {diagnosis} | ({"exudate"} if diagnosis in ("IRF", "haemorrhage") else set())
    for number in range(N_EYES):
        eye = eye_of(diagnosis, number)
        for labels in (eye.lesions, eye.lesion_fundus):
            found = {LESIONS[label - 1] for label in np.unique(labels) if label}
            assert diagnosis in found
            assert found <= names


def test_normal_eyes_have_no_lesion():
    for number in range(N_EYES):
        eye = eye_of("normal", number)
        assert not eye.lesions.any()
        assert not eye.lesion_fundus.any()


@pytest.mark.parametrize("diagnosis", DIAGNOSES[1:])
def test_photo_shows_each_lesion(diagnosis):
    contrasts = []
    for number in range(N_EYES):
        sick, well = (eye_of(name, number).fundus.astype(float) for name in (diagnosis, "normal"))
        mask = eye_of(diagnosis, number).lesion_fundus > 0
        change = np.abs(sick - well).mean(-1)
        far = ndimage.binary_dilation(mask, iterations=25)
        assert change[~far].mean() < 1, "the photo changed where there is no lesion"
        contrasts.append(change[mask].mean())
    assert np.mean(contrasts) > 8
    assert min(contrasts) > 4


@pytest.mark.parametrize("diagnosis", DIAGNOSES[1:])
def test_volume_shows_each_lesion(diagnosis):
    inside, outside = [], []
    for number in range(N_EYES):
        sick, well = eye_of(diagnosis, number, clean=True), eye_of("normal", number, clean=True)
        change = (_aligned(sick.volume, sick) - _aligned(well.volume, well)).abs()
        labelled = _aligned(255 * (sick.lesions > 0), sick) > 0.5
        columns = ndimage.binary_dilation(labelled.any(1).numpy(), iterations=12)
        inside.append(change[labelled].mean().item())
        outside.append(change.movedim(1, -1)[torch.from_numpy(~columns)].mean().item())
    assert np.mean(inside) > 0.06
    assert np.mean(inside) > 3 * np.mean(outside)


def _aligned(volume, eye):
    volume = torch.from_numpy(np.asarray(volume, np.float32) / 255)[None, None]
    return align(volume, torch.from_numpy(eye.pose_um)[None], eye.spacing_mm[1])[0, 0]


@pytest.mark.parametrize(
    ("diagnosis", "top", "bottom"),
    [("SRF", "EZ", "IZ_RPE"), ("PED", "IZ_RPE", "BM"), ("drusen", "IZ_RPE", "BM")],
)
def test_fluid_and_deposits_part_the_boundaries(diagnosis, top, bottom):
    for number in range(N_EYES):
        sick, well = eye_of(diagnosis, number), eye_of("normal", number)
        gap, usual = (depth(eye, bottom) - depth(eye, top) for eye in (sick, well))
        columns = (sick.lesions == LESIONS.index(diagnosis) + 1).any(1)
        assert np.nanmax(gap) > np.nanmax(usual) + 20
        np.testing.assert_allclose(gap[~columns], usual[~columns], atol=25)


def test_height_of_fluid_can_be_read_from_the_photo():
    """Higher fluid covers more of the photo: without that no model could learn its volume."""
    area, height = [], []
    for number in range(16):
        eye = eye_of("SRF", number)
        area.append((eye.lesion_fundus > 0).sum())
        height.append(np.nanmax(depth(eye, "IZ_RPE") - depth(eye, "EZ")))
    assert np.corrcoef(area, height)[0, 1] > 0.6


def test_atrophy_lets_light_through():
    for number in range(N_EYES):
        sick, well = (eye_of(name, number, clean=True) for name in ("GA", "normal"))
        columns = (sick.lesions > 0).any(1)
        below = [
            _aligned(eye.volume, eye).movedim(1, -1)[torch.from_numpy(columns)][:, 52:62].mean()
            for eye in (sick, well)
        ]
        assert below[0] > below[1] + 0.05


def test_second_differs_in_speckle_alone():
    for number in range(N_EYES):
        eye = eye_of("IRF", number)
        one, other = (ndimage.gaussian_filter(v.astype(float), (0, 2, 2)) for v in (eye.volume, eye.rescan))
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99
        assert (eye.volume == eye.rescan).mean() < 0.3
        clean = eye_of("IRF", number, clean=True)
        tissue = clean.volume > 80
        assert np.abs(clean.volume.astype(float) - clean.rescan)[tissue].mean() < 2


def test_vessels_of_the_photo_cast_shadows_in_the_volume():
    correlations = []
    for number in range(6):
        eye = eye_of("normal", number, clean=True, px=256)
        points = eye.scan.coordinates(eye.volume.shape[2])
        column, row = eye.placement.to_pixels(points, 256).unbind(-1)
        green = eye.fundus[..., 1].astype(float)
        local = green / (ndimage.gaussian_filter(green, 8) + 1)
        photo = ndimage.map_coordinates(local, [row.numpy(), column.numpy()], order=1)
        outer = _mean_between(eye, "EZ", "BM")
        shadow = outer - ndimage.gaussian_filter1d(outer, 6, axis=1)
        far = points.norm(dim=-1).numpy() > 1.5
        usable = far & np.isfinite(shadow)
        correlations.append(np.corrcoef(photo[usable], shadow[usable])[0, 1])
    assert np.mean(correlations) > 0.4


def _mean_between(eye, top, bottom):
    dz = eye.spacing_mm[1] * 1000
    centre = (np.arange(eye.volume.shape[1])[:, None, None] + 0.5) * dz
    inside = (centre > depth(eye, top)) & (centre < depth(eye, bottom) + dz)
    volume = eye.volume.transpose(1, 0, 2).astype(float)
    with np.errstate(invalid="ignore"):
        return (volume * inside).sum(0) / inside.sum(0)


@pytest.mark.parametrize("number", range(8))
def test_disc_is_nasal_and_bright(number):
    eye = eye_of("normal", number)
    light = eye.fundus[..., 1:].astype(float).mean(-1)
    local = ndimage.gaussian_filter(light, 3) - ndimage.gaussian_filter(light, 14)
    rows, columns = np.indices(light.shape)
    local[np.hypot(rows - 63.5, columns - 63.5) > 57] = -np.inf
    row, column = np.unravel_index(local.argmax(), local.shape)
    nasal = (column - 63.5) / 64 * (1 if eye.laterality == "OD" else -1)
    assert 0.5 < nasal < 0.9
    assert abs(row - 63.5) / 64 < 0.25


def test_surround_is_black_and_fovea_darker_than_its_surroundings():
    for number in range(N_EYES):
        eye = eye_of("normal", number)
        assert eye.fundus[:6, :6].max() < 12
        column, row = eye.placement.to_pixels(torch.zeros(2), 128).round().int().tolist()
        green = eye.fundus[..., 1].astype(float)
        fovea = green[row - 3 : row + 4, column - 3 : column + 4].mean()
        assert fovea < 0.97 * green[row - 20 : row + 21, column - 20 : column + 21].mean()


def test_a_circle_of_disc_ends_the_layers():
    eyes = [eye_of("normal", number) for number in range(N_EYES)]
    for eye in eyes:
        missing = np.isnan(depth(eye, "BM"))
        points = eye.scan.coordinates(eye.volume.shape[2]).numpy()
        if missing.any():
            nasal = points[missing][:, 0] * (1 if eye.laterality == "OD" else -1)
            assert nasal.min() > 3
    assert any(np.isnan(depth(eye, "BM")).any() for eye in eyes)
