"""How eyes are simulated: sizes, scan, scanner and diseases."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from fund2oct.geometry import RadialScan, ScanPattern
from fund2oct.phantom.lesions import check_diagnosis
from fund2oct.phantom.long_eyes import LONG_HALF_WIDTH_MM, LONG_SCAN
from fund2oct.phantom.rendering.scanner import Optics

_MIN_DEPTH_MM = 1.2

Population = Literal["ordinary", "long"]


@dataclass(frozen=True)
class PhantomConfig:
    """How eyes are simulated: sizes, scan, scanner and diseases.

    Args:
        fundus_px: width of the photo in pixels.
        n_depth: number of rows of a B-scan.
        n_ascans: number of A-scans of a B-scan.
        scan: where the B-scans lie.
        depth_mm: height of a B-scan; at least 1.2, or a tall lesion would not fit.
        half_width_mm: millimetres of retina under half the photo, on average.
        normal_share: share of eyes without any lesion, in [0, 1].
        second_share: share of the other eyes that have two kinds of lesion, in [0, 1].
        diagnosis: what every eye has, such as ``"drusen+SRF"``, see :data:`fund2oct.phantom.DIAGNOSES`; None
            draws it for each eye.
        optics: the scanner.
        population: ``"ordinary"`` eyes, or ``"long"`` ones: steep, with staphylomas, tilted discs with
            crescents, detached hyaloids and reflections. See :meth:`of` for their usual scan.

    Raises:
        ValueError: if a number is out of its range, the diagnosis is unknown, or the scan leaves the photo.

    Example:
        >>> config = PhantomConfig(n_depth=64, n_ascans=96, diagnosis="drusen")
        >>> config.pixel_um[0]  # height of a row
        30.0
    """

    fundus_px: int = 128
    n_depth: int = 80
    n_ascans: int = 112
    scan: ScanPattern = field(default_factory=RadialScan)
    depth_mm: float = 1.92
    half_width_mm: float = 6.5
    normal_share: float = 0.3
    second_share: float = 0.2
    diagnosis: str | None = None
    optics: Optics = field(default_factory=Optics)
    population: Population = "ordinary"

    def __post_init__(self) -> None:
        for name, least in (("fundus_px", 16), ("n_depth", 16), ("n_ascans", 8)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, found {getattr(self, name)}")
        if not self.depth_mm >= _MIN_DEPTH_MM:
            raise ValueError(f"depth_mm: expected at least {_MIN_DEPTH_MM}, found {self.depth_mm}")
        for name in ("normal_share", "second_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share in [0, 1], found {getattr(self, name)}")
        if not self.half_width_mm > 0:
            raise ValueError(f"half_width_mm: expected a positive length, found {self.half_width_mm}")
        reach = self.scan.reach_mm
        if reach > 0.8 * self.half_width_mm:
            raise ValueError(
                f"scan: its lines reach {reach:.2f} mm from the fovea, but the photo is sure to show only "
                f"{0.8 * self.half_width_mm:.2f} mm; shorten the lines or raise half_width_mm"
            )
        if self.diagnosis is not None:
            check_diagnosis(self.diagnosis)
        if self.population not in get_args(Population):
            raise ValueError(f"population: expected one of {get_args(Population)}, found {self.population!r}")

    @classmethod
    def of(cls, population: Population, **values: Any) -> PhantomConfig:
        """The usual scan of a population: a star of 8.8 mm, of 12 mm for long eyes on a wider photo.

        Example:
            >>> PhantomConfig.of("long", n_ascans=160).scan.length_mm[0]
            12.0
        """
        usual: dict[str, Any] = (
            {"scan": LONG_SCAN, "half_width_mm": LONG_HALF_WIDTH_MM} if population == "long" else {}
        )
        return cls(population=population, **(usual | values))

    @property
    def map_px(self) -> int:
        """Width of the maps, a multiple of the photo's; fine enough for its vessels and the A-scans."""
        pitch_mm = min(self.scan.length_mm) / self.n_ascans
        least = max(256, min(1024, self.half_width_mm / pitch_mm))
        return self.fundus_px * math.ceil(least / self.fundus_px)

    @property
    def pixel_um(self) -> tuple[float, float]:
        """Height and width of a pixel of a B-scan."""
        width_um = float(np.mean(self.scan.length_mm)) * 1000
        return self.depth_mm * 1000 / self.n_depth, width_um / self.n_ascans
