"""The eyes that may judge a model: those that it has not been trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.loading.regularity import usable_eyes
from fund2oct.data.loading.split import EyeName, HeldOut
from fund2oct.data.masks.networks import vessels_of, with_vessels
from fund2oct.data.masks.stored import which_hold
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.data.preparing.slices import kept_lines
from fund2oct.data.store.patients import one_name_each
from fund2oct.data.store.shards import EyePaths
from fund2oct.evaluation.answers.others import one_patient_note, other_eyes
from fund2oct.evaluation.protocol import SEVERAL_SCANS
from fund2oct.eye import DataError
from fund2oct.geometry import ScanPattern
from fund2oct.models import Batch, Task, VolumeModel
from fund2oct.models.batch import to_device


class HeldOutEyes:
    """The test eyes of a datamodule, see :class:`fund2oct.evaluation.compare.EyeSet`.

    Args:
        datamodule: a datamodule that was set up.
        device: of the batches.
        most: eyes at most; None takes all.
    """

    def __init__(
        self, datamodule: FundusOCTDataModule, device: torch.device, most: int | None = None
    ) -> None:
        dataset = datamodule.test_dataset if most is None else datamodule.some_test_eyes(most)
        self.keys = dataset.keys
        # Not the datamodule's own: in a training of several processes that gives each a share. Eyes are
        # measured more slowly than two processes read them, and each process holds batches that wait.
        n_workers = min(datamodule.num_workers, 2)
        self._loader = DataLoader(dataset, datamodule.batch_size, num_workers=n_workers)
        self.n_batches = len(self._loader)
        self._dataset, self._device = dataset, device
        self._vessels = vessels_of(datamodule.vessel_network)
        self._reader = EyeReader(datamodule.path)
        with self._reader:
            infos = [self._reader.info(key) for key in self.keys]
        scans = {kept_lines(info.scan, dataset.shape[0])[1] for info in infos if info.scan}
        self.scan: ScanPattern | None = scans.pop() if len(scans) == 1 else None
        self.notes: list[str] = [SEVERAL_SCANS] if self.scan is None else []
        n_all = datamodule.n_eyes_of("test")
        if len(self.keys) < n_all:
            self.notes.append(
                f"These are {len(self.keys)} of the {n_all} test eyes, of as many patients as can be: "
                "`fund2oct evaluate` judges all."
            )
        self.has_rescan = all("rescan" in info.arrays for info in infos)
        # A label map cannot be resized as a picture is.
        self._labelled = all(info.arrays.get("lesions") == dataset.shape for info in infos)
        self.patients = tuple(one_name_each([info.patient for info in infos]))
        self.notes += one_patient_note(self.patients)
        self._others = other_eyes(self.patients, [info.laterality for info in infos])

    def batches(self) -> Iterator[Batch]:
        """All eyes."""
        yield from map(self._prepared, self._loader)

    def batch(self, key: str) -> Batch:
        """One eye."""
        return self._prepared(default_collate([self._dataset[self.keys.index(key)]]))

    def photo_of_another(self, key: str) -> dict[str, Tensor]:
        """The photo of another patient's eye, under this eye's scan, with the masks of that photo.

        Which eye that is, :func:`fund2oct.evaluation.answers.others.other_eyes` says. Its fovea may lie
        elsewhere on its photo: the scan lies there as this eye's scan lies on its own.

        Args:
            key: of an eye.

        Returns:
            Entries of a batch of one eye, by name, without the dimension of the batch.
        """
        number = self.keys.index(key)
        given = self._dataset.photo_under(self._others[number], number)
        batch = {name: value[None].to(self._device) for name, value in given.items()}
        return {name: value[0] for name, value in with_vessels(batch, self._vessels).items()}

    def _prepared(self, batch: Batch) -> Batch:
        if self._labelled:
            labels = [self._reader.array(key, "lesions") for key in batch["key"]]
            batch["lesions"] = torch.stack([torch.from_numpy(label) for label in labels])
        return VolumeModel.prepare(with_vessels(to_device(batch, self._device), self._vessels))


@dataclass(frozen=True)
class UnseenEyes:
    """The eyes of files that may judge models.

    Args:
        keys: of these eyes.
        names: of all eyes that could be used, those of the training among them.
        preparation: what is done to photos and volumes, as in the training.
        masks: names of the masks of the models that some of the eyes have in their files.
        notes: how the eyes were chosen and prepared, for the report.
    """

    keys: tuple[str, ...]
    names: Sequence[EyeName]
    preparation: Preparation
    masks: tuple[str, ...]
    notes: list[str]


def unseen_eyes(
    models: Mapping[str, VolumeModel],
    data: EyePaths,
    name: str,
    shape: tuple[int, int, int] | None = None,
    keys: Iterable[str] | None = None,
    least: int = 1,
) -> UnseenEyes:
    """Find the eyes of files that none of the models was trained on.

    Args:
        models: by name, each with its task.
        data: the files.
        name: of the files, for the words.
        shape: ``(S, Z, X)`` that volumes are brought to; None keeps them as they are.
        keys: eyes to choose from; None takes all.
        least: eyes that are needed.

    Raises:
        DataError: if a file cannot be used, or fewer eyes are left.
        ValueError: if the models were trained with several preparations, or cannot read what is
            known of an eye.
    """
    preparation = common_preparation(models)
    with EyeReader(data) as reader:
        every, digest = EyeIndex.read(reader, keys), reader.digest()
    usable, left_out = usable_eyes(every, "pairs", shape, name)
    index = every.subset(np.flatnonzero(usable))
    names = index.names()
    chosen = choose_eyes(models, names, digest, name, least)
    judging = index.of_keys(chosen.keys)
    known = judging.known_by_key()
    for model in models.values():
        task_of(model).conditions.check(known, name)
    notes = [chosen.how, *(f"{note}." for note in left_out)]
    notes += preparation_notes(preparation, *index.prepared.mean(0).tolist())
    wanted = sorted({mask for model in models.values() for mask in model.undrawn_masks})
    there = which_hold(judging.masks, wanted)
    masks = tuple(mask for number, mask in enumerate(wanted) if there[:, number].any())
    return UnseenEyes(chosen.keys, names, preparation, masks, notes)


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
