"""Lengths that a retina may have."""

import math

import pytest

from fund2oct.cli.options import placement_option
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.eye import DataError
from fund2oct.geometry import Placement
from fund2oct.plausible import check_half_width, check_spacing


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [
        ((49, 496, 512), (0.12, 0.0039, 0.0117)),
        ((128, 1024, 512), (6 / 128, 2 / 1024, 6 / 512)),
        ((1, 496, 768), (math.nan, 0.0039, 0.0113)),
        ((6, 320, 448), (math.nan, 0.006, 0.0123)),
        ((512, 1536, 1024), (24 / 512, 6 / 1536, 26 / 1024)),
        ((5, 24, 32), (1.0, 0.0039, 6 / 32)),
    ],
)
def test_scans_of_all_makers_pass(shape, spacing_mm):
    check_spacing(shape, spacing_mm)


def test_a_field_in_degrees_or_micrometres_is_refused_wherever_it_is_given():
    for half_width_mm in (45.0, 6500.0, 0.0065):
        with pytest.raises(DataError, match=r"expected 1 to 20 millimetres .* a photo of 45 degrees has 6.5"):
            check_half_width(half_width_mm)
        with pytest.raises(DataError, match="half_width_mm"):
            ImportOptions(placement=Placement(half_width_mm=half_width_mm))

        class Given:
            placement = "centre"

        Given.half_width_mm = half_width_mm
        with pytest.raises(DataError, match="half_width_mm"):
            placement_option(Given)
