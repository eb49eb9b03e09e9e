"""Layer names, the search for the retina's surfaces, the pose, the aligned frame and the layer frame."""

from fund2oct.retina.frame import ALIGNED_DEPTH, align, aligned_mask, unalign
from fund2oct.retina.layer_frame import LayerFrame, from_layers, to_layers
from fund2oct.retina.layers import BOUNDARIES, SURFACES, boundary_index
from fund2oct.retina.pose import N_POSE, apply_symmetry_to_pose, pose_surface_um
from fund2oct.retina.pose_fit import fit_pose
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
    "N_POSE",
    "SURFACES",
    "LayerFrame",
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
    "from_layers",
    "pose_surface_um",
    "retinal_boundaries",
    "to_layers",
    "unalign",
]
