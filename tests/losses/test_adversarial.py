import math

import pytest
import torch
from torch.nn import functional as F

from fund2oct.losses.adversarial import ADVERSARIAL, adversarial_loss

REAL, FAKE = 0.3, -2.5


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("hinge", (1 - REAL) + 0.0, -FAKE),
        ("least_squares", 0.5 * (REAL - 1) ** 2 + 0.5 * FAKE**2, 0.5 * (FAKE - 1) ** 2),
        (
            "non_saturating",
            -math.log(_sigmoid(REAL)) - math.log(1 - _sigmoid(FAKE)),
            -math.log(_sigmoid(FAKE)),
        ),
    ],
)
def test_closed_form(name: str, discriminator: float, generator: float) -> None:
    loss = adversarial_loss(name)
    real, fake = torch.full((2, 1, 3, 4, 5), REAL), torch.full((2, 1, 3, 4, 5), FAKE)
    assert loss.discriminator([real], [fake]).item() == pytest.approx(discriminator, rel=1e-6)
    assert loss.generator([fake]).item() == pytest.approx(generator, rel=1e-6)


def test_non_saturating_is_binary_cross_entropy() -> None:
    loss = adversarial_loss("non_saturating")
    real, fake = torch.randn(2, 7), torch.randn(2, 7)
    expected = F.binary_cross_entropy_with_logits(real, torch.ones(2, 7))
    expected += F.binary_cross_entropy_with_logits(fake, torch.zeros(2, 7))
    torch.testing.assert_close(loss.discriminator([real], [fake]), expected)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_scales_weigh_the_same_whatever_their_number_of_patches(name: str) -> None:
    loss = adversarial_loss(name)
    many, few = torch.randn(2, 1, 3, 8, 9), torch.randn(2, 1, 3, 2, 4)
    torch.testing.assert_close(
        loss.generator([many, few]), (loss.generator([many]) + loss.generator([few])) / 2
    )


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_each_player_wants_the_opposite(name: str) -> None:
    loss = adversarial_loss(name)
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    on_real, on_fake = torch.autograd.grad(loss.discriminator([real], [fake]), (real, fake))
    assert (on_real < 0).all()
    assert (on_fake >= 0).all()
    (wish,) = torch.autograd.grad(loss.generator([fake]), fake)
    assert (wish < 0).all()


def test_half_precision_logits_are_averaged_in_full() -> None:
    logits = [torch.randn(1000).bfloat16()]
    found = adversarial_loss("hinge").generator(logits)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, -logits[0].float().mean())


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"expected one of .*hinge.* found 'wgan'"):
        adversarial_loss("wgan")
    loss = adversarial_loss("hinge")
    with pytest.raises(ValueError, match="found a bare tensor"):
        loss.generator(torch.zeros(2, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an empty list"):
        loss.generator([])
    with pytest.raises(ValueError, match="2 real and 1 fake"):
        loss.discriminator([torch.zeros(1)] * 2, [torch.zeros(1)])
