"""What is known of many eyes without their arrays, in little memory."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fund2oct.by_path import listed
from fund2oct.data.loading.split import EyeName
from fund2oct.data.masks.stored import held_masks
from fund2oct.data.preparing.light_and_levels import LEVELS, LIGHT, is_done
from fund2oct.data.preparing.slices import kept_lines
from fund2oct.data.store.patients import one_name_each
from fund2oct.data.store.reader import EyeReader
from fund2oct.eye import ARRAYS, SIMULATED, Array, DataError, Plain
from fund2oct.geometry import Placement, RadialScan, ScanPattern

_COLUMNS = ("key", "who", "placement", "spacing", "scan", "photo", "prepared", "simulated", "masks")


@dataclass(frozen=True, eq=False)
class EyeIndex:
    """Columns of plain values, an entry an eye.

    Forty thousand eyes are some megabytes here. As an object each they would be hundreds, which the
    processes of a loader would copy bit by bit: a page that holds a counted reference is written to
    whenever it is read.

    Args:
        keys: names of the eyes.
        patients: name of each eye's patient, which is one where some files hold it and others its hash.
        lateralities: ``"OD"``, ``"OS"`` or empty, for each eye.
        diagnoses: free text, for each eye.
        metadata: of each eye, plain values by name as JSON.
        placements: shift x and y, rotation and half width of each, shape ``(N, 4)``.
        spacings_mm: ``(s, z, x)`` of each, shape ``(N, 3)``.
        scans: the different scans as JSON, one behind the other, bytes.
        scan_starts: where each begins, and where the last one ends, shape ``(n + 1,)``.
        scan_numbers: number of each eye's scan among these, -1 where it has none, shape ``(N,)``.
        shapes: by the array's name, its shape in each eye, 0 where the eye has none, ``(N, dimensions)``.
        photos: digest of each photo, see :attr:`fund2oct.data.EyeInfo.photo_digest`, bytes, shape
            ``(N,)``.
        prepared: what was done of :class:`fund2oct.data.preparing.preparation.Preparation` at import: to
            photos and to volumes, bool, shape ``(N, 2)``.
        simulated: whether each was simulated by :mod:`fund2oct.phantom`, bool, shape ``(N,)``.
        masks: names of the masks of each photo that the file holds, with commas.
    """

    keys: tuple[str, ...]
    patients: tuple[str, ...]
    lateralities: tuple[str, ...]
    diagnoses: tuple[str, ...]
    metadata: tuple[str, ...]
    placements: Array
    spacings_mm: Array
    scans: Array
    scan_starts: Array
    scan_numbers: Array
    shapes: dict[str, Array]
    photos: Array
    prepared: Array
    simulated: Array
    masks: tuple[str, ...]

    @classmethod
    def read(
        cls,
        reader: EyeReader,
        keys: Iterable[str] | None = None,
        on_error: Callable[[str, DataError], None] | None = None,
    ) -> EyeIndex:
        """Read what a file says of its eyes.

        Args:
            reader: the file.
            keys: eyes to read; None reads all.
            on_error: called with the key and the error of an eye that cannot be read, which is then left
                out; without it the error is raised.
        """
        found: dict[str, list] = {name: [] for name in _COLUMNS}
        shapes: dict[str, list[tuple[int, ...]]] = {name: [] for name in ARRAYS}
        scans: dict[ScanPattern, int] = {}
        for key in reader.keys if keys is None else listed(keys):
            try:
                info = reader.info(key)
            except DataError as error:
                if on_error is None:
                    raise
                on_error(key, error)
                continue
            found["key"].append(key)
            fields, shape_of = info.fields, info.arrays
            told = info.patient, info.laterality, info.diagnosis, json.dumps(fields["metadata"])
            found["who"].append(tuple(map(sys.intern, told)))
            place, scan = fields["placement"], info.scan
            found["placement"].append((*place.shift, place.rotation_deg, place.half_width_mm))
            found["spacing"].append(fields["spacing_mm"])
            found["scan"].append(-1 if scan is None else scans.setdefault(scan, len(scans)))
            found["photo"].append(info.photo_digest.encode())
            found["prepared"].append((is_done(info.history, LIGHT), is_done(info.history, LEVELS)))
            found["simulated"].append(str(info.fields["source"]).startswith(SIMULATED))
            found["masks"].append(sys.intern(",".join(held_masks(info))))
            for name, (_, dims) in ARRAYS.items():
                shapes[name].append(shape_of.get(name, (0,) * len(dims)))
        texts = [json.dumps(scan.to_dict()).encode() for scan in scans]
        who = zip(*found["who"], strict=True) if found["who"] else ((),) * 4
        patients, lateralities, diagnoses, metadata = who
        return cls(
            tuple(found["key"]),
            tuple(one_name_each(patients)),
            lateralities,
            diagnoses,
            metadata,
            np.array(found["placement"], np.float64).reshape(-1, 4),
            np.array(found["spacing"], np.float64).reshape(-1, 3),
            np.frombuffer(b"".join(texts), np.uint8),
            np.cumsum([0, *map(len, texts)], dtype=np.int64),
            np.array(found["scan"], np.int32),
            {
                name: np.array(sizes, np.int32).reshape(-1, len(ARRAYS[name][1]))
                for name, sizes in shapes.items()
            },
            np.array(found["photo"], "S64"),
            np.array(found["prepared"], bool).reshape(-1, 2),
            np.array(found["simulated"], bool),
            tuple(found["masks"]),
        )

    def __len__(self) -> int:
        return len(self.keys)

    def subset(self, chosen: Sequence[int] | Array) -> EyeIndex:
        """Some of the eyes."""
        rows = np.asarray(chosen, np.int64)

        def pick(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[row] for row in rows)

        return EyeIndex(
            pick(self.keys),
            pick(self.patients),
            pick(self.lateralities),
            pick(self.diagnoses),
            pick(self.metadata),
            self.placements[rows],
            self.spacings_mm[rows],
            self.scans,
            self.scan_starts,
            self.scan_numbers[rows],
            {name: sizes[rows] for name, sizes in self.shapes.items()},
            self.photos[rows],
            self.prepared[rows],
            self.simulated[rows],
            pick(self.masks),
        )

    def of_keys(self, keys: Iterable[str]) -> EyeIndex:
        """The eyes of some keys, as far as they are there, in the order of the file."""
        wanted = set(listed(keys))
        return self.subset([number for number, key in enumerate(self.keys) if key in wanted])

    def of_patients(self, patients: Collection[str]) -> EyeIndex:
        """The eyes of some patients."""
        return self.subset([number for number, who in enumerate(self.patients) if who in patients])

    def names(self) -> list[EyeName]:
        """By what each eye is known in any file."""
        columns = zip(self.keys, self.patients, self.photos.tolist(), strict=True)
        return [EyeName(key, patient, photo.decode()) for key, patient, photo in columns]

    def known(self) -> list[dict[str, Plain]]:
        """What is known of each eye beside its pictures, see :func:`known_values`."""
        return [*map(known_values, self.metadata, self.lateralities, self.diagnoses)]

    def known_by_key(self) -> dict[str, dict[str, Plain]]:
        """The same by the key of each eye."""
        return dict(zip(self.keys, self.known(), strict=True))

    def has(self, name: str) -> Array:
        """Which eyes have the array, bool, shape ``(N,)``."""
        return self.shapes[name][:, 0] > 0

    def shape(self, number: int, name: str) -> tuple[int, ...]:
        """Shape of an array of an eye."""
        return tuple(self.shapes[name][number].tolist())

    def scan(self, number: int) -> ScanPattern | None:
        """Scan of an eye."""
        chosen = int(self.scan_numbers[number])
        if chosen < 0:
            return None
        start, stop = self.scan_starts[chosen : chosen + 2]
        return _scan_of(self.scans[start:stop].tobytes())

    def lines(self, number: int, n_slices: int) -> tuple[tuple[int, ...] | None, ScanPattern]:
        """Numbers of an eye's slices that a batch of so many slices shows, None for all, and their lines.

        Of a photo alone, whose scan is not known or not wanted, the lines are those of the challenge's star.
        """
        scan = self.scan(number) if n_slices else None
        return kept_lines(RadialScan() if scan is None else scan, n_slices)

    def usual_number(self, n_slices: int) -> int:
        """Number of an eye of the most frequent scan; where lines differ, of one with typical lines."""
        numbers = self.scan_numbers.tolist()
        (usual, count), *_ = Counter(numbers).most_common(1)
        if 10 * count >= len(numbers) or not n_slices:
            return numbers.index(usual)
        thirds = torch.tensor([0.0, 0.5, 1.0])
        points = torch.stack([self.lines(number, n_slices)[1].points(thirds) for number in range(len(self))])
        return int((points - points.mean(0)).square().flatten(1).sum(1).argmin())

    def placement(self, number: int) -> Placement:
        """Placement of an eye's scan on its photo."""
        x, y, rotation_deg, half_width_mm = self.placements[number].tolist()
        return Placement((x, y), rotation_deg, half_width_mm)

    def grid(self, number: int, lines: ScanPattern, n_ascans: int) -> Tensor:
        """Where A-scans along such lines lie on an eye's photo, in its grid units, shape ``(S, X, 2)``."""
        return self.placement(number).to_grid(_places_mm(lines, n_ascans))


def known_values(metadata: str, laterality: str, diagnosis: str) -> dict[str, Plain]:
    """What is known of an eye beside its pictures, by name; texts are empty where unknown.

    Args:
        metadata: plain values by name, as JSON.
        laterality: ``"OD"``, ``"OS"`` or empty.
        diagnosis: free text.

    Example:
        >>> known_values('{"age_years": 63}', "OD", "")
        {'age_years': 63, 'laterality': 'OD', 'diagnosis': ''}
    """
    return {**json.loads(metadata), "laterality": laterality, "diagnosis": diagnosis}


@lru_cache(maxsize=64)  # most eyes of a file have the same lines
def _places_mm(lines: ScanPattern, n_ascans: int) -> Tensor:
    return lines.coordinates(n_ascans)


@lru_cache(maxsize=1024)
def _scan_of(text: bytes) -> ScanPattern:
    return ScanPattern.from_dict(json.loads(text))


def numbers_by_file(paths: Sequence[str], keys: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Which of some eyes lie in each of several files.

    Raises:
        DataError: if a file holds none of them.
    """
    files = []
    for path in paths:
        with EyeReader(path) as reader:
            held = set(reader.keys)
        files.append(tuple(number for number, key in enumerate(keys) if key in held))
        if not files[-1]:
            raise DataError(f"{path}: there are no eyes to train; take it out of path and weights")
    return tuple(files)
