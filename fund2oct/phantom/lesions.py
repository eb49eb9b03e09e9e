"""Diseases as maps over the retina: heights in micrometres and densities, on the photo's grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from fund2oct.phantom.grid import Array, PhotoGrid, smoothstep

LESIONS = ("drusen", "PED", "IRF", "SRF", "GA", "ERM", "haemorrhage", "exudate")
"""Labels of the truth: the number in a label map is the index here plus one; 0 is no lesion."""

DIAGNOSES = ("normal", "drusen", "PED", "IRF", "SRF", "GA", "ERM", "haemorrhage")
"""What an eye may have; two are joined by ``+``. Exudates come with oedema and haemorrhage."""


@dataclass
class LesionMaps:
    """All lesions of an eye, each map of shape ``(M, M)``; zero in a healthy eye.

    Attributes:
        drusen_um: height of the drusen under the pigment epithelium.
        ped_um: height of the pigment epithelial detachment.
        srf_um: height of the fluid between photoreceptors and pigment epithelium.
        cyst_inl_um: height of the cysts in the inner nuclear layer.
        cyst_onl_um: height of the cysts in the outer nuclear (Henle's) layer.
        swelling_um: thickening of the retina around cysts and under a membrane.
        lift_um: how far the inner retina follows what lies under it; smooth, for it is stiff.
        fold_um: wrinkles of the inner surface under a membrane.
        atrophy: 1 where the outer retina and pigment epithelium are lost.
        membrane: density of the epiretinal membrane, in [0, 1].
        blood: density of haemorrhage within the retina, in [0, 1].
        exudate: density of hard exudate, in [0, 1].
        crescent: 1 beside the disc where the pigment epithelium ends before it, in long eyes; no disease.
        ped_content: brightness of what fills the detachment, from 0 (serous) to 1 (fibrous).
    """

    drusen_um: Array
    ped_um: Array
    srf_um: Array
    cyst_inl_um: Array
    cyst_onl_um: Array
    swelling_um: Array
    lift_um: Array
    fold_um: Array
    atrophy: Array
    membrane: Array
    blood: Array
    exudate: Array
    crescent: Array
    ped_content: float = 0.0

    MAPS: ClassVar[tuple[str, ...]] = (
        "drusen_um",
        "ped_um",
        "srf_um",
        "cyst_inl_um",
        "cyst_onl_um",
        "swelling_um",
        "lift_um",
        "fold_um",
        "atrophy",
        "membrane",
        "blood",
        "exudate",
        "crescent",
    )

    @classmethod
    def none(cls, size_px: int) -> LesionMaps:
        """A healthy eye."""
        maps: dict[str, Any] = {name: np.zeros((size_px, size_px), np.float32) for name in cls.MAPS}
        return cls(**maps)

    def under(self, grid: PhotoGrid, x: Array, y: Array) -> LesionMaps:
        """The same maps under the A-scans at ``(x, y)``, each of that shape."""
        sampled: dict[str, Any] = dict.fromkeys(self.MAPS, np.zeros_like(x))
        if found := [name for name in self.MAPS if getattr(self, name).any()]:
            maps = [getattr(self, name) for name in found]
            sampled |= dict(zip(found, grid.sample(maps, x, y), strict=True))
        return LesionMaps(**sampled, ped_content=self.ped_content)

    @property
    def bare(self) -> Array:
        """1 where the pigment epithelium is lost, by disease or in a crescent."""
        return np.maximum(self.atrophy, self.crescent)

    def label(self) -> Array:
        """Label map ``(M, M)`` uint8: of several lesions at one place the innermost is named."""
        found = np.zeros(self.atrophy.shape, np.uint8)
        outermost_first = {
            "GA": self.atrophy > 0.5,
            "drusen": self.drusen_um > 10,
            "PED": self.ped_um > 15,
            "SRF": self.srf_um > 10,
            "IRF": np.maximum(self.cyst_onl_um, self.cyst_inl_um) > 15,
            "ERM": self.membrane > 0.4,
            "haemorrhage": self.blood > 0.4,
            "exudate": self.exudate > 0.4,
        }
        for name, mask in outermost_first.items():
            found[mask] = LESIONS.index(name) + 1
        return found


def sample_diagnosis(rng: np.random.Generator, normal_share: float, second_share: float) -> str:
    """Draw what an eye has."""
    if rng.random() < normal_share:
        return "normal"
    first, second = rng.choice(DIAGNOSES[1:], 2, replace=False)
    if rng.random() >= second_share:
        return str(first)
    return "+".join(sorted((str(first), str(second)), key=DIAGNOSES.index))


def sample_lesions(rng: np.random.Generator, grid: PhotoGrid, diagnosis: str) -> LesionMaps:
    """Draw the lesions of a diagnosis, alone or joined by ``+``.

    Raises:
        ValueError: if the diagnosis is not made of :data:`DIAGNOSES`.
    """
    names = check_diagnosis(diagnosis)
    maps = LesionMaps.none(grid.size_px)
    for name, child in zip(DIAGNOSES, rng.spawn(len(DIAGNOSES)), strict=True):
        if name in names and name in _DRAW:
            _DRAW[name](child, grid, maps)
    if diagnosis != "normal":
        _stretch(grid, maps)
    return maps


def check_diagnosis(diagnosis: str) -> list[str]:
    """Split a diagnosis into its parts; ValueError names the ones that exist."""
    names = diagnosis.split("+")
    if unknown := [name for name in names if name not in DIAGNOSES]:
        raise ValueError(f"diagnosis: expected some of {DIAGNOSES} joined by '+', found {unknown}")
    return names


def _stretch(grid: PhotoGrid, maps: LesionMaps) -> None:
    """Let the inner retina follow its lesions as a stiff sheet does."""
    under = np.maximum(maps.drusen_um, maps.ped_um) + maps.srf_um - 65 * maps.atrophy
    maps.lift_um = _smooth(grid, under, 0.17)
    cysts = 0.85 * maps.cyst_onl_um + 0.6 * maps.cyst_inl_um
    maps.swelling_um = maps.swelling_um + _smooth(grid, cysts, 0.22)


def _smooth(grid: PhotoGrid, height: Array, sigma_mm: float) -> Array:
    return ndimage.gaussian_filter(height, sigma_mm / grid.pixel_mm, truncate=2.5) if height.any() else height


def _position(rng: np.random.Generator, spread_mm: float) -> tuple[float, float]:
    x, y = np.clip(rng.normal(0, spread_mm, 2), -2.6, 2.6)
    return float(x), float(y)


def _warp(rng: np.random.Generator, grid: PhotoGrid, cell_mm: float, amount_mm: float) -> tuple[Array, Array]:
    """Positions shaken smoothly, so that no outline is a perfect circle."""
    return (
        grid.x + amount_mm * grid.noise(rng, cell_mm),
        grid.y + amount_mm * grid.noise(rng, cell_mm),
    )


def _dome(x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float], turn: float) -> Array:
    """1 at the centre, 0 on the ellipse and outside, as a parabola."""
    dx, dy = x - centre[0], y - centre[1]
    cos, sin = math.cos(turn), math.sin(turn)
    a, b = (cos * dx + sin * dy) / radii[0], (cos * dy - sin * dx) / radii[1]
    return np.maximum(1 - a * a - b * b, 0).astype(np.float32)


def _add_blobs(
    grid: PhotoGrid, target: Array, x: Array, y: Array, blobs: Array, profile: Callable[[Array], Array]
) -> None:
    """Raise ``target`` to many small domes; each row of ``blobs`` is x, y, radius and height."""
    for blob_x, blob_y, radius, height in blobs:
        window = grid.window(blob_x, blob_y, 1.5 * radius)
        dx, dy = x[window] - blob_x, y[window] - blob_y
        share = np.maximum(1 - (dx * dx + dy * dy) / radius**2, 0)
        np.maximum(target[window], height * profile(share), out=target[window])


def _drusen(rng: np.random.Generator, grid: PhotoGrid, maps: LesionMaps) -> None:
    x, y = _warp(rng, grid, 0.25, 0.03)
    count = int(rng.integers(18, 70))
    centre = np.array(_position(rng, 0.3))
    place = centre + rng.standard_t(5, (count, 2)) * rng.uniform(0.6, 1.0)
    radius = np.clip(rng.lognormal(np.log(rng.uniform(0.10, 0.17)), 0.4, count), 0.06, 0.42)
    height = np.clip(radius * 310 * rng.uniform(0.8, 1.2, count), 22, 120)
    blobs = np.column_stack([place, radius, height])[np.hypot(*place.T) < 3.5]
    _add_blobs(grid, maps.drusen_um, x, y, blobs, lambda share: share**0.8)


def _detachment(rng: np.random.Generator, grid: PhotoGrid, maps: LesionMaps) -> None:
    x, y = _warp(rng, grid, 0.7, 0.13)
    centre, radius = _position(rng, 0.75), float(rng.uniform(0.7, 1.5))
    stretch, turn = float(rng.uniform(0.75, 1.0)), float(rng.uniform(0, np.pi))
    height = radius * float(rng.uniform(230, 300))
    dome = _dome(x, y, centre, (radius, radius * stretch), turn)
    maps.ped_um = np.maximum(maps.ped_um, height * dome**0.65)
    if rng.random() < 0.4:
        beside = (centre[0] + radius * float(rng.uniform(-1, 1)), centre[1] + 0.9 * radius)
        small = radius * float(rng.uniform(0.35, 0.6))
        second = small * rng.uniform(230, 300) * _dome(x, y, beside, (small, small), 0.0) ** 0.65
        maps.ped_um = np.maximum(maps.ped_um, second)
    maps.ped_um = maps.ped_um * (1 + 0.07 * grid.noise(rng, 0.35))
    maps.ped_content = float(rng.choice([0.0, 0.5, 1.0]))


def _subretinal_fluid(rng: np.random.Generator, grid: PhotoGrid, maps: LesionMaps) -> None:
    x, y = _warp(rng, grid, 1.2, 0.15)
    centre, radius = _position(rng, 0.6), float(rng.uniform(1.1, 2.4))
    stretch, turn = float(rng.uniform(0.7, 1.0)), float(rng.uniform(0, np.pi))
    height = radius * float(rng.uniform(105, 140))
    dome = _dome(x, y, centre, (radius, radius * stretch), turn)
    maps.srf_um = np.maximum(maps.srf_um, height * dome**1.1)


def _cysts(rng: np.random.Generator, grid: PhotoGrid, maps: LesionMaps) -> None:
    x, y = _warp(rng, grid, 0.3, 0.04)
    extent = float(rng.uniform(1.1, 2.1))
    level = extent / 2.1 * float(rng.uniform(0.8, 1.1))
    centre = np.array(_position(rng, 0.25))
    # Petals: the largest cysts lie around the fovea, smaller ones further out and further in.
    petals = int(rng.integers(6, 10))
    angle = (np.arange(petals) + rng.uniform(-0.25, 0.25, petals)) * 2 * np.pi / petals
    ring = extent * rng.uniform(0.2, 0.4, petals)
    place = centre + np.stack([np.cos(angle), np.sin(angle)], 1) * ring[:, None]
    large = np.column_stack([place, ring * 0.55, (90 + 170 * level) * rng.uniform(0.7, 1.0, petals)])
    foveal = [[*centre, 0.12 + 0.1 * extent, 110 + 190 * level]]
    count = int(16 + 30 * extent)
    scattered = centre + rng.normal(0, extent * 0.5, (count, 2))
    radius = rng.uniform(0.06, 0.2, count)
    small = np.column_stack([scattered, radius, radius * 420 + 15])
    _add_blobs(grid, maps.cyst_onl_um, x, y, np.vstack([large, foveal, small[::2]]), np.sqrt)
    _add_blobs(grid, maps.cyst_inl_um, x, y, small[1::2] * [1, 1, 1, 0.75], np.sqrt)
    distance2 = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    spread = (0.75 * extent) ** 2
    maps.swelling_um = maps.swelling_um + (60 + 70 * level) * np.exp(-distance2.astype(np.float32) / spread)
    if rng.random() < 0.7:
        _exudates(rng, grid, maps, centre, extent)


def _exudates(
    rng: np.random.Generator, grid: PhotoGrid, maps: LesionMaps, centre: Array, extent: float
) -> None:
    """Clusters of small bright dots, often as parts of a ring around an oedema."""
    clusters = int(rng.integers(2, 6))
    angle = rng.uniform(0, 2 * np.pi, clusters)
    ring = extent * rng.uniform(0.7, 1.3, clusters)
    heart = centre + np.stack([np.cos(angle), np.sin(angle)], 1) * ring[:, None]
    count = rng.integers(4, 14, clusters)
    place = np.repeat(heart, count, 0) + rng.normal(0, 0.16, (count.sum(), 2))
    radius = rng.uniform(0.03, 0.11, count.sum())
    x, y = _warp(rng, grid, 0.15, 0.015)
    blobs = np.column_stack([place, radius, rng.uniform(0.6, 1, len(radius))])
    _add_blobs(grid, maps.exudate, x, y, blobs, lambda share: np.minimum(1, 3 * share))


def _atrophy(rng: np.random.Generator, grid: PhotoGrid, maps: LesionMaps) -> None:
    x, y = _warp(rng, grid, 0.5, 0.10)
    edge: Array = np.full(grid.x.shape, -1, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        radius = float(rng.uniform(0.5, 1.5))
        turn, stretch = float(rng.uniform(0, np.pi)), float(rng.uniform(0.6, 1.0))
        centre = _position(rng, 0.75)
        dx, dy = x - centre[0], y - centre[1]
        cos, sin = math.cos(turn), math.sin(turn)
        distance = np.hypot(cos * dx + sin * dy, (cos * dy - sin * dx) / stretch)
        edge = np.maximum(edge, radius - distance)
    edge = edge + 0.05 * grid.noise(rng, 0.25) + 0.08 * grid.noise(rng, 0.6)
    maps.atrophy = np.maximum(maps.atrophy, smoothstep(edge, -0.03, 0.03))


def _membrane(rng: np.random.Generator, grid: PhotoGrid, maps: LesionMaps) -> None:
    x, y = _warp(rng, grid, 1.0, 0.3)
    centre, radius = _position(rng, 0.5), float(rng.uniform(1.2, 2.6))
    density = smoothstep(_dome(x, y, centre, (radius, radius * 0.8), float(rng.uniform(0, np.pi))), 0.0, 0.3)
    density = density * smoothstep(grid.noise(rng, 0.6), -1.6, -0.6)
    strength = float(rng.uniform(0.7, 1.0))
    turn = float(rng.uniform(0, np.pi))
    wave = math.cos(turn) * x + math.sin(turn) * y + 0.10 * grid.noise(rng, 0.6)
    wave = np.sin(wave * (2 * np.pi / float(rng.uniform(0.32, 0.5))))
    folds = wave * smoothstep(grid.noise(rng, 0.7), -0.8, 0.6)
    maps.membrane = np.maximum(maps.membrane, density)
    maps.fold_um = maps.fold_um + strength * 17 * folds * density
    pit = np.exp(-(grid.x**2 + grid.y**2) / 0.55**2)
    maps.swelling_um = maps.swelling_um + strength * density * (35 + 90 * pit)


def _haemorrhage(rng: np.random.Generator, grid: PhotoGrid, maps: LesionMaps) -> None:
    x, y = _warp(rng, grid, 0.3, 0.06)
    centre = np.array(_position(rng, 0.5))
    count = int(rng.integers(8, 26))
    place = centre + rng.normal(0, 1.3, (count, 2))
    radius = np.clip(rng.lognormal(np.log(0.12), 0.45, count), 0.05, 0.4)
    # One blot close to the fovea is large, so that some line of any scan meets the disease.
    place[0], radius[0] = centre + rng.normal(0, 0.5, 2), rng.uniform(0.35, 0.6)
    blobs = np.column_stack([place, radius, np.ones(count)])
    _add_blobs(grid, maps.blood, x, y, blobs, lambda share: np.minimum(1, 2.5 * share))
    _exudates(rng, grid, maps, centre, float(rng.uniform(0.8, 1.6)))


_DRAW: dict[str, Callable[[np.random.Generator, PhotoGrid, LesionMaps], None]] = {
    "drusen": _drusen,
    "PED": _detachment,
    "IRF": _cysts,
    "SRF": _subretinal_fluid,
    "GA": _atrophy,
    "ERM": _membrane,
    "haemorrhage": _haemorrhage,
}
