"""Answers that a model has to be compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.data import FundusOCTDataModule
from fund2oct.data.progress import with_progress
from fund2oct.models import Batch, Fake, VolumeGAN
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import align, aligned_mask, unalign

_PHOTO_PX = 32


@dataclass(frozen=True)
class Candidate:
    """An answer to the photos of a batch.

    Args:
        name: in tables and pictures.
        answer: gives the volumes for a batch, in the aligned frame and as they lie.
        as_set: whether the distances of its answers, as a set, from the real set are measured.
    """

    name: str
    answer: Callable[[Batch], Fake]
    as_set: bool = True


def controls(datamodule: FundusOCTDataModule, device: torch.device) -> list[Candidate]:
    """The floor, where the test eyes have a second rendering, the mean volume and the nearest photo.

    Args:
        datamodule: its training eyes, as they are, give the mean and the neighbours.
        device: where to answer.
    """
    dataset = datamodule.train_dataset
    photos, volumes = [], []
    total = torch.zeros(1, *datamodule.shape, device=device)
    count = torch.zeros_like(total)
    for index in with_progress(range(len(dataset)), len(dataset), "reading training eyes"):
        eye = dataset[index]
        volume = eye["volume"][None].to(device)
        where = eye["pose_um"][None].to(device), eye["spacing_z_mm"][None].to(device)
        aligned, mask = align(volume, *where)[0], aligned_mask(volume, *where)[0]
        total += aligned * mask
        count += mask
        photos.append(_thumbnail(eye["fundus"][None].to(device)))
        # As on disk: a training set of volumes in float32 may not fit the memory.
        volumes.append((aligned * 255).round().byte().cpu())
    mean = total / count.clamp(min=1)
    known = torch.cat(photos)

    def average(batch: Batch) -> Fake:
        return _placed(mean.expand(len(batch["volume"]), -1, -1, -1, -1), batch)

    def nearest(batch: Batch) -> Fake:
        distance = torch.cdist(_thumbnail(batch["fundus"]), known)
        found = torch.stack([volumes[i] for i in distance.argmin(1).tolist()])
        return _placed(found.to(device) / 255, batch)

    answers = [Candidate("mean volume", average), Candidate("nearest training photo", nearest)]
    return [second_rendering(), *answers] if "second" in datamodule.test_dataset[0] else answers


def second_rendering() -> Candidate:
    """The floor: the same eye scanned again, at the same pose."""

    def second(batch: Batch) -> Fake:
        other = batch["second"]
        return Fake(align(other, batch["pose_um"], batch["spacing_z_mm"]), other)

    return Candidate("floor: second rendering", second)


def model_candidates(
    models: Mapping[str, VolumeGAN], photos: Mapping[str, Tensor], seed: int
) -> list[Candidate]:
    """Each model, given the right photos and given those of other patients.

    The photos are shuffled by half the test set, so that none is that of the same patient's other
    eye, which follows it in the file.

    Args:
        models: by name.
        photos: of all test eyes by their key, in the order of the file, ``(3, H, H)``.
        seed: of the models' noise.
    """
    keys = list(photos)
    other = {key: keys[(i + len(keys) // 2) % len(keys)] for i, key in enumerate(keys)}

    def right(model: VolumeGAN) -> Callable[[Batch], Fake]:
        return lambda batch: _draw(model, batch["fundus"], batch, seed)

    def shuffled(model: VolumeGAN) -> Callable[[Batch], Fake]:
        def answer(batch: Batch) -> Fake:
            given = torch.stack([photos[other[key]] for key in batch["key"]])
            return _draw(model, given.to(batch["fundus"]), batch, seed)

        return answer

    answers = []
    for name, model in models.items():
        answers.append(Candidate(name, right(model)))
        answers.append(Candidate(f"{name}, shuffled photos", shuffled(model)))
    return answers


def _draw(model: VolumeGAN, fundus: Tensor, batch: Batch, seed: int) -> Fake:
    noise = NoiseSource.of_keys(batch["key"], seed, model.device)
    return _placed(model(fundus, batch["grid"], batch["volume"].shape[3], rng=noise), batch)


def _placed(aligned: Tensor, batch: Batch) -> Fake:
    return Fake(aligned, unalign(aligned, batch["pose_um"], batch["spacing_z_mm"]))


def _thumbnail(fundus: Tensor) -> Tensor:
    small = F.interpolate(fundus, (_PHOTO_PX, _PHOTO_PX), mode="bilinear", antialias=True)
    return small.flatten(1)
