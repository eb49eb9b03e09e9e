"""How good models are, between their floors and their controls.

A score alone says little. Beside the model stand

* the *floors*: a rescan of the same eye, with other speckle and nothing else changed; and of
  simulated eyes *twins*, which have the same photo and other hidden anatomy: one of them, and the median of
  many, the least error that a model can have;
* the *median surfaces* and the *mean volume* of the training eyes, answers that need no photo;
* the *nearest photo*: the volume of the training eye whose photo is most alike;
* the model with its *noise off*, which must not draw one pattern in all eyes;
* the model given *shuffled photos*, those of other patients' eyes of the same side: it must get worse; if it
  does not, it ignores its photo, or answers the wrong way;
* a model that is told metadata, or masks of the photo, with those of other patients (*shuffled*) and with
  *none*: the first must not help, the second must not harm.

All volumes are put at the real scan's pose before they are compared as they lie.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fund2oct.by_path import listed
from fund2oct.data import FundusOCTDataModule
from fund2oct.evaluation.answers.answer import SHUFFLED, Answer
from fund2oct.evaluation.answers.controls import (
    controls,
    model_answers,
    shuffled,
    surface_answers,
    told_otherwise,
)
from fund2oct.evaluation.answers.floors import MEDIAN_OF_TWINS, ONE_TWIN, rescan, twin_answers
from fund2oct.evaluation.answers.training_eyes import TrainingEyes
from fund2oct.evaluation.answers.twins import twins_of_test_eyes
from fund2oct.evaluation.compare import compare
from fund2oct.evaluation.distances import CHEAP, DEFAULT, Wanted, build_distances
from fund2oct.evaluation.held_out import HeldOutEyes, task_of, unseen_eyes
from fund2oct.evaluation.own import LoadedEyes, Own
from fund2oct.evaluation.report.folder import check_report_folder, write_report
from fund2oct.evaluation.report.pictures import Picture
from fund2oct.evaluation.report.reliability import measure_reliability
from fund2oct.models import VolumeModel, load_model
from fund2oct.models.checkpoint import import_class
from fund2oct.models.thickness import PredictsSurfaces
from fund2oct.processes import processes_beside
from fund2oct.visual.style import known_figure_formats

_STATEMENT = (
    "The answers are put at the real scan's pose before they are compared as they lie: the pose is not "
    "in the photo. The aligned columns compare in the frame flattened on the outer retina, over the "
    "voxels that were scanned."
)

_NOTHING = Own()


def evaluate(
    models: Mapping[str, VolumeModel],
    datamodule: Any,
    out: str | Path,
    seed: int = 0,
    distances: Wanted = CHEAP,
    notes: Sequence[str] = (),
    own: Own = _NOTHING,
    pictures: Sequence[Picture] = (),
    figure_formats: str | Sequence[str] = (),
    only: Collection[str] | None = None,
    n_eyes: int | None = None,
) -> dict[str, Any]:
    """Compare models with their controls on the test eyes, and write the report.

    Args:
        models: models by name, in evaluation mode.
        datamodule: a datamodule that was set up. Its test eyes are evaluated, and its training eyes give the
            controls. If it is not a :class:`fund2oct.data.FundusOCTDataModule`, its ``test_dataloader()`` is
            evaluated without these controls.
        out: folder of the report. It gets ``report.html`` and ``report.md``, the pictures, and
            ``metrics.json`` with all values of all eyes.
        seed: seed of the models' noise and of the draws of the distances.
        distances: distances between the sets; the default takes little time.
        notes: what a reader of the report has to know, such as how the eyes were chosen.
        own: measures and answers of your own.
        pictures: further pictures, such as the curves of the training.
        figure_formats: formats in which the figures are written too, see
            :data:`fund2oct.visual.FIGURE_FORMATS`.
        only: names of the answers that are measured, as they stand in a report; None measures all. Floors and
            controls do not depend on the models, and take most of the time of a report on few of them. Where
            a choice is made, the models' intervals are not measured either, nor the distances of what they
            answer to shuffled photos, unless the distances are thorough.
        n_eyes: test eyes at most, of as many patients as can be; None takes all. It does not hold for a
            datamodule of your own.

    Returns:
        The content of ``metrics.json``.

    Raises:
        ValueError: if ``only`` names no answer that there is.

    Example:
        >>> from fund2oct.data import FundusOCTDataModule
        >>> datamodule = FundusOCTDataModule("eyes.h5")
        >>> datamodule.setup("test")  # doctest: +SKIP
        >>> found = evaluate({"mine": load_model("model.ckpt")}, datamodule, "report")  # doctest: +SKIP
        >>> found["protocol"]["n_eyes"]  # doctest: +SKIP
        96
    """
    device = next(iter(models.values())).device
    of_file = isinstance(datamodule, FundusOCTDataModule)
    eyes = HeldOutEyes(datamodule, device, n_eyes) if of_file else LoadedEyes(datamodule, device)
    usual_scan = datamodule.scan if of_file else eyes.scan
    chosen = build_distances(distances, usual_scan, len(eyes.keys), device, seed)
    n_train = datamodule.n_eyes_of("train") if of_file else 0
    notes = [*notes, *eyes.notes, *own.notes()]
    if not n_train:
        where = "The file holds" if of_file else "A datamodule of your own shows"
        notes.append(f"{where} no training eyes: the controls that answer with them are left out.")
    at_hand = masks_at_hand(datamodule) if of_file else set[str]()
    notes += [note for name, model in models.items() if (note := missing_note(name, model, at_hand))]
    with processes_beside(len(eyes.keys)) as pool:
        answers = _floors(eyes, datamodule, pool, only) if isinstance(eyes, HeldOutEyes) else []
        training = TrainingEyes(datamodule, device) if n_train else None
        if training is not None:
            answers += controls(training)
        for name, model in models.items():
            if isinstance(model, PredictsSurfaces):
                of_surfaces = surface_answers(name, model, training, seed)
                answers += of_surfaces
                if isinstance(eyes, HeldOutEyes):
                    answers += told_otherwise(name, model, eyes)
                if not model.draws_volumes:  # all that it says has to depend on the photo
                    answers += [shuffled(answer, eyes.photo_of_another) for answer in of_surfaces]
        drawing = {name: model for name, model in models.items() if model.draws_volumes}
        answers += [*own.answers, *model_answers(drawing, eyes.photo_of_another, seed)]
        answers = _chosen(answers, only)
        if distances.thorough:
            answers = [replace(answer, as_set=True) for answer in answers]
        found = compare(eyes, answers, chosen, pool, own.measures)
    protocol = {
        "name": "held-out eyes",
        "statement": _STATEMENT,
        "data": str(datamodule.path) if of_file else type(datamodule).__name__,
        "n_eyes": len(eyes.keys),
        "n_train": n_train,
        "shape": list(next(iter(models.values())).shape),
        "seed": seed,
        "notes": notes,
    }
    named = {name: model for name, model in drawing.items() if name in found.eyes}
    shown = {name: model.task.provenance() if model.task else "" for name, model in named.items()}
    reliability = measure_reliability(models, eyes, seed) if only is None else {}
    return write_report(
        Path(out), protocol, eyes, answers, found, shown, pictures, figure_formats, reliability
    )


def _floors(
    eyes: HeldOutEyes, datamodule: FundusOCTDataModule, pool: Executor, only: Collection[str] | None
) -> list[Answer]:
    """The same eyes again, where they have a rescan, and their twins, where they are simulated."""
    answers = [rescan()] if eyes.has_rescan else []
    if only is not None and not {ONE_TWIN, MEDIAN_OF_TWINS} & {*only}:
        return answers
    twins = twins_of_test_eyes(datamodule, pool, eyes.keys)
    return [*answers, *twin_answers(twins)] if twins is not None else answers


def _chosen(answers: Sequence[Answer], only: Collection[str] | None) -> list[Answer]:
    chosen = [answer for answer in answers if only is None or answer.name in only]
    if not chosen:
        there = ", ".join(repr(answer.name) for answer in answers)
        raise ValueError(f"only: expected names of answers out of {there}, found {sorted(only or ())}")
    if only is None:
        return chosen
    return [replace(one, as_set=one.as_set and not one.name.endswith(SHUFFLED)) for one in chosen]


def evaluate_checkpoints(
    checkpoints: str | Path | Sequence[str | Path],
    data: str,
    out: str | Path,
    model: str | Sequence[str] = (),
    distances: Wanted = DEFAULT,
    seed: int = 0,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    own: Own = _NOTHING,
    figure_formats: str | Sequence[str] = (),
    mask_networks: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
) -> dict[str, Any]:
    """Evaluate checkpoints on eyes of a file that they were not trained on; see :func:`evaluate`.

    Of the file that a model was trained on these are the test eyes of its own split. Of another file, eyes
    that the model was trained or validated on, by key, patient or photo, are left out. Photos and volumes
    are prepared as in the training.

    Args:
        checkpoints: one or several, of models with the same volume shape, photo size and preparation.
        data: the file of eyes.
        out: folder of the report, see :func:`evaluate`.
        model: import paths of your own models' classes. Each checkpoint takes the one that it names.
        distances: distances between the sets.
        seed: seed of the models' noise and of the draws of the distances.
        device: device on which the models run.
        overwrite: True to replace an earlier report in ``out``.
        own: measures and answers of your own.
        figure_formats: formats in which the figures are written too, see
            :data:`fund2oct.visual.FIGURE_FORMATS`.
        mask_networks: networks that draw the masks that the models were trained with, by name.
        only: names of the answers that are measured, see :func:`evaluate`.

    Returns:
        The content of ``metrics.json``.

    Raises:
        fund2oct.data.DataError: if the file cannot be used, or the models were trained on all its eyes.
        ValueError: if the models cannot be compared.

    Example:
        >>> found = evaluate_checkpoints(["model.ckpt"], "eyes.h5", "report")  # doctest: +SKIP
        >>> sorted(path.name for path in Path("report").glob("report.*"))  # doctest: +SKIP
        ['report.html', 'report.md']
    """
    figure_formats = known_figure_formats(figure_formats)  # before hours of measuring
    check_report_folder(Path(out), overwrite)
    classes = [import_class(path) for path in listed(model)]
    models: dict[str, VolumeModel] = {}
    for checkpoint in listed(checkpoints):
        name = _unique_name(Path(checkpoint), models)
        models[name] = load_model(checkpoint, classes, device)
    draw_masks(list(models.values()), mask_networks or {})
    shape = next(iter(models.values())).shape
    fundus_px = {loaded.task.fundus_px for loaded in models.values() if loaded.task}
    if any(loaded.shape != shape for loaded in models.values()) or len(fundus_px) > 1:
        raise ValueError("checkpoints: expected models of one volume shape and one photo size")
    found = unseen_eyes(models, data, data, shape)
    trained = set().union(*(task_of(model).seen.trained(found.names) for model in models.values()))
    datamodule = FundusOCTDataModule(
        data,
        volume_shape=shape,
        fundus_px=fundus_px.pop(),
        even_light=found.preparation.even_light,
        even_levels=found.preparation.even_levels,
        masks=found.masks,
        split={"train": sorted(trained - set(found.keys)), "val": [], "test": list(found.keys)},
    )
    datamodule.prepare_data()
    datamodule.setup()
    notes = found.notes
    if len(models) > 1:  # a name may be that of the run, of which several are given
        paths = zip(models, listed(checkpoints), strict=True)
        notes += [f"*{name}* is the checkpoint `{path}`." for name, path in paths]
    with torch.inference_mode():
        return evaluate(models, datamodule, out, seed, distances, notes, own, (), figure_formats, only)


def draw_masks(models: Sequence[VolumeModel], mask_networks: Mapping[str, str]) -> None:
    """Have each model's masks drawn by the networks that a user names.

    Raises:
        ValueError: if no model takes one of them.
    """
    taken = {mask for model in models for mask in model.masks}
    for name in mask_networks:
        if name not in taken:
            known = f"one of {', '.join(sorted(taken))}" if taken else "none, for no model here takes masks"
            raise ValueError(f"mask {name}: expected {known}")
    for model in models:
        model.draw_masks({name: path for name, path in mask_networks.items() if name in model.masks})


def masks_at_hand(datamodule: FundusOCTDataModule) -> set[str]:
    """Names of the masks that the batches of a datamodule hold."""
    return {*datamodule.masks, *(["vessels"] if datamodule.vessel_network else [])}


def missing_note(name: str, model: VolumeModel, at_hand: Set[str] = frozenset()) -> str:
    """What a reader of a report should know of masks that nothing draws; empty where there are none."""
    missing = [mask for mask in model.undrawn_masks if mask not in at_hand]
    if not missing:
        return ""
    return (
        f"{name} was trained with masks that are missing here, unless the batches hold them: "
        f"{', '.join(missing)}. Name their networks, as in `--mask {missing[0]}=NETWORK`."
    )


def _unique_name(checkpoint: Path, taken: Mapping[str, Any]) -> str:
    # runs/pix2vol/003/checkpoints/last.ckpt says more by its experiment than by its file.
    parents = checkpoint.resolve().parents
    named = parents[0].name == "checkpoints" and len(parents) > 2
    # A published folder has no ending: what follows a dot is of its name.
    own = checkpoint.stem if checkpoint.is_file() else checkpoint.absolute().name
    name = f"{parents[2].name} {parents[1].name}" if named else own
    return name if name not in taken else f"{name} ({len(taken) + 1})"
