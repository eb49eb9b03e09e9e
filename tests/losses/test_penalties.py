import pytest
import torch
from torch.nn import functional as F

from fund2oct.losses.penalties import r1_penalty
from fund2oct.networks.adversaries.discriminators import VolumePatchDiscriminator


def test_slope_of_a_linear_discriminator() -> None:
    weight = torch.randn(3 * 4 * 5, dtype=torch.float64)
    real = torch.randn(7, 1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty([real.flatten(1) @ weight], real, gamma=3.0)
    torch.testing.assert_close(penalty, 1.5 * weight.square().sum())


def test_slope_of_a_quadratic_discriminator() -> None:
    real = torch.randn(4, 1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty([real.square().flatten(1).sum(1, keepdim=True)], real, gamma=1.0)
    torch.testing.assert_close(penalty, (2 * real).square().flatten(1).sum(1).mean() / 2)


@pytest.mark.parametrize("patches", [(1, 1), (2, 3), (6, 5)])
def test_gamma_means_the_same_whatever_the_number_of_disjoint_patches(patches: tuple[int, int]) -> None:
    weight = torch.randn(1, 1, 2, 4, 4, dtype=torch.float64)
    real = torch.randn(2, 1, 2, 4 * patches[0], 4 * patches[1], dtype=torch.float64, requires_grad=True)
    logits = F.conv3d(real, weight, stride=(1, 4, 4))
    assert logits.shape[-2:] == patches
    torch.testing.assert_close(r1_penalty([logits], real, gamma=2.0), weight.square().sum())


def test_scales_and_inputs() -> None:
    first = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    second = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    logits = [3 * first.sum(1), 4 * second.sum(1)]
    # Each of the two scales has the weight 1 / sqrt(2) before the squares.
    torch.testing.assert_close(
        r1_penalty(logits, [first, second], gamma=2.0).item(), (9 * 6 + 16 * 5) / 2, rtol=1e-12, atol=0
    )


def test_can_be_differentiated_again() -> None:
    weight = torch.randn(10, dtype=torch.float64, requires_grad=True)
    real = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)

    def penalty(weight: torch.Tensor) -> torch.Tensor:
        return r1_penalty([torch.sin(real @ weight)], real)

    assert torch.autograd.gradcheck(penalty, (weight,))


def test_reaches_every_weight_of_a_real_discriminator() -> None:
    real = torch.rand(2, 1, 5, 33, 47, requires_grad=True)
    network = VolumePatchDiscriminator(width=4)
    outputs = network(real, torch.rand(2, 3, 5, 47))
    penalty = r1_penalty([output.logits for output in outputs], real)
    assert penalty > 0
    penalty.backward()
    weights = [weight.grad for name, weight in network.named_parameters() if "weight" in name]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in weights)


def test_bad_input() -> None:
    real = torch.randn(2, 5)
    with pytest.raises(ValueError, match="requires_grad_"):
        r1_penalty([real.sum(1)], real)
    with pytest.raises(ValueError, match="expected a list"):
        r1_penalty(real.sum(1), real)  # type: ignore[arg-type]
