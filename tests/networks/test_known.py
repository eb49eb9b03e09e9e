"""What is known beside a photo: it helps where it is true, and does no harm where it is missing or wrong."""

import math

import pytest
import torch

from fund2oct.losses import height_loss
from fund2oct.networks.known import Known, KnownFeatures
from fund2oct.networks.layered.generator import LayeredGenerator
from fund2oct.networks.layered.surfaces import SurfaceNetwork
from fund2oct.networks.lines import LineEncoder
from fund2oct.networks.noise import NoiseSource

S, X, H = 2, 3, 12
_STEPS = {"conditions": 80, "masks": 140}


def eyes_of(n, seed, share):
    """Photos of noise, a scalar and a mask of each, and heights that follow from one of these alone."""
    rng = torch.Generator().manual_seed(seed)
    photos = torch.rand(n, 3, H, H, generator=rng)
    scalars = torch.randn(n, 1, generator=rng)
    masks = torch.rand(n, 1, 1, 1, generator=rng).expand(-1, -1, H, H)
    moved = scalars if share == "conditions" else 12**0.5 * (masks[:, :, 0, 0] - 0.5)
    heights = torch.tensor([300.0, 40.0, 26.0, 0.0]).view(1, 4, 1, 1) + torch.zeros(n, 4, S, X)
    heights[:, 0] += 60 * moved[:, :, None]
    return photos, {"conditions": scalars, "masks": masks}[share], heights


GRID = torch.rand(1, S, X, 2, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


def found_by(network, photos, known):
    return network(photos, [], GRID.expand(len(photos), -1, -1, -1), known=known)


def trained(share, shuffled=0, told=True):
    """A network after a second; ``shuffled`` tells it what is known of another eye."""
    torch.manual_seed(0)
    n_known = (int(share == "conditions"), int(share == "masks")) if told else (0, 0)
    network = SurfaceNetwork((), width=16, n_known=n_known)
    optimizer = torch.optim.Adam(network.parameters(), 0.015)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, _STEPS[share])
    for step in range(_STEPS[share]):
        photos, values, heights = eyes_of(20, 1000 + step, share)
        noise = NoiseSource([torch.Generator().manual_seed(step)])
        known = Known(**{share: values.roll(shuffled, 0)}).withheld(noise) if told else None
        loss = height_loss(found_by(network, photos, known).free_um, heights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def error_um(network, share, shuffled=0, told=True):
    photos, values, heights = eyes_of(200, 2, share)
    known = Known(**{share: values.roll(shuffled, 0)}) if told else None
    return float((found_by(network, photos, known).median_um - heights)[:, 0].abs().mean())


@pytest.mark.parametrize("share", ["conditions", pytest.param("masks", marks=pytest.mark.slow)])
def test_the_truth_helps_the_shuffled_does_not_and_the_missing_does_no_harm(share):
    plain = error_um(trained(share, told=False), share, told=False)
    network = trained(share)
    assert error_um(network, share) < 0.5 * plain
    assert error_um(network, share, told=False) < 1.01 * plain
    assert error_um(network, share, shuffled=1) > plain
    # Nor does a network gain by what was shuffled when it learned. By chance that agrees a little with the
    # truth: seven ways to shuffle give 0.97 to 1.01 of the error.
    assert error_um(trained(share, shuffled=1), share) > 0.95 * plain


@pytest.fixture
def given():
    return torch.rand(2, 3, 32, 32), torch.rand(2, 3, 24, 2) * 2 - 1


def test_untrained_it_changes_nothing_and_takes_no_random_number(given):
    options = {"surface_width": 16, "tissue_width": 16, "texture": (8, 8)}
    found = []
    for n_known in ((0, 0), (2, 1)):
        torch.manual_seed(3)
        found.append(LayeredGenerator(40, "own", **options, n_known=n_known))
        found.append(torch.rand(1))
    plain, after, told, after_told = found
    assert torch.equal(after, after_told)
    own = plain.state_dict()
    assert all(torch.equal(told.state_dict()[name], value) for name, value in own.items())
    assert {name.split(".known.")[0] for name in told.state_dict() if name not in own} == {
        "surfaces.encoder", "tissue.encoder",
    }  # fmt: skip
    known = Known(torch.tensor([[1.0, math.nan], [0.3, -2.0]]), torch.rand(2, 1, 32, 32))
    drawn = [
        network.anatomy(*given, 0.048, known=one).image
        for network, one in ((plain, None), (told, known), (told, None))
    ]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_each_eye_is_changed_by_its_own_and_by_nothing_missing(given):
    told = KnownFeatures(8, 2, 1)
    with torch.no_grad():
        for weight in told.parameters():
            weight.copy_(torch.randn(weight.shape))
    x, grid = torch.rand(2, 8, 3, 24), given[1]
    masks = torch.rand(2, 1, 32, 32)
    known = Known(torch.tensor([[0.5, -1.0], [1.5, math.nan]]), masks)
    both = told(x, grid, known)
    alone = told(x[1:], grid[1:], Known(known.conditions[1:], masks[1:]))
    torch.testing.assert_close(both[1:], alone)
    assert both.isfinite().all()
    gone = Known(torch.full((2, 2), math.nan), torch.full_like(masks, math.nan))
    assert torch.equal(told(x, grid, gone), told(x, grid, None))
    zero = Known(torch.zeros(2, 2), torch.zeros_like(masks))
    assert not torch.allclose(told(x, grid, gone), told(x, grid, zero))
    # A mask that is unknown outside the circle of retina is there.
    cut = masks.clone()
    cut[:, :, 0] = math.nan
    cut_to_zero = Known(known.conditions, cut.nan_to_num(0))
    assert torch.equal(told(x, grid, Known(known.conditions, cut)), told(x, grid, cut_to_zero))


def test_an_ascan_is_told_the_mask_under_it():
    encoder = LineEncoder((), width=4, n_known=(0, 1))
    with torch.no_grad():
        encoder.known.masks.weight.zero_()
        encoder.known.masks.weight[0, 0] = 1.0  # the mask itself, into the first channel
    mask = torch.zeros(1, 1, 8, 16)
    mask[0, 0, 2, 11] = 1.0
    places = torch.tensor([[[(11 + 0.5) / 8 - 1, (2 + 0.5) / 4 - 1], [0.0, 0.9]]])[None]
    x = torch.zeros(1, 4, 1, 2)
    assert encoder.known(x, places, Known(masks=mask))[0, 0, 0].tolist() == pytest.approx([1, 0], abs=1e-6)


@pytest.mark.parametrize("width", [1, 5, 96, 100, 103])
def test_an_ascan_is_told_the_mask_around_it_whatever_the_width(width):
    encoder = LineEncoder((), width=4, n_known=(0, 1))
    with torch.no_grad():
        encoder.known.masks.weight.zero_()
        encoder.known.masks.weight[:2, 1] = 1.0  # what lies around
    ramp = (torch.arange(width) + 0.5) / width  # a ramp, averaged around a place, is the ramp there
    n_cells = math.ceil(width / 8)
    inner = 1 - 1 / n_cells  # between the centres of the outermost cells
    places = torch.linspace(-inner, inner, 41)
    grid = torch.stack([places, torch.zeros(41)], -1)[None, None]
    x, expected = torch.zeros(1, 4, 1, 41), (places + 1) / 2
    across, down = ramp.expand(1, 1, width, width), ramp[:, None].expand(1, 1, width, width)
    found = encoder.known(x, grid, Known(masks=across))[0, 0, 0]
    torch.testing.assert_close(found, expected, atol=0.5 / width, rtol=0)
    found = encoder.known(x, grid.flip(-1), Known(masks=down))[0, 0, 0]
    torch.testing.assert_close(found, expected, atol=0.5 / width, rtol=0)


def test_what_is_withheld():
    values = torch.zeros(4000, 4)
    gone = Known(values).withheld(NoiseSource([torch.Generator().manual_seed(0)])).conditions.isnan()
    assert gone.all(1).float().mean() == pytest.approx(0.25, abs=0.03)
    assert gone[~gone.all(1)].float().mean() == pytest.approx(0.1, abs=0.02)
    assert not values.isnan().any()
