"""Boundaries of the retina under each A-scan: healthy layers, lifted and thinned by the lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fund2oct.phantom.anatomy import Anatomy
from fund2oct.phantom.grid import Array, smoothstep
from fund2oct.phantom.lesions import LesionMaps


@dataclass(frozen=True)
class TrueSurfaces:
    """Heights above Bruch's membrane in micrometres, each ``(S, X)``; negative is below it.

    Attributes:
        boundary: depth of each of :data:`fund2oct.retina.BOUNDARIES`, by its name.
        receptor_tips: where the photoreceptors end; fluid may part them from the epithelium.
        rpe_base: outer side of the pigment epithelium; drusen may part it from the membrane.
        nerve: 1 inside the disc, where every boundary but the inner one ends.
    """

    boundary: dict[str, Array]
    receptor_tips: Array
    rpe_base: Array
    nerve: Array

    def stacked(self, names: tuple[str, ...], membrane_um: Array) -> Array:
        """Depths from the top of the frame, ``(n, S, X)``, NaN inside the disc."""
        depth = membrane_um - np.stack([self.boundary[name] for name in names])
        ends = np.array([name != "ILM" for name in names])[:, None, None]
        return np.where(ends & (self.nerve > 0.5), np.nan, depth).astype(np.float32)


def build_surfaces(anatomy: Anatomy, lesions: LesionMaps, wobble: Array, x: Array, y: Array) -> TrueSurfaces:
    """Pile up the layers from Bruch's membrane inwards.

    Args:
        anatomy: the healthy eye.
        lesions: its lesions under the A-scans.
        wobble: smooth random maps of variance 1 under the A-scans, ``(3, S, X)``.
        x: nasal millimetres, ``(S, X)``.
        y: millimetres downwards, ``(S, X)``.
    """
    layer = anatomy.thickness_um(x, y)
    atrophy, swelling, fluid = lesions.bare, lesions.swelling_um, lesions.srf_um
    lift = np.maximum(lesions.drusen_um, lesions.ped_um)
    texture = 1 + 0.03 * wobble[0]
    nerve = 1 - smoothstep(anatomy.disc_distance(x, y), 0.92, 1.04)

    rpe = lift + layer["RPE"] * (1 - 0.75 * atrophy)
    tips = rpe + fluid
    # Drusen wear the photoreceptors above them; atrophy leaves none.
    worn = (1 - 0.35 * np.clip(lift / 120, 0, 1)) * (1 - 0.9 * atrophy)
    ez = tips + layer["EZ"] * worn
    elm = ez + layer["ELM"] * (1 - 0.85 * atrophy)
    # The inner retina is stiff; the outer nuclear layer makes up the difference, down to a rest.
    healthy = layer["RPE"] + layer["EZ"] + layer["ELM"] + layer["ONL"] * texture
    rest = layer["ONL"] * (0.45 - 0.2 * atrophy)
    opl_onl = np.maximum(healthy + lesions.lift_um, elm + rest) + 0.6 * swelling
    inl_opl = opl_onl + layer["OPL"] * texture
    ipl_inl = inl_opl + layer["INL"] * texture + 0.25 * swelling
    gcl_ipl = ipl_inl + layer["IPL"] * (1 + 0.03 * wobble[1]) + 0.1 * swelling
    rnfl_gcl = gcl_ipl + layer["GCL"] * (1 + 0.03 * wobble[1]) + 0.05 * swelling
    fold = lesions.fold_um * (1 - nerve)
    ilm = rnfl_gcl + layer["RNFL"] + fold - anatomy.cup_depth_um(x, y)
    choroid = np.maximum(layer["choroid"] + 14 * wobble[2], 60) * (1 - 0.7 * lesions.crescent)
    boundary = {
        "ILM": ilm,
        "RNFL_GCL": rnfl_gcl + 0.7 * fold,
        "GCL_IPL": gcl_ipl + 0.4 * fold,
        "IPL_INL": ipl_inl + 0.2 * fold,
        "INL_OPL": inl_opl,
        "OPL_ONL": opl_onl,
        "ELM": elm,
        "EZ": ez,
        "IZ_RPE": rpe,
        "BM": np.zeros_like(rpe),
        "CSI": -choroid,
    }
    _restore_order(boundary)
    boundary["ILM"] = np.where(nerve > 0.01, ilm, np.maximum(ilm, boundary["RNFL_GCL"]))
    return TrueSurfaces(boundary, tips, lift, nerve)


def _restore_order(boundary: dict[str, Array]) -> None:
    """Let no inner boundary fall below an outer one; only the cup sinks below what ends at the disc."""
    names = list(boundary)
    inner = names[1 : names.index("BM")]
    for outer, name in zip(inner[::-1], inner[-2::-1], strict=False):
        boundary[name] = np.maximum(boundary[name], boundary[outer])
