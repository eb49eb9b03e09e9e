"""Losses: adversarial, reconstruction, projection, feature matching, perceptual; penalties."""

from fund2oct.losses.adversarial import (
    ADVERSARIAL,
    AdversarialLoss,
    HingeLoss,
    LeastSquaresLoss,
    NonSaturatingLoss,
    adversarial_loss,
)
from fund2oct.losses.feature_matching import feature_matching_loss
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

__all__ = [
    "ADVERSARIAL",
    "AdversarialLoss",
    "HingeLoss",
    "LeastSquaresLoss",
    "NonSaturatingLoss",
    "PerceptualLoss",
    "adversarial_loss",
    "axial_profile",
    "charbonnier_loss",
    "en_face_projection",
    "feature_matching_loss",
    "l1_loss",
    "local_mean_loss",
    "local_square_loss",
    "masked_mean",
    "projection_loss",
    "r1_penalty",
    "ssim_loss",
]
