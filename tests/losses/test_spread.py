"""The spread of residuals: its value by hand, what it sees and what it does not."""

import math

import pytest
import torch

from fund2oct.losses import spread_loss

S, Z, X = 3, 40, 24


def test_twice_the_residual_is_the_square_of_the_logarithm_of_four():
    real = torch.randn(2, 1, S, Z, X, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        spread_loss(2 * real, real), torch.tensor(math.log(4.0) ** 2), atol=0.02, rtol=0
    )


def test_one_box_by_hand():
    # One band of depth and one width differ: boxes of 2 rows, of which one has a constant residual.
    real = torch.full((1, 1, 1, Z, X), 0.1)
    fake = real.clone()
    fake[..., 6:8, :] = 0.3
    expected = math.log((0.09 + 1e-5) / (0.01 + 1e-5)) ** 2 / 20
    torch.testing.assert_close(spread_loss(fake, real), torch.tensor(expected), atol=1e-5, rtol=0)


def test_speckle_of_the_same_strength_that_is_correlated_across_ascans_is_told_apart():
    rng = torch.Generator().manual_seed(0)
    speckle = torch.randn(4, 1, S, Z, X, generator=rng)
    stripes = torch.randn(4, 1, S, 1, X, generator=rng).expand(-1, -1, -1, Z, -1)
    other = torch.randn(4, 1, S, Z, X, generator=rng)
    assert float(spread_loss(stripes, speckle)) > 4 * float(spread_loss(other, speckle))


def test_what_was_not_scanned_does_not_count():
    real = torch.randn(1, 1, S, Z, X, generator=torch.Generator().manual_seed(0))
    fake, mask = real.clone(), torch.ones(1, 1, S, Z, X, dtype=torch.bool)
    fake[..., :10, :] = 7.0
    mask[..., :10, :] = False
    assert float(spread_loss(fake, real, mask)) == 0.0
    assert float(spread_loss(fake, real)) > 1.0


def test_half_precision_and_few_ascans_give_a_number_with_a_gradient():
    fake = torch.zeros(1, 1, 1, 5, 3, dtype=torch.bfloat16, requires_grad=True)
    loss = spread_loss(fake, torch.full_like(fake, 0.1))
    loss.backward()
    assert loss.dtype == torch.float32 and fake.grad is not None and fake.grad.isfinite().all()


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        spread_loss(torch.zeros(1, 1, S, Z, X), torch.zeros(1, 1, S, Z, X + 1))
