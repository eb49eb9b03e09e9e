"""Controls: answers without a model, or with the wrong photos. A model has to be better than these."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import torch
from torch import Tensor

from fund2oct.evaluation.answers.answer import NOISE_OFF, OF_SURFACES, SHUFFLED, Answer, Given
from fund2oct.evaluation.answers.borrowed import Predicted, borrowed_residual, retrieval
from fund2oct.evaluation.answers.others import other_eyes
from fund2oct.evaluation.answers.training_eyes import TrainingEyes, with_rows
from fund2oct.evaluation.compare import EyeSet
from fund2oct.models import Batch, VolumeModel
from fund2oct.models.thickness import PredictsSurfaces
from fund2oct.networks.known import Known
from fund2oct.networks.layered.surfaces import thickness_interval_um
from fund2oct.networks.noise import NoiseSource, NoNoise
from fund2oct.retina.layers import SURFACES

MEAN = "mean volume"
NEAREST = "nearest training photo"
MEDIAN_SURFACES = "median surfaces, no photo"
TOLD_OTHERWISE = {
    part: tuple(f"{OF_SURFACES}, {how} {word}" for how in ("shuffled", "no"))
    for part, word in (("conditions", "metadata"), ("masks", "masks"))
}
"""Ends of the names of what a model that is told more than the photo answers to what is another patient's,
and to nothing, by the attribute that says what it is told."""

OtherPhoto: TypeAlias = Callable[[str], dict[str, Tensor]]
"""Gives for the key of an eye the photo of another one, see :func:`shuffled`."""


@runtime_checkable
class DrawsAnatomy(PredictsSurfaces, Protocol):
    """Form of a model that also draws tissue between its surfaces, without texture."""

    def anatomy(self, fundus: Tensor, grid: Tensor, spacing_z_mm: Tensor | float, **known: Any) -> Any:
        """Return an object with ``heights_um``, ``(B, n, S, X)``, and ``image``, ``(B, 1, S, Z, X)``."""


def controls(training: TrainingEyes) -> list[Answer]:
    """Controls from the training eyes: median surfaces, mean volume, and the eye with the nearest photo.

    The first two do not use the photo. A model that is no better has not learned to read it.

    Args:
        training: the training eyes.

    Returns:
        The three controls.
    """

    def surfaces(batch: Batch) -> Given:
        return Given.of_heights(training.median_heights_um(batch["laterality"]), batch)

    def average(batch: Batch) -> Given:
        return Given.placed(training.mean(batch["laterality"], batch["spacing_z_mm"]), batch)

    def nearest(batch: Batch) -> Given:
        other = training.batch(training.nearest(batch["fundus"]), batch["spacing_z_mm"])
        return Given.placed(other["aligned"], batch)

    return [Answer(MEDIAN_SURFACES, surfaces), Answer(MEAN, average), Answer(NEAREST, nearest)]


def model_answers(models: Mapping[str, VolumeModel], photo_of_another: OtherPhoto, seed: int) -> list[Answer]:
    """Three answers of each model: as it is, without noise, and with the photos of other patients.

    Args:
        models: models by name.
        photo_of_another: see :func:`shuffled`.
        seed: seed of the noise, which also depends on the key of the eye.

    Returns:
        The answers.
    """

    def right(model: VolumeModel) -> Callable[[Batch], Given]:
        return lambda batch: _draw(model, batch["fundus"], batch, _noise(model, batch, seed))

    def silent(model: VolumeModel) -> Callable[[Batch], Given]:
        return lambda batch: _draw(model, batch["fundus"], batch, NoNoise())

    answers = []
    for name, model in models.items():
        own = Answer(name, right(model), as_set=True)
        answers += [own, Answer(name + NOISE_OFF, silent(model)), shuffled(own, photo_of_another)]
    return answers


def shuffled(answer: Answer, photo_of_another: OtherPhoto) -> Answer:
    """The same answer, given the photos of other patients.

    The scan lies around the fovea of the photo that is shown. An answer that were given the grid of its own
    photo would be worse only because the scan misses that fovea, even if it knew nothing of the eye.

    Args:
        answer: an answer that reads the photos.
        photo_of_another: gives for the key of an eye the photo of another patient's eye of the same side, see
            :func:`~fund2oct.evaluation.answers.others.other_eyes`, and all that belongs to it: ``fundus``,
            ``grid`` and masks, as entries of a batch without the dimension of the batch.

    Returns:
        The answer.
    """

    def give(batch: Batch) -> Given:
        found = [photo_of_another(key) for key in batch["key"]]
        given = {name: torch.stack([one[name] for one in found]).to(batch["fundus"]) for name in found[0]}
        return answer.give(cast(Batch, {**batch, **given}))

    return replace(answer, name=answer.name + SHUFFLED, give=give)


def surface_answers(
    name: str, model: PredictsSurfaces, training: TrainingEyes | None, seed: int
) -> list[Answer]:
    """Answers with the surfaces of a model: alone, and with tissue of training eyes.

    Args:
        name: name of the model.
        model: a model that predicts :data:`fund2oct.retina.SURFACES`.
        training: eyes whose tissue is used; None leaves these answers out.
        seed: seed of the choice of these eyes.

    Returns:
        The answers.
    """

    def surfaces(batch: Batch) -> Given:
        return _median_surfaces(model, batch, **_known(model, batch))

    def heights_um(batch: Batch) -> Tensor:
        found = model.surfaces(batch["fundus"], batch["grid"], **_known(model, batch))
        median_um: Tensor = found.median_um
        return median_um

    answers = [Answer(name + OF_SURFACES, surfaces)]
    if training is None:
        return answers
    answers.append(retrieval(name, training, heights_um))
    if not isinstance(model, DrawsAnatomy):
        return answers

    def predict(batch: Batch) -> Predicted:
        given = batch["fundus"], batch["grid"], batch["spacing_z_mm"]
        anatomy = model.anatomy(*given, **_known(model, batch))
        return Predicted(anatomy.heights_um, anatomy.image)

    return [*answers, borrowed_residual(name, training, predict, seed)]


def told_otherwise(name: str, model: PredictsSurfaces, eyes: EyeSet) -> list[Answer]:
    """The median surfaces of a model that is told metadata or masks, told those of other patients, and none.

    Args:
        name: name of the model.
        model: a model that predicts surfaces.
        eyes: all test eyes.

    Returns:
        Two answers for metadata, two for masks; none for a model that is told nothing but photos. What is
        shuffled must not help, and what is missing must not harm.
    """
    if not isinstance(model, VolumeModel):
        return []
    other = _others_of_either_side(eyes)

    def of_others(batch: Batch) -> Known:
        found = [model.known(eyes.batch(other[key]))["known"] for key in batch["key"]]
        return Known(*(None if one[0] is None else torch.cat(one) for one in zip(*found, strict=True)))

    def shuffled(part: str) -> Callable[[Batch], Given]:
        return lambda batch: _median_surfaces(
            model, batch, _known(model, batch)["known"]._replace(**{part: getattr(of_others(batch), part)})
        )

    def without(part: str) -> Callable[[Batch], Given]:
        return lambda batch: _median_surfaces(
            model, batch, _known(model, batch)["known"]._replace(**{part: None})
        )

    answers = []
    for part, ends in TOLD_OTHERWISE.items():
        if getattr(model, part):
            gives = shuffled(part), without(part)
            answers += [Answer(name + end, give) for end, give in zip(ends, gives, strict=True)]
    return answers


def _others_of_either_side(eyes: EyeSet) -> dict[str, str]:
    """For each eye another patient's, by their keys.

    The side is among what a model may be told, and in many files right and left eyes alternate. Of eyes in a
    random order half of the others are of the other side.
    """
    order = torch.randperm(len(eyes.keys), generator=torch.Generator().manual_seed(0)).tolist()
    keys, patients = ([column[number] for number in order] for column in (eyes.keys, eyes.patients))
    others = other_eyes(patients, [""] * len(patients))
    return {key: keys[number] for key, number in zip(keys, others, strict=True)}


def _median_surfaces(model: PredictsSurfaces, batch: Batch, known: Known | None = None) -> Given:
    told = {} if known is None else {"known": known}
    found = model.surfaces(batch["fundus"], batch["grid"], **told)
    heights_um = found.median_um[:, [SURFACES.index(surface) for surface in ("ILM", "RPE", "BM")]]
    return Given.of_heights(heights_um, batch, thickness_interval_um(found))


def _known(model: Any, batch: Batch) -> dict[str, Any]:
    return model.known(batch) if isinstance(model, VolumeModel) else {}


def _noise(model: VolumeModel, batch: Batch, seed: int) -> NoiseSource:
    return NoiseSource.of_keys(batch["key"], seed, model.device)


def _draw(model: VolumeModel, fundus: Tensor, batch: Batch, rng: NoiseSource) -> Given:
    n_depth = batch["volume"].shape[3]
    drawn = model(fundus, batch["grid"], n_depth, rng=rng, **_known(model, batch))
    return Given.placed(in_rows_of_eyes(drawn, model, batch), batch)


def in_rows_of_eyes(drawn: Tensor, model: VolumeModel, batch: Batch) -> Tensor:
    """Bring volumes that a model drew from the rows of its training to those of the eyes of a batch.

    Called with photos and places alone, a model draws in the rows of its training, however deep the frame of
    an eye is. Read in the rows of a frame that is 10% deeper, a retina of 280 micrometres would have 308.

    Args:
        drawn: volumes in the aligned frame, in [0, 1], shape ``(B, 1, S, Z, X)``.
        model: what drew them.
        batch: the eyes.

    Returns:
        Shape of ``drawn``; before a training, when a model has no rows of its own, the same volumes.
    """
    spacing, rows_mm = batch["spacing_z_mm"], model.spacing_z_mm(drawn.shape[3])
    return drawn if math.isnan(rows_mm) else with_rows(drawn, torch.full_like(spacing, rows_mm), spacing)
