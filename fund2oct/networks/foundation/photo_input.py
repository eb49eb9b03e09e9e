"""How pre-trained weights want a photo: its size, and how its intensities are scaled."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True)
class PhotoInput:
    r"""The photo as the training of some weights saw it.

    A photo is resized to a square. An intensity :math:`v` in [0, 1] becomes :math:`(s v - m) / d`, with mean
    :math:`m` and deviation :math:`d` of its colour. Where the training cut out the centre of a larger
    picture, the whole photo is resized to the size of that centre, since A-scans lie up to the photo's edge.

    Args:
        width_px: width and height in pixels.
        mean: of the three colours, after the scaling.
        deviation: of the three colours, likewise.
        scale: factor of the intensities, 1 where mean and deviation are those of intensities in [0, 1].
        interpolation: ``"nearest"``, ``"bilinear"`` or ``"bicubic"``.

    Raises:
        ValueError: if a length or a deviation is not positive, or the interpolation is another.

    Example:
        >>> prepare = PhotoInput(32, mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5))
        >>> prepared = prepare(torch.ones(1, 3, 64, 64))  # a white photo
        >>> prepared.shape, prepared.max()
        (torch.Size([1, 3, 32, 32]), tensor(1.))
    """

    width_px: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    scale: float = 1.0
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if not self.width_px > 0:
            raise ValueError(f"photo: expected a positive width in pixels, found {self.width_px}")
        if len(self.mean) != 3 or len(self.deviation) != 3 or not min(self.deviation) > 0:
            raise ValueError(
                "photo: expected a mean and a positive deviation for each of three colours, found "
                f"{self.mean} and {self.deviation}"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"photo: expected an interpolation out of {', '.join(INTERPOLATIONS)}, found "
                f"{self.interpolation!r}"
            )

    def __call__(self, fundus: Tensor) -> Tensor:
        """Prepare photos in [0, 1], ``(B, 3, H, W)``; they come back as ``(B, 3, width_px, width_px)``."""
        if fundus.shape[-2:] != (self.width_px, self.width_px):
            fundus = self._resize(fundus)
        mean, deviation = fundus.new_tensor(self.mean), fundus.new_tensor(self.deviation)
        return (self.scale * fundus - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)

    def _resize(self, fundus: Tensor) -> Tensor:
        size = self.width_px, self.width_px
        if self.interpolation == "nearest":
            return F.interpolate(fundus, size, mode="nearest-exact")
        smaller = fundus.shape[-1] > self.width_px
        resized = F.interpolate(fundus, size, mode=self.interpolation, align_corners=False, antialias=smaller)
        return resized.clamp(0, 1)  # bicubic weights are negative beside an edge
