"""The distribution of poses."""

import math

import pytest
import torch

from fund2oct.retina import PoseModel


def test_samples_have_the_mean_and_the_spread_of_what_was_fitted():
    mean = torch.tensor([[900.0, -30, 100], [950, 0, 90]])
    shared = 50 * torch.randn(4000, 1, 1) * torch.tensor([1.0, 0, 0])
    own = torch.randn(4000, 2, 3) * torch.tensor([5.0, 20, 8])
    model = PoseModel.fit(mean + shared + own)
    drawn = model.sample(20000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), mean, atol=2.5, rtol=0)
    expected = torch.tensor([math.hypot(50, 5), 20, 8]).expand(2, 3)
    torch.testing.assert_close(drawn.std(0), expected, atol=0, rtol=0.05)
    heights = torch.corrcoef(drawn[:, :, 0].T)[0, 1]
    assert heights == pytest.approx(2500 / 2525, abs=0.02)


def test_one_pose_and_a_constant_pose_are_enough():
    pose = torch.tensor([[[900.0, 10, 100]]])
    drawn = PoseModel.fit(pose).sample(4000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.std(0), torch.tensor([[60.0, 40, 20]]), atol=0, rtol=0.05)
    still = PoseModel.fit(pose.expand(5, -1, -1)).sample(10)
    torch.testing.assert_close(still, pose.expand(10, -1, -1), atol=0.2, rtol=0)


def test_a_seed_repeats_and_a_file_keeps_it():
    model = PoseModel.fit(torch.randn(9, 6, 3))
    again = PoseModel.from_dict(model.to_dict())
    draws = [m.sample(2, torch.Generator().manual_seed(4)) for m in (model, again)]
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    "poses, message",
    [
        (torch.zeros(0, 6, 3), "at least 1"),
        (torch.zeros(4, 6, 2), r"\(N, S, K\)"),
        (torch.full((2, 6, 3), math.nan), "finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(poses, message):
    with pytest.raises(ValueError, match=message):
        PoseModel.fit(poses)
