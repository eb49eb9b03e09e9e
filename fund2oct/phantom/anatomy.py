"""Layers, fovea, disc and choroid of a random healthy eye, as functions of the position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fund2oct.phantom.grid import Array, smoothstep
from fund2oct.retina.layers import EPITHELIUM_UM

LAYERS = ("RNFL", "GCL", "IPL", "INL", "OPL", "ONL", "ELM", "EZ", "RPE", "choroid")
"""The tissue below each boundary but the last; ``ELM`` is the myoid zone and ``EZ`` reaches the RPE."""


@dataclass(frozen=True)
class Anatomy:
    """A healthy eye, in millimetres around the fovea with x towards the disc.

    Attributes:
        pit_radius: scale of the foveal pit, 1 on average.
        layer_scale: thickness of each of :data:`LAYERS` relative to the average.
        choroid_um: thickness of the choroid under the fovea.
        disc: centre of the disc, mm.
        disc_radii: half axes of the disc, mm.
        cup_ratio: cup to disc ratio.
        cup_um: depth of the cup below the rim.
        raphe: how far the arcades open, 1 on average.
        pigment: melanin in the pigment epithelium and choroid, from 0 (blond) to 1.
        hue: factors of red, green and blue light that the pigment's kind makes, 1 on average.
        clearness: how deep light enters the choroid for its pigment, 1 on average.
        foveal_shade: optical density, in red light, of what darkens the fovea beside its pigments.
        macular_pigment: optical density, in blue light, of the yellow pigment at the fovea's centre.
        disc_tilt_um: how far the disc's nasal margin is raised and its temporal one sunk.
    """

    pit_radius: float
    layer_scale: tuple[float, ...]
    choroid_um: float
    disc: tuple[float, float]
    disc_radii: tuple[float, float]
    cup_ratio: float
    cup_um: float
    raphe: float
    pigment: float
    hue: tuple[float, float, float]
    clearness: float
    foveal_shade: float
    macular_pigment: float
    disc_tilt_um: float = 0.0

    def disc_distance(self, x: Array, y: Array) -> Array:
        """Distance from the disc's centre in units of its radius: 1 on its margin."""
        return np.hypot((x - self.disc[0]) / self.disc_radii[0], (y - self.disc[1]) / self.disc_radii[1])

    def rnfl_um(self, x: Array, y: Array) -> Array:
        """Nerve fibre layer: nil in the fovea, thick along the arcades and towards the disc."""
        dx, dy = self.disc[0] - x, y - self.disc[1]
        distance = np.hypot(dx, dy)
        # Bundles run along parabolas that open from the disc around the macula.
        bundle = np.abs(dy) / np.sqrt(np.maximum(dx, 0.4))
        hump = np.exp(-(((bundle - 1.25 * self.raphe) / 0.55) ** 2)) * smoothstep(dx, -0.5, 1.5)
        poles = 0.6 + 0.5 * np.abs(dy) / (distance + 1e-3)
        ring = 95 * poles * np.exp(-np.maximum(distance - 0.85, 0) / 1.2)
        return (self._pit(x, y, 0.65) * (14 + 24 * hump) + ring) * self.layer_scale[0]

    def thickness_um(self, x: Array, y: Array) -> dict[str, Array]:
        """Thickness of each of :data:`LAYERS`, vitreous to sclera, each shaped like ``x``.

        The averages follow published spectral-domain values: central subfield about 270 um
        (Grover et al., Am J Ophthalmol 2009), inner layers at their thickest near 1 mm.
        """
        r2 = x * x + y * y
        pit = self._pit(x, y, 0.55)
        hill = np.exp(-r2 / 2.1**2)
        cone = np.exp(-r2 / 0.65**2)
        outside_disc = smoothstep(self.disc_distance(x, y), 1.0, 1.22)
        thickness = {
            "RNFL": self.rnfl_um(x, y),
            "GCL": 2 + pit * (14 + 46 * hill),
            "IPL": 5 + pit * (18 + 25 * hill),
            "INL": 8 + pit * (22 + 16 * hill),
            "OPL": 16 + 14 * self._pit(x, y, 0.45),
            "ONL": 52 + 44 * np.exp(-r2 / 0.8**2) + 10 * hill,
            "ELM": 16 + 6 * cone,
            "EZ": 30 + 14 * cone,
            "RPE": np.full_like(x, EPITHELIUM_UM),
        }
        for scale, name in zip(self.layer_scale[1:9], LAYERS[1:9], strict=True):
            thickness[name] = thickness[name] * scale * outside_disc
        nasal = smoothstep(x, -4.5, 5.0)
        thickness["choroid"] = self.choroid_um * (1.08 - 0.5 * nasal) * (1 - 0.004 * r2)
        return thickness

    def cup_depth_um(self, x: Array, y: Array) -> Array:
        """How far the inner surface sinks into the disc; negative on its raised rim."""
        distance = self.disc_distance(x, y)
        # Nerve fibres that turn into the disc take the room of the layers that end at its margin.
        rim = 1 - smoothstep(distance, 1.0, 1.22)
        cup = 1 - smoothstep(distance, self.cup_ratio * 0.2, self.cup_ratio * 1.35)
        across = np.clip((x - self.disc[0]) / self.disc_radii[0], -1, 1)
        return self.cup_um * cup - (190 + self.disc_tilt_um * across) * rim

    def _pit(self, x: Array, y: Array, radius_mm: float) -> Array:
        return 1 - np.exp(-(x * x + y * y) / (radius_mm * self.pit_radius) ** 2)


def sample_anatomy(rng: np.random.Generator, patient: np.random.Generator) -> Anatomy:
    """Draw one eye; ``patient`` draws what both eyes of a patient share."""
    pigment = float(patient.beta(2.0, 2.2))
    red, green, blue = np.exp(
        patient.normal(0, 0.09) * np.array([-0.3, 1.0, 1.7]) + patient.normal(0, 0.03, 3)
    )
    choroid_um = float(np.clip(patient.normal(270, 60), 130, 420))
    cup_ratio = float(np.clip(patient.normal(0.42, 0.13), 0.15, 0.75))
    common = patient.normal(1, 0.05)
    scales = np.clip(common * rng.normal(1, 0.05, len(LAYERS)), 0.8, 1.25)
    # What the photo alone shows has a stream of its own, so that it decides nothing of the layers.
    (tint,) = patient.spawn(1)
    return Anatomy(
        pit_radius=float(np.clip(rng.normal(1, 0.13), 0.7, 1.35)),
        layer_scale=tuple(float(scale) for scale in scales),
        choroid_um=choroid_um * float(rng.normal(1, 0.05)),
        disc=(float(rng.normal(4.6, 0.15)), float(rng.normal(-0.35, 0.2))),
        disc_radii=(float(rng.normal(0.80, 0.05)), float(rng.normal(0.90, 0.06))),
        cup_ratio=cup_ratio,
        cup_um=float(rng.uniform(220, 420)) * cup_ratio / 0.42,
        raphe=float(np.clip(rng.normal(1, 0.08), 0.8, 1.25)),
        pigment=pigment,
        hue=(float(red), float(green), float(blue)),
        clearness=float(rng.uniform(0.8, 1.3)),
        foveal_shade=float(np.clip(tint.normal(0.24, 0.08), 0.04, 0.45)),
        macular_pigment=float(tint.uniform(0.0, 0.25)),
    )
