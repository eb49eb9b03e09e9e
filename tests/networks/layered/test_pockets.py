"""Dark pockets in the layer frame, on hand-made layers."""

import numpy as np
import pytest
import torch

from fund2oct.networks.layered.pockets import dark_pockets
from fund2oct.phantom import LESIONS, PhantomConfig, simulate_eye
from fund2oct.retina import boundary_index
from fund2oct.retina.layer_frame import LayerFrame, to_layers

FRAME = LayerFrame((6, 28, 5, 4, 12))
S, X, DX_MM = 2, 40, 0.08


def layers(noise=0.0):
    values = torch.full((1, 1, S, FRAME.n_rows, X), 0.5)
    values[:, :, :, : FRAME.edges[0]] = 0.1
    values += noise * torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    return values


def test_a_pocket_is_found_where_it_lies():
    values = layers(noise=0.05)
    values[0, 0, 1, 6 + 10 : 6 + 18, 20:30] = 0.1
    found = dark_pockets(values, FRAME, DX_MM)
    assert found.shape == (1, 1, S, 28, X)
    expected = torch.zeros_like(found)
    expected[0, 0, 1, 10:18, 20:30] = 1
    dice = 2 * (found * expected).sum() / (found + expected).sum()
    assert dice > 0.85
    assert not found[0, 0, 0].any()


def test_what_is_thin_or_narrow_or_at_the_edge_is_no_pocket():
    values = layers()
    values[0, 0, 0, 6 + 10, 5:30] = 0.1  # one row
    values[0, 0, 0, 6 + 15 : 6 + 25, 35] = 0.1  # one A-scan: a shadow
    values[0, 0, 1, 6 : 6 + 2, 5:30] = 0.1  # a surface that was found too high
    assert not dark_pockets(values, FRAME, DX_MM).any()


def test_brightness_and_contrast_do_not_matter():
    values = layers(noise=0.05)
    values[0, 0, 1, 6 + 10 : 6 + 18, 20:30] = 0.1
    found = dark_pockets(values, FRAME, DX_MM)
    assert torch.equal(dark_pockets(0.2 + 0.3 * values, FRAME, DX_MM), found)


def test_simulated_cysts_are_found(phantom_eyes):
    """Against the simulator's labels: most of the cysts, and hardly anything else."""
    true, found = phantom_eyes
    overlap = (true & found).sum()
    assert overlap > 0.5 * true.sum()
    assert overlap > 0.8 * found.sum()


@pytest.fixture(scope="module")
def phantom_eyes():
    """True and found pockets of four eyes with cysts, between their true surfaces."""
    config = PhantomConfig(fundus_px=64, diagnosis="IRF")
    true, found = [], []
    for number in range(4):
        eye = simulate_eye(0, number, config)
        ilm, tips, bm = (eye.boundaries_um[boundary_index(name)] for name in ("ILM", "IZ_RPE", "BM"))
        depth_um = torch.from_numpy(np.nan_to_num(np.stack([ilm, tips, tips + 5, bm])))[None]
        volume, cysts = (
            torch.from_numpy(values.astype(np.float32))[None, None]
            for values in (eye.volume / 255, eye.lesions == 1 + LESIONS.index("IRF"))
        )
        dz_mm = float(eye.spacing_mm[1])
        inner = slice(FRAME.edges[0], FRAME.edges[1])
        true.append(to_layers(cysts, depth_um, dz_mm, FRAME)[:, :, :, inner] > 0.5)
        found.append(dark_pockets(to_layers(volume, depth_um, dz_mm, FRAME), FRAME, eye.spacing_mm[2]) > 0)
    return torch.cat(true), torch.cat(found)


def test_layers_of_another_frame_are_refused():
    with pytest.raises(ValueError, match=r"layers: expected \(B, 1, S, 55, X\)"):
        dark_pockets(torch.zeros(1, 1, S, 54, X), FRAME, DX_MM)
