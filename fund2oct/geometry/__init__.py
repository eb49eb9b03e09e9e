r"""Where each A-scan lies on the photograph.

A :class:`ScanPattern` says where the lines of a scan run, in millimetres around the fovea; a
:class:`Placement` says where those millimetres lie on the photo. Both frames are the frame of the
photo *as displayed*: x to the right, y down, whatever the eye's laterality.

The photo's own coordinates are *grid units*, those of :func:`torch.nn.functional.grid_sample` with
``align_corners=False``: (-1, -1) is the outer corner of the top left pixel and (1, 1) that of the
bottom right one, so they do not change when the photo is resized.
"""

from fund2oct.geometry.circles import CircularScan
from fund2oct.geometry.lines import Line, LineScan, RadialScan, RasterScan
from fund2oct.geometry.patterns import KINDS, CurveScan, ScanPattern
from fund2oct.geometry.placement import Placement, Point, grid_to_pixels
from fund2oct.geometry.symmetry import Symmetry

KINDS |= {cls.kind: cls for cls in (CurveScan, LineScan, RadialScan, RasterScan, CircularScan)}

__all__ = [
    "CircularScan",
    "CurveScan",
    "Line",
    "LineScan",
    "Placement",
    "Point",
    "RadialScan",
    "RasterScan",
    "ScanPattern",
    "Symmetry",
    "grid_to_pixels",
]
