"""Where a scan lies on a photo: as given, or as disc and fovea tell it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fund2oct.data.preparing.landmarks import DISC_FOVEA_MM, Landmarks, find_landmarks
from fund2oct.eye import ON_DISC, Array, Plain
from fund2oct.geometry import Placement

_SURE = 0.5
# Fluid and atrophies in the macula of simulated eyes are taken for the disc with up to 0.5.
_SURE_TO_WARN = 0.53


@dataclass(frozen=True)
class PhotoPlacement:
    """A placement that is estimated from each photo: the scan lies around the fovea, upright.

    Args:
        half_width_mm: millimetres of retina under half the photo's width, which the camera's field
            gives; None takes the distance between disc and fovea for the measure, which differs by 7%
            between eyes.

    Example:
        >>> from fund2oct.data.formats.images import read_rgb
        >>> from fund2oct.data.preparing.photo import PhotoOptions, prepare_photo
        >>> options = PhotoOptions(size_px=128, placement=PhotoPlacement(half_width_mm=6.5))
        >>> photo = prepare_photo(read_rgb("photo.png"), options, "OD")
        >>> [round(place, 1) for place in photo.placement.shift]  # the fovea, not the centre of the photo
        [-0.1, 0.0]
    """

    half_width_mm: float | None = None

    def __post_init__(self) -> None:
        if self.half_width_mm is not None:
            self.otherwise()

    def otherwise(self) -> Placement:
        """The placement where the photo tells none: around its centre."""
        return Placement() if self.half_width_mm is None else Placement(half_width_mm=self.half_width_mm)


def place_on(
    photo: Array | None,
    laterality: str,
    wanted: Placement | PhotoPlacement | None,
    history: dict[str, Plain],
    notes: list[str],
) -> Placement:
    """The placement of a scan on a photo, as given or as found.

    Args:
        photo: RGB uint8, the square around the circle of retina; None where there is only a scan.
        laterality: ``"OD"``, ``"OS"`` or empty.
        wanted: a placement, or that it is to be estimated; None where it comes from elsewhere.
        history: the eye's; what was found, and with what confidence, is added to it.
        notes: a line is added if the scan lies over the optic disc, or the fovea was not found for sure. In
            the second case the scan is laid around the photo's centre, unless that is the disc.
    """
    if wanted is None:
        return Placement()
    if photo is None:
        return wanted if isinstance(wanted, Placement) else wanted.otherwise()
    found = find_landmarks(photo, laterality, wanted.half_width_mm)
    sure_of_disc, sure_of_fovea = (
        confidence >= _SURE for confidence in (found.disc_confidence, found.fovea_confidence)
    )
    if isinstance(wanted, Placement):
        off_mm = wanted.half_width_mm * math.dist(found.disc, wanted.shift)
        if found.disc_confidence >= _SURE_TO_WARN and off_mm < DISC_FOVEA_MM / 2:
            history |= _recorded(found) | {"placement": ON_DISC}
            notes.append(
                f"the optic disc lies under the scan, {off_mm:.1f} mm from its centre (confidence "
                f"{found.disc_confidence:.2f}); expected it {DISC_FOVEA_MM:.1f} mm away, for scans lie "
                "around the fovea, and a model draws nonsense over a disc; take a photo that is centred on "
                "the macula, or have the fovea looked for with --placement photo"
            )
        return wanted
    history |= _recorded(found)
    if not sure_of_fovea or not (sure_of_disc or wanted.half_width_mm):
        # Half way to the disc and nearer to it, the centre cannot be the fovea.
        at_disc = sure_of_disc and 2 * math.hypot(*found.disc) < math.dist(found.disc, found.fovea)
        where = "where it most likely is, for the photo is centred on the disc"
        notes.append(
            f"the fovea is uncertain (confidence {found.fovea_confidence:.3f}, that of the disc "
            f"{found.disc_confidence:.3f}); the scan is laid {where if at_disc else 'around the centre'}"
        )
        if not at_disc:
            history["placement"] = "centre"
            return wanted.otherwise()
    history["placement"] = "photo"
    return Placement(found.fovea, half_width_mm=wanted.half_width_mm or found.half_width_mm)


def _recorded(found: Landmarks) -> dict[str, Plain]:
    return {
        "disc_x": round(found.disc[0], 4),
        "disc_y": round(found.disc[1], 4),
        "disc_confidence": round(found.disc_confidence, 3),
        "fovea_x": round(found.fovea[0], 4),
        "fovea_y": round(found.fovea[1], 4),
        "fovea_confidence": round(found.fovea_confidence, 3),
    }
