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
"""An eye of which a smaller share of the A-scans can be compared is not measured, its value NaN."""


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Depth of the retina's surfaces in a batch of volumes, in micrometres below the top of the frame.

    Where the search failed at an A-scan, all three are NaN there.

    Args:
        ilm_um: depth of the retina's inner surface, shape ``(B, S, X)``.
        rpe_um: depth of the pigment epithelium's inner surface, which a detachment lifts, same shape.
        bm_um: depth of Bruch's membrane, same shape: that of the epithelium's lower side, 26 micrometres
            below ``rpe_um``, or of the pose's surface where that lies more than 26 micrometres deeper still.

    Example:
        >>> ilm_um = torch.full((1, 2, 4), 300.0)  # two B-scans of four A-scans
        >>> found = Surfaces(ilm_um, rpe_um=ilm_um + 280, bm_um=ilm_um + 306)
        >>> found.thickness_um.mean()
        tensor(280.)
    """

    ilm_um: Tensor
    rpe_um: Tensor
    bm_um: Tensor

    @classmethod
    def of_stored(cls, surfaces_um: Tensor) -> Surfaces:
        """Take the surfaces out of a batch that holds them.

        Args:
            surfaces_um: depths of :data:`fund2oct.retina.SURFACES` in micrometres, shape ``(B, n, S, X)``.

        Returns:
            The three of them that are compared.
        """
        return cls(*(surfaces_um[:, SURFACES.index(name)] for name in ("ILM", "RPE", "BM")))

    @property
    def ok(self) -> Tensor:
        """Where the search succeeded, bool ``(B, S, X)``."""
        return self.ilm_um.isfinite()

    @property
    def thickness_um(self) -> Tensor:
        """Thickness of the retina, from its inner surface to the pigment epithelium's, ``(B, S, X)``.

        The pose does not matter: a volume in the aligned frame has the same thickness as in its own pose.
        """
        return self.rpe_um - self.ilm_um


@full_precision
def find_surfaces(volume: Tensor, spacing_z_mm: Tensor | float, spacing_x_mm: Tensor | float) -> Surfaces:
    """Find the retina's surfaces, by the same search in real and in generated volumes.

    The search is :func:`fund2oct.retina.retinal_boundaries`, on the CPU and without gradient. It is by far
    the slowest step of a measurement, 0.07 s for six B-scans of 80 x 112 pixels. Search a volume once and
    keep the result.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans in millimetres, likewise.

    Returns:
        The surfaces, on the volume's device; NaN throughout a volume that is not finite.

    Raises:
        ValueError: if the shape is another.

    Example:
        >>> from fund2oct.phantom import simulate_eye
        >>> eye = simulate_eye(seed=0, number=0)
        >>> volume = torch.from_numpy(eye.volume)[None, None] / 255
        >>> found = find_surfaces(volume, *eye.spacing_mm[1:])
        >>> f"{found.thickness_um.nanmean().item():.0f} um"
        '294 um'
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


@full_precision
def surface_error_um(found_um: Tensor, expected_um: Tensor) -> Tensor:
    r"""Mean absolute difference of two depth or thickness maps, one value an eye.

    .. math:: \frac{1}{|K|} \sum_{i \in K} |d_i(\hat V) - d_i(V)|

    over the A-scans :math:`K` at which both are known. An A-scan in which no retina was found counts for
    nothing here, so read the error together with :func:`failed_share`.

    Args:
        found_um: depth or thickness in the generated volume, in micrometres, NaN where unknown, shape
            ``(B, S, X)``.
        expected_um: the truth, or what was found in the real volume, likewise.

    Returns:
        Micrometres, shape ``(B,)``; NaN where fewer than a quarter of the A-scans are known in both.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> expected = torch.full((1, 2, 4), 280.0)
        >>> surface_error_um(expected + 12, expected)
        tensor([12.])
    """
    check_maps(found_um, expected_um)
    difference = (found_um - expected_um.to(found_um)).abs().flatten(1)
    return difference.nanmean(1).masked_fill(~enough(difference), math.nan)


def failed_share(fake: Surfaces, real: Surfaces) -> Tensor:
    """Share of the A-scans in which the search found a retina in the real but not in the generated volume.

    Args:
        fake: surfaces of the generated volumes, as :func:`find_surfaces` returns them.
        real: surfaces of the real volumes, of the same shape.

    Returns:
        Shares in [0, 1], shape ``(B,)``; NaN where nothing was found in the real volume.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> depth_um = torch.full((1, 1, 4), 300.0)
        >>> lost_um = torch.tensor([[[300.0, 300.0, 300.0, math.nan]]])  # nothing found at the last A-scan
        >>> failed_share(Surfaces(lost_um, lost_um, lost_um), Surfaces(depth_um, depth_um, depth_um))
        tensor([0.2500])
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
