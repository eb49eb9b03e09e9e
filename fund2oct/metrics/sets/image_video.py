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
from fund2oct.networks.features import MEASURES, FeatureNetwork


class ImageDistance(EyeDistance):
    """Distance between the real and the generated B-scans of a set of eyes.

    A feature network makes a vector of each B-scan, and the two sets of vectors are compared. Give the real
    and the generated volumes with ``update``, then call ``compute``, which returns a
    :class:`DistanceResult`; ``forward`` is not for use.

    The result does not depend on the batch size, the order of the eyes or the number of processes (on one
    kind of device). An eye that is given twice counts once. The features of all eyes are kept in memory.

    Args:
        network: a feature network of images, or its name, see
            :func:`fund2oct.networks.features.load_feature_network`.
        output: name of the network's output that is compared; None takes the first one.
        kind: ``"frechet"`` (:func:`fund2oct.metrics.frechet_distance`), ``"kernel"``
            (:func:`fund2oct.metrics.kernel_distance`), or a function of the features of real and of generated
            eyes, ``(N, d)`` and ``(M, d)``, that returns a scalar tensor.
        resize: how B-scans are resized to the network's size, see
            :func:`fund2oct.metrics.sets.resize.resize_images`. They are not cropped.
        paired: True if both sides must hold the same eyes; False for sets of different eyes.
        resamples: number of half sets drawn for the interval; 0 measures the value alone, which is enough
            in a validation epoch.
        seed: seed of all draws.
        kwargs: keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if the network does not take images or a name is unknown.

    Example:
        With a tiny network of one's own; leave ``network`` out for EfficientNet-Lite0:

        >>> from fund2oct.networks.features import UserNetwork
        >>> network = UserNetwork(torch.nn.AvgPool2d(4), name="pool", size=(16, 16))
        >>> distance = ImageDistance(network, resamples=0)
        >>> real, keys = torch.rand(5, 1, 2, 32, 48), list("abcde")  # five eyes of two B-scans
        >>> distance.update(real, "real", keys)
        >>> distance.update(0.5 * real, "fake", keys)
        >>> result = distance.compute()
        >>> result.name, result.n_real, result.value > 0
        ('image_distance/pool-features/antialias16', 5, True)
    """

    _subject = "image_distance"
    _ndim = 4

    def _rows(self, volume: Tensor, role: str, key: str) -> Tensor:
        return self._features(volume[0].transpose(0, 1))


class VideoDistance(EyeDistance):
    """Distance between real and generated volumes whose B-scans are the frames of a video.

    A feature network makes one vector of each volume, and the two sets of vectors are compared. It is used
    like :class:`ImageDistance`.

    The defaults are close to the first Frechet video distance [1]: the logits of I3D, with frames resized to
    224 x 224 pixels as TensorFlow 1 did (``legacy``). The frames differ, because I3D needs at least nine and
    a scan of six lines has six: see ``slices``.

    If ``resamples`` is positive, the features of each real volume are computed a second time with the slices
    in a random order, for :attr:`DistanceResult.shuffle_control`. The order depends on the key of the eye.

    Args:
        network: a feature network of videos, or its name, see
            :func:`fund2oct.networks.features.load_feature_network`.
        output: name of the network's output that is compared; None takes the first one.
        kind: ``"frechet"``, ``"kernel"`` or a function, as in :class:`ImageDistance`.
        resize: how frames are resized, as in :class:`ImageDistance`.
        slices: how slices become frames, see :func:`fund2oct.metrics.slice_protocol`.
        paired: True if both sides must hold the same eyes; False for sets of different eyes.
        resamples: number of half sets drawn for the interval; 0 measures the value alone.
        seed: seed of all draws.
        kwargs: keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if the network does not take videos or a name is unknown.

    References:
        [1] Unterthiner et al., 2018, arXiv:1812.01717.

    Example:
        With a tiny network of one's own; leave ``network`` out for I3D:

        >>> from fund2oct.networks.features import UserNetwork
        >>> network = UserNetwork(torch.nn.AvgPool3d(4), name="pool", ndim=5, size=(16, 16), min_frames=9)
        >>> distance = VideoDistance(network, resamples=0)
        >>> real, keys = torch.rand(5, 1, 6, 32, 48), list("abcde")  # five eyes of six B-scans
        >>> distance.update(real, "real", keys)
        >>> distance.update(0.5 * real, "fake", keys)
        >>> distance.compute().name
        'video_distance/pool-features/legacy16/closure12'
    """

    _subject = "video_distance"
    _ndim = 5

    def __init__(
        self,
        network: FeatureNetwork | str = MEASURES["video"],
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
