"""Surfaces, fluid, lesions and shadows found in volumes, each of them found only once."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from fund2oct.metrics.eyes.anatomy import layer_violations, vessel_shadows
from fund2oct.metrics.eyes.fluid import Fluid, find_fluid
from fund2oct.metrics.eyes.kinds import find_kinds
from fund2oct.metrics.eyes.layers import Surfaces, check_surfaces, check_volume, find_surfaces
from fund2oct.metrics.eyes.sharpness import high_frequency_energy


class Findings:
    """Surfaces, fluid, lesions and shadows in a batch of volumes.

    Each attribute is found when it is first read, and kept. So one object for the real volumes serves for the
    comparison with many generated ones.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans in millimetres, likewise.
        surfaces: surfaces of this volume if they are known already; None has them searched.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch
        >>> from fund2oct.phantom import simulate_eye
        >>> eye = simulate_eye(seed=0, number=0)  # an eye with subretinal fluid
        >>> found = Findings(torch.from_numpy(eye.volume)[None, None] / 255, *eye.spacing_mm[1:])
        >>> f"{found.surfaces.thickness_um.nanmean().item():.0f} um"
        '294 um'
        >>> [name for name, where in found.kinds.items() if where.any()]
        ['SRF']
    """

    def __init__(
        self,
        volume: Tensor,
        spacing_z_mm: Tensor | float,
        spacing_x_mm: Tensor | float,
        surfaces: Surfaces | None = None,
    ) -> None:
        check_volume(volume)
        self.volume = volume
        self.spacing_z_mm = spacing_z_mm
        self.spacing_x_mm = spacing_x_mm
        if surfaces is not None:
            check_surfaces(surfaces, volume)
            self.surfaces = surfaces

    @cached_property
    def surfaces(self) -> Surfaces:
        """The retina's surfaces, see :func:`fund2oct.metrics.find_surfaces`."""
        return find_surfaces(self.volume, self.spacing_z_mm, self.spacing_x_mm)

    @cached_property
    def violations(self) -> Tensor:
        """Share of implausible A-scans ``(B,)``, see :func:`fund2oct.metrics.layer_violations`."""
        return layer_violations(self.surfaces, self.spacing_x_mm)

    @cached_property
    def shadows(self) -> Tensor:
        """Shadows of vessels ``(B, S, X)``, see :func:`fund2oct.metrics.vessel_shadows`."""
        return vessel_shadows(self.volume, self.surfaces, self.spacing_z_mm, self.spacing_x_mm)

    @cached_property
    def fluid(self) -> Fluid:
        """Fluid under and within the retina, see :func:`fund2oct.metrics.find_fluid`."""
        return find_fluid(self.volume, self.surfaces, self.spacing_z_mm, self.spacing_x_mm)

    @cached_property
    def kinds(self) -> dict[str, Tensor]:
        """A-scans with each kind of lesion ``(B, S, X)``, see :func:`fund2oct.metrics.find_kinds`."""
        return find_kinds(self.volume, self.surfaces, self.fluid, self.spacing_z_mm, self.spacing_x_mm)

    @cached_property
    def energy(self) -> Tensor:
        """Energy of the fine detail ``(B,)``, see :func:`fund2oct.metrics.high_frequency_energy`."""
        return high_frequency_energy(self.volume)
