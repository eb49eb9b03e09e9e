"""The common interface of all frozen feature networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

import torch
from torch import Tensor, nn

_LAYOUTS = {4: "images (N, 1 or 3, H, W)", 5: "videos (N, 1 or 3, T, H, W)"}
_ROUNDING = 1e-4
_FOLLOW: ContextVar[bool] = ContextVar("_FOLLOW", default=False)


@contextmanager
def weights_follow() -> Iterator[None]:
    """Build networks inside the block with random weights, because the right ones are loaded after it.

    Use it to load a checkpoint that holds the weights of a frozen network: the package with the published
    weights is then not needed.

    Example:
        >>> from fund2oct.networks.features import EfficientNetLite0
        >>> with weights_follow():  # needs no package
        ...     network = EfficientNetLite0()
    """
    before = _FOLLOW.set(True)
    try:
        yield
    finally:
        _FOLLOW.reset(before)


def weights_are_to_follow() -> bool:
    """Whether a network is built inside :func:`weights_follow`."""
    return _FOLLOW.get()


class FeatureNetwork(nn.Module):
    """A frozen network that describes images or videos by vectors.

    It stays in evaluation mode, whatever :meth:`train` is called with. Its parameters require no gradient;
    gradients flow through it to its input. The easiest way to a feature network of your own is
    :class:`UserNetwork`. A subclass sets the attributes below, implements ``_outputs`` and calls ``_freeze``
    at the end of its constructor.

    Attributes:
        name: name of the network in the name of a distance, without ``/``.
        ndim: 4 if it takes images ``(N, 1 or 3, H, W)``, 5 if videos ``(N, 1 or 3, T, H, W)``.
        size: height and width in pixels to which a distance resizes the input; None does not resize.
        min_frames: least number of frames of a video; 1 for images.

    Example:
        >>> class Brightness(FeatureNetwork):
        ...     name, ndim, num_features = "brightness", 4, {"mean": 1}
        ...
        ...     def _outputs(self, x):
        ...         return {"mean": x.mean((1, 2, 3))[:, None]}
        >>> Brightness().features(torch.full((2, 1, 8, 8), 0.25))  # of two images
        {'mean': tensor([[0.2500], [0.2500]])}
    """

    name: str
    ndim: int
    size: tuple[int, int] | None = None
    min_frames: int = 1

    @property
    def num_features(self) -> Mapping[str, int]:
        """Names of the outputs of :meth:`features` and their lengths; the first is the default."""
        raise NotImplementedError

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Describe images or videos.

        Args:
            x: intensities in [0, 1], floating point, shape ``(N, 1 or 3, H, W)`` if ``ndim`` is 4,
                ``(N, 1 or 3, T, H, W)`` if it is 5. The slices S of a volume are the frames T.

        Returns:
            For each name in ``num_features``, vectors of shape ``(N, num_features[name])``.

        Raises:
            ValueError: if the shape, the type or the range is another, or there are too few frames.
        """
        self._check(x)
        return self._outputs(x)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def _freeze(self) -> None:
        self.requires_grad_(False)
        self.train()

    def _check(self, x: Tensor) -> None:
        if x.ndim != self.ndim or x.shape[1] not in (1, 3) or x.numel() == 0:
            raise ValueError(f"{self.name}: expected {_LAYOUTS[self.ndim]}, found {tuple(x.shape)}")
        if self.ndim == 5 and x.shape[2] < self.min_frames:
            raise ValueError(
                f"{self.name}: expected at least {self.min_frames} frames, found {x.shape[2]}; "
                "a slice protocol such as closure makes more of few slices"
            )
        if not x.is_floating_point():
            raise ValueError(f"{self.name}: expected floating point values in [0, 1], found {x.dtype}")
        low, high = (value.item() for value in torch.aminmax(x.detach()))
        # Written so that NaN, of which every comparison is false, is refused as well.
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise ValueError(f"{self.name}: expected values in [0, 1], found {low:g} to {high:g}")
