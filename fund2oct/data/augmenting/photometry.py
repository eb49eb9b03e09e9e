"""Changes to a photo's light and colour, none of which moves anything."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import numpy as np

from fund2oct.eye import Array

_DARK = 8  # of 255: no retina is as dark, and sensor noise in the surround no brighter


class FundusPhotometry:
    """Vary a photo as cameras, flashes and files do: light, colour, blur, noise, compression.

    Args:
        strength: in [0, 1]: 0 changes nothing, 1 is the strongest change that still looks like a photo.

    Raises:
        ValueError: if ``strength`` is not in [0, 1].

    Example:
        >>> photo = np.full((64, 64, 3), 120, np.uint8)
        >>> varied = FundusPhotometry(strength=0.5)(photo, seed=7)
        >>> varied.shape, varied.dtype.name, bool((varied == photo).all())
        ((64, 64, 3), 'uint8', False)
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"photometric: expected a strength in [0, 1], found {strength}")
        self.strength = strength

    def __call__(self, fundus: Array, seed: int) -> Array:
        """Vary a photo.

        Args:
            fundus: RGB uint8, shape ``(H, H, 3)``.
            seed: the same seed varies the same photo in the same way, in any process.

        Returns:
            Photo of the same type and shape. The retina's black surround stays as it is.
        """
        if self.strength == 0:
            return fundus
        self._transforms.set_random_seed(seed)
        varied = self._transforms(image=fundus)["image"]
        retina = fundus.max(axis=-1, keepdims=True) >= _DARK
        return np.where(retina, varied, fundus)

    @cached_property
    def _transforms(self) -> Any:
        # It takes seconds to import, and asks the network for its newest version unless told not to.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations as A
        import cv2

        cv2.setNumThreads(0)  # a loader has a process for each core already

        much = self.strength
        return A.Compose(
            [
                A.RandomBrightnessContrast(0.3 * much, 0.3 * much, p=0.7),
                A.RandomGamma((100 - 40 * much, 100 + 60 * much), p=0.5),
                A.HueSaturationValue(8 * much, 30 * much, 0, p=0.5),
                A.Illumination(intensity_range=(0.01, 0.01 + 0.19 * much), p=0.3),
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 0.1 + 0.9 * much), p=0.3),
                A.GaussNoise(std_range=(0.0, 0.04 * much), p=0.3),
                A.ImageCompression(quality_range=(round(95 - 55 * much), 95), p=0.3),
            ]
        )
