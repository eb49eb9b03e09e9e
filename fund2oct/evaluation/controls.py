"""Answers that use no model, or use one wrongly: what a model has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fund2oct.evaluation.answers import Answer, Given
from fund2oct.evaluation.trained_on import TrainingEyes
from fund2oct.models import Batch, VolumeGAN
from fund2oct.networks.noise import NoiseSource, NoNoise

MEAN = "mean volume"
NEAREST = "nearest training photo"
MEDIAN_SURFACES = "median surfaces, no photo"


def controls(training: TrainingEyes) -> list[Answer]:
    """Answers made of the training eyes: median surfaces, mean volume and nearest photo.

    The first two need no photo. A model that is no better than these has not learned to read it.
    """

    def surfaces(batch: Batch) -> Given:
        return Given.of_heights(training.median_heights_um(batch["laterality"]), batch)

    def average(batch: Batch) -> Given:
        return Given.placed(training.mean.expand(len(batch["volume"]), -1, -1, -1, -1), batch)

    def nearest(batch: Batch) -> Given:
        return Given.placed(training.batch(training.nearest(batch["fundus"]))["aligned"], batch)

    return [Answer(MEDIAN_SURFACES, surfaces), Answer(MEAN, average), Answer(NEAREST, nearest)]


def model_answers(models: Mapping[str, VolumeGAN], photos: Mapping[str, Tensor], seed: int) -> list[Answer]:
    """Each model as it is, with its noise off, and with the photos of other patients.

    The photos are shuffled by half the test set, so that none is that of the same patient's other
    eye, which follows it in the file.

    Args:
        models: by name.
        photos: of all test eyes by their key, in the order of the file, ``(3, H, H)``.
        seed: of the models' noise, which an eye draws by its key.
    """
    keys = list(photos)
    other = {key: keys[(i + len(keys) // 2) % len(keys)] for i, key in enumerate(keys)}

    def right(model: VolumeGAN) -> Callable[[Batch], Given]:
        return lambda batch: _draw(model, batch["fundus"], batch, _noise(model, batch, seed))

    def silent(model: VolumeGAN) -> Callable[[Batch], Given]:
        return lambda batch: _draw(model, batch["fundus"], batch, NoNoise())

    def shuffled(model: VolumeGAN) -> Callable[[Batch], Given]:
        def give(batch: Batch) -> Given:
            given = torch.stack([photos[other[key]] for key in batch["key"]])
            return _draw(model, given.to(batch["fundus"]), batch, _noise(model, batch, seed))

        return give

    answers = []
    for name, model in models.items():
        answers += [
            Answer(name, right(model), as_set=True),
            Answer(f"{name}, noise off", silent(model)),
            Answer(f"{name}, shuffled photos", shuffled(model), as_set=True),
        ]
    return answers


def _noise(model: VolumeGAN, batch: Batch, seed: int) -> NoiseSource:
    return NoiseSource.of_keys(batch["key"], seed, model.device)


def _draw(model: VolumeGAN, fundus: Tensor, batch: Batch, noise: NoiseSource) -> Given:
    return Given.placed(model(fundus, batch["grid"], batch["volume"].shape[3], rng=noise), batch)
