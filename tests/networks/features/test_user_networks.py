"""Networks of the user's own: modules, TorchScript files, optional packages."""

import copy
import pickle
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from fund2oct.networks.features import FeatureNetwork, UserNetwork, load_feature_network

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


class Pyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, 2)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.norm(self.fine(x))
        return [fine, self.coarse(fine)]


class LikeStyleGANV(nn.Module):
    """The call of ``i3d_torchscript.pt``; it gives the extremes and the flags that it saw."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False):
        flags = torch.tensor([float(rescale), float(resize), float(return_features), float(x.shape[1])])
        return torch.cat(
            [x.amin((1, 2, 3, 4))[:, None], x.amax((1, 2, 3, 4))[:, None], flags.repeat(len(x), 1)], 1
        )


class LikeInception(nn.Module):
    """The call of ``inception-2015-12-05.pt``, which takes bytes."""

    def forward(self, img: Tensor, return_features: bool = False, use_fp16: bool = False):
        assert img.dtype == torch.uint8 and img.shape[1] == 3 and return_features
        return img.amax((2, 3)).float()


def scripted(network, path):
    torch.jit.script(network).save(str(path))
    return load_feature_network(f"torchscript:{path}")


def test_a_module_with_maps():
    network = UserNetwork(Pyramid().train())
    assert not any(module.training for module in network.train().modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert (network.name, network.ndim, network.size, network.min_frames) == ("Pyramid", 4, None, 1)
    assert network.num_features == {"level1": 4, "level2": 6}
    images = torch.rand(3, 1, 20, 28)
    fine, coarse = network(images)
    found = network.features(images)
    torch.testing.assert_close(found["level1"], fine.mean((2, 3)))
    torch.testing.assert_close(found["level2"], coarse.mean((2, 3)))


def test_a_module_with_vectors_or_a_dictionary():
    plain = UserNetwork(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()), name="quarters/mean")
    assert plain.name == "quarters-mean" and plain.num_features == {"features": 4}
    named = UserNetwork(plain.network, call=lambda network, x: {"a": network(x), "b": x})
    assert named.num_features == {"a": 4, "b": 1}


def test_a_network_of_videos():
    network = UserNetwork(nn.Conv3d(1, 5, 3), ndim=5, size=(12, 14), min_frames=4)
    assert network.num_features == {"features": 5}
    assert network.features(torch.rand(2, 1, 4, 12, 14))["features"].shape == (2, 5)
    with pytest.raises(ValueError, match="Conv3d: expected at least 4 frames, found 3"):
        network.features(torch.rand(2, 1, 3, 12, 14))
    with pytest.raises(ValueError, match=r"ndim: expected 4 \(images\) or 5 \(videos\), found 3"):
        UserNetwork(nn.Identity(), ndim=3)


def test_copies_and_pickles():
    network, image = UserNetwork(Pyramid()), torch.rand(1, 1, 9, 11)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        torch.testing.assert_close(twin.features(image), network.features(image))
        assert isinstance(twin, UserNetwork) and twin.num_features == network.num_features


@pytest.mark.parametrize(
    "network, message",
    [
        (
            nn.Conv2d(3, 2, 3),
            r"Conv2d: failed on an input \(2, 1, 9, 11\): .*expected input.* to have 3 channels",
        ),
        (nn.Flatten(0), r"Flatten: output features: expected a tensor \(2, d, ...\), found \(198,\)"),
    ],
)
def test_what_a_network_cannot_do_is_said(network, message):
    with pytest.raises(ValueError, match=message):
        UserNetwork(network).features(torch.rand(2, 1, 9, 11))


def test_a_torchscript_network(tmp_path):
    pyramid = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3))
    network = scripted(pyramid, tmp_path / "own.pt")
    assert (network.name, network.ndim, network.num_features) == ("own", 4, {"features": 6})
    image = torch.rand(2, 1, 9, 11)
    torch.testing.assert_close(network.features(image)["features"], pyramid(image).mean((2, 3)))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_torchscript_network_of_videos(tmp_path):
    network = scripted(LikeStyleGANV(), tmp_path / "i3d_torchscript.pt")
    assert (network.name, network.ndim, network.size) == ("i3d_torchscript", 5, (224, 224))
    video = torch.tensor([0.0, 0.25]).view(1, 1, 1, 1, 2).expand(3, 1, 10, 4, 2)
    expected = torch.tensor([-1, -0.5, 0, 0, 1, 3]).expand(3, 6)
    torch.testing.assert_close(network.features(video)["features"], expected)


def test_a_torchscript_network_of_bytes(tmp_path):
    network = scripted(LikeInception(), tmp_path / "inception-2015-12-05.pt")
    assert (network.name, network.ndim, network.size) == ("inception-2015-12-05", 4, None)
    image = torch.full((2, 1, 5, 7), 0.2)
    torch.testing.assert_close(network.features(image)["features"], torch.full((2, 3), 51.0))


def test_bad_torchscript_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.pt: no such TorchScript file"):
        load_feature_network(f"torchscript:{tmp_path / 'absent.pt'}")
    torch.jit.script(Pyramid()).save(str(tmp_path / "cut.pt"))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:999])
    torch.save(nn.Conv2d(1, 1, 1).state_dict(), tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("hello")
    for name in ("cut.pt", "state.pt", "text.pt"):
        with pytest.raises(ValueError, match=f"{name}: broken or no TorchScript file"):
            load_feature_network(f"torchscript:{tmp_path / name}")


def test_load_by_import_path(monkeypatch, tmp_path):
    (tmp_path / "my_features.py").write_text(
        "from torch import nn\n"
        "from fund2oct.networks.features import UserNetwork\n"
        "def small():\n    return nn.Conv2d(1, 2, 3)\n"
        "def video():\n    return UserNetwork(nn.Conv3d(1, 2, 3), 'mine', 5)\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    network = load_feature_network("my_features:small")
    assert not network.training and network.name == "Conv2d"
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network(torch.rand(2, 1, 5, 6)).shape == (2, 2, 3, 4)
    assert load_feature_network("my_features:video").name == "mine"
    for spec, error, message in [
        ("vgg", ValueError, "expected 'efficientnet_lite0', .* or 'module:factory', found 'vgg'"),
        ("my_features:large", ValueError, "cannot import 'my_features:large'"),
        ("no_such_module:small", ValueError, "cannot import 'no_such_module:small'"),
        ("my_features:wrong", TypeError, "returned a int, not a module"),
    ]:
        with pytest.raises(error, match=message):
            load_feature_network(spec)


@pytest.mark.parametrize(
    "spec, module, package",
    [
        ("torchvision:resnet18", "torchvision", "torchvision"),
        ("torch_fidelity:inception", "torch_fidelity", "torch-fidelity"),
    ],
)
def test_missing_packages_are_named(monkeypatch, spec, module, package):
    for name in [module, *(each for each in sys.modules if each.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        load_feature_network(spec)


def stand_in(monkeypatch, name, **contents):
    """A package that is not installed beside these tests."""
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name.split(".")[0], ModuleType(name.split(".")[0]))
    monkeypatch.setitem(sys.modules, name, module)


def test_torchvision(monkeypatch):
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    preset = SimpleNamespace(crop_size=[24], mean=[0.1, 0.2, 0.3], std=[0.5, 0.5, 0.25])

    class Weights:
        DEFAULT = SimpleNamespace(transforms=lambda: preset)

    def get_model_weights(name):
        if name != "resnet18":
            raise ValueError(f"Unknown model {name}")
        return Weights

    def get_model(name, weights):
        assert weights is Weights.DEFAULT
        return classifier

    stand_in(monkeypatch, "torchvision.models", get_model=get_model, get_model_weights=get_model_weights)
    network = load_feature_network("torchvision:resnet18")
    assert (network.name, network.ndim, network.size) == ("resnet18", 4, (24, 24))
    assert network.num_features == {"pooled": 3, "logits": 5}
    found = network.features(torch.full((2, 1, 24, 24), 0.6))
    expected = torch.tensor([1.0, 0.8, 1.2]).expand(2, 3)
    torch.testing.assert_close(found["pooled"], expected)
    torch.testing.assert_close(found["logits"], classifier[2](expected))
    with pytest.raises(ValueError, match="torchvision:resnet: Unknown model resnet"):
        load_feature_network("torchvision:resnet")


@pytest.mark.parametrize(
    ("network", "preset"),
    [
        (nn.Conv2d(3, 5, 1), {"crop_size": [24]}),  # squeezenet
        (nn.Linear(3, 5), {"resize_size": [520]}),  # a segmentation
    ],
)
def test_what_is_no_classifier_of_torchvision_with_a_linear_layer_is_refused(network, preset, monkeypatch):
    usual = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.25]}
    weights = SimpleNamespace(transforms=lambda: SimpleNamespace(**usual, **preset))
    stand_in(
        monkeypatch,
        "torchvision.models",
        get_model=lambda name, weights: network,
        get_model_weights=lambda name: SimpleNamespace(DEFAULT=weights),
    )
    with pytest.raises(
        ValueError, match=r"torchvision:other: expected a classifier .* found another network"
    ):
        load_feature_network("torchvision:other")


def test_torch_fidelity(monkeypatch):
    class Extractor(nn.Module):
        def __init__(self, name, features_list):
            super().__init__()
            assert features_list == ["2048", "logits_unbiased"]

        def forward(self, x):
            assert x.dtype == torch.uint8
            return x.amax((2, 3)).float(), x.amin((2, 3)).float()

    stand_in(
        monkeypatch, "torch_fidelity.feature_extractor_inceptionv3", FeatureExtractorInceptionV3=Extractor
    )
    network = load_feature_network("torch_fidelity:inception")
    assert isinstance(network, FeatureNetwork) and network.name == "inception"
    found = network.features(torch.full((2, 1, 5, 7), 0.4))
    torch.testing.assert_close(found["pooled"], torch.full((2, 3), 102.0))
