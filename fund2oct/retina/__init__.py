"""Layer names, the search for the retina's boundaries, the pose and the aligned frame."""

from fund2oct.retina.frame import ALIGNED_DEPTH, align, aligned_mask, unalign
from fund2oct.retina.layers import BOUNDARIES, boundary_index
from fund2oct.retina.pose import apply_symmetry_to_pose, fit_pose, pose_surface_um

__all__ = [
    "ALIGNED_DEPTH",
    "BOUNDARIES",
    "align",
    "aligned_mask",
    "apply_symmetry_to_pose",
    "boundary_index",
    "fit_pose",
    "pose_surface_um",
    "unalign",
]
