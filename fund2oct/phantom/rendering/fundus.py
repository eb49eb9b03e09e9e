"""Rendering of the photo: pigment, blood and lesions in colour, then what the camera makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fund2oct.phantom.anatomy import Anatomy
from fund2oct.phantom.grid import Array, PhotoGrid, smoothstep
from fund2oct.phantom.lesions import LesionMaps
from fund2oct.phantom.long_eyes import LongEye
from fund2oct.phantom.rendering.texture import Texture

_DRUSEN = (0.88, 0.67, 0.25)
_EXUDATE = (0.97, 0.85, 0.38)
_ATROPHY = (0.93, 0.72, 0.45)
_SCLERA = (0.97, 0.88, 0.66)
_RIM = (0.95, 0.62, 0.31)
_CUP = (0.99, 0.86, 0.58)
_SHEEN = (0.88, 0.78, 0.52)
_SEROUS = (0.88, 0.56, 0.24)
_FIBROUS = (0.90, 0.68, 0.28)
_CYST = (0.88, 0.60, 0.24)
_FLUID = (0.50, 0.37, 0.20)
_BLOOD = (0.36, 0.05, 0.03)

_BASE = np.array([0.98, 0.60, 0.26], np.float32)
# Of red, green and blue light, by melanin, choroidal stroma, macular pigment, blood, swelling and shade.
_ABSORBS = np.array(
    [
        [0.38, 0.08, 0.00, 0.28, 0.00, 1.00],
        [0.88, 0.22, 0.10, 0.85, 0.05, 0.75],
        [1.15, 0.18, 1.00, 0.75, 0.12, 0.65],
    ],
    np.float32,
)


@dataclass(frozen=True)
class Retina:
    """All that the photo and the volume of one eye are cut from.

    Attributes:
        grid: the photo's pixels, over which all maps lie.
        anatomy: the healthy eye.
        arterioles: share of each pixel covered by them.
        venules: share of each pixel covered by them.
        texture: random unevenness.
        lesions: the disease.
        long: what makes a long eye long; None in an ordinary one.
    """

    grid: PhotoGrid
    anatomy: Anatomy
    arterioles: Array
    venules: Array
    texture: Texture
    lesions: LesionMaps
    long: LongEye | None = None


def render_fundus(rng: np.random.Generator, retina: Retina, size_px: int) -> Array:
    """Photo of the eye, uint8 RGB ``(size_px, size_px, 3)``, black outside the circle of the retina."""
    grid = retina.grid
    colour = _reflectance(rng, retina)
    colour *= _illumination(rng, grid)
    return _camera(rng, colour, grid, size_px)


def _reflectance(rng: np.random.Generator, retina: Retina) -> Array:
    """Colour of the retina, ``(3, M, M)``: absorbers add up in the exponent."""
    grid, anatomy, lesions, texture = retina.grid, retina.anatomy, retina.lesions, retina.texture
    pigment = anatomy.pigment
    r2 = grid.x**2 + grid.y**2
    atrophy = lesions.atrophy
    # Choroidal vessels show where little pigment covers them.
    patches = smoothstep(texture.clouds, -1.5, 1.5) * (0.3 + 0.9 * smoothstep(r2, 1.0, 16.0))
    tessellation = (1 - 0.85 * pigment) * patches + 1.2 * atrophy
    melanin = (0.25 + 0.95 * pigment) * (
        1 + 0.07 * texture.mottle + 0.08 * texture.clouds + 0.20 * np.exp(-r2 / 0.75**2)
    )
    stroma = tessellation * (0.3 - texture.lumens)
    macular = anatomy.macular_pigment * np.exp(-r2 / 0.65**2)
    # Real foveas are darker in red too, where neither pigment absorbs enough.
    shade = anatomy.foveal_shade * np.exp(-r2 / 1.05**2)
    blood = 0.65 * retina.arterioles + 1.0 * retina.venules
    absorption = np.stack([melanin, stroma, macular, blood, lesions.swelling_um / 100, shade])
    density = (_ABSORBS @ absorption.reshape(len(absorption), -1)).reshape(3, *r2.shape)
    colour = np.exp(-density, out=density)
    colour *= (_BASE * np.array(anatomy.hue, np.float32))[:, None, None]
    _blend(colour, _ATROPHY, 0.62 * atrophy * (1 - 0.55 * texture.lumens))
    _show_lesions(colour, grid, lesions, texture.mottle)
    sheen = np.clip(anatomy.rnfl_um(grid.x, grid.y) / 160, 0, 0.5) * (1 + 0.5 * texture.mottle)
    _blend(colour, _SHEEN, sheen * rng.uniform(0.05, 0.3))
    if lesions.crescent.any():
        # Bare sclera, but for some choroidal vessels.
        _blend(colour, _SCLERA, lesions.crescent * (0.85 - 0.3 * texture.lumens))
    _draw_disc(colour, retina, blood)
    fovea = grid.window(0, 0, 0.25)
    glint = np.exp(-r2[fovea] / 0.07**2) * (lesions.swelling_um[fovea] < 15)
    _blend(colour[:, *fovea], _SHEEN, glint * rng.uniform(0, 0.35))
    _blend(colour, _BLOOD, 0.85 * lesions.blood)
    _blend(colour, _EXUDATE, 0.9 * lesions.exudate)
    return colour


def _draw_disc(colour: Array, retina: Retina, blood: Array) -> None:
    """Nothing but vessels lies over the disc and its paler cup."""
    grid, anatomy = retina.grid, retina.anatomy
    window = grid.window(*anatomy.disc, 1.2 * max(anatomy.disc_radii))
    distance = anatomy.disc_distance(grid.x[window], grid.y[window])
    through = np.exp(-_ABSORBS[:, 3, None, None] * blood[window])
    ratio = anatomy.cup_ratio
    for tint, low, high, share in ((_RIM, 0.94, 1.06, 0.92), (_CUP, 0.75 * ratio, 1.25 * ratio, 0.85)):
        target = through * np.array(tint, np.float32)[:, None, None]
        _blend(colour[:, *window], target, share * (1 - smoothstep(distance, low, high)))


def _show_lesions(colour: Array, grid: PhotoGrid, lesions: LesionMaps, mottle: Array) -> None:
    uneven = 1 + 0.16 * mottle
    if lesions.drusen_um.any():
        _blend(colour, _DRUSEN, 0.72 * np.clip(lesions.drusen_um / 75, 0, 1) ** 0.7 * uneven)
    if lesions.ped_um.any():
        tall = np.clip(lesions.ped_um / 380, 0, 1)
        present = smoothstep(lesions.ped_um, 2, 90)
        rim = smoothstep(lesions.ped_um, 1, 35) * (1 - smoothstep(lesions.ped_um, 35, 130))
        fill = np.array(_SEROUS) + (np.array(_FIBROUS) - np.array(_SEROUS)) * lesions.ped_content
        colour *= 1 - 0.22 * rim
        strength = (0.10 + 0.40 * tall) * (1 + 0.3 * lesions.ped_content)
        _blend(colour, tuple(fill), present * uneven * strength)
    if lesions.srf_um.any():
        tall = np.clip(lesions.srf_um / 280, 0, 1)
        rim = smoothstep(lesions.srf_um, 1, 10) * (1 - smoothstep(lesions.srf_um, 10, 45))
        _blend(colour, _FLUID, 0.18 * smoothstep(lesions.srf_um, 2, 50) + 0.45 * tall)
        _blend(colour, _SHEEN, 0.10 * rim)
    cysts = np.clip(np.maximum(lesions.cyst_onl_um, 0.7 * lesions.cyst_inl_um) / 300, 0, 1)
    if cysts.any():
        edge = np.clip(cysts * (1 - cysts) * 4, 0, 1)
        colour *= 1 - 0.20 * edge
        _blend(colour, _CYST, 0.65 * cysts)
        _blend(colour, _SHEEN, np.clip(lesions.swelling_um / 1800, 0, 0.15))
    if lesions.membrane.any():
        ridge = np.clip(lesions.fold_um / 17, 0, 1)
        _blend(colour, _SHEEN, lesions.membrane * (0.15 + 0.42 * ridge**2))
    relief = lesions.lift_um + 0.7 * lesions.swelling_um
    if relief.any():
        # Flash from one side: slopes that face it are brighter.
        slope = np.gradient(relief, axis=1)
        colour *= 1 + np.clip(slope * np.float32(0.00022 / grid.pixel_mm), -0.12, 0.12)


def _blend(colour: Array, target: tuple[float, ...] | Array, share: Array) -> None:
    """Cover ``colour`` by ``target`` in place, only where there is anything to cover."""
    rows, columns = np.flatnonzero(share.any(1)), np.flatnonzero(share.any(0))
    if not rows.size:
        return
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    share = np.clip(share[window], 0, 1)
    for channel, wanted in zip(colour, target, strict=True):
        part = channel[window]
        goal = wanted[window] if isinstance(wanted, np.ndarray) else np.float32(wanted)
        part += share * (goal - part)


def _illumination(rng: np.random.Generator, grid: PhotoGrid) -> Array:
    """Light from a flash that is never quite centred, a little bluish haze left out."""
    centre = rng.normal(0, 0.22, 2).tolist()
    r2 = (grid.u - centre[0]) ** 2 + (grid.v - centre[1]) ** 2
    level, fall = rng.uniform(0.70, 1.25), rng.uniform(0.18, 0.5)
    tilt = rng.normal(0, 0.07, 2).tolist()
    light = level * (1 - fall * r2 / 1.6 + tilt[0] * grid.u + tilt[1] * grid.v)
    # Cameras agree least in blue.
    balance = np.exp(rng.normal(0, [0.03, 0.08, 0.30]))
    return (np.maximum(light, 0.05) * balance[:, None, None]).astype(np.float32)


def _camera(rng: np.random.Generator, colour: Array, grid: PhotoGrid, size_px: int) -> Array:
    """Blur, haze, sensor noise and the black surround."""
    sigma = rng.uniform(0.03, 0.075) / grid.pixel_mm
    for axis in (1, 2):
        colour = ndimage.gaussian_filter1d(colour, sigma, axis=axis, truncate=2.5)
    # The blue pixels of a sensor see some green light too.
    colour[2] += rng.uniform(0, 0.4) * (colour[1] - colour[2])
    haze = rng.uniform(0, 0.05)
    colour = colour * (1 - haze) + haze * np.array([0.75, 0.62, 0.42], np.float32)[:, None, None]
    radius = np.hypot(grid.u, grid.v)
    soft = 2 / size_px
    colour = colour * (1 - smoothstep(radius, 0.985 - soft, 0.985 + soft))
    factor = grid.size_px // size_px
    if factor > 1:
        colour = colour.reshape(3, size_px, factor, size_px, factor).mean((2, 4))
    noise = rng.standard_normal(colour.shape, dtype=np.float32)
    colour = colour + rng.uniform(0.006, 0.018) * np.sqrt(np.maximum(colour, 0.02)) * noise
    return (np.clip(colour, 0, 1).transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8)
