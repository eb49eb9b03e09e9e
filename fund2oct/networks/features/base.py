"""What every frozen feature network has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

_LAYOUTS = {4: "images (N, 1 or 3, H, W)", 5: "videos (N, 1 or 3, T, H, W)"}
_ROUNDING = 1e-4


class FeatureNetwork(nn.Module):
    """A fixed network that describes images or videos by vectors, for distances between sets of them.

    It stays in evaluation mode whatever :meth:`train` is called with, and its parameters take no
    gradient; gradients pass through it to its input.

    A subclass sets the attributes below, implements ``_outputs`` and calls ``_freeze`` at
    the end of its constructor.

    Attributes:
        name: its part of a distance's name, without ``/``.
        ndim: 4 for images ``(N, 1 or 3, H, W)``, 5 for videos ``(N, 1 or 3, T, H, W)``.
        size: height and width to which a distance resizes its input; None leaves them.
        min_frames: fewest frames of a video; 1 for images.
    """

    name: str
    ndim: int
    size: tuple[int, int] | None = None
    min_frames: int = 1

    @property
    def num_features(self) -> Mapping[str, int]:
        """Outputs of :meth:`features` and their lengths, the default one first."""
        raise NotImplementedError

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Describe images or videos.

        Args:
            x: intensities in [0, 1], floating point; ``(N, 1 or 3, H, W)`` where ``ndim`` is 4,
                ``(N, 1 or 3, T, H, W)`` where it is 5. Of a volume, T is the slow axis S.

        Returns:
            For each name in ``num_features``, vectors ``(N, num_features[name])``.

        Raises:
            ValueError: if the shape, type or values are others, or the frames too few.
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
