"""Twins: one photo to the last bit, whatever the disease; hidden anatomy of the simulator's own spread."""

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest

from fund2oct.geometry import CircularScan
from fund2oct.phantom import DIAGNOSES, PhantomConfig, simulate_eye, simulate_twins, twin_boundaries
from fund2oct.phantom.anatomy import LAYERS, sample_anatomy
from fund2oct.phantom.rendering.fundus import Retina, render_fundus
from fund2oct.phantom.simulate import sample_retina, streams
from fund2oct.phantom.twins import redraw_hidden
from fund2oct.retina import BOUNDARIES, boundary_index

SMALL = {"n_depth": 40, "n_ascans": 56, "fundus_px": 64}
_FIRST, *_OTHERS = [f"{a}+{b}" for a, b in pairwise(DIAGNOSES[1:])]
DISEASES = [*DIAGNOSES, _FIRST, *(pytest.param(both, marks=pytest.mark.slow) for both in _OTHERS)]


def retina_of(number: int, diagnosis: str | None = None) -> tuple[Retina, np.ndarray, PhantomConfig]:
    config = PhantomConfig(**SMALL, diagnosis=diagnosis)
    rng = streams(5, number)
    retina, _ = sample_retina(rng, 5, number, config)
    return retina, render_fundus(rng["photo"], retina, config.fundus_px), config


@pytest.mark.parametrize("diagnosis", DISEASES)
def test_a_twin_has_the_photo_of_the_eye_to_the_last_bit(diagnosis: str) -> None:
    for number in (0, 3):
        retina, photo, config = retina_of(number, diagnosis)
        eye = simulate_eye(5, number, config)
        assert np.array_equal(photo, eye.fundus)
        for twin in range(2):
            hidden = redraw_hidden(streams(5, number, twin), retina)
            rng = streams(5, number)
            sample_retina(rng, 5, number, config)
            # Rendered from the twin's own retina: what the photo reads, the twin must share.
            assert np.array_equal(render_fundus(rng["photo"], hidden, config.fundus_px), photo)
            assert not np.array_equal(hidden.anatomy.layer_scale, retina.anatomy.layer_scale)


@pytest.mark.parametrize("diagnosis", DISEASES)
def test_the_volume_of_a_twin_is_another(diagnosis: str) -> None:
    config = PhantomConfig(**SMALL, diagnosis=diagnosis)
    eye, twins = simulate_eye(5, 3, config), simulate_twins(5, 3, 2, config)
    for twin in twins:
        assert np.array_equal(twin.fundus, eye.fundus) and np.array_equal(twin.pose_um, eye.pose_um)
        assert twin.diagnosis == diagnosis and twin.rescan is None and twin.volume.shape == eye.volume.shape
    thickness = [one.boundaries_um[boundary_index("IZ_RPE")] - one.boundaries_um[0] for one in (eye, *twins)]
    assert all(np.nanmean(np.abs(a - b)) > 1 for a, b in pairwise(thickness))
    assert [twin.key for twin in twins] == [f"{eye.key}-twin1", f"{eye.key}-twin2"]
    # The membrane is where the pose puts it, and it is the eye's.
    bruch = [one.boundaries_um[boundary_index("BM")] for one in (eye, *twins)]
    assert all(np.nanmax(np.abs(depth - bruch[0])) < 1e-3 for depth in bruch)


def test_twins_do_not_depend_on_their_number_and_boundaries_are_theirs() -> None:
    config = PhantomConfig(**SMALL)
    one, three = simulate_twins(2, 4, 1, config), simulate_twins(2, 4, 3, config)
    assert np.array_equal(one[0].volume, three[0].volume)
    assert not np.array_equal(three[0].volume, three[1].volume)
    truths = twin_boundaries(2, 4, 3, config)
    assert truths.shape == (3, len(BOUNDARIES), 6, 56)
    for twin, truth in zip(three, truths, strict=True):
        assert np.array_equal(twin.boundaries_um, truth, equal_nan=True)
    with pytest.raises(ValueError, match="at least one twin"):
        simulate_twins(2, 4, 0, config)


@pytest.mark.parametrize("name", ["pit_radius", "raphe", "pigment", "cup_ratio"])
def test_what_stays_is_what_the_photo_shows(name: str) -> None:
    retina, photo, config = retina_of(0)
    changed = replace(retina.anatomy, **{name: getattr(retina.anatomy, name) * 1.1})
    rng = streams(5, 0)
    sample_retina(rng, 5, 0, config)
    other = render_fundus(rng["photo"], replace(retina, anatomy=changed), config.fundus_px)
    assert not np.array_equal(other, photo)


def test_everything_that_may_change_does() -> None:
    retina, *_ = retina_of(2)
    hidden = redraw_hidden(streams(9), retina)
    changed = {
        part.name
        for part in fields(retina.anatomy)
        if getattr(retina.anatomy, part.name) != getattr(hidden.anatomy, part.name)
    }
    assert changed == {"layer_scale", "choroid_um", "cup_um", "clearness"}
    assert hidden.anatomy.layer_scale[0] == retina.anatomy.layer_scale[0]
    maps = {
        part.name
        for part in fields(retina.texture)
        if not np.array_equal(getattr(retina.texture, part.name), getattr(hidden.texture, part.name))
    }
    assert maps == {"outer", "inner", "depth", "small_lumens", "streaks"}


def test_hidden_layers_are_drawn_given_the_one_that_shows() -> None:
    retina, *_ = retina_of(0)
    rng = np.random.default_rng(0)
    prior = np.array([sample_anatomy(rng, rng).layer_scale for _ in range(4000)])
    for seen in (0.93, 1.06):
        anatomy = replace(retina.anatomy, layer_scale=(seen, *retina.anatomy.layer_scale[1:]))
        eye = replace(retina, anatomy=anatomy)
        drawn = np.array([redraw_hidden(streams(1, n), eye).anatomy.layer_scale for n in range(150)])
        near = prior[np.abs(prior[:, 0] - seen) < 0.01]
        error = 4 * prior[:, 1:].std() / np.sqrt(150 * len(LAYERS[1:]) / 4)
        assert drawn[:, 1:].mean() == pytest.approx(near[:, 1:].mean(), abs=error)
        assert drawn[:, 1:].std() == pytest.approx(near[:, 1:].std(), rel=0.15)


def test_twins_under_a_curved_scan_lie_as_their_eye() -> None:
    config = PhantomConfig(**SMALL, scan=CircularScan((1.7, 2.4)))
    eye, (twin,) = simulate_eye(5, 3, config), simulate_twins(5, 3, 1, config)
    assert eye.pose_um is not None and np.abs(eye.pose_um[:, 3:]).max() > 1  # a circle's pose has more parts
    bruch = boundary_index("BM")
    np.testing.assert_allclose(twin.boundaries_um[bruch], eye.boundaries_um[bruch], atol=1e-3)
    np.testing.assert_array_equal(twin.pose_um, eye.pose_um)
    np.testing.assert_array_equal(twin_boundaries(5, 3, 1, config)[0], twin.boundaries_um)


@pytest.mark.parametrize("ask", [simulate_twins, twin_boundaries])
def test_twins_of_long_eyes_are_refused(ask: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="population: expected 'ordinary', found 'long', whose twins"):
        ask(5, 3, 1, PhantomConfig.of("long", **SMALL))
