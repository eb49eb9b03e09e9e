"""The video network of the first Frechet video distance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.features.base import FeatureNetwork
from fund2oct.networks.features.padding import padded_for, same_padding
from fund2oct.networks.features.weight_files import Tensors
from fund2oct.networks.features.weights import load_weights

_EPS = 1e-3
_SIDE = 224
# On a CPU pooling is fifteen times faster so. Only a clone brings it about where there is one channel.
_CHANNELS_LAST = torch.channels_last_3d
Triple = tuple[int, int, int]


class I3D(FeatureNetwork):
    r"""Inception v1 inflated to three dimensions, trained on the colour videos of Kinetics-400.

    It takes videos of at least nine frames. Its outputs:

    * ``logits``, those of the 400 classes, averaged over time, which the Frechet video distance compares;
    * ``pooled``, the 1024 features before them, averaged over windows of 2 x 7 x 7, then over time.

    Intensities :math:`v` in [0, 1] are mapped to :math:`2 v - 1`, and grey videos repeated over the three
    colours. Convolutions and max poolings are padded like TensorFlow's SAME. Batch normalisation is folded
    into the convolutions, and the kernel of the first convolution is summed over the colours for grey
    videos; neither changes the result.

    Args:
        weights: tensors by their published names; None takes those that
            :func:`fund2oct.networks.features.weights.load_weights` finds.

    Raises:
        ValueError: if the file of weights is broken or another one.
        FileNotFoundError: if the weights have not been fetched.

    References:
        Carreira and Zisserman, CVPR 2017, arXiv:1705.07750, figure 3; the inflated network is
        GoogLeNet, Szegedy et al., CVPR 2015, arXiv:1409.4842, table 1. The distance: Unterthiner et
        al., arXiv:1812.01717.

    Example:
        >>> I3D.num_features, I3D.min_frames
        ({'logits': 400, 'pooled': 1024}, 9)
        >>> I3D().features(torch.rand(1, 1, 12, 224, 224))["logits"].shape  # doctest: +SKIP
        torch.Size([1, 400])
    """

    name = "i3d"
    ndim = 5
    num_features: Mapping[str, int] = {"logits": 400, "pooled": 1024}
    size = (_SIDE, _SIDE)
    min_frames = 9

    def __init__(self, weights: Tensors | None = None) -> None:
        super().__init__()
        tensors = load_weights("i3d") if weights is None else weights
        self.stem = _Unit(tensors, "Conv3d_1a_7x7", stride=2)
        self.body = nn.Sequential(
            _SamePool((1, 3, 3), (1, 2, 2)),
            _Unit(tensors, "Conv3d_2b_1x1"),
            _Unit(tensors, "Conv3d_2c_3x3"),
            _SamePool((1, 3, 3), (1, 2, 2)),
            *(_Mixed(tensors, f"Mixed_3{letter}") for letter in "bc"),
            _SamePool((3, 3, 3), (2, 2, 2)),
            *(_Mixed(tensors, f"Mixed_4{letter}") for letter in "bcdef"),
            _SamePool((2, 2, 2), (2, 2, 2)),
            *(_Mixed(tensors, f"Mixed_5{letter}") for letter in "bc"),
        )
        kernel = tensors["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"]
        self.classifier = nn.Linear(1024, 400)
        self.classifier.weight.data = torch.tensor(kernel[0, 0, 0].T)
        self.classifier.bias.data = torch.tensor(tensors["params/Logits/Conv3d_0c_1x1/Conv_0/bias"])
        self.to(memory_format=_CHANNELS_LAST)  # type: ignore[call-overload]
        self._freeze()

    def _check(self, x: Tensor) -> None:
        super()._check(x)
        if x.shape[-2:] != self.size:
            raise ValueError(f"{self.name}: expected frames of {_SIDE}x{_SIDE}, found {tuple(x.shape[-2:])}")

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.body(self.stem((2 * x - 1).clone(memory_format=_CHANNELS_LAST)))
        pooled = F.avg_pool3d(maps, (2, 7, 7), stride=1).mean((2, 3, 4))
        # The classifier is affine: the mean of the logits over time is that of the mean features.
        return {"logits": self.classifier(pooled), "pooled": pooled}


class _Unit(nn.Conv3d):
    """Convolution, batch normalisation and ReLU of one published layer."""

    def __init__(self, tensors: Tensors, name: str, stride: int = 1) -> None:
        kernel, bias = _folded(tensors, name)
        after, before, *size = kernel.shape
        super().__init__(before, after, tuple(size), stride)  # type: ignore[arg-type]
        self.weight.data, self.bias.data = kernel, bias  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size == (1, 1, 1):
            # The same sums; PyTorch's own 1x1x1 convolution would put the channels first again.
            return F.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).relu_().movedim(-1, 1)
        weight = self.weight
        if x.shape[1] == 1 < weight.shape[1]:
            weight = weight.sum(1, keepdim=True).clone(memory_format=_CHANNELS_LAST)
        x, padding = padded_for(x, self.kernel_size, self.stride)
        return F.conv3d(x, weight, self.bias, self.stride, padding).relu_()


class _SamePool(nn.Module):
    """Max pooling with SAME padding, which no maximum sees.

    PyTorch pads both ends alike; where SAME puts one more at the end, ``ceil_mode`` completes the last
    window. For this network's kernels, 3, and 2 with stride 2, the two are the same.
    """

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        axes = same_padding(x.shape[2:], self.kernel, self.stride)
        before = [before for before, _ in axes]
        return F.max_pool3d(x, self.kernel, self.stride, before, ceil_mode=True)


class _Mixed(nn.Module):
    """Inception module: four branches side by side."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        super().__init__()
        self.single = _Unit(tensors, f"{name}/Branch_0/Conv3d_0a_1x1")
        self.spatial_1, self.spatial_2 = (
            nn.Sequential(
                _Unit(tensors, f"{name}/Branch_{branch}/Conv3d_0a_1x1"),
                _Unit(tensors, f"{name}/Branch_{branch}/Conv3d_0b_3x3"),
            )
            for branch in (1, 2)
        )
        self.pooled = nn.Sequential(
            _SamePool((3, 3, 3), (1, 1, 1)), _Unit(tensors, f"{name}/Branch_3/Conv3d_0b_1x1")
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.single(x), self.spatial_1(x), self.spatial_2(x), self.pooled(x)], 1)


def _folded(tensors: Tensors, name: str) -> tuple[Tensor, Tensor]:
    """Kernel and bias with the normalisation in them: it has an offset and no scale."""
    norm = f"{name}/BatchNorm_0"
    scale = 1 / np.sqrt(tensors[f"batch_stats/{norm}/var"].astype(np.float64).ravel() + _EPS)
    mean = tensors[f"batch_stats/{norm}/mean"].astype(np.float64).ravel()
    kernel = (tensors[f"params/{name}/Conv_0/kernel"] * scale).transpose(4, 3, 0, 1, 2)
    bias = tensors[f"params/{norm}/bias"] - mean * scale
    return torch.tensor(kernel, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)
