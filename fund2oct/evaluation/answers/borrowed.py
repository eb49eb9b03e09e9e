"""Controls with the real tissue of training eyes, warped to the surfaces that a model predicts.

They show the tissue of another patient, so they are no predictions. A generator should be better than both:
its own texture is of no use while a warped real volume looks more real and has the same surfaces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fund2oct.evaluation.answers.answer import Answer, Given
from fund2oct.evaluation.answers.training_eyes import TrainingEyes
from fund2oct.models import Batch
from fund2oct.networks.noise import eye_seed
from fund2oct.retina import ALIGNED_DEPTH
from fund2oct.retina.layer_frame import warp
from fund2oct.retina.pose import heights_of

RETRIEVAL = "nearest eye warped to its surfaces"
"""What stands after the name of a model in the row that is the baseline `retrieval`."""
BORROWED = "borrowed residual"
"""The same in the row of its own anatomy with the texture of training eyes."""


@dataclass(frozen=True)
class Predicted:
    """Surfaces and anatomy that a model predicts, without noise.

    Args:
        heights_um: heights of :data:`fund2oct.retina.SURFACES` above the pose's surface in micrometres, shape
            ``(B, n, S, X)``.
        image: anatomy without texture in the aligned frame, in [0, 1], shape ``(B, 1, S, Z, X)``.
    """

    heights_um: Tensor
    image: Tensor


def retrieval(name: str, training: TrainingEyes, heights_um: Callable[[Batch], Tensor]) -> Answer:
    """The volume of the training eye with the nearest photo, warped to the predicted surfaces.

    Args:
        name: name of the model.
        training: the eyes to choose from.
        heights_um: a function that predicts heights of surfaces, see :class:`Predicted`.

    Returns:
        The answer.
    """

    def give(batch: Batch) -> Given:
        spacing = batch["spacing_z_mm"]
        other = training.batch(training.nearest(batch["fundus"]), spacing)
        warped = warp_heights(other["aligned"], _found_um(other), heights_um(batch), spacing)
        return Given.placed(warped, batch)

    return Answer(f"{name}, {RETRIEVAL}", give, as_set=True)


def borrowed_residual(
    name: str, training: TrainingEyes, predict: Callable[[Batch], Predicted], seed: int = 0
) -> Answer:
    """The anatomy that the model predicts, with the real texture of a random training eye.

    The texture is the difference of the training eye's real volume and the anatomy predicted for it, warped
    from that eye's surfaces to the predicted ones.

    Args:
        name: name of the model.
        training: the eyes to choose from.
        predict: a function that predicts surfaces and anatomy.
        seed: seed of the choice, which also depends on the key of the eye.

    Returns:
        The answer.
    """

    def give(batch: Batch) -> Given:
        chosen = [training.sound(eye_seed(key, seed) % len(training)) for key in batch["key"]]
        spacing = batch["spacing_z_mm"]
        other, own = training.batch(chosen, spacing), predict(batch)
        anatomy, found_um = predict(other), _found_um(other)
        there = warp_heights(anatomy.image, anatomy.heights_um, found_um, spacing)
        residual = warp_heights(other["aligned"] - there, found_um, own.heights_um, spacing)
        return Given.placed((own.image + residual).clamp(0, 1), batch)

    return Answer(f"{name}, {BORROWED}", give, as_set=True)


def warp_heights(volume: Tensor, from_um: Tensor, to_um: Tensor, spacing_z_mm: Tensor) -> Tensor:
    """Move the tissue of aligned volumes between surfaces that are given by their heights.

    Args:
        volume: volumes in the aligned frame, shape ``(B, C, S, Z, X)``.
        from_um: heights of their surfaces above the pose's surface in micrometres, vitreous to choroid, shape
            ``(B, n, S, X)``.
        to_um: heights to which the surfaces are moved, same shape.
        spacing_z_mm: distance of two rows in millimetres, shape ``(B,)``.

    Returns:
        Warped volumes, shape ``(B, C, S, Z, X)``.
    """
    base_um = ALIGNED_DEPTH * volume.shape[3] * 1000 * spacing_z_mm.view(-1, 1, 1, 1)
    return warp(volume, base_um - from_um, base_um - to_um, spacing_z_mm)


def _found_um(batch: Batch) -> Tensor:
    """Heights of the surfaces found in training eyes, with what was not found filled in, ``(B, n, S, X)``."""
    heights = heights_of(batch["surfaces_um"], batch["pose_um"])
    filled = heights.cpu().numpy().copy()
    usual = np.ma.median(np.ma.masked_invalid(filled), axis=(2, 3)).filled(0.0)
    places = np.arange(filled.shape[-1])
    for eye, surface, line in np.ndindex(filled.shape[:3]):
        values = filled[eye, surface, line]
        known = np.isfinite(values)
        values[~known] = (
            np.interp(places[~known], places[known], values[known]) if known.any() else usual[eye, surface]
        )
    return torch.from_numpy(filled).to(heights)
