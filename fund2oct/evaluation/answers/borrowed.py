"""Answers that borrow real tissue from training eyes: no answers to give, for they show another patient.

A generator has to beat both: one whose surfaces and texture are its own is worth nothing while a real
volume, bent to the predicted surfaces, looks more real and lies as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fund2oct.evaluation.answers.answer import Answer, Given, heights_of
from fund2oct.evaluation.answers.training_eyes import TrainingEyes
from fund2oct.models import Batch
from fund2oct.networks.noise import eye_seed
from fund2oct.retina import ALIGNED_DEPTH
from fund2oct.retina.layer_frame import warp


@dataclass(frozen=True)
class Predicted:
    """What a model says without noise.

    Args:
        heights_um: surfaces above the pose's surface, vitreous to choroid, as many and the same as
            :data:`fund2oct.retina.SURFACES`, shape ``(B, n, S, X)``.
        image: the anatomy without texture, in the aligned frame, in [0, 1], ``(B, 1, S, Z, X)``.
    """

    heights_um: Tensor
    image: Tensor


def retrieval(name: str, training: TrainingEyes, heights_um: Callable[[Batch], Tensor]) -> Answer:
    """The volume of the training eye with the nearest photo, warped to the predicted surfaces.

    Args:
        name: of the model.
        training: the eyes to look among.
        heights_um: predicts surfaces, as :class:`Predicted` says.
    """

    def give(batch: Batch) -> Given:
        other = training.batch(training.nearest(batch["fundus"]))
        warped = warp_heights(other["aligned"], _found_um(other), heights_um(batch), batch["spacing_z_mm"])
        return Given.placed(warped, batch)

    return Answer(f"{name}, nearest eye warped to its surfaces", give, as_set=True)


def borrowed_residual(
    name: str, training: TrainingEyes, predict: Callable[[Batch], Predicted], seed: int = 0
) -> Answer:
    """The model's own anatomy, and on it what its anatomy leaves over of a random training eye.

    The other eye's anatomy is put on that eye's found surfaces and taken from its real volume; what is left
    is warped from those surfaces to the predicted ones. The other eye is drawn by the key of the eye.

    Args:
        name: of the model.
        training: the eyes to borrow from.
        predict: surfaces and anatomy of the model.
        seed: another one borrows from other eyes.
    """

    def give(batch: Batch) -> Given:
        chosen = [eye_seed(key, seed) % len(training) for key in batch["key"]]
        other, own = training.batch(chosen), predict(batch)
        anatomy, found_um = predict(other), _found_um(other)
        spacing = batch["spacing_z_mm"]
        there = warp_heights(anatomy.image, anatomy.heights_um, found_um, spacing)
        residual = warp_heights(other["aligned"] - there, found_um, own.heights_um, spacing)
        return Given.placed((own.image + residual).clamp(0, 1), batch)

    return Answer(f"{name}, borrowed residual", give, as_set=True)


def warp_heights(volume: Tensor, from_um: Tensor, to_um: Tensor, spacing_z_mm: Tensor) -> Tensor:
    """Move the tissue of aligned volumes between surfaces that are given by their heights.

    Args:
        volume: in the aligned frame, shape ``(B, C, S, Z, X)``.
        from_um: heights of its surfaces above the pose's surface, vitreous to choroid, ``(B, n, S, X)``.
        to_um: the wanted heights, likewise.
        spacing_z_mm: distance of two rows, shape ``(B,)``.
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
