"""The networks of pix2pixHD: their layers are those of the paper, and a channel is a slice."""

import math

import pytest
import torch
from torch import nn

from fund2oct.networks.baselines.coarse_to_fine import (
    CoarseToFineGenerator,
    GlobalGenerator,
    LocalEnhancer,
    halved,
)
from fund2oct.networks.baselines.multi_scale import MultiScaleDiscriminator


def small(n_slices=5, n_depth=32, **options):
    options = {"width": 4, "n_halvings": 2, "n_blocks": 1, "n_local_blocks": 1} | options
    return CoarseToFineGenerator(n_slices, n_depth, **options)


def n_weights(network):
    return sum(weight.numel() for weight in network.parameters())


def test_at_the_papers_size_the_layers_are_the_papers():
    """Layer by layer: inputs, outputs and pixels of each kernel; only the last layers have a bias."""

    def weights(*layers):
        return sum(before * after * pixels for before, after, pixels in layers)

    with torch.device("meta"):
        coarse, local = GlobalGenerator((3, 6), 64, 4, 9), LocalEnhancer((3, 6), 64, 3)
        judges = MultiScaleDiscriminator(9, 64, 3)
    halving = [(64, 128, 9), (128, 256, 9), (256, 512, 9), (512, 1024, 9)]
    assert n_weights(coarse) == 6 + weights(
        (3, 64, 49), *halving, *[(1024, 1024, 9)] * 18, *halving, (64, 6, 49)
    )
    assert n_weights(local) == 6 + weights(
        (3, 32, 49), (32, 64, 9), *[(64, 64, 9)] * 6, (64, 32, 9), (32, 6, 49)
    )
    one = weights((9, 64, 16), (64, 128, 16), (128, 256, 16), (256, 512, 16), (512, 1, 16))
    assert n_weights(judges) == 3 * (one + 64 + 1)
    assert coarse(torch.empty(1, 3, 160, 224, device="meta")).shape == (1, 6, 160, 224)


def test_a_patch_has_seventy_pixels():
    image = torch.zeros(1, 6, 128, 144, requires_grad=True)
    judge = MultiScaleDiscriminator(9, width=2, n_scales=1)
    for layer in judge.modules():
        if isinstance(layer, nn.Sequential) and len(layer) == 4:
            layer[2] = nn.Identity()  # instance normalisation sees the whole image
    (found,) = judge(image, torch.rand(1, 3, 128, 144))
    found.logits[0, 0, 8, 9].backward()
    seen = image.grad.abs().sum((0, 1))
    rows, columns = seen.sum(1).nonzero(), seen.sum(0).nonzero()
    assert rows.max() - rows.min() + 1 == 70 and columns.max() - columns.min() + 1 == 70


@pytest.mark.parametrize("n_depth, n_ascans, size_px", [(32, 48, 40), (33, 47, 64)])
def test_any_size(n_depth, n_ascans, size_px):
    network, grid = small(n_depth=n_depth), torch.zeros(2, 5, n_ascans, 2)
    photo = torch.rand(2, 3, size_px, size_px)
    for joined in (False, True):
        network.local_joined.fill_(joined)
        volume = network(photo, grid)
        assert volume.shape == (2, 1, 5, n_depth, n_ascans) and 0 <= volume.min() <= volume.max() <= 1
    image = volume[:, 0]
    outputs = MultiScaleDiscriminator(8, width=4, n_scales=2)(image, torch.rand(2, 3, n_depth, n_ascans))
    assert [len(scale.features) for scale in outputs] == [4, 4]
    sizes = [(n_depth // 8, n_ascans // 8), (-(-n_depth // 2) // 8, -(-n_ascans // 2) // 8)]
    assert [tuple(scale.logits.shape[2:]) for scale in outputs] == sizes


def test_a_channel_of_the_image_is_a_slice():
    network = small()
    network.local_joined.fill_(True)
    network.local.last.weight.data.zero_()
    network.local.last.bias.data.copy_(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
    volume = network(torch.rand(1, 3, 40, 40), torch.zeros(1, 5, 48, 2))
    expected = [(math.tanh(value) + 1) / 2 for value in (-2, -1, 0, 1, 2)]
    torch.testing.assert_close(volume[0, 0, :, 7, 11], torch.tensor(expected))
    assert volume.std((3, 4)).max() < 1e-6


def test_until_the_local_enhancer_is_trained_the_global_generator_answers():
    network, photo, grid = small(), torch.rand(1, 3, 64, 64), torch.zeros(1, 5, 48, 2)
    coarse = network.coarse(network.photos(photo, grid, 32)[1])
    assert coarse.shape == (1, 5, 16, 24)
    drawn = network(photo, grid)[:, 0]
    expected = torch.nn.functional.interpolate(coarse, (32, 48), mode="bilinear")
    torch.testing.assert_close(drawn, expected)
    network.local_joined.fill_(True)
    assert not torch.allclose(network(photo, grid)[:, 0], expected, atol=1e-2)


def test_the_photo_is_taken_as_it_is():
    fundus = torch.zeros(1, 3, 64, 64)
    fundus[0, 1, :32, 48:] = 1  # green, the upper right
    photo, half = small().photos(fundus, torch.zeros(1, 5, 48, 2), 32)
    assert photo.shape == (1, 3, 32, 48) and half.shape == (1, 3, 16, 24)
    for seen, (rows, columns) in ((photo, (16, 36)), (half, (8, 18))):
        bright = seen[0, 1] > 0
        assert bright[:rows, columns:].all() and bright.sum() == bright[:rows, columns:].numel()
        assert (seen[0, [0, 2]] == -1).all()


def test_every_weight_gets_a_gradient():
    network, judge = small(), MultiScaleDiscriminator(8, width=4, n_scales=2)
    photo = torch.rand(2, 3, 32, 48)
    image = network.local(photo, network.coarse.features(halved(photo)))
    sum(scale.logits.square().sum() for scale in judge(image, photo)).backward()
    parts = {"generator": network, "discriminators": judge}
    still = [
        f"{name}.{weight_name}"
        for name, part in parts.items()
        for weight_name, weight in part.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    # The global image is not drawn here.
    assert still == ["generator.coarse.last.weight", "generator.coarse.last.bias"]
    network.coarse(halved(photo)).sum().backward()
    assert network.coarse.last.weight.grad.any() and network.coarse.last.bias.grad.any()


def test_bfloat16_and_a_wrong_number_of_slices():
    network, photo = small(), torch.rand(1, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        volume = network(photo, torch.zeros(1, 5, 48, 2))
    assert volume.dtype == torch.float32 and volume.isfinite().all()
    with pytest.raises(ValueError, match="built for 5 slices, found 6"):
        network(photo, torch.zeros(1, 6, 48, 2))
