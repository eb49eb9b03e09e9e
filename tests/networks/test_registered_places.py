"""How far a scan was moved is kept and told, and the place may be taken as it was told."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import Eye, EyeReader
from fund2oct.geometry import Placement, RadialScan
from fund2oct.models import SurfaceModel, load_model
from fund2oct.models.predicting.generate import complete
from fund2oct.models.predicting.photo_reader import ReadyPhoto
from fund2oct.models.training.conditions import Conditions
from fund2oct.networks.registration import at_given_places
from fund2oct.phantom import simulate_eye
from fund2oct.run.predicting import predict as running

S, X = 6, 40
SCAN = RadialScan()
FUNDUS = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
MOVED, OUTSIDE = "the model moved the scan by", "of the scan lies outside the circle of retina"


def ready(placement=None):
    eye = Eye(key="a", patient="a", laterality="OD", fundus=FUNDUS, placement=placement or Placement())
    return ReadyPhoto(eye, SCAN, (1.0, 0.01, 0.1), ())


@pytest.fixture
def moving():
    """Makes a model that moves each scan by grid units to the right and down, whatever is seen."""

    def make(right, down):
        model = SurfaceModel((S, 32, X), encoder="own", surface_width=8, registration=True)
        model.configure_model()
        with torch.no_grad():
            model.generator_ema.module.registration.vote.bias.copy_(torch.tensor([10 * right, 10 * down, 0]))
        model.task = SimpleNamespace(scan=SCAN, conditions=Conditions())
        return model

    return make


def told(model, photo):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = complete(model, photo)
    return done, [str(one.message) for one in caught]


def test_the_move_is_kept_in_millimetres(moving):
    done, notes = told(moving(0.1, -0.05), ready(Placement(half_width_mm=6.0)))
    assert done.history["registered"] and not notes
    assert done.history["registered_right_mm"] == pytest.approx(0.6, abs=1e-3)
    assert done.history["registered_down_mm"] == pytest.approx(-0.3, abs=1e-3)
    assert done.history["registered_turn_deg"] == pytest.approx(0, abs=0.01)
    assert done.history["registered_scale"] == pytest.approx(1, abs=1e-3)


def test_a_large_move_is_told_and_can_be_left_out(moving):
    model = moving(0.24, 0.1)
    _, (note,) = told(model, ready(Placement(half_width_mm=6.5)))
    assert f"{MOVED} 1.7 mm, over 1.5" in note and "--as-told" in note
    with at_given_places(model):
        done, notes = told(model, ready())
    assert done.placement == Placement() and not notes and "registered" not in done.history


def test_what_lies_outside_is_counted_after_the_move(moving):
    assert any(OUTSIDE in note for note in told(moving(0.9, 0), ready())[1])
    assert not any(OUTSIDE in note for note in told(moving(-0.8, 0), ready(Placement((0.8, 0.0))))[1])
    assert any(OUTSIDE in note for note in told(moving(0, 0), ready(Placement((0.8, 0.0))))[1])


def test_what_is_unusual_is_told_of_the_file(moving):
    for model, photo in ((moving(0.24, 0.1), ready()), (moving(0.9, 0), ready())):
        _, notes = told(model, replace(photo, name="anna/OD.jpg"))
        assert notes and all(note.startswith("anna/OD.jpg: ") for note in notes)


def test_the_command_leaves_the_scan_where_it_was_told_to_lie(tiny_checkpoint, tmp_path, monkeypatch):
    Image.fromarray(simulate_eye(0, 0).fundus).save(tmp_path / "eye.png")
    active = []
    model = load_model(tiny_checkpoint)
    monkeypatch.setattr(running, "load_model", lambda *_: model)
    monkeypatch.setattr(
        "fund2oct.models.predicting.generate.find_place",
        lambda *given: Placement((0.1, 0.0)) if not active else given[2],
    )

    class Given:
        def __enter__(self):
            active.append(True)

        def __exit__(self, *_):
            active.clear()

    monkeypatch.setattr(running, "at_given_places", lambda _: Given())
    command = ["predict", str(tiny_checkpoint), str(tmp_path / "eye.png"), "--fovea", "0.02", "0"]
    command += ["--figure-format", "none"]
    for number, words in enumerate(([], ["--as-told"])):
        out = tmp_path / str(number)
        assert main([*command, "--out", str(out), *words]) == 0
        with EyeReader(out / "eye.h5") as reader:
            assert reader.read("eye").placement.shift == ((0.02, 0.0) if words else (0.1, 0.0))
