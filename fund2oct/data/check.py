"""``fund2oct check``: what is in a file of eyes, and what is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch

from fund2oct.data.progress import with_progress
from fund2oct.data.schema import DataError, Eye
from fund2oct.data.store import EyeReader
from fund2oct.retina.pose import pose_surface_um


def check_file(path: str | os.PathLike[str]) -> list[str]:
    """Read every array of every eye.

    Beyond the schema, it reports what would spoil training unseen: blank pictures, a pose outside
    the frame, a volume without a pose, and one photo under two patients, which a split would put on
    both sides.

    Returns:
        A line for each problem; empty for a sound file.

    Raises:
        DataError: if the file as a whole cannot be read.
    """
    found = []
    owners: dict[bytes, Eye] = {}
    with EyeReader(path) as reader:
        if not reader.keys:
            return [f"{path}: holds no eyes"]
        for key in with_progress(reader.keys, len(reader.keys), "checking eyes"):
            try:
                eye = reader.read(key)
            except DataError as error:
                found.append(str(error))
                continue
            found += [f"{path}: eye {key!r}: {line}" for line in _eye_problems(eye)]
            if eye.fundus is None:
                continue
            first = owners.setdefault(hashlib.sha256(eye.fundus.tobytes()).digest(), eye)
            if first.patient != eye.patient:
                found.append(
                    f"{path}: eye {key!r}: patient {eye.patient!r} has the photo of eye {first.key!r}, "
                    f"whose patient is {first.patient!r}"
                )
    return found


def summarise_file(path: str | os.PathLike[str]) -> list[str]:
    """Describe a file in a few lines, without reading its pictures.

    Raises:
        DataError: if the file, or what describes an eye in it, cannot be read.
    """
    with EyeReader(path) as reader:
        infos = [reader.info(key) for key in reader.keys]
    volumes = [info for info in infos if "volume" in info.arrays]
    with_pose = sum("pose_um" in info.arrays for info in volumes)
    return [
        f"{path}: {len(infos)} eyes of {len({info.patient for info in infos})} patients",
        f"laterality: {_counts(info.laterality or 'not stated' for info in infos)}",
        f"diagnosis: {_counts(info.diagnosis or 'not stated' for info in infos)}",
        f"photo: {_counts(_size(info.arrays['fundus'][:2]) for info in infos if 'fundus' in info.arrays)}",
        f"volume (S, Z, X): {_counts(_size(info.arrays['volume']) for info in volumes)}; "
        f"{len(infos) - len(volumes)} without, {with_pose} with pose",
        f"scan: {_counts(info.scan.kind for info in infos if info.scan)}",
    ]


def _eye_problems(eye: Eye) -> list[str]:
    found = []
    if eye.fundus is not None and eye.fundus.min() == eye.fundus.max():
        found.append("fundus: the photo is of one colour")
    if eye.volume is None:
        return found
    blank = [str(number) for number, bscan in enumerate(eye.volume) if bscan.min() == bscan.max()]
    if blank:
        found.append(f"volume: blank slices {', '.join(blank)}")
    if eye.pose_um is None:
        return [*found, "pose_um: a volume needs its pose to be trained on, found none; import the eye again"]
    _, n_depth, n_ascans = eye.volume.shape
    depth_um = 1000 * eye.spacing_mm[1] * n_depth
    surface_um = pose_surface_um(torch.from_numpy(eye.pose_um), n_ascans).numpy()
    outside = np.flatnonzero(((surface_um < 0) | (surface_um > depth_um)).mean(-1) > 0.5)
    if outside.size:
        found.append(
            f"pose_um: expected the outer retina between 0 and {depth_um:.0f} micrometres, "
            f"found it outside the frame in slices {', '.join(map(str, outside))}"
        )
    return found


def _counts(values: Iterable[str]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in Counter(values).most_common()) or "none"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
