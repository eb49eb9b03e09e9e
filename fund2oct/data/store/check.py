"""``fund2oct check``: what is wrong with a file of eyes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from fund2oct.data.store.patients import one_name_each
from fund2oct.data.store.reader import EyeReader
from fund2oct.data.store.shards import EyePaths, Shard, find_shards
from fund2oct.eye import Array, DataError, Eye
from fund2oct.plausible import check_half_width, check_spacing
from fund2oct.progress import with_progress
from fund2oct.retina.layers import SURFACES
from fund2oct.retina.pose import pose_surface_um

_LEAST_KNOWN = 0.25
_FROM_POSE_UM = 150.0


def check_file(path: EyePaths) -> list[str]:
    """Read every array of every eye, and verify all checksums.

    Beyond the schema, it reports what would spoil training unseen: blank pictures, a volume without its
    pose, a pose outside the frame, surfaces that are hardly found, leave the frame or belong to
    another pose, an eye that is in two files, and one photo under two patients, which a split would put
    on both sides.

    Args:
        path: a file, a folder or pattern of files, or several of these.

    Returns:
        A line for each problem; empty for a sound file.

    Raises:
        DataError: if there is no such file, or a folder or pattern names none.

    Example:
        >>> check_file("eyes.h5")  # nothing is wrong with it
        []
    """
    found: list[str] = []
    files: dict[str, Path] = {}
    owners: dict[bytes, tuple[str, str]] = {}
    for file in find_shards(path):
        try:
            found += _file_problems(file, files, owners)
        except DataError as error:
            if not file.is_file():
                raise
            found.append(str(error))
    return found


def _file_problems(path: Path, files: dict[str, Path], owners: dict[bytes, tuple[str, str]]) -> Iterator[str]:
    shard = Shard(path)
    try:
        keys = shard.listed
        try:
            shard.keys  # noqa: B018  # verified where it is asked for
        except DataError as error:
            yield str(error)
    finally:
        shard.close()
    if not keys:
        yield f"{path}: holds no eyes"
    with EyeReader(path) as reader:
        for key in with_progress(keys, len(keys), f"checking {path.name}"):
            if files.setdefault(key, path) != path:
                yield f"{path}: eye {key!r}: is in {files[key]} as well; keys are unique in a data set"
            try:
                eye = reader.read(key)
            except DataError as error:
                yield str(error)
                continue
            yield from (f"{path}: eye {key!r}: {line}" for line in _eye_problems(eye))
            if eye.fundus is None:
                continue
            photo = hashlib.sha256(eye.fundus.tobytes()).digest()
            first, patient = owners.setdefault(photo, (key, eye.patient))
            if len(set(one_name_each([patient, eye.patient]))) > 1:
                yield (
                    f"{path}: eye {key!r}: patient {eye.patient!r} has the photo of eye {first!r}, "
                    f"whose patient is {patient!r}"
                )


def _eye_problems(eye: Eye) -> list[str]:
    found = []
    if eye.fundus is not None and eye.fundus.min() == eye.fundus.max():
        found.append("fundus: the photo is of one colour")
    found += _implausible(eye)
    if eye.volume is None:
        return found
    blank = [str(number) for number, bscan in enumerate(eye.volume) if bscan.min() == bscan.max()]
    if blank:
        found.append(f"volume: blank slices {', '.join(blank)}")
    if eye.pose_um is None:
        return [
            *found,
            "pose_um: a volume needs its pose to be trained on, found none; "
            "`fund2oct surfaces OLD.h5 NEW.h5` finds it",
        ]
    _, n_depth, n_ascans = eye.volume.shape
    depth_um = 1000 * eye.spacing_mm[1] * n_depth
    surface_um = pose_surface_um(torch.from_numpy(eye.pose_um), n_ascans).numpy()
    outside = np.flatnonzero(((surface_um < 0) | (surface_um > depth_um)).mean(-1) > 0.5)
    if outside.size:
        found.append(
            f"pose_um: expected the outer retina between 0 and {depth_um:.0f} micrometres, "
            f"found it outside the frame in slices {', '.join(map(str, outside))}"
        )
    # A generated volume has none, and a dataset that wants them says so itself.
    if eye.surfaces_um is not None and len(blank) < len(eye.volume):
        found += _surface_problems(eye.surfaces_um, surface_um, depth_um)
    return found


def _implausible(eye: Eye) -> list[str]:
    found = []
    try:
        if eye.shape is not None:
            check_spacing(eye.shape, eye.spacing_mm)
    except DataError as error:
        found.append(str(error))
    try:
        if eye.fundus is not None:
            check_half_width(eye.placement.half_width_mm)
    except DataError as error:
        found.append(f"placement: {error}")
    return found


def _surface_problems(surfaces_um: Array, pose_surface_um: Array, depth_um: float) -> list[str]:
    """What is wrong with surfaces ``(n, S, X)``, with the pose's surface ``(S, X)``."""
    known = np.isfinite(surfaces_um).all(0)
    if known.mean() < _LEAST_KNOWN:
        return [
            f"surfaces_um: found at {known.mean():.0%} of the A-scans, expected at least "
            f"{_LEAST_KNOWN:.0%}; the search does not follow this volume, leave the eye out"
        ]
    found = []
    middle = surfaces_um[:, known]
    for name, share in zip(SURFACES, ((middle < 0) | (middle > depth_um)).mean(-1), strict=True):
        if share > 0.5:
            found.append(
                f"surfaces_um: expected {name} between 0 and {depth_um:.0f} micrometres, "
                f"found it outside the frame at {share:.0%} of the A-scans"
            )
    # Bruch's membrane stays on the pose's surface, or close to it, whatever lifts the epithelium.
    apart = np.where(known, np.abs(surfaces_um[SURFACES.index("BM")] - pose_surface_um), np.nan)
    far = [
        (number, float(np.nanmedian(line)))
        for number, line in enumerate(apart)
        if np.isfinite(line).any() and np.nanmedian(line) > _FROM_POSE_UM
    ]
    if far:
        found.append(
            f"surfaces_um: expected BM within {_FROM_POSE_UM:.0f} micrometres of the pose's surface, found "
            + ", ".join(f"{median:.0f} in slice {number}" for number, median in far)
        )
    return found
