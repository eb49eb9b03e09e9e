"""A small network that was trained on OCT volumes only."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.features.base import FeatureNetwork
from fund2oct.networks.features.padding import pad_same
from fund2oct.networks.features.weight_files import Tensors
from fund2oct.networks.features.weights import load_weights

_EPS = 1e-3
_STRIDES = (2, 1, 1, 1)
_SLICES, _AXIAL, _WIDTH = 64, 128, 64


class OCT3D(FeatureNetwork):
    r"""Four 3D convolutions, trained to recognise glaucoma in OCT cubes of the optic nerve head.

    It knows OCT, unlike networks that were trained on photographs. But it has only 16 features, and was
    trained on raster scans of another part of the retina. Its outputs:

    * ``pooled``, the 16 channels of the last layer, averaged over the volume;
    * ``logits``, those of healthy and of glaucoma.

    It takes volumes ``(N, 1, T, H, W)`` with the slices S along T, Z along H and X along W. As in the
    training, intensities :math:`v` in [0, 1] become :math:`255 v`, and the volume is resized to 64 slices of
    128 x 64 by trilinear interpolation that keeps the corner voxels in place. The interpolation does not
    average, so reduce much larger slices before. Colours are averaged to grey.

    Args:
        weights: tensors by their published names; None takes those that
            :func:`fund2oct.networks.features.weights.load_weights` finds.

    Raises:
        ValueError: if the file of weights is broken or another one.
        FileNotFoundError: if the weights are missing.

    References:
        Maetschke et al., PLOS ONE 2019, doi:10.1371/journal.pone.0219126.

    Example:
        >>> OCT3D.num_features, OCT3D.size
        ({'pooled': 16, 'logits': 2}, (128, 64))
        >>> OCT3D().features(torch.rand(1, 1, 64, 128, 64))["pooled"].shape  # doctest: +SKIP
        torch.Size([1, 16])
    """

    name = "oct3d"
    ndim = 5
    num_features: Mapping[str, int] = {"pooled": 16, "logits": 2}
    size = (_AXIAL, _WIDTH)

    def __init__(self, weights: Tensors | None = None) -> None:
        super().__init__()
        tensors = load_weights("oct3d") if weights is None else weights
        layers = enumerate(_STRIDES, start=1)
        self.layers = nn.Sequential(*(_Layer(tensors, number, stride) for number, stride in layers))
        self.classifier = nn.Linear(16, 2)
        self.classifier.weight.data = torch.tensor(tensors["CWGT/CWGT/kernel:0"].T)
        self.classifier.bias.data = torch.tensor(tensors["CWGT/CWGT/bias:0"])
        self._freeze()

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        grey = 255 * x.mean(1, keepdim=True)
        cube = F.interpolate(grey, (_SLICES, _AXIAL, _WIDTH), mode="trilinear", align_corners=True)
        pooled = self.layers(cube.transpose(2, 3)).mean((2, 3, 4))
        return {"pooled": pooled, "logits": self.classifier(pooled)}


class _Layer(nn.Module):
    """Convolution, batch normalisation and ReLU of one published layer, all with Keras's names."""

    def __init__(self, tensors: Tensors, number: int, stride: int) -> None:
        super().__init__()
        conv, norm = (2 * f"{kind}_{number}/" for kind in ("conv3d", "batch_normalization"))
        kernel = torch.tensor(tensors[f"{conv}kernel:0"]).permute(4, 3, 0, 1, 2).contiguous()
        after, before, size = kernel.shape[:3]
        self.conv = nn.Conv3d(before, after, size, stride)
        self.norm = nn.BatchNorm3d(after, eps=_EPS)
        self.load_state_dict(
            {
                "conv.weight": kernel,
                "conv.bias": torch.tensor(tensors[f"{conv}bias:0"]),
                "norm.weight": torch.tensor(tensors[f"{norm}gamma:0"]),
                "norm.bias": torch.tensor(tensors[f"{norm}beta:0"]),
                "norm.running_mean": torch.tensor(tensors[f"{norm}moving_mean:0"]),
                "norm.running_var": torch.tensor(tensors[f"{norm}moving_variance:0"]),
                "norm.num_batches_tracked": torch.tensor(0),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(pad_same(x, self.conv.kernel_size, self.conv.stride))))
