"""The layer frame: one bright voxel, a closed form of the map, a round trip, and its gradients."""

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.retina import retinal_boundaries
from fund2oct.retina.layer_frame import LayerFrame, from_layers, to_layers

S, Z, X = 3, 40, 7
FRAME = LayerFrame((5, 10, 4, 6))
DZ_MM = 0.01


def flat(*rows):
    """Surfaces at these row edges, in micrometres, ``(1, n, S, X)``."""
    return (10.0 * torch.tensor(rows)).view(1, -1, 1, 1).expand(1, len(rows), S, X).clone()


def test_a_frame_says_where_its_surfaces_lie():
    assert (FRAME.n_rows, FRAME.n_surfaces, FRAME.edges) == (25, 3, (5, 15, 19))


@pytest.mark.parametrize("arguments", [((5,),), ((5, 0, 3),), ((5, 3), 0.0)])
def test_an_impossible_frame_is_refused(arguments):
    with pytest.raises(ValueError, match="layer frame: expected at least two bands"):
        LayerFrame(*arguments)


def test_one_bright_voxel_goes_to_the_row_that_it_lies_in():
    # 10 rows between the first two surfaces, 10 in the frame: the map is a shift there.
    surfaces = flat(12.0, 22.0, 26.0)
    volume = torch.zeros(1, 1, S, Z, X)
    volume[0, 0, 1, 15, 4] = 1
    layers = to_layers(volume, surfaces, DZ_MM, FRAME)
    assert layers.shape == (1, 1, S, 25, X)
    assert layers[0, 0, 1, 5 + 3, 4] == pytest.approx(1, abs=1e-5)
    assert layers.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("row", "layer_row"),
    [(4.5, 5 - 7.5), (13.5, 5 + 1.5 * 10 / 12), (25.0, 15 + 1.0 * 4 / 2), (30.5, 19 + 4.5)],
)
def test_rows_follow_the_closed_form(row, layer_row):
    # Above, within the bands of 12 and 2 rows, below: a ramp along Z is read at the depth of each row.
    surfaces = flat(12.0, 24.0, 26.0)
    ramp = (torch.arange(Z) + 0.5).view(1, 1, 1, Z, 1).expand(1, 1, S, Z, X)
    frame = LayerFrame((20, 10, 4, 20))
    layers = to_layers(ramp, surfaces, DZ_MM, frame)[0, 0, 0, :, 0]
    place = layer_row + 15 - 0.5  # of the row's centre, 15 rows more above than in FRAME
    low = int(np.floor(place))
    found = torch.lerp(layers[low], layers[low + 1], float(place - low))
    assert float(found) == pytest.approx(row, abs=0.35)


def test_layers_come_back_at_the_surfaces():
    rows = torch.arange(FRAME.n_rows)
    bands = torch.bucketize(rows, torch.tensor([5, 15, 19]), right=True)
    layers = (bands / 3.0).view(1, 1, 1, -1, 1).expand(1, 1, S, FRAME.n_rows, X)
    surfaces = flat(10.0, 24.0, 30.0)
    surfaces[:, 0, 2, 3] += 30
    volume = from_layers(layers, surfaces, DZ_MM, Z, FRAME)
    assert volume.shape == (1, 1, S, Z, X)
    column = volume[0, 0, 0, :, 0]
    assert column[:8].max() < 1e-6 and column[32:].min() > 1 - 1e-6
    assert torch.allclose(column[13:21], torch.full((8,), 1 / 3), atol=1e-5)
    moved = volume[0, 0, 2, :, 3]
    assert moved[10:12].max() < 1e-6 and moved[16:21].min() > 1 / 3 - 1e-5


def test_an_edge_between_two_rows_shows_its_place():
    layers = torch.zeros(1, 1, S, 2, X)
    layers[:, :, :, 1] = 1
    frame = LayerFrame((1, 1))
    for edge in (20.0, 20.25, 20.5, 20.75):
        volume = from_layers(layers, flat(edge), DZ_MM, Z, frame, axial_um=1e-3)
        # What lies above the edge: the sum over the column is its depth, whatever the fraction.
        assert float((1 - volume[0, 0, 0, :, 0]).sum()) == pytest.approx(edge, abs=0.02)


def test_a_round_trip_keeps_a_smooth_volume():
    z = torch.linspace(0, 1, 160).view(1, 1, 1, -1, 1)
    volume = (0.5 + 0.4 * torch.sin(9 * z)).expand(2, 1, S, 160, X).contiguous()
    surfaces = torch.cat([flat(50.0, 90.0, 110.0)] * 2)
    surfaces = surfaces + 20 * torch.rand(2, 1, S, X, generator=torch.Generator().manual_seed(0))
    spacing = torch.tensor([DZ_MM, DZ_MM])
    frame = LayerFrame((60, 40, 20, 60))
    back = from_layers(to_layers(volume, surfaces, spacing, frame), surfaces, spacing, 160, frame, 1e-3)
    assert (back - volume)[:, :, :, 4:-4].abs().max() < 0.01


def test_a_round_trip_keeps_a_real_volume(real_data):
    paths = [real_data / "duke_dme" / f"Subject_01_{number}.png" for number in (25, 31, 40)]
    if not paths[0].exists():
        pytest.skip(f"no real slices at {paths[0].parent}")
    slices = np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])
    found = retinal_boundaries(slices, (float("nan"), 0.00387, 0.0116))
    keep = found.ok.all(0)
    assert keep.mean() > 0.3
    volume = torch.from_numpy(slices.astype(np.float32) / 255)[None, None][..., keep]
    surfaces = torch.from_numpy(found.surfaces_um)[None][..., keep]
    n_depth = volume.shape[3]
    frame = LayerFrame((n_depth, 200, 20, 20, n_depth))
    back = from_layers(to_layers(volume, surfaces, 0.00387, frame), surfaces, 0.00387, n_depth, frame, 1e-3)
    inner = slice(8, -8)
    pair = torch.stack([back[:, :, :, inner].flatten(), volume[:, :, :, inner].flatten()])
    # Two linear readings smooth the speckle a little; the structure stays.
    assert torch.corrcoef(pair)[0, 1] > 0.95
    assert (pair[0] - pair[1]).abs().mean() < 0.35 * pair[1].std()


def test_surfaces_that_touch_leave_no_gap():
    layers = torch.rand(1, 2, S, FRAME.n_rows, X, generator=torch.Generator().manual_seed(0))
    assert from_layers(layers, flat(12.0, 20.0, 20.0), DZ_MM, Z, FRAME).isfinite().all()
    assert to_layers(torch.rand(1, 1, S, Z, X), flat(12.0, 20.0, 20.0), DZ_MM, FRAME).isfinite().all()


def test_gradients_reach_surfaces_and_tissue():
    rng = torch.Generator().manual_seed(0)
    layers = torch.rand(1, 1, 1, FRAME.n_rows, 2, generator=rng, dtype=torch.float32).requires_grad_()
    surfaces = (
        torch.tensor([103.1, 204.7, 262.3]).view(1, 3, 1, 1).expand(1, 3, 1, 2).clone().requires_grad_()
    )
    weight = torch.rand(1, 1, 1, Z, 2, generator=rng)
    # Within a row of the frame the reading is linear; a step as small as this crosses few of its ends.
    step_um = 0.002

    def value(depths):
        return (from_layers(layers, depths, DZ_MM, Z, FRAME) * weight).double().sum()

    value(surfaces).backward()
    assert layers.grad is not None and layers.grad.abs().sum() > 0
    assert surfaces.grad is not None
    for number in range(3):
        step = torch.zeros_like(surfaces)
        step[0, number, 0, 0] = step_um
        with torch.no_grad():
            numeric = (value(surfaces + step) - value(surfaces - step)) / (2 * step_um)
        assert float(surfaces.grad[0, number, 0, 0]) == pytest.approx(float(numeric), rel=0.05, abs=1e-3)


def test_float32_inside_autocast():
    layers = torch.rand(1, 1, S, FRAME.n_rows, X).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert from_layers(layers, flat(12.0, 22.0, 26.0), DZ_MM, Z, FRAME).dtype == torch.float32


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="surfaces: expected \\(B, n, S, X\\)"):
        to_layers(torch.rand(1, 1, S, Z, X), flat(12.0, 22.0), DZ_MM, FRAME)
    with pytest.raises(ValueError, match="layers: expected 25 rows, found 24"):
        from_layers(torch.rand(1, 1, S, 24, X), flat(12.0, 22.0, 26.0), DZ_MM, Z, FRAME)
    with pytest.raises(ValueError, match="spacing: expected one number or one for each of 1 eyes"):
        to_layers(torch.rand(1, 1, S, Z, X), flat(12.0, 22.0, 26.0), torch.ones(3), FRAME)
