"""Small sets of volumes, and distances whose network is one convolution."""

import pytest
import torch
from torch import Tensor, nn

from fund2oct.metrics.sets.eye_distance import EyeDistance
from fund2oct.metrics.sets.image_video import ImageDistance, VideoDistance
from fund2oct.networks.features import FeatureNetwork

S, Z, X = 6, 10, 14
ROLES = ("real", "fake", "rescan")


class Tiny(FeatureNetwork):
    """A convolution and a mean over what is left, over frames as well where there are any."""

    name = "tiny"
    num_features = {"first": 5, "second": 3}  # noqa: RUF012

    def __init__(self, ndim: int, size: tuple[int, int] | None = (8, 8), min_frames: int = 1) -> None:
        super().__init__()
        self.ndim, self.size, self.min_frames = ndim, size, min_frames
        rng = torch.Generator().manual_seed(0)
        convolution = nn.Conv2d(1, 8, 3) if ndim == 4 else nn.Conv3d(1, 8, 3)
        for weight in convolution.parameters():
            weight.data = torch.randn(weight.shape, generator=rng)
        self.convolution = convolution
        self._freeze()

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        found = self.convolution(x).relu().flatten(2).mean(2)
        return {"first": found[:, :5], "second": found[:, 5:]}


def tiny_image(**options) -> ImageDistance:
    return ImageDistance(Tiny(4), **{"resamples": 10} | options)


def tiny_video(**options) -> VideoDistance:
    return VideoDistance(Tiny(5), **{"resamples": 10} | options)


METRICS = pytest.mark.parametrize("build", [tiny_image, tiny_video])


def made_volumes(count: int = 9, seed: int = 0) -> Tensor:
    """Slices that drift from one to the next, so that their order shows."""
    rng = torch.Generator().manual_seed(seed)
    ends = torch.rand(count, 1, 2, Z, X, generator=rng)
    return torch.lerp(ends[:, :, :1], ends[:, :, 1:], torch.linspace(0, 1, S).view(S, 1, 1))


def made_keys(count: int = 9) -> list[str]:
    return [f"{number:06d}-{'LR'[number % 2]}" for number in range(count)]


def filled(metric: EyeDistance, count: int = 9, rescan: bool = False) -> EyeDistance:
    metric.update(made_volumes(count), "real", made_keys(count))
    metric.update(made_volumes(count, 1), "fake", made_keys(count))
    if rescan:
        metric.update(made_volumes(count, 2), "rescan", made_keys(count))
    return metric
