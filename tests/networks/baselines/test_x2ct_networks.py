"""X2CT-GAN's networks on volumes that are no cubes."""

import math

import pytest
import torch
from torch import nn

from fund2oct.networks.baselines.plane import level_shapes, level_strides, photo_plane, repeated
from fund2oct.networks.baselines.x2ct import ConnectionA, ConnectionB, X2CTGenerator
from fund2oct.networks.baselines.x2ct_discriminator import X2CTDiscriminator
from fund2oct.networks.noise import NoiseSource

SHAPE = (6, 32, 48)
SMALL = {"stem": 8, "dense_layers": (2, 3), "growth": 4, "channels": (4, 4, 8), "n_blocks": (1, 1, 0)}


@pytest.mark.parametrize(
    ("shape", "n_levels", "coarsest"),
    [
        ((128, 128, 128), 5, (4, 4, 4)),  # the paper's own
        ((6, 80, 112), 4, (6, 5, 7)),
        ((6, 80, 112), 5, (6, 5, 4)),
        ((6, 320, 448), 6, (6, 5, 7)),
        ((64, 320, 448), 6, (4, 5, 7)),
        ((5, 33, 47), 3, (5, 5, 6)),
    ],
)
def test_an_axis_is_halved_while_four_samples_remain(shape, n_levels, coarsest):
    strides = level_strides(shape, n_levels)
    assert level_shapes(shape, strides)[-1] == coarsest
    assert {step for stride in strides for step in stride} <= {1, 2}


def test_a_bright_corner_of_the_photo_is_that_corner_of_every_slice():
    photo = torch.zeros(1, 3, 16, 16)
    photo[0, 1, :4, 12:] = 1  # green, upper right
    volume = repeated(photo_plane(photo, 8, 24), n_slices=5)
    assert volume.shape == (1, 3, 5, 8, 24)
    expected = torch.zeros(8, 24)
    expected[:2, 18:] = 1
    for number in range(5):
        assert ((volume[0, 1, number] > 0.5) == (expected > 0.5)).all()
    assert not volume[:, [0, 2]].any()


@pytest.mark.parametrize("shape", [SHAPE, (5, 33, 47)])
def test_the_generator_draws_its_shape_and_all_its_weights_learn(shape):
    generator = X2CTGenerator(shape, **SMALL)
    photo, grid = torch.rand(2, 3, 40, 40), torch.zeros(2, shape[0], shape[2], 2)
    volume = generator(photo, grid)
    assert volume.shape == (2, 1, *shape)
    assert volume.min() >= 0 and volume.max() <= 1
    (volume * torch.rand_like(volume)).sum().backward()
    still = [name for name, weight in generator.named_parameters() if not weight.grad.abs().sum() > 0]
    assert still == []


def test_the_size_of_the_paper_has_as_many_weights_as_counted_by_hand():
    with torch.device("meta"):
        generator = X2CTGenerator((128, 128, 128))
    # Each dense block adds 32 channels a layer, each compression halves them.
    assert generator.encoder.channels == (64, 128, 256, 512, 512)
    assert generator.encoder.vector_width == 512 + 6 * 32
    stem, dense, connections, decoder = 3 * 64 * 49, 0, 0, 0
    for width, n_layers in zip((64, 128, 256, 512, 512), (6, 12, 24, 16, 6), strict=True):
        dense += 9 * width**2
        dense += sum((width + 32 * n) * 128 + 9 * 128 * 32 for n in range(n_layers))
        whole = width + 32 * n_layers
        dense += whole * (whole // 2) if whole != 704 else 0
    for encoded, width in zip((64, 128, 256, 512, 512), (16, 16, 32, 64, 128), strict=True):
        connections += encoded * width + 27 * width**2
    for width, n_blocks in zip((16, 16, 32, 64, 128), (1, 2, 2, 2, 2), strict=True):
        decoder += 27 * 2 * width**2 + n_blocks * 27 * width**2
    for before, after in ((256, 128), (128, 64), (64, 32), (32, 16), (16, 16)):
        decoder += 27 * before * after
    bridge, head = 704 * 256 * 64 + 256 * 64, 16 * 343 + 1
    assert sum(weight.numel() for weight in generator.parameters()) == (
        stem + dense + bridge + connections + decoder + head
    )


def test_connection_a_is_one_layer_and_drops_what_the_noise_says():
    connection = ConnectionA(5, 3, (2, 4, 6), dropout=0.25)
    vector = torch.rand(2, 5)
    rng = lambda: NoiseSource([torch.Generator().manual_seed(1)])  # noqa: E731
    kept = connection.eval()(vector)
    by_hand = torch.relu(vector @ connection.connect.weight.T + connection.connect.bias)
    torch.testing.assert_close(kept, by_hand.reshape(2, 3, 2, 4, 6))
    dropped = connection.train()(vector, rng())
    assert torch.equal(dropped, connection(vector, rng()))
    alive = kept > 0
    torch.testing.assert_close(dropped[dropped > 0], kept[dropped > 0] / 0.75)
    assert float((dropped[alive] == 0).float().mean()) == pytest.approx(0.25, abs=0.1)


def test_connection_b_gives_every_slice_the_same_map():
    connection = ConnectionB(3, 2)
    connection.block = nn.Identity()
    lifted = connection(torch.rand(2, 3, 8, 12), n_slices=5)
    assert lifted.shape == (2, 2, 5, 8, 12)
    assert (lifted == lifted[:, :, :1]).all() and lifted.std() > 0


@pytest.mark.parametrize(
    ("shape", "kernels"),
    [((128, 128, 128), {(4, 4, 4)}), (SHAPE, {(3, 4, 4)}), ((8, 32, 48), {(4, 4, 4), (3, 4, 4)})],
)
def test_the_discriminator_strides_what_is_long_enough(shape, kernels):
    with torch.device("meta"):
        layers = [layer for layer in X2CTDiscriminator(shape).layers if isinstance(layer, nn.Conv3d)]
    assert {layer.kernel_size for layer in layers} == kernels
    assert [layer.out_channels for layer in layers] == [64, 128, 256, 512, 1]
    assert [layer.stride[1:] for layer in layers] == 3 * [(2, 2)] + 2 * [(1, 1)]


def test_the_discriminator_sees_volume_and_photo_and_all_its_weights_learn():
    discriminator = X2CTDiscriminator(SHAPE, width=4)
    volume = torch.rand(2, 1, *SHAPE, requires_grad=True)
    photo = torch.rand(2, 3, 40, 40, requires_grad=True)
    scores = discriminator(volume, photo)
    assert scores.shape[:3] == (2, 1, 6) and min(scores.shape[3:]) > 1
    (scores * torch.rand_like(scores)).sum().backward()
    assert volume.grad.abs().sum() > 0 and photo.grad.abs().sum() > 0
    still = [name for name, weight in discriminator.named_parameters() if not weight.grad.abs().sum() > 0]
    assert still == []


def test_parts_that_are_computed_once_more_give_the_same_gradients():
    generator = X2CTGenerator(SHAPE, **SMALL)
    photo, grid = torch.rand(2, 3, 40, 40), torch.zeros(2, 6, 48, 2)
    found = []
    for generator.recompute in (False, True):
        generator.zero_grad()
        generator(photo, grid, rng=NoiseSource([torch.Generator().manual_seed(1)])).square().sum().backward()
        found.append([weight.grad.clone() for weight in generator.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("photo", "grid", "n_depth", "message"),
    [
        ((2, 1, 40, 40), (2, 6, 48, 2), None, r"fundus: expected \(B, 3, H, W\), found \(2, 1, 40, 40\)"),
        ((2, 3, 40, 40), (2, 5, 48, 2), None, r"grid: expected \(2, 6, 48, 2\), found \(2, 5, 48, 2\)"),
        ((2, 3, 40, 40), (2, 6, 48, 2), 64, "n_depth: expected 32 rows, found 64"),
    ],
)
def test_another_shape_is_refused(photo, grid, n_depth, message):
    generator = X2CTGenerator(SHAPE, **SMALL)
    with pytest.raises(ValueError, match=message):
        generator(torch.rand(photo), torch.zeros(grid), math.nan, n_depth)


def test_levels_that_do_not_agree_are_refused():
    with pytest.raises(ValueError, match="head_kernel: expected an odd number, found 4"):
        X2CTGenerator((6, 32, 48), head_kernel=4)
    with pytest.raises(ValueError, match="expected 3 numbers, one more than dense_layers, found 2 and 3"):
        X2CTGenerator(SHAPE, **SMALL | {"channels": (4, 8)})
