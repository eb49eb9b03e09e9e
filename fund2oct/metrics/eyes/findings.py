"""What is found in volumes, each found once: a real volume is compared with many answers."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from fund2oct.metrics.eyes.anatomy import layer_violations, vessel_shadows
from fund2oct.metrics.eyes.fluid import Fluid, find_fluid
from fund2oct.metrics.eyes.kinds import find_kinds
from fund2oct.metrics.eyes.layers import Surfaces, check_surfaces, check_volume, find_surfaces
from fund2oct.metrics.eyes.sharpness import high_frequency_energy


class Findings:
    """What is found in a batch of volumes, when it is first asked for.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans, likewise.
        surfaces: those of the volume, where it has been searched before.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> found = Findings(volume, spacing_z_mm=0.024, spacing_x_mm=0.0786)  # doctest: +SKIP
        >>> found.surfaces.thickness_um.nanmean()  # doctest: +SKIP
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
        """The retina's surfaces, see :func:`find_surfaces`."""
        return find_surfaces(self.volume, self.spacing_z_mm, self.spacing_x_mm)

    @cached_property
    def violations(self) -> Tensor:
        """Share of implausible A-scans ``(B,)``, see :func:`layer_violations`."""
        return layer_violations(self.surfaces, self.spacing_x_mm)

    @cached_property
    def shadows(self) -> Tensor:
        """Shadows of vessels ``(B, S, X)``, see :func:`vessel_shadows`."""
        return vessel_shadows(self.volume, self.surfaces, self.spacing_z_mm, self.spacing_x_mm)

    @cached_property
    def fluid(self) -> Fluid:
        """Fluid under and within the retina, see :func:`find_fluid`."""
        return find_fluid(self.volume, self.surfaces, self.spacing_z_mm, self.spacing_x_mm)

    @cached_property
    def kinds(self) -> dict[str, Tensor]:
        """Where each kind of lesion is ``(B, S, X)``, see :func:`find_kinds`."""
        return find_kinds(self.volume, self.surfaces, self.fluid, self.spacing_z_mm, self.spacing_x_mm)

    @cached_property
    def energy(self) -> Tensor:
        """Energy of the fine detail ``(B,)``, see :func:`high_frequency_energy`."""
        return high_frequency_energy(self.volume)
