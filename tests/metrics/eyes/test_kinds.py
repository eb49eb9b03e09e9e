"""Kinds of lesions: each rule against hand-made surfaces and volumes, the whole against the phantom."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fund2oct.metrics.eyes.findings import Findings
from fund2oct.metrics.eyes.fluid import Fluid
from fund2oct.metrics.eyes.kinds import KINDS, PRESENT_MM, find_kinds, overlap, true_kinds
from fund2oct.metrics.eyes.layers import Surfaces, find_surfaces
from fund2oct.phantom import LESIONS, PhantomConfig, simulate_eye

S, Z, X = 3, 60, 50
Z_MM, X_MM = 0.03, 0.1


def flat() -> tuple[Tensor, Surfaces, Fluid]:
    """A retina from 500 to 800 um without a lesion: dull above the epithelium, bright there, dark below."""
    depth = (torch.arange(Z) + 0.5) * 30
    profile = torch.where(
        depth < 500, 0.05, torch.where(depth < 740, 0.4, torch.where(depth < 830, 0.8, 0.3))
    )
    volume = profile[:, None].expand(1, 1, S, Z, X).clone()
    surfaces = Surfaces(*(torch.full((1, S, X), um) for um in (500.0, 800.0, 826.0)))
    return volume, surfaces, Fluid(torch.zeros(1, S, X), torch.zeros(1, S, X))


def found(volume: Tensor, surfaces: Surfaces, fluid: Fluid) -> dict[str, list[tuple[int, int, int]]]:
    """A-scans with each kind, as slice, first and last, for one stretch a slice."""
    stretches = {}
    for name, where in find_kinds(volume, surfaces, fluid, Z_MM, X_MM).items():
        assert where.shape == (1, S, X) and where.dtype == torch.bool
        stretches[name] = [
            (s, int(row.nonzero().min()), int(row.nonzero().max()))
            for s, row in enumerate(where[0])
            if row.any()
        ]
    return stretches


def test_a_flat_retina_shows_nothing() -> None:
    assert found(*flat()) == {name: [] for name in KINDS}


def test_the_lifted_epithelium_is_a_detachment_where_high_and_long_else_drusen() -> None:
    volume, surfaces, fluid = flat()
    surfaces.rpe_um[0, 0, 10:20] -= 120  # a detachment
    surfaces.rpe_um[0, 1, 30:32] -= 120  # too short for one
    surfaces.rpe_um[0, 2, 40:46] -= 40
    surfaces.rpe_um[0, 2, 5:15] -= 15  # too low to count
    expected = {"PED": [(0, 10, 19)], "drusen": [(1, 30, 31), (2, 40, 45)]}
    shown = found(volume, surfaces, fluid)
    assert {name: shown[name] for name in expected} == expected


def test_fluid_is_told_apart_by_its_place() -> None:
    volume, surfaces, fluid = flat()
    fluid.subretinal_um[0, 1, 7:9] = 50
    fluid.intraretinal_um[0, 2, 20:25] = 30
    fluid.intraretinal_um[0, 0] = math.nan
    shown = found(volume, surfaces, fluid)
    assert shown["SRF"] == [(1, 7, 8)] and shown["IRF"] == [(2, 20, 24)]


def test_atrophy_is_light_let_through_and_no_shadow() -> None:
    volume, surfaces, fluid = flat()
    rows = torch.arange(Z) * 30
    above, below = (rows >= 740) & (rows < 830), rows >= 830
    gone = volume[0, 0, 1, :, 20:35]
    gone[above], gone[below] = 0.55, 0.5
    volume[0, 0, 2, :, 20:35] *= 0.6  # a shadow: all is darker
    volume[0, 0, 0, below, 20:35] = 0.42  # a bright choroid under a sound epithelium
    shown = found(volume, surfaces, fluid)
    assert [stretch[0] for stretch in shown["GA"]] == [1]
    _, first, last = shown["GA"][0]
    assert abs(first - 20) <= 1 and abs(last - 34) <= 1


def test_nothing_is_found_without_surfaces() -> None:
    volume, surfaces, fluid = flat()
    unknown = Surfaces(*(torch.full((1, S, X), math.nan) for _ in range(3)))
    nowhere = Fluid(*(torch.full((1, S, X), math.nan) for _ in range(2)))
    assert found(volume, unknown, nowhere) == {name: [] for name in KINDS}
    with pytest.raises(ValueError, match="surfaces"):
        find_kinds(volume[:, :, 1:], surfaces, fluid, Z_MM, X_MM)


def test_lengths_are_those_of_the_ascans() -> None:
    fake, real = torch.zeros(2, 2, S, X, dtype=torch.bool)
    fake[0, 1, 10:20], real[0, 1, 15:18], real[1, 2, :4] = True, True, True
    lengths = overlap({"PED": fake}, {"PED": real}, torch.tensor([0.1, 0.2]))["PED"]
    assert lengths.fake.tolist() == pytest.approx([1.0, 0.0])
    assert lengths.real.tolist() == pytest.approx([0.3, 0.8])
    assert lengths.both.tolist() == pytest.approx([0.3, 0.0])


def test_the_truth_is_where_the_label_is() -> None:
    labels = torch.zeros(1, S, Z, X, dtype=torch.uint8)
    labels[0, 1, 20, 7] = LESIONS.index("GA") + 1
    labels[0, 2, 30, 9] = LESIONS.index("ERM") + 1
    truth = true_kinds(labels)
    assert list(truth) == list(KINDS)
    assert truth["GA"].nonzero().tolist() == [[0, 1, 7]]
    assert sum(int(where.sum()) for where in truth.values()) == 1


def test_simulated_eyes_show_the_lesions_that_they_have() -> None:
    hits, expected, false = 0, 0, 0
    for number in range(20):
        diagnosis = ("normal", "PED", "SRF", "IRF", "GA")[number % 5]
        eye = simulate_eye(77, number, PhantomConfig(diagnosis=diagnosis))
        volume = torch.from_numpy(eye.volume)[None, None] / 255
        spacing = eye.spacing_mm[1:]
        kinds = Findings(volume, *spacing, find_surfaces(volume, *spacing)).kinds
        shown = {name for name, where in kinds.items() if where.sum() * spacing[1] >= PRESENT_MM}
        hits += diagnosis in shown
        expected += diagnosis != "normal"
        false += len(shown - {diagnosis})
    assert hits >= expected - 1 and false <= 3


def test_ascans_of_both_sides_lie_in_one_frame() -> None:
    # The opening at a slice's end must not eat what reaches beyond it.
    volume, surfaces, fluid = flat()
    rows = torch.arange(Z) * 30
    volume[0, 0, 1, (rows >= 740) & (rows < 830), 40:] = 0.55
    volume[0, 0, 1, rows >= 830, 40:] = 0.5
    assert np.isclose(found(volume, surfaces, fluid)["GA"][0][2], X - 1)
