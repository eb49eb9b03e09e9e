"""Real volumes beside those that answer for them, read from files, checked before any is measured."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from statistics import fmean
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fund2oct.data.preparing.photo import resize_photo
from fund2oct.data.store.patients import one_name_each
from fund2oct.evaluation.answers.others import one_patient_note, other_eyes
from fund2oct.evaluation.protocol import ASSUMED_DEPTH_MM, ASSUMED_SCAN, SEVERAL_SCANS, Protocol
from fund2oct.evaluation.sources import Scan, VolumeSource
from fund2oct.eye import Array, DataError, some_of
from fund2oct.geometry import ScanPattern
from fund2oct.models import Batch
from fund2oct.processes import Here, most_waiting
from fund2oct.progress import with_progress
from fund2oct.retina import align, aligned_mask, estimate_pose

Spacing = tuple[float, float, float]
_Poses = tuple[tuple[Array, bool], tuple[Array, bool]]
"""Of a real volume and its answer: the pose, ``(S, K)`` micrometres, and whether it is sure in all slices."""
_HERE = Here()


_OPTIONAL = ("fundus", "rescan", "boundaries_um", "lesions")
"""Arrays of the real eyes that are used if all eyes have them."""
_SAME_LENGTH = 0.02
_SAME_PLACE_MM = 0.1
_SAME_ROWS = 1e-3


class PairedEyes:
    """Eyes of a real source, each with the volume of the same name of a generated one.

    Every volume is read, checked and given its pose at once, so that a bad one is known before hours
    of measuring; they are read again when they are measured, so that none has to stay in memory.
    The poses of both sides come from one and the same search, whatever the files say.
    A batch holds what all real eyes have. Their photos are brought to the width of the first one.

    Args:
        real: what is to be answered.
        fake: the answers; others than those for the real eyes are left out.
        protocol: says which shape the volumes must have.
        device: where batches are put.
        batch_size: eyes in a batch.
        pool: processes that find the poses, while this one reads and checks the volumes.

    Raises:
        DataError: if there are fewer than two real eyes, an answer is missing, or a volume cannot be
            compared: of another size, of one grey value throughout a slice, not readable.
    """

    def __init__(
        self,
        real: VolumeSource,
        fake: VolumeSource,
        protocol: Protocol,
        device: torch.device,
        batch_size: int = 4,
        pool: Executor = _HERE,
    ) -> None:
        _check_keys(real, fake)
        self.keys = real.keys
        self._real, self._fake = real, fake
        self._device = device
        self._batch_size = batch_size
        self.n_batches = math.ceil(len(self.keys) / batch_size)
        first = real.read(self.keys[0])
        n_slices, n_depth, n_ascans = first.volume.shape
        shape = protocol.shape or (n_slices, n_depth, n_ascans)
        self.shape = shape
        self._checked, self._poses = _check_pairs(real, fake, shape, protocol.advice, pool)
        found = list(self._checked.values())
        self.patients = tuple(one_name_each([pair.patient for pair in found]))
        self._others = other_eyes(self.patients, [pair.laterality for pair in found])
        self._optional = frozenset.intersection(*(pair.optional for pair in found))
        self.has_rescan = "rescan" in self._optional
        self._photo_px = first.eye.fundus_px if first.eye else None
        scans = {pair.scan for pair in found}
        self.scan: ScanPattern | None = scans.pop() if len(scans) == 1 else None
        self.notes = [
            *one_patient_note(self.patients),
            *_notes(real, fake, found, list(self._poses.values())),
        ]

    def batches(self) -> Iterator[Batch]:
        """All eyes, a few at a time."""
        for start in range(0, len(self.keys), self._batch_size):
            yield self._collate(self.keys[start : start + self._batch_size])

    def batch(self, key: str) -> Batch:
        """One eye, as a batch."""
        return self._collate((key,))

    def other(self, key: str) -> str:
        """An eye of another patient, of the same side, as far as the source tells them."""
        return self.keys[self._others[self.keys.index(key)]]

    def spacing_z_mm(self, key: str) -> float:
        """Distance of the rows of an eye's volumes in millimetres."""
        return self._checked[key].spacing_mm[1]

    def answer(self, key: str) -> tuple[Tensor, Tensor]:
        """The volume that answers for an eye, ``(1, S, Z, X)`` in [0, 1], and its pose ``(S, 3)``."""
        volume = _to_float(self._fake.read(key).volume)[None]
        pose_um, _ = self._poses[key][1]
        return volume.to(self._device), torch.from_numpy(pose_um).to(self._device)

    def _collate(self, keys: tuple[str, ...]) -> Batch:
        samples = [self._sample(key) for key in keys]
        batch: dict[str, Any] = {name: [sample[name] for sample in samples] for name in samples[0]}
        for name, values in batch.items():
            if isinstance(values[0], Tensor):
                batch[name] = torch.stack(values).to(self._device)
        where = batch["pose_um"], batch["spacing_z_mm"]
        added = {"aligned": align(batch["volume"], *where), "mask": aligned_mask(batch["volume"], *where)}
        return cast(Batch, batch | added)

    def _sample(self, key: str) -> dict[str, Any]:
        checked = self._checked[key]
        scan = self._real.read(key)
        volume, pose_um = self.answer(key)
        sample: dict[str, Any] = {
            "key": key,
            "diagnosis": scan.eye.diagnosis if scan.eye else "",
            "volume": _to_float(scan.volume)[None],
            "pose_um": torch.from_numpy(self._poses[key][0][0]),
            "spacing_z_mm": torch.tensor(checked.spacing_mm[1], dtype=torch.float32),
            "spacing_x_mm": torch.tensor(checked.spacing_mm[2], dtype=torch.float32),
            "fake": volume,
            "fake_pose_um": pose_um,
        }
        eye = scan.eye
        for name in self._optional - {"fundus"}:
            array = torch.from_numpy(getattr(eye, name))
            sample[name] = array[None].float() / 255 if name == "rescan" else array
        if "fundus" in self._optional:
            assert eye is not None and eye.fundus is not None and eye.scan is not None
            assert self._photo_px is not None
            sample["fundus"] = _to_float(resize_photo(eye.fundus, self._photo_px)).permute(2, 0, 1)
            sample["grid"] = eye.placement.to_grid(eye.scan.coordinates(self.shape[2]))
        return sample


@dataclass(frozen=True)
class _Checked:
    """What is kept of a pair; ``optional`` names those of ``_OPTIONAL`` that its real eye has."""

    spacing_mm: Spacing
    optional: frozenset[str]
    scan: ScanPattern
    apart_mm: float
    patient: str
    laterality: str
    stretched: float


def _check_keys(real: VolumeSource, fake: VolumeSource) -> None:
    if len(real.keys) < 2:
        raise DataError(f"{real.name}: expected at least two eyes to compare, found {len(real.keys)}")
    there = set(fake.keys)
    missing = [key for key in real.keys if key not in there]
    if missing:
        raise DataError(
            f"{fake.name}: expected a volume for each of the {len(real.keys)} eyes of {real.name}, "
            f"missing {len(missing)}: {some_of(missing)}"
        )


def _check_pairs(
    real: VolumeSource, fake: VolumeSource, shape: tuple[int, int, int], advice: str, pool: Executor
) -> tuple[dict[str, _Checked], dict[str, _Poses]]:
    """Read and check all pairs, while ``pool`` finds their poses; few volumes are in memory at once."""
    checked: dict[str, _Checked] = {}
    poses: dict[str, _Poses] = {}
    pending: deque[tuple[str, Future[_Poses]]] = deque()
    for key in with_progress(real.keys, len(real.keys), "checking volumes"):
        scans = real.read(key), fake.read(key)
        checked[key] = _check_pair(real, fake, scans, shape, advice, key)
        volumes = scans[0].volume, scans[1].volume
        pending.append((key, pool.submit(_poses_of, volumes, checked[key].spacing_mm)))
        while len(pending) > most_waiting(volumes[0].nbytes + volumes[1].nbytes):
            done, found = pending.popleft()
            poses[done] = found.result()
    poses |= {done: found.result() for done, found in pending}
    return checked, poses


def _poses_of(volumes: tuple[Array, Array], spacing_mm: Spacing) -> _Poses:
    real, fake = (estimate_pose(volume, spacing_mm) for volume in volumes)
    return (real.pose_um, bool(real.ok.all())), (fake.pose_um, bool(fake.ok.all()))


def _check_pair(
    real: VolumeSource,
    fake: VolumeSource,
    scans: tuple[Scan, Scan],
    shape: tuple[int, int, int],
    advice: str,
    key: str,
) -> _Checked:
    for source, scan in zip((real, fake), scans, strict=True):
        _check_volume(f"{source.name}: eye {key!r}", scan.volume, shape, advice)
    spacing_mm = _spacing(scans[0])
    stretched = _check_lengths(f"{fake.name}: eye {key!r}", scans[1], spacing_mm, scans[0].eye is None)
    eye = scans[0].eye
    return _Checked(
        spacing_mm,
        frozenset(name for name in _OPTIONAL if eye and getattr(eye, name) is not None),
        scans[0].scan,
        _apart_mm(*scans),
        (eye and eye.patient) or key,
        (eye and eye.laterality) or "",
        stretched,
    )


def _check_volume(where: str, volume: Array, shape: tuple[int, int, int], advice: str) -> None:
    if volume.shape != shape:
        message = f"{where}: expected {_size(shape)}, found {_size(volume.shape)}"
        raise DataError(f"{message}; {advice}" if advice else message)
    blank = [str(number) for number, bscan in enumerate(volume) if bscan.min() == bscan.max()]
    if blank:
        raise DataError(f"{where}: expected B-scans, found slices of one grey value: {', '.join(blank)}")


def _check_lengths(where: str, fake: Scan, spacing_mm: Spacing, assumed: bool) -> float:
    """Refuse an answer that says of itself that it covers another depth or width, or say how far off."""
    off = 0.0
    if fake.eye is None:
        return off
    for axis, name in ((1, "deep"), (2, "wide")):
        n = fake.volume.shape[axis]
        found, expected = (n * spacing[axis] for spacing in (fake.eye.spacing_mm, spacing_mm))
        if abs(found / expected - 1) > _SAME_LENGTH:
            real = "is assumed of real pictures; give --real a file of eyes (.h5), which tells its own"
            real = real if assumed else "the real volume is"
            raise DataError(f"{where}: found {found:.3g} mm {name}, expected {expected:.3g} mm, as {real}")
        off = max(off, abs(found / expected - 1))
    return off


def _apart_mm(real: Scan, fake: Scan) -> float:
    """Mean distance of the places of the A-scans of both; NaN where one does not tell its scan."""
    told = [scan.eye.scan for scan in (real, fake) if scan.eye and scan.eye.scan]
    if len(told) < 2:
        return math.nan
    places, others = (scan.coordinates(real.volume.shape[2]) for scan in told)
    return float((places - others).norm(dim=-1).mean())


def _spacing(scan: Scan) -> Spacing:
    if scan.eye is not None:
        return scan.eye.spacing_mm
    _, n_depth, n_ascans = scan.volume.shape
    return math.nan, ASSUMED_DEPTH_MM / n_depth, fmean(ASSUMED_SCAN.length_mm) / n_ascans


def _notes(real: VolumeSource, fake: VolumeSource, found: list[_Checked], poses: list[_Poses]) -> list[str]:
    notes = []
    if beyond := sorted(set(fake.keys) - set(real.keys)):
        notes.append(f"{fake.name} has {len(beyond)} volumes more, left out: {some_of(beyond)}.")
    for place, source in enumerate((real, fake)):
        if uncertain := sum(not pair[place][1] for pair in poses):
            notes.append(
                f"The outer retina, and with it the pose, is uncertain in slices of {uncertain} of "
                f"{len(found)} volumes of {source.name}."
            )
    if stretched := [pair.stretched for pair in found if pair.stretched > _SAME_ROWS]:
        notes.append(
            f"{len(stretched)} volumes of {fake.name} say another depth or width than the real ones, by up "
            f"to {max(stretched):.1%}. They are measured in the millimetres of the real ones: if it is the "
            "depth, a thickness is off by as much."
        )
    if apart_mm := [pair.apart_mm for pair in found if pair.apart_mm > _SAME_PLACE_MM]:
        notes.append(
            f"**In {len(apart_mm)} of {len(found)} pairs the slices of {fake.name} lie along other lines "
            f"than the real ones, {fmean(apart_mm):.2g} mm apart in the mean: they show other places of the "
            "retina.**"
        )
    if len({pair.scan for pair in found}) > 1:
        notes.append(SEVERAL_SCANS)
    if real.read(real.keys[0]).eye is None:
        notes.append(
            f"Pictures do not say how large they are: a depth of {ASSUMED_DEPTH_MM:g} mm and lines of "
            f"{ASSUMED_SCAN.length_mm[0]:g} mm, the challenge's, are assumed."
        )
        notes.append(
            "Pictures name neither patients nor sides: each eye counts as another patient's. Where both eyes "
            "of a patient are here, ± and intervals are too narrow, and *other eyes* may be of the same "
            "patient. Give --real a file of eyes (.h5), which names both."
        )
    return notes


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} slices of {shape[2]} x {shape[1]} (width x height)"


def _to_float(image: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).float() / 255
