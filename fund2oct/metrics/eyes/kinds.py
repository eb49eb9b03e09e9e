"""Which kinds of lesions a volume shows at which A-scan, found alike in real and in generated volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fund2oct.metrics.eyes.anatomy import slab_mean
from fund2oct.metrics.eyes.fluid import Fluid
from fund2oct.metrics.eyes.layers import Surfaces, check_surfaces, per_eye
from fund2oct.metrics.eyes.lesions import elevation_um, label_um

KINDS = ("PED", "drusen", "SRF", "IRF", "GA")
"""Kinds of lesions that :func:`find_kinds` tells apart, named as in :data:`fund2oct.phantom.LESIONS`."""

PRESENT_MM = 1.0
"""A volume shows a kind if the A-scans with this kind make up at least this length, over all slices."""

_LIFTED_UM = 20.0
_PED_UM, _PED_MM = 100.0, 0.5
_DRUSEN_UM, _DRUSEN_MM = 25.0, 0.15
_DEEP_UM = (40.0, 240.0)
_BAND_UM = (-48.0, 24.0)
_LET_THROUGH = 0.2
_MEAN_MM, _ATROPHY_MM = 0.3, 0.25

_Mask = NDArray[np.bool_]


class KindOverlap(NamedTuple):
    """Lengths of scan at which volumes show a kind of lesion, all slices together.

    Args:
        fake: length at which the generated volume shows it, in millimetres, shape ``(B,)``.
        real: length at which the real volume shows it, same shape.
        both: length at which both show it at the same A-scan, same shape.

    Example:
        >>> srf = KindOverlap(torch.tensor([2.0]), torch.tensor([3.0]), torch.tensor([1.5]))
        >>> 2 * srf.both / (srf.fake + srf.real)  # the Dice coefficient
        tensor([0.6000])
    """

    fake: Tensor
    real: Tensor
    both: Tensor


def find_kinds(
    volume: Tensor,
    surfaces: Surfaces,
    fluid: Fluid,
    spacing_z_mm: Tensor | float,
    spacing_x_mm: Tensor | float,
) -> dict[str, Tensor]:
    """Find the A-scans at which a volume shows each of :data:`KINDS`.

    * ``PED`` and ``drusen``: stretches of a B-scan over which the epithelium is lifted
      (:func:`fund2oct.metrics.elevation_um`): by more than 26 micrometres, for what
      :func:`fund2oct.metrics.find_surfaces` finds to be lifted by less has no elevation. A stretch that is at
      least 0.5 mm long and reaches 100 micrometres is a detachment. Another of at least 0.15 mm is drusen.
      (Of surfaces from elsewhere, stretches above 20 micrometres count that reach 25.)
    * ``SRF`` and ``IRF``: dark pockets on the epithelium, and elsewhere in the retina
      (:func:`fund2oct.metrics.find_fluid`).
    * ``GA``: more light reaches the choroid because the outer retina is lost, over at least 0.25 mm. This is
      how atrophy is defined in OCT [1]. The measure is the mean brightness from 40 to 240 micrometres below
      Bruch's membrane, less the one from 48 micrometres above the epithelium's inner surface to 24 below it.
      Averaged over 0.3 mm, it has to exceed its median over the eye by 0.2. The shadow of a vessel darkens
      both and does not count; neither does fluid on the epithelium.

    The thresholds were set on simulated eyes, others than those on which a report tests. There is no
    detector of membranes, haemorrhage and exudate. Compare with :func:`true_kinds` to see how far a
    detector can be trusted.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        surfaces: the surfaces of this volume, see :func:`fund2oct.metrics.find_surfaces`.
        fluid: the fluid in this volume, see :func:`fund2oct.metrics.find_fluid`.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans in millimetres, likewise.

    Returns:
        For each kind whether an A-scan shows it, bool, shape ``(B, S, X)``; false where the surfaces were not
        found.

    Raises:
        ValueError: if the shapes do not fit.

    References:
        [1] Sadda et al., Consensus definition for atrophy, Ophthalmology 2018.

    Example:
        >>> volume = torch.full((1, 1, 1, 40, 30), 0.5)
        >>> rpe_um = torch.full((1, 1, 30), 600.0)
        >>> rpe_um[..., 10:20] = 480.0  # lifted by 120 micrometres over 0.8 mm
        >>> surfaces = Surfaces(torch.full((1, 1, 30), 300.0), rpe_um, torch.full((1, 1, 30), 626.0))
        >>> no_fluid = Fluid(torch.zeros(1, 1, 30), torch.zeros(1, 1, 30))
        >>> kinds = find_kinds(volume, surfaces, no_fluid, 0.024, 0.08)
        >>> {name: where.sum().item() for name, where in kinds.items()}
        {'PED': 10, 'drusen': 0, 'SRF': 0, 'IRF': 0, 'GA': 0}
    """
    check_surfaces(surfaces, volume)
    lifted = elevation_um(surfaces).nan_to_num(0.0).cpu().numpy()
    found: dict[str, list[Tensor]] = {name: [] for name in KINDS}
    spacings = zip(per_eye(spacing_z_mm, len(volume)), per_eye(spacing_x_mm, len(volume)), strict=True)
    for number, (z_mm, x_mm) in enumerate(spacings):
        detached, drusen = _lifted(lifted[number], x_mm)
        passed = _let_through(volume[number, 0], surfaces.rpe_um[number], surfaces.bm_um[number], z_mm)
        subretinal = fluid.subretinal_um[number] > 0
        # Fluid in the place of the outer retina is as dark as if that were lost.
        atrophy = _atrophy(passed.masked_fill(subretinal, 0.0).cpu().numpy(), x_mm)
        maps = {
            "PED": torch.from_numpy(detached),
            "drusen": torch.from_numpy(drusen),
            "SRF": subretinal,
            "IRF": fluid.intraretinal_um[number] > 0,
            "GA": torch.from_numpy(atrophy),
        }
        for name, where in maps.items():
            found[name].append(where.to(volume.device))
    return {name: torch.stack(where) for name, where in found.items()}


def true_kinds(labels: Tensor) -> dict[str, Tensor]:
    """A-scans at which a label map has each of :data:`KINDS`.

    Args:
        labels: label maps of volumes, numbered as :data:`fund2oct.phantom.LESIONS` counting from 1,
            shape ``(B, S, Z, X)``.

    Returns:
        For each kind whether the A-scan has it, bool, shape ``(B, S, X)``.

    Raises:
        ValueError: if the shape is another.

    Example:
        >>> from fund2oct.phantom import LESIONS
        >>> labels = torch.zeros(1, 1, 40, 3, dtype=torch.uint8)
        >>> labels[:, :, 20:25, 1] = LESIONS.index("SRF") + 1
        >>> true_kinds(labels)["SRF"]
        tensor([[[False,  True, False]]])
    """
    return {name: label_um(labels, (name,), 1.0) > 0 for name in KINDS}


def overlap(
    fake: Mapping[str, Tensor], real: Mapping[str, Tensor], spacing_x_mm: Tensor | float
) -> dict[str, KindOverlap]:
    """Measure how much of each kind two volumes show, and how much of it at the same place.

    Args:
        fake: for each kind whether generated volumes show it, bool, shape ``(B, S, X)``, see
            :func:`find_kinds`.
        real: the same for the real volumes, or the truth, see :func:`true_kinds`.
        spacing_x_mm: distance of two A-scans in millimetres, one number or one for each eye, shape ``(B,)``.

    Returns:
        Lengths of scan for each kind.

    Example:
        >>> fake = {"SRF": torch.tensor([[[True, True, False, False]]])}
        >>> real = {"SRF": torch.tensor([[[False, True, True, True]]])}
        >>> overlap(fake, real, spacing_x_mm=0.5)["SRF"]
        KindOverlap(fake=tensor([1.]), real=tensor([1.5000]), both=tensor([0.5000]))
    """
    lengths = {}
    for name, drawn in fake.items():
        x_mm = torch.tensor(per_eye(spacing_x_mm, len(drawn)), device=drawn.device)
        parts = (drawn, real[name], drawn & real[name])
        lengths[name] = KindOverlap(*(x_mm * part.flatten(1).sum(1) for part in parts))
    return lengths


def _lifted(height_um: NDArray[np.float32], x_mm: float) -> tuple[_Mask, _Mask]:
    """Detachments and drusen among the lifted stretches of each B-scan, ``(S, X)`` each."""
    detached, drusen = (np.zeros(height_um.shape, bool) for _ in range(2))
    stretches, _ = ndimage.label(height_um > _LIFTED_UM, [[0, 0, 0], [1, 1, 1], [0, 0, 0]])
    for number, where in enumerate(ndimage.find_objects(stretches), 1):
        own = stretches[where] == number
        top_um, length_mm = height_um[where][own].max(), own.sum() * x_mm
        if top_um >= _PED_UM and length_mm >= _PED_MM:
            detached[where] |= own
        elif top_um >= _DRUSEN_UM and length_mm >= _DRUSEN_MM:
            drusen[where] |= own
    return detached, drusen


def _let_through(bscans: Tensor, rpe_um: Tensor, bm_um: Tensor, z_mm: float) -> Tensor:
    """Brightness under the epithelium beyond that of the outer retina and the eye's median, ``(S, X)``."""
    row_um = 1000 * z_mm
    deep, band = (
        slab_mean(bscans.float(), (depth_um + top_um) / row_um, (bottom_um - top_um) / row_um)
        for depth_um, (top_um, bottom_um) in ((bm_um, _DEEP_UM), (rpe_um, _BAND_UM))
    )
    passed = deep - band
    return (passed - passed.nanmedian()).nan_to_num(0.0)


def _atrophy(passed: NDArray[np.float32], x_mm: float) -> _Mask:
    """Stretches of each B-scan that let enough light through, ``(S, X)``."""
    mean = ndimage.uniform_filter1d(passed, max(1, round(_MEAN_MM / x_mm)), axis=1)
    least = np.ones((1, max(1, round(_ATROPHY_MM / x_mm))))
    margin = least.size
    bright = np.pad(mean > _LET_THROUGH, ((0, 0), (margin, margin)), mode="edge")
    whole: _Mask = ndimage.binary_opening(ndimage.binary_closing(bright, least), least)
    return whole[:, margin:-margin]
