"""Which eyes may judge a model: those that it has not been trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fund2oct.data.loading.split import EyeName, HeldOut
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.eye import DataError
from fund2oct.models import Task, VolumeModel


def choose_eyes(
    models: Mapping[str, VolumeModel], names: Sequence[EyeName], digest: str, path: str, least: int = 1
) -> HeldOut:
    """Choose the eyes of a file that none of the models was trained on.

    Args:
        models: by name, each with its task.
        names: the eyes of the file.
        digest: of the file.
        path: of the file, for the words.
        least: eyes that are needed.

    Raises:
        DataError: if fewer are left.
    """
    chosen = {name: task_of(model).seen.held_out(names, digest, path) for name, model in models.items()}
    allowed = set.intersection(*(set(held.keys) for held in chosen.values()))
    keys = tuple(name.key for name in names if name.key in allowed)
    if len(set(held.how for held in chosen.values())) == 1:
        how = next(iter(chosen.values())).how
    else:
        how = " ".join(f"{name}: {held.how}" for name, held in chosen.items())
        how += f" Of these eyes the {len(keys)} are taken that no model was trained on."
    if len(keys) < least:
        raise DataError(
            f"{path}: expected at least {least} eyes that the model was neither trained nor validated on, "
            f"found {len(keys)} of {len(names)}; give eyes that it has not seen, under names of their own. "
            f"{how}"
        )
    return HeldOut(keys, how)


def common_preparation(models: Mapping[str, VolumeModel]) -> Preparation:
    """The preparation that all models were trained with, whatever the width of the photos in their files.

    Raises:
        ValueError: if they differ.
    """
    found = {name: replace(task_of(model).preparation, photo_px=0) for name, model in models.items()}
    if len(set(found.values())) > 1:
        each = "; ".join(f"{name}: {preparation}" for name, preparation in found.items())
        raise ValueError(
            f"checkpoints: expected models of one preparation of photos and volumes, found {each}; "
            "evaluate them apart"
        )
    return next(iter(found.values()))


def preparation_notes(preparation: Preparation, photos_done: float, volumes_done: float) -> list[str]:
    """What a reader has to know of how photos and volumes were prepared.

    Args:
        preparation: the models'.
        photos_done: share of the file's photos whose light was evened at import.
        volumes_done: share of its volumes that were brought to common levels at import.
    """
    notes = []
    if preparation.even_light:
        notes.append("The photos' light is evened, as in the training.")
    elif photos_done:
        notes.append(
            f"**{photos_done:.0%} of the photos had their light evened at import, those of the training "
            "had not: the models see other inputs.**"
        )
    if preparation.even_levels:
        notes.append("The volumes are brought to common levels, as in the training.")
    elif volumes_done:
        notes.append(
            f"**{volumes_done:.0%} of the volumes were brought to common levels at import, those of the "
            "training were not: generated and real volumes differ in their levels.**"
        )
    return notes


def task_of(model: VolumeModel) -> Task:
    """The model's task, which a loaded or trained one has."""
    if model.task is None:
        raise ValueError("model: knows nothing of its data; load it with fund2oct.models.load_model")
    return model.task
