"""What is done to photos and volumes before a network sees them, as a checkpoint remembers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fund2oct.data.preparing.light_and_levels import (
    LEVELS,
    LIGHT,
    even_levels,
    even_light,
    is_done,
)
from fund2oct.data.preparing.photo import PhotoOptions
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.eye import Array, Eye, Plain
from fund2oct.geometry import Placement


@dataclass(frozen=True)
class Preparation:
    """What was done to the photos and volumes that a model was trained on, and so is done to new ones.

    Whether the importer or the training did it makes no difference; it is done to an eye only once.

    Args:
        even_light: the photos' illumination is evened out, see
            :func:`fund2oct.data.preparing.light_and_levels.even_light`.
        even_levels: the volumes are brought to common levels, see
            :func:`fund2oct.data.preparing.light_and_levels.even_levels`.
        photo_px: width of the photos in the training's file, before they are resized to the model's; 0
            where that is not known, and they are cropped to the model's own width.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> eye = Preparation(even_light=True).eye(EyeReader("eyes.h5").read("sim3-0000000-OD"))
        >>> eye.history  # what was done is not done again
        {'light': 'evened'}
    """

    even_light: bool = False
    even_levels: bool = False
    photo_px: int = 0

    def photo_options(self, placement: Placement | PhotoPlacement, fundus_px: int) -> PhotoOptions:
        """How a new photo is prepared for the model.

        Args:
            placement: where the scan lies on it, or that it is to be estimated.
            fundus_px: width of the model's photos.
        """
        return PhotoOptions(self.photo_px or fundus_px, self.even_light, placement)

    def photo(self, photo: Array, history: Mapping[str, Plain]) -> tuple[Array, dict[str, Plain]]:
        """Prepare a photo out of a file of eyes.

        Args:
            photo: RGB uint8, shape ``(H, H, 3)``.
            history: the eye's, which says what was done already.

        Returns:
            The photo, uint8 of the same shape, and the history with what was done.
        """
        if not self.even_light or is_done(history, LIGHT):
            return photo, dict(history)
        return even_light(photo), {**history, LIGHT[0]: LIGHT[1]}

    def eye(self, eye: Eye) -> Eye:
        """Prepare the photo and the volumes of an eye out of a file."""
        changes: dict[str, Any] = {}
        history: dict[str, Plain] = dict(eye.history)
        if eye.fundus is not None:
            changes["fundus"], history = self.photo(eye.fundus, history)
        if self.even_levels and eye.volume is not None and not is_done(history, LEVELS):
            changes["volume"] = even_levels(eye.volume)
            if eye.rescan is not None:
                changes["rescan"] = even_levels(eye.rescan)
            history[LEVELS[0]] = LEVELS[1]
        return replace(eye, **changes, history=history)

    def to_dict(self) -> dict[str, bool | int]:
        """Plain values."""
        return asdict(self)
