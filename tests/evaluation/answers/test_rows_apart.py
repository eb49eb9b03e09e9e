"""Eyes whose rows lie further apart than those of others: of the training, of the model, of the same test."""

from dataclasses import replace

import pytest
import torch

from fund2oct.data import EyeReader, EyeWriter, FundusOCTDataModule
from fund2oct.evaluation.answers.answer import Answer, Given
from fund2oct.evaluation.answers.borrowed import warp_heights
from fund2oct.evaluation.answers.controls import MEAN, NEAREST, controls, model_answers
from fund2oct.evaluation.answers.floors import rescan
from fund2oct.evaluation.answers.training_eyes import TrainingEyes, with_rows
from fund2oct.evaluation.checkpoints import HeldOutEyes
from fund2oct.evaluation.compare import REAL, compare
from fund2oct.evaluation.distances import Distances
from fund2oct.evaluation.report import reliability
from fund2oct.metrics.eyes.layers import find_surfaces
from fund2oct.models import load_model
from fund2oct.processes import Here
from fund2oct.retina import ALIGNED_DEPTH

CPU = torch.device("cpu")


def test_a_bright_row_keeps_its_height_in_micrometres():
    volume = torch.zeros(1, 1, 2, 80, 4)
    base = ALIGNED_DEPTH * 80 - 0.5  # row of the pose's surface
    bright = round(base - 30)
    volume[:, :, :, bright] = 1
    near, far = torch.tensor([0.01]), torch.tensor([0.015])
    found = with_rows(volume, near, far)[0, 0, 0, :, 0]
    height_um = 10 * (base - bright)
    assert 15 * (base - float((found * torch.arange(80)).sum() / found.sum())) == pytest.approx(
        height_um, abs=8
    )
    assert with_rows(volume, near, near) is volume
    mask = torch.zeros(1, 1, 2, 80, 4, dtype=torch.bool)
    mask[:, :, :, 40:] = True
    n_scanned = int(with_rows(mask, near, far)[0, 0, 0, :, 0].sum())
    assert n_scanned == sum(39.5 <= base + (row - base) * 1.5 < 79.5 for row in range(80))


def test_a_volume_is_warped_to_heights_that_mean_the_same():
    """From rows of 10 um to rows of 12: a membrane 300 um up lands 240 um up, where it is sent."""
    volume = torch.zeros(1, 1, 1, 80, 4)
    base = ALIGNED_DEPTH * 80 - 0.5
    volume[:, :, :, round(base - 30)] = 1
    there = torch.tensor([0.012])
    at = torch.tensor([10 * (base - round(base - 30)), 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    sent = torch.tensor([240.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    found = warp_heights(with_rows(volume, torch.tensor([0.01]), there), at, sent, there)[0, 0, 0, :, 0]
    row = float((found * torch.arange(80)).sum() / found.sum())
    assert 12 * (base - row) == pytest.approx(240, abs=6)


def test_controls_answer_in_the_rows_of_the_eye(datamodule, eyes):
    training = TrainingEyes(datamodule, CPU)
    batch = next(eyes.batches())
    wider = batch["spacing_z_mm"] * 1.25
    by_name = {one.name: one for one in controls(training)}
    for name in (MEAN, NEAREST):
        own = by_name[name].give(batch).aligned
        answered = by_name[name].give({**batch, "spacing_z_mm": wider}).aligned
        torch.testing.assert_close(answered, with_rows(own, batch["spacing_z_mm"], wider), atol=1e-5, rtol=0)
        assert not torch.allclose(answered, own, atol=0.01)


def test_test_eyes_of_different_rows_are_compared_in_those_of_the_first(tiny_eyes, tmp_path):
    path = tmp_path / "mixed.h5"
    with EyeReader(tiny_eyes) as reader, EyeWriter(path) as writer:
        keys = reader.keys[:4]
        for key, z_mm in zip(keys, (0.060, 0.054, 0.060, 0.054), strict=True):
            eye = reader.read(key)
            writer.add(replace(eye, spacing_mm=(eye.spacing_mm[0], z_mm, eye.spacing_mm[2])))

    def fence(batch):
        return Given.placed(torch.linspace(0, 1, 48).expand_as(batch["aligned"]).contiguous(), batch)

    found = []
    for batch_size in (2, 1):
        data = FundusOCTDataModule(str(path), batch_size=batch_size, split={"test": list(keys)})
        answers = [rescan(), Answer("fence", fence)]
        found.append(compare(HeldOutEyes(data, CPU), answers, Distances([]), Here()).sets)
    for sets in found:
        assert sets["fence"]["deep/in_common"] == pytest.approx(1, abs=1e-4)
        assert abs(sets[REAL]["deep/in_common"]) < 0.3
    for name, values in found[0].items():
        assert found[1][name]["deep/in_common"] == pytest.approx(values["deep/in_common"], abs=1e-5)


def test_a_model_answers_in_the_rows_of_the_eye(tiny_checkpoint, eyes, monkeypatch):
    """It draws one retina in rows of 60 um; in a frame that is a quarter deeper its thickness stays."""
    model, batch = load_model(tiny_checkpoint), next(eyes.batches())
    assert model.spacing_z_mm(32) == pytest.approx(0.06)
    n_eyes = len(batch["key"])
    base = ALIGNED_DEPTH * 32
    # Grey retina from five rows above the pose's surface on, a bright epithelium at it, and dark choroid.
    profile = torch.zeros(32)
    profile[round(base) - 5 : round(base) + 4], profile[round(base) - 1 : round(base) + 1] = 0.4, 1.0
    retina = profile.view(1, 1, 1, 32, 1).expand(n_eyes, 1, 6, 32, 48).contiguous()
    model.forward = lambda *_, **__: retina.clone()
    wider = {**batch, "spacing_z_mm": 1.25 * batch["spacing_z_mm"], "pose_um": 1.25 * batch["pose_um"]}
    own, *_ = model_answers({"model": model}, eyes.photo_of_another, 0)
    found = [
        find_surfaces(own.give(one).volume, one["spacing_z_mm"], one["spacing_x_mm"]).thickness_um
        for one in (batch, wider)
    ]
    thickness = [float(one.nanmedian()) for one in found]
    assert thickness[1] == pytest.approx(thickness[0], abs=20)
    answered = with_rows(retina, batch["spacing_z_mm"], wider["spacing_z_mm"])
    assert torch.equal(own.give(wider).aligned, answered) and torch.equal(own.give(batch).aligned, retina)
    shown = []
    monkeypatch.setattr(reliability, "has_one_answer", lambda draws: False)
    monkeypatch.setattr(reliability, "level_of_draws", lambda real, draws: shown.append(draws) or real)
    reliability._voxel_levels(model, wider, 0)
    assert torch.equal(shown[0][3], answered)
