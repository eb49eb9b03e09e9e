import pytest
import torch

from fund2oct.losses.feature_matching import feature_matching_loss
from fund2oct.networks.adversaries.discriminators import BScanPatchDiscriminator


def test_every_layer_weighs_the_same() -> None:
    fake = [[torch.zeros(2, 3, 4), torch.zeros(5)], [torch.zeros(7)]]
    real = [[torch.ones(2, 3, 4), torch.full((5,), 2.0)], [torch.full((7,), -6.0)]]
    assert feature_matching_loss(fake, real).item() == pytest.approx((1 + 2 + 6) / 3)


def test_trains_the_generator_alone() -> None:
    fake = torch.rand(1, 1, 5, 33, 47, requires_grad=True)
    real = torch.rand(1, 1, 5, 33, 47, requires_grad=True)
    network, photo = BScanPatchDiscriminator(width=4).eval(), torch.rand(1, 3, 5, 47)
    sides = [[output.features for output in network(volume, photo)] for volume in (fake, real)]
    feature_matching_loss(*sides).backward()
    assert fake.grad is not None and fake.grad.abs().sum() > 0
    assert real.grad is None
    assert feature_matching_loss(sides[0], sides[0]) == 0


def test_bad_features() -> None:
    one = [[torch.zeros(2, 3)]]
    for fake, real in [(one, [[torch.zeros(2, 4)]]), (one, [*one, *one]), ([], [])]:
        with pytest.raises(ValueError, match="expected equal shapes"):
            feature_matching_loss(fake, real)
