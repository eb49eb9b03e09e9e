"""Simulated volumes behind real photos: vessels, disc and fovea of the photo drive the anatomy."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from fund2oct.eye import SIMULATED, Eye
from fund2oct.geometry import Placement, Point
from fund2oct.phantom.anatomy import sample_anatomy
from fund2oct.phantom.config import PhantomConfig
from fund2oct.phantom.grid import Array, PhotoGrid, smoothstep
from fund2oct.phantom.lesions import sample_lesions
from fund2oct.phantom.rendering.fundus import Retina
from fund2oct.phantom.rendering.texture import Texture
from fund2oct.phantom.simulate import acquire_volume, scan_retina, streams
from fund2oct.processes import one_order_of_sums

_BEHIND = 3571
HEALTHY = "normal"
"""Diagnosis of every eye that is simulated behind a photo."""
_CALIBRES_MM = (0.03, 0.05, 0.08)
"""Half widths of vessels that are looked for."""
_RIM = 0.94
_BLACK = 15
_SHARE_OF_VESSELS = 88.0, 95.0
"""Percentiles of the darkness of lines between which a pixel becomes a vessel: a tenth of the retina is."""
_BRIGHTEST = 1.3
"""Green light, by the photo's median, that counts for the surroundings at most: the disc is brighter."""
_BRIGHTER = 1.1
"""Green light, by that of the surroundings, beyond which it is cut off: a bright edge is no dark line."""


@dataclass(frozen=True, eq=False)
class SeenAnatomy:
    """What a photo tells of the anatomy behind it.

    Args:
        photo: the square around the circle of retina, RGB, uint8, shape ``(H, H, 3)``.
        fovea: its place, in grid units ``(x, y)``.
        disc: centre of the disc, likewise.
        half_width_mm: millimetres of retina under half the photo's width.

    Raises:
        ValueError: if disc and fovea are one place.

    Example:
        >>> photo = np.full((64, 64, 3), 120, np.uint8)
        >>> seen = SeenAnatomy(photo, fovea=(0.0, 0.0), disc=(0.7, -0.1), half_width_mm=6.5)
        >>> seen.laterality, [round(place, 2) for place in seen.disc_mm]
        ('OD', [4.55, -0.65])
    """

    photo: Array
    fovea: Point
    disc: Point
    half_width_mm: float

    def __post_init__(self) -> None:
        if not math.dist(self.fovea, self.disc) > 0:
            raise ValueError(f"disc and fovea: expected two places, found {self.disc} twice")

    @property
    def laterality(self) -> str:
        """The eye whose nasal side the disc lies on; in a right eye it is to the right of the fovea."""
        return "OD" if self.disc[0] > self.fovea[0] else "OS"

    @property
    def disc_mm(self) -> Point:
        """Centre of the disc around the fovea, x towards the disc, y down."""
        x, y = self.disc[0] - self.fovea[0], self.disc[1] - self.fovea[1]
        return abs(x) * self.half_width_mm, y * self.half_width_mm

    @property
    def placement(self) -> Placement:
        """Where millimetres around the fovea lie on the photo."""
        return Placement(self.fovea, half_width_mm=self.half_width_mm)


@one_order_of_sums()
def simulate_behind_photo(
    seen: SeenAnatomy,
    seed: int,
    number: int,
    config: PhantomConfig | None = None,
    key: str = "photo",
    patient: str = "",
) -> Eye:
    """Simulate a volume behind a photo.

    The photo stays what it is. Its vessels cast their shadows into the B-scans, and the disc, the fovea and
    the scale are where the photo has them. All that a photo does not tell is drawn: the thickness of each
    layer, the choroid, the pose, the speckle. It is drawn for each photo anew: the pixels, ``seed`` and
    ``number`` decide it together. The eye is healthy: what a diseased photo shows is not known to the
    simulator, so take photos of healthy eyes.

    Args:
        seen: the photo, and its disc and fovea.
        seed: seed of the set, at least 0.
        number: number of the draw; others give other hidden anatomy behind the same photo.
        config: sizes, scan and scanner. Its photo's width and its shares of diseases are not used.
        key: name of the photo; that of the eye has the number behind it.
        patient: name of the patient; empty takes that of the photo.

    Returns:
        The eye with the truth of its volume, marked as simulated.

    Raises:
        ValueError: if ``config`` names a diagnosis other than ``"normal"``, or long eyes, or if the photo
            does not show the whole scan.

    Example:
        >>> painted = np.full((64, 64, 3), 120, np.uint8)
        >>> seen = SeenAnatomy(painted, fovea=(0.0, 0.0), disc=(0.7, -0.1), half_width_mm=6.5)
        >>> simulate_behind_photo(seen, seed=0, number=3, config=PhantomConfig(n_depth=32, n_ascans=48))
        Eye('photo-behind3', OD, fundus 64 px, volume (6, 32, 48))
    """
    config = config or PhantomConfig()
    check_behind_photo(config)
    if reason := why_not_shown(seen.placement, config):
        raise ValueError(f"scan: {reason}; shorten its lines, or take a photo that is centred on the macula")
    config = replace(config, fundus_px=len(seen.photo), diagnosis=HEALTHY)
    # Without the photo, the eyes behind all photos would be one eye with other vessels.
    rng = streams(seed, number, _BEHIND, zlib.crc32(np.ascontiguousarray(seen.photo).data))
    retina = _retina_of(seen, rng, config)
    scan, signal = scan_retina(rng, retina, config)
    return Eye(
        key=f"{key}-behind{number}",
        patient=patient or key,
        laterality=seen.laterality,
        fundus=seen.photo,
        scan=config.scan,
        placement=retina.grid.placement,
        lesion_fundus=np.zeros(seen.photo.shape[:2], np.uint8),
        diagnosis=HEALTHY,
        source=f"{SIMULATED} behind a photo, seed {seed}",
        volume=acquire_volume(rng["speckle"], signal, config),
        rescan=acquire_volume(rng["rescan"], signal, config),
        **scan,
    )


def check_behind_photo(config: PhantomConfig) -> None:
    """Refuse what cannot be simulated behind a photo.

    Args:
        config: how eyes are to be simulated.

    Raises:
        ValueError: if it names a diagnosis other than ``"normal"``, or long eyes.

    Example:
        >>> check_behind_photo(PhantomConfig(diagnosis="drusen"))
        Traceback (most recent call last):
            ...
        ValueError: diagnosis: expected none, for eyes behind photos are healthy, found 'drusen'; leave it out
    """
    if config.diagnosis not in (None, HEALTHY):
        raise ValueError(
            f"diagnosis: expected none, for eyes behind photos are healthy, found {config.diagnosis!r}; "
            "leave it out"
        )
    if config.population != "ordinary":
        raise ValueError(
            f"population: expected ordinary eyes behind photos, found {config.population!r}, whose form no "
            "photo tells; leave it out"
        )


def why_not_shown(placement: Placement, config: PhantomConfig) -> str:
    """Tell why no volume can be simulated behind a photo: it does not show the whole scan.

    Args:
        placement: where millimetres around the fovea lie on the photo.
        config: the scan, and how many A-scans a line has.

    Returns:
        Words that an error can put behind the photo; empty where all A-scans lie in the circle of retina.

    Example:
        >>> why_not_shown(Placement(half_width_mm=4.0), PhantomConfig())
        'expected a photo that shows the whole scan, found 60 of its 672 A-scans outside the circle of retina'
    """
    points_mm = config.scan.coordinates(config.n_ascans)
    outside = placement.to_grid(points_mm).norm(dim=-1) > 1
    if not outside.any():
        return ""
    return (
        f"expected a photo that shows the whole scan, found {int(outside.sum())} of its {outside.numel()} "
        "A-scans outside the circle of retina"
    )


def _retina_of(seen: SeenAnatomy, rng: dict[str, np.random.Generator], config: PhantomConfig) -> Retina:
    anatomy = replace(sample_anatomy(rng["anatomy"], rng["anatomy"]), disc=seen.disc_mm)
    grid = PhotoGrid(seen.placement, config.map_px, 1 if seen.laterality == "OD" else -1)
    vessels = vessel_cover(seen.photo, seen.half_width_mm)
    fine = np.repeat(np.repeat(vessels, grid.size_px // len(vessels), 0), grid.size_px // len(vessels), 1)
    texture = Texture.sample(rng["texture"], grid)
    lesions = sample_lesions(rng["lesions"], grid, HEALTHY)
    return Retina(grid, anatomy, np.zeros_like(fine), fine, texture, lesions)


def vessel_cover(photo: Array, half_width_mm: float) -> Array:
    r"""Find the vessels of a photo: dark lines in its green light.

    A pixel's darkness as a line is the largest curvature of the smoothed green light at any of three widths
    :math:`\sigma` of vessels, :math:`\max_\sigma \sigma^2 \lambda_\sigma`. The darkest tenth of the retina is
    taken for vessels.

    Args:
        photo: RGB, uint8, shape ``(H, H, 3)``, the square around the circle of retina.
        half_width_mm: millimetres of retina under half its width.

    Returns:
        Share of each pixel that a vessel covers, in [0, 1], float32, shape ``(H, H)``; 0 near the rim.

    References:
        Frangi et al., Multiscale vessel enhancement filtering, MICCAI 1998, doi:10.1007/BFb0056195, section
        2.1 (curvature at several widths; without its measure of roundness).

    Example:
        >>> photo = np.full((200, 200, 3), 120, np.uint8)
        >>> photo[:, 98:102] = 80  # a vessel of 0.26 mm from above to below
        >>> cover = vessel_cover(photo, half_width_mm=6.5)
        >>> cover[100, [100, 60]].round(1)  # on the vessel, and beside it
        array([1., 0.], dtype=float32)
    """
    width_px = len(photo)
    centres = (np.arange(width_px) + 0.5) * 2 / width_px - 1
    retina = (np.hypot(*np.meshgrid(centres, centres)) < _RIM) & (photo.max(-1) > _BLACK)
    if not retina.any():
        return np.zeros(photo.shape[:2], np.float32)
    # The edge of the retina is no vessel: beyond it the light goes on.
    nearest = ndimage.distance_transform_edt(~retina, return_distances=False, return_indices=True)
    green = photo[..., 1].astype(np.float32)[tuple(nearest)]
    around = np.minimum(green, _BRIGHTEST * np.median(green[retina]))
    green = np.minimum(green / (ndimage.gaussian_filter(around, width_px / 16) + 1), _BRIGHTER)
    darkness = np.zeros_like(green)
    for calibre_mm in _CALIBRES_MM:
        sigma = max(0.8, calibre_mm * width_px / (2 * half_width_mm))
        yy, xy, xx = (ndimage.gaussian_filter(green, sigma, order) for order in ((2, 0), (1, 1), (0, 2)))
        largest = (xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)
        np.maximum(darkness, sigma**2 * largest, out=darkness)
    low, high = np.percentile(darkness[retina], _SHARE_OF_VESSELS)
    if not high > 0:
        return np.zeros_like(darkness)
    cover = smoothstep(darkness, min(low, 0.99 * high), high) * retina
    return np.asarray(cover, np.float32)
