import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.losses.perceptual import PerceptualLoss
from fund2oct.networks.features import FeatureNetwork, UserNetwork


class Blocks(nn.Module):
    """Two levels of known features, and a batch normalisation that would betray training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.bias = nn.Parameter(torch.ones(1))
        self.seen: list[int] = []

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        self.seen.append(len(image))
        image = self.norm(image)
        return {"fine": torch.cat([image, self.bias - image], 1), "coarse": F.avg_pool2d(image, 2) + 1}


def test_value() -> None:
    loss = PerceptualLoss(Blocks())
    fake, real = torch.rand(2, 1, 3, 8, 10), torch.rand(2, 1, 3, 8, 10)
    scale = (1 + 1e-5) ** 0.5
    angles = [torch.atan2(1 - volume / scale, volume / scale) for volume in (fake, real)]
    fine = (2 * ((angles[0] - angles[1]) / 2).sin()).square().mean()
    # The coarse level has one positive channel: of unit length it is 1 everywhere.
    torch.testing.assert_close(loss(fake, real), fine / 2)
    assert loss(real, real) == 0


def test_compares_bscans_and_not_other_sections() -> None:
    fake, real = torch.zeros(1, 1, 3, 8, 10), torch.zeros(1, 1, 3, 8, 10)
    fake[0, 0, 1, 2, 5] = 1
    shapes = []

    class Probe(nn.Module):
        def forward(self, image: Tensor) -> list[Tensor]:
            shapes.append((tuple(image.shape), image.nonzero().tolist()))
            return [image + 1]

    PerceptualLoss(Probe())(fake, real)
    assert shapes == [((3, 1, 8, 10), []), ((3, 1, 8, 10), [[1, 0, 2, 5]])]


def test_network_is_frozen_hidden_and_moves_along() -> None:
    network = Blocks()
    owner = nn.ModuleDict({"loss": PerceptualLoss(network), "other": nn.Linear(2, 3)})
    owner.train()
    network.train()
    fake = torch.rand(1, 1, 3, 8, 10, requires_grad=True)
    owner["loss"](fake, torch.rand(1, 1, 3, 8, 10)).backward()
    assert fake.grad is not None and fake.grad.abs().sum() > 0
    assert not network.training
    assert network.norm.num_batches_tracked == 0
    assert network.bias.grad is None and not network.bias.requires_grad
    assert set(owner.state_dict()) == {"other.weight", "other.bias"}
    assert len(list(owner.parameters())) == 2
    owner.double()
    assert network.bias.dtype == torch.float64
    owner.to("meta")
    assert network.bias.is_meta


def test_copies_keep_their_network() -> None:
    loss = PerceptualLoss(Blocks())
    fake, real = torch.rand(1, 1, 3, 8, 10), torch.rand(1, 1, 3, 8, 10)
    twin = copy.deepcopy(loss)
    torch.testing.assert_close(twin(fake, real), loss(fake, real))
    assert twin._hidden[0] is not loss._hidden[0]


def test_mask() -> None:
    loss = PerceptualLoss(Blocks())
    fake, real = torch.rand(1, 1, 3, 8, 10), torch.rand(1, 1, 3, 8, 10)
    mask = torch.rand(1, 1, 3, 8, 10) > 0.5
    torch.testing.assert_close(loss(fake, real, mask), loss(fake * mask, real * mask))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="one channel, found 2"):
        PerceptualLoss(Blocks())(torch.rand(1, 2, 3, 8, 10), torch.rand(1, 2, 3, 8, 10))


class Plain(nn.Module):
    """What a function makes of the images."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor):
        return self.function(images)


@pytest.mark.parametrize("kind", ["maps", "vectors"])
def test_one_tensor_is_one_level(kind: str) -> None:
    def level(images: Tensor) -> Tensor:
        maps = torch.cat([images, 1 - images, images.square()], 1)
        return maps if kind == "maps" else maps.mean((2, 3))

    fake, real = torch.rand(2, 1, 3, 8, 10), torch.rand(2, 1, 3, 8, 10)
    one, other = (level(volume.flatten(0, 2)[:, None]) for volume in (fake, real))
    expected = 2 - 2 * F.cosine_similarity(one, other, dim=1).mean()
    torch.testing.assert_close(PerceptualLoss(Plain(level))(fake, real), expected, rtol=1e-4, atol=1e-6)
    listed = PerceptualLoss(Plain(lambda images: [level(images)]))
    assert listed(fake, real) == PerceptualLoss(UserNetwork(Plain(level)))(fake, real)


@pytest.mark.parametrize("wrong", [lambda images: images[0], lambda images: [images.mean((1, 2, 3))]])
def test_what_are_no_features_of_each_bscan_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"expected features \(6, C, ...\), one of each B-scan, found"):
        PerceptualLoss(Plain(wrong))(torch.rand(2, 1, 3, 8, 10), torch.rand(2, 1, 3, 8, 10))


def test_a_network_that_stops_the_gradient_trains_nothing() -> None:
    loss = PerceptualLoss(Plain(lambda images: [(255 * images).byte().float() + 1]))
    fake, real = torch.rand(2, 1, 3, 8, 10), torch.rand(2, 1, 3, 8, 10)
    assert loss(fake, real).isfinite()
    with pytest.raises(ValueError, match="no gradient flows through it"):
        loss(fake.requires_grad_(), real)


def test_networks_of_videos_or_of_vectors_alone_are_refused() -> None:
    class Brightness(FeatureNetwork):
        name, ndim = "brightness", 4

    for network in (UserNetwork(nn.Conv3d(1, 2, 3), "brightness", ndim=5), Brightness()):
        with pytest.raises(ValueError, match=r"expected one that maps images .*, found brightness, which"):
            PerceptualLoss(network)
