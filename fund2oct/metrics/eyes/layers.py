"""Retinal thickness of generated volumes, in micrometres, found as in the real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fund2oct.precision import full_precision
from fund2oct.retina.layers import SURFACES
from fund2oct.retina.search import retinal_boundaries

LEAST_SHARE = 0.25
"""An eye is measured where at least this share of its A-scans can be compared, and is NaN elsewhere."""


@dataclass(frozen=True, eq=False)
class Surfaces:
    """The retina's surfaces in a batch of volumes, in micrometres below the frame's top edge.

    Each of shape ``(B, S, X)``, NaN at the A-scans where the search failed, in all three alike.

    Args:
        ilm_um: the retina's inner surface.
        rpe_um: the pigment epithelium's inner surface, which a detachment lifts.
        bm_um: Bruch's membrane: under the epithelium, or where the pose's surface lies deeper, on that.
    """

    ilm_um: Tensor
    rpe_um: Tensor
    bm_um: Tensor

    @classmethod
    def of_stored(cls, surfaces_um: Tensor) -> Surfaces:
        """Surfaces as a batch holds them, depths of :data:`fund2oct.retina.SURFACES` ``(B, n, S, X)``."""
        return cls(*(surfaces_um[:, SURFACES.index(name)] for name in ("ILM", "RPE", "BM")))

    @property
    def ok(self) -> Tensor:
        """Where the search succeeded, bool ``(B, S, X)``."""
        return self.ilm_um.isfinite()

    @property
    def thickness_um(self) -> Tensor:
        """Thickness of the retina, from its inner surface to the pigment epithelium's, ``(B, S, X)``."""
        return self.rpe_um - self.ilm_um


@full_precision
def find_surfaces(volume: Tensor, spacing_z_mm: Tensor | float, spacing_x_mm: Tensor | float) -> Surfaces:
    """Find the retina's surfaces, by the same search in real and in generated volumes.

    By :func:`fund2oct.retina.retinal_boundaries`, on the CPU and without gradient. It is by far the
    slowest step of a measurement, 0.07 s for six B-scans of 80 x 112 pixels: search a volume once.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans, likewise.

    Returns:
        The surfaces, on the volume's device; NaN throughout a volume that is not finite.

    Raises:
        ValueError: if the shape is another.
    """
    check_volume(volume)
    n_eyes, _, n_slices, _, n_ascans = volume.shape
    found = torch.full((3, n_eyes, n_slices, n_ascans), math.nan)
    spacings = zip(per_eye(spacing_z_mm, n_eyes), per_eye(spacing_x_mm, n_eyes), strict=True)
    for number, (eye, spacing) in enumerate(zip(volume.detach().float().cpu()[:, 0], spacings, strict=True)):
        if eye.isfinite().all():
            result = retinal_boundaries(eye.clamp(0, 1).numpy(), (math.nan, *spacing))
            depths = np.stack([result.ilm_um, result.rpe_um, result.bm_um])
            found[:, number] = torch.from_numpy(np.where(result.ok, depths, np.nan))
    return Surfaces(*found.to(volume.device))


def retinal_thickness_um(
    volume: Tensor, spacing_z_mm: Tensor | float, spacing_x_mm: Tensor | float
) -> Tensor:
    """Thickness of the retina, from its inner surface to the pigment epithelium's.

    The pose does not matter: a volume in the aligned frame has the thickness of the volume as it
    lies. Arguments and errors as :func:`find_surfaces`.

    Returns:
        Thickness in micrometres, NaN where the search failed and throughout a volume that is not
        finite, shape ``(B, S, X)``.
    """
    return find_surfaces(volume, spacing_z_mm, spacing_x_mm).thickness_um


@full_precision
def surface_error_um(found_um: Tensor, expected_um: Tensor) -> Tensor:
    r"""Mean absolute difference of two depths, or two thicknesses, of each eye.

    .. math:: \frac{1}{|K|} \sum_{i \in K} |d_i(\hat V) - d_i(V)|

    over the A-scans :math:`K` at which both are known. Read it with the :func:`failed_share`: where
    the generated volume shows no retina, there is no error.

    Args:
        found_um: micrometres, NaN where unknown, shape ``(B, S, X)``.
        expected_um: likewise; the truth, or what was found in the real volume.

    Returns:
        Micrometres, shape ``(B,)``; NaN where fewer than a quarter of the A-scans are known in both.

    Raises:
        ValueError: if the shapes differ.
    """
    check_maps(found_um, expected_um)
    difference = (found_um - expected_um.to(found_um)).abs().flatten(1)
    return difference.nanmean(1).masked_fill(~enough(difference), math.nan)


def failed_share(fake: Surfaces, real: Surfaces) -> Tensor:
    """Share of the A-scans found in the real volume that were not found in the generated one.

    Returns:
        Shares in [0, 1], shape ``(B,)``; NaN where nothing was found in the real volume.
    """
    check_maps(fake.ilm_um, real.ilm_um)
    lost = (real.ok & ~fake.ok).flatten(1).sum(1)
    return lost / real.ok.flatten(1).sum(1)


def check_volume(volume: Tensor) -> None:
    """Refuse, with a ValueError, what is not a batch of volumes of one channel."""
    if volume.ndim != 5 or volume.shape[1] != 1:
        raise ValueError(f"volume: expected (B, 1, S, Z, X), found shape {tuple(volume.shape)}")


def check_surfaces(surfaces: Surfaces, volume: Tensor) -> None:
    """Refuse, with a ValueError, surfaces that are not those of a volume."""
    check_volume(volume)
    expected = (len(volume), volume.shape[2], volume.shape[4])
    if tuple(surfaces.rpe_um.shape) != expected:
        raise ValueError(
            f"surfaces: expected those of the volume, (B, S, X) = {expected}, "
            f"found {tuple(surfaces.rpe_um.shape)}"
        )


def check_maps(a: Tensor, b: Tensor) -> None:
    """Refuse, with a ValueError, maps over the A-scans that cannot be compared."""
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(
            f"surfaces: expected two maps (B, S, X) of one shape, found {tuple(a.shape)} and {tuple(b.shape)}"
        )


def enough(values: Tensor) -> Tensor:
    """Whether the share of known values, those not NaN, allows an eye to be measured; ``(B,)`` bool."""
    return values.isfinite().flatten(1).float().mean(1) >= LEAST_SHARE


def per_eye(value: Tensor | float, n_eyes: int) -> list[float]:
    """A number for each eye."""
    return torch.as_tensor(value, dtype=torch.float64).expand(n_eyes).tolist()
