import copy

import pytest
import torch
from torch import Tensor

from fund2oct.losses.adversarial import adversarial_loss
from fund2oct.networks.adversaries.discriminators import (
    BScanPatchDiscriminator,
    PatchDiscriminator,
    VolumePatchDiscriminator,
)

BOTH = [VolumePatchDiscriminator, BScanPatchDiscriminator]


def _inputs(*shape: int) -> tuple[Tensor, Tensor]:
    batch, n_slices, n_depth, n_ascans = shape
    return torch.rand(batch, 1, n_slices, n_depth, n_ascans), torch.rand(batch, 3, n_slices, n_ascans)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("shape", "logits"),
    [
        ((2, 6, 80, 112), [(10, 14), (5, 7)]),
        ((1, 5, 33, 47), [(4, 5), (2, 3)]),
        ((1, 2, 16, 17), [(2, 2), (1, 1)]),
    ],
)
def test_shapes(
    kind: type[PatchDiscriminator], shape: tuple[int, ...], logits: list[tuple[int, int]]
) -> None:
    outputs = kind(width=4)(*_inputs(*shape))
    assert [tuple(output.logits.shape) for output in outputs] == [
        (shape[0], 1, shape[1], *size) for size in logits
    ]
    for output in outputs:
        assert [feature.shape[1] for feature in output.features] == [4, 8, 16]
        assert all(feature.shape[2] == shape[1] for feature in output.features)


@pytest.mark.parametrize("kind", BOTH)
def test_every_logit_listens_to_the_photo_and_to_the_volume(kind: type[PatchDiscriminator]) -> None:
    volume, photo = _inputs(2, 5, 33, 47)
    network = kind(width=4).eval()
    before = network(volume, photo)
    for after in (network(volume, 1 - photo), network(1 - volume, photo)):
        for old, new in zip(before, after, strict=True):
            assert (old.logits != new.logits).all()


@pytest.mark.parametrize(("kind", "touched"), [(VolumePatchDiscriminator, 6), (BScanPatchDiscriminator, 1)])
def test_reach_over_the_slices(kind: type[PatchDiscriminator], touched: int) -> None:
    volume, photo = _inputs(1, 6, 33, 47)
    network = kind(width=4).eval()
    changed = volume.clone()
    changed[:, :, 2] = 1 - changed[:, :, 2]
    for old, new in zip(network(volume, photo), network(changed, photo), strict=True):
        assert (old.logits != new.logits).any(-1).any(-1).sum() == touched


def test_bscan_discriminator_equals_folding_the_slices_into_the_batch() -> None:
    volume, photo = _inputs(2, 5, 33, 47)
    network = BScanPatchDiscriminator(width=4).eval()
    folded = network(
        volume.transpose(1, 2).reshape(10, 1, 1, 33, 47), photo.transpose(1, 2).reshape(10, 3, 1, 47)
    )
    for whole, single in zip(network(volume, photo), folded, strict=True):
        torch.testing.assert_close(whole.logits.flatten(), single.logits.flatten())


@pytest.mark.parametrize(("n_layers", "expected"), [(2, 20), (3, 40)])
def test_receptive_field(n_layers: int, expected: int) -> None:
    network = BScanPatchDiscriminator(0, width=2, n_layers=n_layers, n_scales=1)
    volume = torch.rand(1, 1, 1, 96, 112, requires_grad=True)
    logits = network(volume)[0].logits[0, 0, 0]
    (gradient,) = torch.autograd.grad(logits[logits.shape[0] // 2, logits.shape[1] // 2], volume)
    reached = gradient[0, 0, 0].abs() > 0
    assert (reached.any(1).sum(), reached.any(0).sum()) == (expected, expected)


@pytest.mark.parametrize("kind", BOTH)
def test_a_patch_sees_the_photo_over_its_own_ascans(kind: type[PatchDiscriminator]) -> None:
    volume, photo = _inputs(1, 5, 48, 112)
    photo.requires_grad_()
    logits = kind(width=4, n_scales=1)(volume, photo)[0].logits
    (gradient,) = torch.autograd.grad(logits[0, 0, 2, :, 7].sum(), photo)
    reached = gradient[0, :, 2].abs().sum(0).nonzero().flatten()
    # Logit 7 of 14 covers the 38 A-scans around A-scan 60, cut by nothing.
    assert (reached.min(), reached.max()) == (41, 78)


def test_spectral_norm_bounds_the_singular_values() -> None:
    volume, photo = _inputs(2, 5, 33, 47)
    network = VolumePatchDiscriminator(width=4)
    for _ in range(50):
        network(volume, photo)
    network.eval()
    for layer in network.scales[0][:-1]:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        torch.testing.assert_close(largest, torch.ones(()), rtol=1e-2, atol=0)


@pytest.mark.parametrize("kind", BOTH)
def test_soon_tells_a_matching_photo_from_another_eyes(kind: type[PatchDiscriminator]) -> None:
    def outputs(volume: Tensor, photo: Tensor) -> list[Tensor]:
        return [output.logits for output in network(volume, photo)]

    network, loss = kind(width=8, n_layers=2), adversarial_loss("hinge")
    optimiser = torch.optim.Adam(network.parameters(), 2e-3, betas=(0.0, 0.9))
    for _ in range(40):
        photo = torch.rand(8, 3, 3, 20).repeat_interleave(2, -1)
        volume = photo.mean(1)[:, None, :, None] / 2 + 0.3 * torch.rand(8, 1, 3, 16, 40)
        value = loss.discriminator(outputs(volume, photo), outputs(volume.roll(1, 0), photo))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    # It starts at 2, where it stays for one that cannot use the photo: the volumes are the same.
    assert value < 1.6


def test_real_and_fake_passes_before_one_backward() -> None:
    volume, photo = _inputs(2, 5, 33, 47)
    network = VolumePatchDiscriminator(width=4)
    real, fake = network(volume, photo), network(1 - volume, photo)
    sum((a.logits - b.logits).sum() for a, b in zip(real, fake, strict=True)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("kind", BOTH)
def test_autocast_is_close_to_full_precision(kind: type[PatchDiscriminator]) -> None:
    volume, photo = _inputs(2, 5, 33, 47)
    network = kind(width=4)
    network(volume, photo)
    network.eval()
    with torch.autocast("cpu", torch.bfloat16):
        low = network.train()(volume, photo)
        sum(output.logits.sum() for output in low).backward()
    network.eval()
    high = network(volume, photo)
    for a, b in zip(low, high, strict=True):
        assert a.logits.isfinite().all()
        torch.testing.assert_close(a.logits.float(), b.logits, rtol=0.1, atol=0.05)


def test_copies_and_checkpoints() -> None:
    volume, photo = _inputs(1, 5, 33, 47)
    network = VolumePatchDiscriminator(width=4).eval()
    other = VolumePatchDiscriminator(width=4).eval()
    other.load_state_dict(network.state_dict())
    for twin in (other, copy.deepcopy(network)):
        torch.testing.assert_close(twin(volume, photo)[1].logits, network(volume, photo)[1].logits)


def test_unconditional() -> None:
    volume, photo = _inputs(1, 5, 33, 47)
    network = BScanPatchDiscriminator(condition_channels=0, width=4)
    assert len(network(volume)) == 2
    with pytest.raises(ValueError, match="expected None"):
        network(volume, photo)


def test_bad_input() -> None:
    volume, photo = _inputs(1, 5, 33, 47)
    network = VolumePatchDiscriminator(width=4)
    for bad_volume, bad_photo, message in [
        (volume[0], photo, r"expected \(B, 1, S, Z, X\), found \(1, 5, 33, 47\)"),
        (volume.expand(-1, 2, -1, -1, -1), photo, "found .1, 2, 5, 33, 47"),
        (volume[..., :15, :], photo, "at least 16 .* found Z=15, X=47"),
        (volume, None, r"condition: expected .*\(1, 3, 5, 47\) or .*, found None"),
        (volume, photo[:, :, :4], r"found \(1, 3, 4, 47\)"),
        (volume, photo[:, :1], r"found \(1, 1, 5, 47\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            network(bad_volume, bad_photo)
    with pytest.raises(ValueError, match="positive width"):
        VolumePatchDiscriminator(width=0)
