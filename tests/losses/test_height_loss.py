"""The regression of heights: values by hand, and what is not known."""

import math

import pytest
import torch

from fund2oct.losses import height_loss, surface_distances


def heights(*values):
    return torch.tensor(values).view(1, -1, 1, 1)


def test_every_pair_and_the_pose_are_compared():
    # 300 and 20 above the pose, 280 apart.
    assert surface_distances(heights(300.0, 20.0)).flatten().tolist() == [280.0, 300.0, 20.0]


def test_the_loss_by_hand():
    # Off by 50 in the first surface: two of three distances; quadratic below the knee of 100.
    found = height_loss(heights(350.0, 20.0), heights(300.0, 20.0))
    assert float(found) == pytest.approx(2 * 0.5 * 0.5**2 / 3)
    # Off by 300: linear above it.
    found = height_loss(heights(600.0, 20.0), heights(300.0, 20.0))
    assert float(found) == pytest.approx(2 * (3 - 0.5) / 3)


def test_a_surface_that_was_not_found_does_not_count():
    predicted = heights(350.0, 20.0).requires_grad_()
    loss = height_loss(predicted, heights(math.nan, 10.0))
    assert float(loss) == pytest.approx(0.5 * 0.1**2)
    loss.backward()
    assert predicted.grad is not None and predicted.grad.isfinite().all()
    assert predicted.grad[0, 0] == 0
    assert float(height_loss(heights(1.0), heights(math.nan))) == 0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="heights: expected two of one shape"):
        height_loss(heights(1.0), heights(1.0, 2.0))
