"""The challenge's two distances between sets of eyes: of B-scans, and of volumes read as videos."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from fund2oct.metrics.sets.estimate import SetDistance
from fund2oct.metrics.sets.eye_distance import EyeDistance
from fund2oct.metrics.sets.eye_records import Size, key_hash
from fund2oct.metrics.sets.resize import Resize
from fund2oct.metrics.sets.slices import parse_protocol, slice_protocol
from fund2oct.networks.features import FeatureNetwork


class ImageDistance(EyeDistance):
    """Distance between the real and the generated B-scans of a set of eyes.

    Each B-scan gives one feature vector; the distance is between all vectors of either side. Eyes,
    not B-scans, are what its result counts, draws and splits.

    The memory is that of the features. The same eyes give exactly the same result whatever the batch
    size, their order and the number of processes (on one kind of device): each eye is described
    by itself, eyes are sorted by a hash of their key, and one given twice counts once.

    Use it by ``update`` and ``compute``; ``forward`` has no meaning for one side alone.

    Args:
        network: of images, or its name, see :func:`fund2oct.networks.features.load_feature_network`.
        output: which of its features; None takes the first.
        kind: ``"frechet"`` or ``"kernel"``, :func:`fund2oct.metrics.frechet_distance` and
            :func:`fund2oct.metrics.kernel_distance`; or a function of two sets of features, ``(N, d)`` and
            ``(M, d)``, that returns a number without dimensions.
        resize: how B-scans reach the network's size, see
            :func:`fund2oct.metrics.sets.resize.resize_images`. They are squeezed and not cropped.
        paired: whether both sides must hold the same eyes. Sets of different eyes need False.
        resamples: half sets drawn for the interval; 0 measures no more than the value, in a
            validation epoch for example.
        seed: seed of all draws.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if the network does not take images or a name is unknown.
    """

    _subject = "image_distance"
    _ndim = 4

    def _rows(self, volume: Tensor, role: str, key: str) -> Tensor:
        return self._features(volume[0].transpose(0, 1))


class VideoDistance(EyeDistance):
    """Distance between real and generated volumes, read as videos along their slow axis.

    As :class:`ImageDistance`, with one feature vector a volume.

    The defaults are the protocol nearest to the first Frechet video distance: the logits of I3D,
    frames squeezed to 224 x 224 in TensorFlow 1's way (``legacy``) and not cropped; only the frames
    themselves are this library's, since I3D needs nine and a six-line scan has six.

    Where ``resamples`` is positive, each real volume is described once more with its slices in a
    random order, drawn from the eye's key and neither the order itself nor its reverse.

    Args:
        network: of videos, or its name.
        output: which of its features; None takes the first.
        kind: as in :class:`ImageDistance`.
        resize: likewise.
        slices: how slices become frames, see :func:`fund2oct.metrics.slice_protocol`.
        paired: as in :class:`ImageDistance`.
        resamples: likewise.
        seed: likewise.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if the network does not take videos or a name is unknown.

    References:
        Unterthiner et al., 2018, arXiv:1812.01717.
    """

    _subject = "video_distance"
    _ndim = 5

    def __init__(
        self,
        network: FeatureNetwork | str = "i3d",
        output: str | None = None,
        kind: Literal["frechet", "kernel"] | SetDistance = "frechet",
        resize: Resize = "legacy",
        slices: str = "closure",
        paired: bool = True,
        resamples: int = 200,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, output, kind, resize, paired, resamples, seed, **kwargs)
        parse_protocol(slices)
        self.slices = slices

    def _rows(self, volume: Tensor, role: str, key: str) -> Tensor:
        if volume.shape[2] < 2:
            raise ValueError(f"{role} eye {key!r}: expected at least two slices, found {volume.shape[2]}")
        videos = [volume]
        if role == "real" and self.resamples:
            videos.append(volume[:, :, _shuffled_order(volume.shape[2], key_hash(key) + self.seed)])
        return torch.cat([self._features(self._frames(video, role, key)) for video in videos])

    def _frames(self, volume: Tensor, role: str, key: str) -> Tensor:
        frames = slice_protocol(volume, self.slices)
        if frames.shape[2] < self.network.min_frames:
            raise ValueError(
                f"{role} eye {key!r}: slices={self.slices!r} makes {frames.shape[2]} frames of "
                f"{volume.shape[2]} slices, and {self.network.name} needs {self.network.min_frames}; "
                "use slices='closure' for a radial scan, or 'linear16'"
            )
        return frames[0].transpose(0, 1)

    def _without_control(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        return features[:, :1], features[:, 1:] if features.shape[1] > 1 else None

    def _name_end(self, size: Size | None) -> list[str]:
        kind, count = parse_protocol(self.slices)
        if size is not None and not count:
            count = 2 * size[0] if kind == "closure" else size[0]
        return [f"{kind}{count or ''}"]


def _shuffled_order(n_slices: int, seed: int) -> list[int]:
    """A random order of the slices, neither their own nor its reverse unless there are two."""
    rng = torch.Generator().manual_seed(seed % 2**63)
    own = list(range(n_slices))
    if n_slices == 2:
        return [1, 0]
    while (order := torch.randperm(n_slices, generator=rng).tolist()) in (own, own[::-1]):
        pass
    return order
