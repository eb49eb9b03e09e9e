"""What is done to photos and volumes before a network sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fund2oct.eye import Array, Eye, Plain

LIGHT = ("light", "evened")
"""What an eye's history says of a photo whose illumination was evened out already."""
LEVELS = ("levels", "normalised")
"""What it says of a volume that was brought to the levels that all devices share."""


@dataclass(frozen=True)
class Preparation:
    """The preparation that belongs to a model: what it was trained on, and so what it has to be given.

    Whether the importer or the training did it makes no difference; it is done to an eye once.

    Args:
        normalise_photos: the photos' illumination is evened out, see
            :func:`fund2oct.data.preparing.illumination.normalise_illumination`.
        normalise_volumes: the volumes are brought to common levels, see
            :func:`fund2oct.data.preparing.illumination.normalise_intensity`.
    """

    normalise_photos: bool = False
    normalise_volumes: bool = False

    def photo(self, photo: Array, history: Mapping[str, Plain]) -> tuple[Array, dict[str, Plain]]:
        """Prepare a photo cropped to the circle of retina.

        Args:
            photo: RGB uint8, shape ``(H, H, 3)``.
            history: of the eye: says what was done already.

        Returns:
            The photo, uint8 of the same shape, and the history with what was done.
        """
        if not self.normalise_photos or is_done(history, LIGHT):
            return photo, dict(history)
        from fund2oct.data.preparing.illumination import normalise_illumination

        return normalise_illumination(photo), {**history, LIGHT[0]: LIGHT[1]}

    def eye(self, eye: Eye) -> Eye:
        """Prepare the photo and the volumes of an eye."""
        changes: dict[str, Any] = {}
        history: dict[str, Plain] = dict(eye.history)
        if eye.fundus is not None:
            changes["fundus"], history = self.photo(eye.fundus, history)
        if self.normalise_volumes and eye.volume is not None and not is_done(history, LEVELS):
            from fund2oct.data.preparing.illumination import normalise_intensity

            changes["volume"] = normalise_intensity(eye.volume)
            if eye.second is not None:
                changes["second"] = normalise_intensity(eye.second)
            history[LEVELS[0]] = LEVELS[1]
        return replace(eye, **changes, history=history)

    def to_dict(self) -> dict[str, bool]:
        """Plain values."""
        return asdict(self)


def is_done(history: Mapping[str, Plain], what: tuple[str, str]) -> bool:
    """Whether an eye's history tells of :data:`LIGHT` or :data:`LEVELS`."""
    return history.get(what[0]) == what[1]
