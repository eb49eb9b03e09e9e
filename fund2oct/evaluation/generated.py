"""Volumes that a model draws for the photos of a file, as it would for anybody's photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fund2oct.data.formats.images import resize
from fund2oct.data.preparing.photo import resize_photo
from fund2oct.data.store.reader import EyeWriter
from fund2oct.evaluation.sources import VolumeSource
from fund2oct.eye import Array, DataError, Eye
from fund2oct.models import VolumeModel
from fund2oct.models.predicting.generate import generate
from fund2oct.progress import with_progress


def write_generated(model: VolumeModel, real: VolumeSource, path: Path, seed: int = 0) -> None:
    """Draw a volume for each eye and write them to a file, at the size of the real ones.

    Nothing but photo and scan lines of the real eye is used, and what the model is told of eyes: the pose is
    sampled, as by ``fund2oct predict``.

    Args:
        model: from :func:`fund2oct.models.load_model`.
        real: eyes of files, each with its photo.
        path: the file to make.
        seed: seed of the speckle and of the poses.

    Raises:
        DataError: if an eye has another number of slices than the model draws.
    """
    with EyeWriter(path) as writer:
        for key in with_progress(real.keys, len(real.keys), "generating volumes"):
            eye = real.read(key).eye
            assert eye is not None  # pictures, which hold no photos, are refused before
            writer.add(_answer(model, eye, f"{real.name}: eye {key!r}", seed))


def _answer(model: VolumeModel, eye: Eye, where: str, seed: int) -> Eye:
    assert model.task is not None and eye.scan is not None
    assert eye.fundus is not None and eye.volume is not None
    n_slices, n_depth, _ = model.shape
    if eye.scan.n_slices != n_slices:
        raise DataError(f"{where}: expected the model's {n_slices} slices, found {eye.scan.n_slices}")
    fundus = resize_photo(eye.fundus, model.task.fundus_px)
    known = model.known_of(replace(eye, fundus=fundus))
    volume, pose_um = generate(model, fundus, eye.scan, eye.placement, eye.key, seed, **known)
    _, rows, columns = eye.volume.shape
    _, z_mm, _ = model.task.spacing_mm
    return replace(
        eye,
        fundus=fundus,
        volume=_resized(volume, rows, columns),
        pose_um=pose_um,
        spacing_mm=(eye.spacing_mm[0], z_mm * n_depth / rows, eye.spacing_mm[2]),
        rescan=None,
        boundaries_um=None,
        lesions=None,
        lesion_fundus=None,
        masks=None,
        mask_names=(),
        surfaces_um=None,
        surface_confidence=None,
    )


def _resized(volume: Array, rows: int, columns: int) -> Array:
    return np.stack([resize(bscan, rows, columns) for bscan in volume])
