"""Choice of the distances between sets, and their measurement for many answers."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fund2oct.by_path import import_by_path, listed
from fund2oct.geometry import RadialScan, ScanPattern
from fund2oct.metrics.sets.estimate import DistanceResult
from fund2oct.metrics.sets.eye_distance import EyeComparison
from fund2oct.metrics.sets.image_video import ImageDistance, VideoDistance
from fund2oct.models import Batch
from fund2oct.networks.features import MEASURES, FeatureNetwork, load_feature_network
from fund2oct.processes import submit_by_value
from fund2oct.progress import with_progress

Distance = ImageDistance | VideoDistance

_SPEC = re.compile(r"(?P<subject>image|video)(/(?P<kind>kernel))?(:(?P<network>.+))?")
_DRAWS = 20_000
"""Eyes drawn for an interval, all draws together: many draws of few eyes, few of many."""
_MAX_DRAWS, _MIN_DRAWS = 200, 20


@dataclass(frozen=True)
class Wanted:
    """Choice of the distances between sets that a report measures.

    Args:
        specs: names of distances: ``image`` or ``video``, with ``/kernel`` for the kernel distance, with
            ``:NETWORK`` for another network than the default, for example ``video/kernel:oct3d``; or the
            import path of a function of your own that makes a :class:`fund2oct.metrics.ImageDistance` or
            :class:`fund2oct.metrics.VideoDistance` with the options that it gets.
        required: True raises an error if the weights of a network are missing; False leaves the distance out.
        thorough: True also measures the distances of the controls, and the perceptual distance of each eye.

    Raises:
        ValueError: if there is no such distance.

    Example:
        >>> Wanted.parse(["image", "video/kernel:oct3d"]).specs
        ('image', 'video/kernel:oct3d')
    """

    specs: tuple[str, ...]
    required: bool
    thorough: bool = True

    def __post_init__(self) -> None:
        for spec in self.specs:
            if not _SPEC.fullmatch(spec) and "." not in spec:
                raise ValueError(
                    f"distance {spec!r}: expected image, video, image/kernel or video/kernel, and "
                    "perhaps a network, as in video:oct3d; the import path of one of your own; or none"
                )

    @classmethod
    def parse(cls, words: Sequence[str]) -> Wanted:
        """The distances of these names; ``none`` alone is no distance."""
        words = listed(words)
        return cls(() if words == ["none"] else tuple(dict.fromkeys(words)), required=True)


DEFAULT = Wanted(("image", "video"), required=False)
CHEAP = Wanted(("image",), required=False, thorough=False)
"""Distances of the report after a training; more would double its time."""


class Distances:
    """The distances of several sets of answers from one and the same real set.

    The real eyes are described once, and an answer that is a rescan is not described again.

    Args:
        metrics: empty, on the device they are computed on.
        notes: what was left out, and why.
        perceptual: network of the eyes' perceptual distance; None leaves it out.
    """

    def __init__(
        self, metrics: Sequence[Distance], notes: Sequence[str] = (), perceptual: nn.Module | None = None
    ) -> None:
        self.perceptual = perceptual
        self._real = list(metrics)
        self._empty = copy.deepcopy(self._real, _networks(self._real))
        self._fake: dict[str, list[Distance]] = {}
        self._rescans: set[str] = set()
        self._failed: dict[str, str] = {}
        self._blank: dict[str, str] = {}
        self._notes = list(notes)

    def __bool__(self) -> bool:
        return bool(self._real)

    def know_patients(self, patients: Mapping[str, str]) -> None:
        """Tell the patients of the eyes by the eyes' names; those of one are drawn together."""
        for metric in self._real:
            metric.patients = patients

    def add_real(self, batch: Batch) -> None:
        """Add real eyes and, where they have them, their rescans.

        An eye with a blank B-scan has nothing to compare with: it is left out of all sets.
        """
        if not self._real:
            return
        scans = {name: batch[name] for name in ("volume", "rescan") if name in batch}
        for name, scan in scans.items():
            self._blank |= _blank(name, scan, batch["key"])
        kept = self._kept(batch)
        keys = [batch["key"][number] for number in kept]
        for metric in self._real if keys else ():
            for name, scan in scans.items():
                metric.update(scan[kept], "rescan" if name == "rescan" else "real", keys)

    def add_fake(self, name: str, volume: Tensor, batch: Batch) -> None:
        """Add the volumes with which ``name`` answers for the eyes of a batch."""
        if not self._real or name in self._failed:
            return
        if name not in self._fake:
            self._fake[name] = copy.deepcopy(self._empty, _networks(self._real))
        if volume is batch.get("rescan"):
            self._rescans.add(name)
            return
        kept = self._kept(batch)
        try:
            for metric in self._fake[name] if kept else ():
                metric.update(volume[kept], "fake", [batch["key"][number] for number in kept])
        except ValueError as error:  # a diverged model must not take the others' numbers with it
            self._failed[name] = str(error)

    def compute(self, pool: Executor) -> tuple[dict[str, list[DistanceResult]], list[str]]:
        """The distances of each set, those that could be measured, and notes on the others.

        Args:
            pool: processes to compare in, a set each.
        """
        asked: dict[str, list[Future[DistanceResult]]] = {}
        for name in [name for name in self._fake if name not in self._failed]:
            try:
                comparisons = [self._comparison(name, number) for number in range(len(self._real))]
            except ValueError as error:
                self._failed[name] = str(error)
            else:
                asked[name] = [submit_by_value(pool, one.compute) for one in comparisons]
        found = {
            name: [future.result() for future in futures]
            for name, futures in with_progress(asked.items(), len(asked), "comparing sets")
        }
        notes = [f"No distances of {name}: {reason}." for name, reason in self._failed.items()]
        return found, [*self._notes, *self._blank.values(), *notes, *_constant(found)]

    def _kept(self, batch: Batch) -> list[int]:
        return [number for number, key in enumerate(batch["key"]) if key not in self._blank]

    def _comparison(self, name: str, number: int) -> EyeComparison:
        real, fake = self._real[number], self._fake[name][number]
        if name in self._rescans:
            fake.take(real, "rescan", as_role="fake")
        return fake.comparison(beside=real)


def build_distances(
    wanted: Wanted, scan: ScanPattern | None, n_eyes: int, device: torch.device, seed: int = 0
) -> Distances:
    """Load the networks of some distances.

    Args:
        wanted: which.
        scan: of the volumes; a radial one is closed to a full turn, see
            :func:`fund2oct.metrics.slice_protocol`.
        n_eyes: number of real eyes, which decides how often they are drawn for the interval.
        device: where the networks run.
        seed: seed of the draws.

    Raises:
        ValueError: if a network is not known, or is not one for the distance.
        OSError: if the weights of a required distance are not at hand; the message says how to get
            them.
    """
    load = cache(load_feature_network)
    metrics: list[Distance] = []
    notes: list[str] = []
    options: dict[str, Any] = {
        "resamples": min(_MAX_DRAWS, max(_MIN_DRAWS, _DRAWS // n_eyes)),
        "seed": seed,
        # One process evaluates all eyes: in a training of several the others do not come to meet it.
        "sync_on_compute": False,
    }
    for spec in wanted.specs:
        parts = _SPEC.fullmatch(spec)
        if parts is None:
            metrics.append(_own(spec, options).to(device))
            continue
        name = parts["network"] or MEASURES[parts["subject"]]
        try:
            network = load(name)
        except (OSError, ImportError) as error:
            if wanted.required:
                raise
            notes.append(f"The {spec} distance is left out: {error}.")
            continue
        except TypeError as error:  # a factory that returns no network
            raise ValueError(f"distance {spec!r}: {error}") from None
        kind: Literal["frechet", "kernel"] = "kernel" if parts["kind"] else "frechet"
        if parts["subject"] == "image":
            metric: Distance = ImageDistance(network, kind=kind, **options)
        elif scan is not None and scan.n_slices < 2:
            if wanted.required:
                raise ValueError(f"distance {spec!r}: expected volumes of at least two slices, found one")
            notes.append(f"The {spec} distance is left out: the volumes have one slice.")
            continue
        else:
            slices = _slices(scan, network)
            metric = VideoDistance(network, kind=kind, slices=slices, **options)
        metrics.append(metric.to(device))
    return Distances(metrics, notes, _perceptual(load, device, notes) if wanted.thorough else None)


def _own(path: str, options: Mapping[str, Any]) -> Distance:
    try:
        metric = import_by_path(path)(**options)
    except (ValueError, TypeError) as error:
        raise ValueError(f"distance {path!r}: {error}") from error
    if not isinstance(metric, Distance):
        found = type(metric).__name__
        raise ValueError(f"distance {path!r}: expected an ImageDistance or a VideoDistance, found {found}")
    return metric


def _perceptual(load: Callable[[str], nn.Module], device: torch.device, notes: list[str]) -> nn.Module | None:
    try:
        return load(MEASURES["image"]).to(device)
    except (OSError, ImportError) as error:
        notes.append(f"The perceptual distance is left out: {error}.")
        return None


def _slices(scan: ScanPattern | None, network: FeatureNetwork) -> str:
    """A full turn of a star; else the slices themselves, or enough frames for the network."""
    if isinstance(scan, RadialScan) and 2 * scan.n_slices >= network.min_frames:
        return "closure"
    enough = scan is not None and scan.n_slices >= network.min_frames
    return "native" if enough else f"linear{max(16, network.min_frames)}"


def _blank(name: str, scan: Tensor, keys: Sequence[str]) -> dict[str, str]:
    """What is said of the eyes of which a B-scan has one grey value throughout."""
    low, high = scan.flatten(3).aminmax(dim=3)  # (B, 1, S)
    said: dict[str, str] = {}
    for eye, _, number in (low == high).nonzero().tolist():
        text = f"is left out of the distances: slice {number} of its {name} is of one grey value."
        said.setdefault(keys[eye], f"Eye {keys[eye]} {text}")
    return said


def _networks(metrics: Sequence[Distance]) -> dict[int, Any]:
    """For a deep copy that shares the networks."""
    return {id(metric.network): metric.network for metric in metrics}


def _constant(found: Mapping[str, Sequence[DistanceResult]]) -> list[str]:
    counts = {name: max(one.constant_fake_slices for one in results) for name, results in found.items()}
    return [f"{count} B-scans of {name} are of one grey value." for name, count in counts.items() if count]
