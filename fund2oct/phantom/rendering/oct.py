"""Rendering of the volume: what each voxel sends back before the scanner adds its speckle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fund2oct.phantom.grid import Array
from fund2oct.phantom.lesions import LESIONS, LesionMaps
from fund2oct.phantom.rendering.scanner import DYNAMIC_RANGE_DB, Optics, linear
from fund2oct.phantom.surfaces import TrueSurfaces

# How bright each tissue is displayed, from the inner to the outer retina, averaged over speckle.
_BRIGHT = {
    "RNFL": 0.64,
    "GCL": 0.47,
    "IPL": 0.53,
    "INL": 0.40,
    "OPL": 0.51,
    "ONL": 0.33,
    "myoid": 0.38,
    "EZ": 0.78,
    "segments": 0.52,
    "RPE": 0.88,
    "choriocapillaris": 0.68,
    "choroid": 0.63,
    "sclera": 0.55,
    "nerve": 0.60,
    "vitreous": -0.1,
    "fluid": 0.12,
    "serous": 0.16,
    "fibrous": 0.58,
    "drusen": 0.58,
    "lumen": 0.34,
    "membrane": 0.86,
    "blood": 0.74,
    "exudate": 0.95,
    "vessel": 0.66,
}


@dataclass(frozen=True)
class VitreousLine:
    """A thin bright line in the vitreous, as the detached hyaloid or a reflection.

    Attributes:
        height_um: above Bruch's membrane, ``(S, X)``.
        opacity: how much of it is seen, from 0 to 1, ``(S, X)``.
        bright: displayed brightness.
    """

    height_um: Array
    opacity: Array
    bright: float


@dataclass(frozen=True)
class Columns:
    """What lies under each A-scan; every array is ``(S, X)``, heights in micrometres above the membrane.

    Attributes:
        vessels: share of the beam in a retinal vessel.
        lumens: where large choroidal vessels run, in [0, 1], of shape ``(2, S, X)``: two depths.
        streaks: smooth random gain of what lies below the epithelium, variance 1.
        streak: displayed brightness by which the streaks vary, one number.
        grain: inhomogeneity of the tissue, variance 1, of shape ``(S, Z, X)``; no speckle, for it stays.
        gain: displayed brightness added to the whole A-scan.
        scatter_um: depth over which the choroid fades to 1/e in power, one number.
        vitreous: lines above the retina.
    """

    surfaces: TrueSurfaces
    lesions: LesionMaps
    vessels: Array
    lumens: Array
    streaks: Array
    streak: float
    grain: Array
    gain: Array
    scatter_um: float
    vitreous: tuple[VitreousLine, ...] = ()


class _Frame:
    """Pixels of all A-scans side by side, ``(Z, S * X)``, and the slabs laid into them."""

    def __init__(self, membrane_um: Array, n_depth: int, dz_um: float, axial_um: float) -> None:
        self.membrane = membrane_um.reshape(1, -1)
        self.dz = dz_um
        self.z = ((np.arange(n_depth, dtype=np.float32) + 0.5) * dz_um)[:, None]
        self.width = math.hypot(dz_um, axial_um)
        self.labels = np.zeros((n_depth, self.membrane.shape[1]), np.uint8)

    def below(self, height: Array) -> Array:
        """Share of each pixel below a surface ``(N,)``: a step seen through pixel and point spread."""
        share = self.z - (self.membrane - height - 0.5 * self.width)
        share *= 1 / self.width
        return np.clip(share, 0, 1, out=share)

    def fill(
        self, signal: Array, top: Array, bottom: Array, bright: float, opacity: Array, label: str = ""
    ) -> None:
        """Replace what lies between two heights by another tissue, where there is any."""
        there = np.flatnonzero((opacity > 0.02) & (top > bottom))
        if not there.size:
            return
        membrane = self.membrane[:, there]
        upper, lower = self.z - (membrane - top[there]), self.z - (membrane - bottom[there])
        scale = np.float32(1 / self.width)
        share = np.clip(upper * scale + 0.5, 0, 1) - np.clip(lower * scale + 0.5, 0, 1)
        share *= opacity[there]
        signal[:, there] += share * (linear(bright) - signal[:, there])
        if label:
            self.name(top, bottom, (opacity > 0.4) & (top > bottom), label)

    def name(self, top: Array, bottom: Array, where: Array, label: str) -> None:
        """Label the pixels whose centre lies between two heights; one thinner than a pixel gets one."""
        there = np.flatnonzero(where)
        top, bottom = top[there], bottom[there]
        missing = 0.5 * np.maximum(self.dz - (top - bottom), 0)
        height = self.membrane[:, there] - self.z
        touched = (height < top + missing) & (height >= bottom - missing)
        self.labels[:, there] = np.where(touched, LESIONS.index(label) + 1, self.labels[:, there])


def reflect(
    columns: Columns, membrane_um: Array, n_depth: int, dz_um: float, optics: Optics
) -> tuple[Array, Array]:
    """Mean signal of each voxel in linear units and the label map, both ``(S, Z, X)``."""
    frame = _Frame(membrane_um, n_depth, dz_um, optics.axial_um)
    signal = _layers(frame, columns)
    _structures(frame, signal, columns)
    _lesions(frame, signal, columns)
    _attenuate(frame, signal, columns, dz_um * n_depth, optics.roll_off_db)
    slices, ascans = membrane_um.shape
    as_volume = signal.reshape(n_depth, slices, ascans).transpose(1, 0, 2)
    labels = frame.labels.reshape(n_depth, slices, ascans).transpose(1, 0, 2)
    return np.ascontiguousarray(as_volume), np.ascontiguousarray(labels)


def _layers(frame: _Frame, columns: Columns) -> Array:
    """Healthy tissue as a stack of steps: each surface adds the change of reflectivity below it."""
    surfaces = columns.surfaces
    level = {name: height.ravel() for name, height in surfaces.boundary.items()}
    nerve, atrophy = surfaces.nerve.ravel(), columns.lesions.bare.ravel()
    tips, base = surfaces.receptor_tips.ravel(), surfaces.rpe_base.ravel()
    thin_ez = np.minimum(17, 0.55 * (level["EZ"] - tips))
    content = np.where(columns.lesions.ped_um.ravel() > 0, _content(columns.lesions), _BRIGHT["drusen"])
    lost = 1 - atrophy
    stack: list[tuple[Array, Array | float]] = [
        (level["ILM"], _BRIGHT["RNFL"]),
        (level["RNFL_GCL"], _BRIGHT["GCL"]),
        (level["GCL_IPL"], _BRIGHT["IPL"]),
        (level["IPL_INL"], _BRIGHT["INL"]),
        (level["INL_OPL"], _BRIGHT["OPL"]),
        (level["OPL_ONL"], _BRIGHT["ONL"]),
        (level["ELM"], _BRIGHT["myoid"]),
        (level["EZ"], _BRIGHT["EZ"] * lost + 0.4 * atrophy),
        (level["EZ"] - thin_ez, _BRIGHT["segments"]),
        (tips, _BRIGHT["fluid"]),
        (level["IZ_RPE"], _BRIGHT["RPE"] - 0.12 * atrophy),
        (base, content),
        (level["BM"], _BRIGHT["choriocapillaris"]),
        (level["BM"] - 14, _BRIGHT["choroid"]),
        (level["CSI"], _BRIGHT["sclera"]),
    ]
    signal = np.full((len(frame.z), len(nerve)), linear(_BRIGHT["vitreous"]), np.float32)
    previous = linear(_BRIGHT["vitreous"])
    for height, bright in stack:
        # Inside the disc all below the inner surface is nerve.
        mixed = linear(bright * (1 - nerve) + _BRIGHT["nerve"] * nerve)
        height = np.where(nerve > 0.5, np.minimum(height, level["ILM"]), height)
        signal += frame.below(height) * (mixed - previous)
        previous = mixed
    return signal


def _content(lesions: LesionMaps) -> float:
    return _BRIGHT["serous"] + (_BRIGHT["fibrous"] - _BRIGHT["serous"]) * lesions.ped_content


def _structures(frame: _Frame, signal: Array, columns: Columns) -> None:
    """What lies inside the layers of any eye: thin lines, choroidal lumens and retinal vessels."""
    surfaces = columns.surfaces
    level = {name: height.ravel() for name, height in surfaces.boundary.items()}
    outside = 1 - surfaces.nerve.ravel()
    intact = outside * (1 - columns.lesions.bare.ravel())
    frame.fill(signal, level["ELM"] + 4, level["ELM"] - 4, 0.5, intact)
    detached = outside * (surfaces.rpe_base.ravel() > 20)
    frame.fill(signal, level["BM"] + 4, level["BM"] - 4, 0.72, detached)
    thickness = -level["CSI"]
    for lumens, middle, half in zip(columns.lumens, (-0.22, -0.62), (0.12, 0.36), strict=True):
        lumen = lumens.ravel()
        # Vessels of one layer do not all run at one depth.
        centre = thickness * (middle + 0.05 * columns.streaks.ravel())
        reach = half * thickness * np.sqrt(lumen)
        top = np.minimum(centre + reach, -20)
        frame.fill(signal, top, centre - reach, _BRIGHT["lumen"], 0.92 * outside * np.minimum(1, 2.5 * lumen))

    inner = level["RNFL_GCL"]
    vessel = columns.vessels.ravel()
    frame.fill(signal, inner + 35, inner - 55, _BRIGHT["vessel"], vessel * 0.8)
    for line in columns.vitreous:
        height = line.height_um.ravel()
        frame.fill(signal, height + 6, height - 6, line.bright, line.opacity.ravel())


def _lesions(frame: _Frame, signal: Array, columns: Columns) -> None:
    """Fluid, blood, exudates and membranes, and the labels of all lesions."""
    lesions, surfaces = columns.lesions, columns.surfaces
    level = {name: height.ravel() for name, height in surfaces.boundary.items()}
    outside = 1 - surfaces.nerve.ravel()
    flat = {name: getattr(lesions, name).ravel() for name in lesions.MAPS}

    atrophic = flat["atrophy"] * outside
    frame.name(level["ELM"] + 10, level["BM"] - 5, atrophic > 0.5, "GA")
    base = surfaces.rpe_base.ravel()
    # With the epithelium above them: the lowest would have no voxel of their own.
    frame.name(level["IZ_RPE"], level["BM"], flat["drusen_um"] > 10, "drusen")
    frame.name(level["IZ_RPE"], level["BM"], (flat["ped_um"] > 15) & (base > 15), "PED")
    frame.name(surfaces.receptor_tips.ravel(), level["IZ_RPE"], flat["srf_um"] > 10, "SRF")

    for half, top, bottom in (
        (flat["cyst_onl_um"] / 2, level["OPL_ONL"], level["ELM"]),
        (flat["cyst_inl_um"] / 2, level["IPL_INL"], level["INL_OPL"]),
    ):
        # Above detached or swollen retina a cyst has less room than its map says.
        middle, reach = 0.5 * (top + bottom), np.minimum(half, 0.46 * (top - bottom))
        opacity = outside * np.clip((reach - 4) / 6, 0, 1)
        frame.fill(signal, middle + reach, middle - reach, _BRIGHT["fluid"], opacity, "IRF")

    opl = 0.5 * (level["INL_OPL"] + level["OPL_ONL"])
    frame.fill(
        signal, level["IPL_INL"], opl - 25, _BRIGHT["blood"], 0.85 * outside * flat["blood"], "haemorrhage"
    )
    # Exudates lie at uneven depths within the outer plexiform layer.
    opl = opl + 14 * columns.streaks.ravel()
    reach = 8 + 16 * flat["exudate"]
    frame.fill(signal, opl + reach, opl - reach, _BRIGHT["exudate"], outside * flat["exudate"], "exudate")
    frame.fill(
        signal, level["ILM"] + 12, level["ILM"] - 12, _BRIGHT["membrane"], outside * flat["membrane"], "ERM"
    )


def _attenuate(frame: _Frame, signal: Array, columns: Columns, depth_um: float, roll_off_db: float) -> None:
    """Shadows of what absorbs, light that atrophy lets through, scattering and roll-off."""
    level = {name: height.ravel() for name, height in columns.surfaces.boundary.items()}
    lesions, nerve = columns.lesions, columns.surfaces.nerve.ravel()
    vessel, blood, exudate = columns.vessels.ravel(), lesions.blood.ravel(), lesions.exudate.ravel()
    dark = np.clip(0.17 * vessel + 0.22 * blood + 0.18 * exudate, 0, 0.32) + 0.03 * lesions.membrane.ravel()
    signal *= _faded(frame.below(level["IPL_INL"]), -dark)
    lift = columns.surfaces.rpe_base.ravel()
    outer = columns.streak * columns.streaks.ravel() + 0.20 * lesions.bare.ravel()
    outer = outer - 0.10 * np.clip(lift / 100, 0, 1) * (0.4 + 0.6 * lesions.ped_content)
    signal *= _faded(frame.below(level["BM"] + lift), outer)
    start = np.where(nerve > 0.5, level["ILM"], np.float32(0))
    reach = np.where(nerve > 0.5, 260, columns.scatter_um).astype(np.float32)
    below = np.maximum(frame.z - (frame.membrane - start), 0)
    below *= -1 / reach
    below += _grain(frame, columns, level["BM"])
    below += columns.gain.ravel() * (DYNAMIC_RANGE_DB / 10 * math.log(10))
    below -= frame.z * np.float32(roll_off_db / 10 * math.log(10) / depth_um)
    signal *= np.exp(below, out=below)


def _grain(frame: _Frame, columns: Columns, membrane: Array) -> Array:
    """Patchiness of the tissue, coarser and stronger in the choroid, as exponents."""
    deep = frame.below(membrane)
    deep *= 0.05 - 0.02
    deep += 0.02
    deep *= columns.grain.transpose(1, 0, 2).reshape(deep.shape)
    deep *= DYNAMIC_RANGE_DB / 10 * math.log(10)
    return deep


def _faded(share: Array, display: Array) -> Array:
    """Linear gain of ``display`` (brightness added as displayed) where ``share`` is 1."""
    share *= linear(display) - 1
    share += 1
    return share
