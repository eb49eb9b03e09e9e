"""Layer names, the search for the retina's boundaries, the pose and the aligned frame."""

from fund2oct.retina.frame import ALIGNED_DEPTH, align, aligned_mask, unalign
from fund2oct.retina.layers import BOUNDARIES, SURFACES, boundary_index
from fund2oct.retina.pose import apply_symmetry_to_pose, fit_pose, pose_surface_um
from fund2oct.retina.pose_model import PoseModel
from fund2oct.retina.search import (
    PoseEstimate,
    RetinalBoundaries,
    estimate_pose,
    find_retina,
    retinal_boundaries,
)

__all__ = [
    "ALIGNED_DEPTH",
    "BOUNDARIES",
    "SURFACES",
    "PoseEstimate",
    "PoseModel",
    "RetinalBoundaries",
    "align",
    "aligned_mask",
    "apply_symmetry_to_pose",
    "boundary_index",
    "estimate_pose",
    "find_retina",
    "fit_pose",
    "pose_surface_um",
    "retinal_boundaries",
    "unalign",
]
