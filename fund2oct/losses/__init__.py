"""Losses: adversarial, reconstruction, surfaces and their distribution, slabs, perceptual; penalties."""

from fund2oct.losses.adversarial import (
    ADVERSARIAL,
    AdversarialLoss,
    HingeLoss,
    LeastSquaresLoss,
    NonSaturatingLoss,
    adversarial_loss,
)
from fund2oct.losses.feature_matching import feature_matching_loss
from fund2oct.losses.heights import height_loss, surface_distances
from fund2oct.losses.masking import masked_mean
from fund2oct.losses.penalties import r1_penalty
from fund2oct.losses.perceptual import PerceptualLoss
from fund2oct.losses.projection import axial_profile, en_face_projection, projection_loss
from fund2oct.losses.reconstruction import (
    charbonnier_loss,
    l1_loss,
    local_mean_loss,
    local_square_loss,
    ssim_loss,
)
from fund2oct.losses.scores import energy_score, normal_crps
from fund2oct.losses.slabs import below_epithelium, shadow_loss, slab_loss
from fund2oct.losses.spread import spread_loss

__all__ = [
    "ADVERSARIAL",
    "AdversarialLoss",
    "HingeLoss",
    "LeastSquaresLoss",
    "NonSaturatingLoss",
    "PerceptualLoss",
    "adversarial_loss",
    "axial_profile",
    "below_epithelium",
    "charbonnier_loss",
    "en_face_projection",
    "energy_score",
    "feature_matching_loss",
    "height_loss",
    "l1_loss",
    "local_mean_loss",
    "local_square_loss",
    "masked_mean",
    "normal_crps",
    "projection_loss",
    "r1_penalty",
    "shadow_loss",
    "slab_loss",
    "spread_loss",
    "ssim_loss",
    "surface_distances",
]
