"""Eyes of a file as training samples."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from fund2oct.by_path import listed
from fund2oct.data.augmenting.own import Transform, apply_transform
from fund2oct.data.augmenting.photo_map import PhotoMap, check_strength, moved_sample
from fund2oct.data.augmenting.photometry import FundusPhotometry
from fund2oct.data.augmenting.symmetry import Symmetries, allowed_symmetries
from fund2oct.data.loading.finish import MASKS, MASKS_KNOWN, Finish, Pictures, RawBatch, empty_bytes
from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.loading.order import Draw, EpochOrder
from fund2oct.data.loading.regularity import NEEDED, Content, check_complete
from fund2oct.data.loading.sizes import common_fundus_px, common_shape
from fund2oct.data.loading.skipped import readable
from fund2oct.data.loading.split import EyeName, Part, SeenEyes
from fund2oct.data.loading.values import EyeValues
from fund2oct.data.masks.stored import check_names, fill_masks, which_hold
from fund2oct.data.preparing.light_and_levels import even_levels, even_light
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.data.store.reader import EyeReader
from fund2oct.data.store.shards import EyePaths
from fund2oct.eye import Array, DataError, Plain
from fund2oct.geometry import ScanPattern, Symmetry

T = TypeVar("T")


class FundusOCTDataset(Dataset[dict[str, Any]]):
    r"""Pairs of photo and volume, or one side of them alone.

    ``dataset[3]`` gives the fourth eye as it is. ``dataset[Draw(3, epoch=0)]`` gives it augmented, see
    :class:`~fund2oct.data.loading.order.Draw`; a loader asks so with a
    :class:`~fund2oct.data.loading.sampler.TrainSampler`. How an eye is augmented depends on nothing but the
    seed, the epoch and the eye's key: not on the order of the eyes, the number of workers or other eyes.

    A sample holds what :class:`fund2oct.models.Batch` says, of one eye. Without volumes, what belongs to
    them is absent; without photos, ``fundus`` and ``grid`` are.

    A loader asks for many at once, as bytes (:meth:`fetch`), which are made a batch where the model is
    (``finish``).

    Args:
        path: a file written by :class:`~fund2oct.data.EyeWriter`, or several as
            :class:`~fund2oct.data.store.reader.EyeReader` takes them.
        keys: eyes to use, or what was read of them before; each needs a volume, its pose and
            surfaces, unless only photos are wanted. None uses all.
        content: ``"pairs"``, ``"photos"`` or ``"volumes"``; an eye may have more than is wanted.
        symmetries: exact paired symmetries to draw from.
        photometric: strength of the photo's change of light and colour, in [0, 1].
        photo_maps: strength of the turns, shifts, zooms and bends of the photo, in [0, 1], see
            :meth:`~fund2oct.data.augmenting.photo_map.PhotoMap.draw`; ``grid`` moves along, the volume stays.
        transform: an augmentation of your own, see
            :func:`~fund2oct.data.augmenting.own.apply_transform`.
        masks: names of masks of the photo that the file holds, which join the batch under their names, see
            :func:`~fund2oct.data.masks.stored.fill_masks`; they are NaN where an eye has none.
        fundus_px: width to resize photos to; None leaves them, and they must agree.
        volume_shape: ``(S, Z, X)`` to resize volumes to along Z and X; None leaves them, and they must
            agree. Of an eye with more slices, evenly spaced ones are taken; none may have fewer.
        even_light: whether to even out the illumination of photos, where the importer has not.
        even_levels: whether to bring volumes of different scanners to like intensities, likewise.
        on_corrupt: whether a damaged eye raises, or is replaced by the next readable one in the order of
            the epoch; a plain index always raises.
        seed: decides how the eyes are augmented; another seed augments them otherwise.

    Raises:
        DataError: if the file, or one of the eyes, cannot be used.

    Example:
        >>> dataset = FundusOCTDataset("eyes.h5", fundus_px=32)
        >>> sample = dataset[0]
        >>> len(dataset), sample["fundus"].shape, sample["volume"].shape
        (24, torch.Size([3, 32, 32]), torch.Size([1, 6, 32, 48]))
    """

    def __init__(
        self,
        path: EyePaths,
        keys: Iterable[str] | EyeIndex | None = None,
        *,
        content: Content = "pairs",
        symmetries: Symmetries = "none",
        photometric: float = 0.0,
        photo_maps: float = 0.0,
        transform: Transform | None = None,
        masks: Sequence[str] = (),
        fundus_px: int | None = None,
        volume_shape: tuple[int, int, int] | None = None,
        even_light: bool = False,
        even_levels: bool = False,
        on_corrupt: Literal["raise", "skip"] = "raise",
        seed: int = 0,
    ) -> None:
        self.content: Content = content
        self.symmetries: Symmetries = symmetries
        self.photometry = FundusPhotometry(photometric)
        self._wanted = Preparation(even_light, even_levels)
        check_strength(photo_maps)
        self.photo_maps = photo_maps
        self.transform = transform
        self.on_corrupt: Literal["raise", "skip"] = on_corrupt
        self.seed = seed
        self._reader = EyeReader(path)
        with self._reader:  # the process that trains may never read: leave it no open file to share
            self._index = keys if isinstance(keys, EyeIndex) else EyeIndex.read(self._reader, keys)
        if not len(self._index):
            raise DataError(f"{path}: expected at least one eye, found none")
        check_complete(self._index, content, self._where)
        self.shape, self.fundus_px = (0, 0, 0), 0
        if self._wants("volume"):
            self.shape = common_shape(self._index.shapes["volume"], volume_shape, self._where)
        if self._wants("fundus"):
            self.fundus_px = common_fundus_px(self._index.shapes["fundus"], fundus_px, self._where)
        self.scan: ScanPattern = self._lines(self._index.usual_number(self.shape[0]))[1]
        rescan, maps = map(self._optional, ("rescan", "boundaries_um"))
        self._values = EyeValues(self._reader, self._index, self.shape, self._wants("fundus"), maps)
        self._masks = tuple(listed(masks)) if self._wants("fundus") else ()
        check_names(self._masks)
        self._masks_known = torch.from_numpy(which_hold(self._index.masks, self._masks))
        self._pictures = [
            *filter(self._wants, ("fundus", "volume")),
            *rescan,
            *([MASKS] if self._masks else []),
        ]
        self._stored = {name: self._common_stored(name) for name in self._pictures}
        self.order = EpochOrder((range(len(self)),), seed=seed)
        self.finish = Finish(self.fundus_px, self.shape[1:], masks=self._masks)
        allowed_symmetries(self.scan, symmetries)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the eyes."""
        return self._index.keys

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, item: int | Draw) -> dict[str, Any]:
        batch = self.finish(self.fetch([item]))
        return {name: values[0] for name, values in batch.items()}

    def fetch(self, items: Sequence[int | Draw]) -> RawBatch:
        """Read eyes as bytes, straight into the memory of their batch.

        Raises:
            DataError: if an eye cannot be read and is not to be skipped.
        """
        shared = get_worker_info() is not None
        stacks = {
            name: empty_bytes((len(items), *shape), shared)
            for name, shape in self._stored.items()
            if shape is not None
        }
        ragged: dict[str, list[Tensor]] = {name: [] for name in self._pictures if name not in stacks}
        skipped: dict[str, str] = {}
        samples, moves = [], []
        for row, item in enumerate(items):

            def buffers(number: int, row: int = row) -> dict[str, Tensor]:
                return {
                    name: stacks[name][row]
                    if name in stacks
                    else empty_bytes(self._picture_shape(number, name), shared)
                    for name in self._pictures
                }

            draw, pictures, sample = self._read(item, buffers, skipped)
            symmetry, photo_map = self._augment(draw, pictures) if isinstance(draw, Draw) else (None, None)
            samples.append(moved_sample(sample, symmetry, photo_map))
            moves.append((symmetry, photo_map))
            for name, many in ragged.items():
                many.append(pictures[name])
        columns = {name: [sample[name] for sample in samples] for name in samples[0]}
        combined: dict[str, Pictures] = {**stacks, **ragged}
        return RawBatch(
            {name: combined[name] for name in self._pictures},
            {name: torch.stack(column) for name, column in columns.items() if isinstance(column[0], Tensor)},
            {name: column for name, column in columns.items() if not isinstance(column[0], Tensor)},
            tuple(symmetry for symmetry, _ in moves),
            tuple(photo_map for _, photo_map in moves),
            skipped,
        )

    def photo(self, number: int) -> Tensor:
        """The photo of an eye alone, as a batch shows it, in [0, 1], shape ``(3, H, H)``."""
        return self._photo(number, ["fundus"])["fundus"]

    def photo_under(self, number: int, scanned: int) -> dict[str, Tensor]:
        """The photo of an eye, its masks and, around its fovea, the ``grid`` of the scan of another eye."""
        grid = self._index.grid(number, self._lines(scanned)[1], self.shape[2])
        return {**self._photo(number, ["fundus", *([MASKS] if self._masks else [])]), "grid": grid}

    def _photo(self, number: int, names: Sequence[str]) -> dict[str, Tensor]:
        pictures = {name: empty_bytes(self._picture_shape(number, name), shared=False) for name in names}
        self._fill(number, {name: picture.numpy() for name, picture in pictures.items()})
        values = {MASKS_KNOWN: self._masks_known[number, None]} if MASKS in pictures else {}
        raw = RawBatch({name: one[None] for name, one in pictures.items()}, values, {}, (None,), (None,), {})
        return {name: one[0] for name, one in self.finish(raw).items()}

    def poses(self) -> Tensor:
        """Poses as stored, in micrometres, shape ``(N, S, 7)``; without damaged eyes that may be skipped."""
        with self._reader:
            found = readable(self._values.pose_um, range(len(self)), self.on_corrupt)
            return torch.stack([pose_um for _, pose_um in found])

    def metadata(self) -> list[dict[str, Plain]]:
        """What is known of each eye, see ``fund2oct.data.loading.index.known_values``."""
        return self._index.known()

    def spacings_mm(self) -> Array:
        """Distance of rows and of A-scans ``(z, x)`` in the batches, shape ``(N, 2)``."""
        length_mm = [fmean(self._lines(number)[1].length_mm) for number in range(len(self))]
        return np.stack([self._spacings_z_mm(), np.array(length_mm) / self.shape[2]], -1)

    def _spacings_z_mm(self) -> Array:
        rows = self._index.shapes["volume"][:, 1]
        return np.asarray(self._index.spacings_mm[:, 1] * rows / self.shape[1])

    @property
    def simulated(self) -> bool:
        """Whether any of the eyes was simulated."""
        return bool(self._index.simulated.any())

    @property
    def real(self) -> bool:
        """Whether any of the eyes was not simulated."""
        return not self._index.simulated.all()

    def prepared(self) -> tuple[float, float]:
        """Shares of the photos and of the volumes that come with even light and common levels."""
        photos, volumes = self._index.prepared.mean(0).tolist()
        return (1.0 if self._wanted.even_light else photos), (1.0 if self._wanted.even_levels else volumes)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of slices, rows (the median of the eyes) and A-scans; only a raster has the first."""
        z_mm = float(np.median(self._spacings_z_mm()))
        return float("nan"), z_mm, fmean(self.scan.length_mm) / self.shape[2]

    @property
    def preparation(self) -> Preparation:
        """What was done to all photos and to all volumes, at import or here."""
        photos, volumes = self.prepared()
        return Preparation(photos == 1, volumes == 1, self.photo_px)

    def seen(self) -> SeenEyes:
        """These eyes as those of a training by a plain loader; others of the file count as not seen."""
        parts: dict[Part, tuple[EyeName, ...]] = {"train": tuple(self._index.names()), "val": (), "test": ()}
        return SeenEyes(str(self._reader.path), "", "parts as they were given", parts)

    @property
    def photo_px(self) -> int:
        """Width of most photos as the file holds them; 0 without photos."""
        widths = self._index.shapes["fundus"][:, 0]
        return int(np.bincount(widths).argmax()) if self._wants("fundus") else 0

    def _read(
        self, item: int | Draw, buffers: Callable[[int], dict[str, Tensor]], skipped: dict[str, str]
    ) -> tuple[int | Draw, dict[str, Tensor], dict[str, Any]]:
        """Read an eye, or the next readable one where it may be replaced."""
        for _ in range(len(self.order) + 1):
            number = item.index if isinstance(item, Draw) else item
            pictures = buffers(number)
            try:
                self._fill(number, {name: picture.numpy() for name, picture in pictures.items()})
                return item, pictures, self._values_of(number)
            except DataError as error:
                if self.on_corrupt == "raise" or not isinstance(item, Draw):
                    raise
                skipped[self.keys[number]] = str(error)
                item = self.order.next_after(item)
        raise DataError(f"{self._reader.path}: none of {len(self)} eyes can be read; make the file again")

    def _fill(self, number: int, pictures: dict[str, Array]) -> None:
        for name, picture in pictures.items():
            if name == MASKS:
                fill_masks(self._reader, self.keys[number], self._masks, picture)
                continue
            slices = None if name == "fundus" else self._lines(number)[0]
            self._reader.read_into(self.keys[number], name, picture, slices)
            if self._to_even(number, name):
                picture[...] = _evened(name, picture)

    def _augment(self, draw: Draw, pictures: dict[str, Tensor]) -> tuple[Symmetry | None, PhotoMap | None]:
        """Vary the photo's light, and draw by what to move the eye, and then its photo; None leaves it."""
        entropy = [self.seed, draw.epoch, zlib.crc32(self.keys[draw.index].encode(errors="surrogateescape"))]
        rng = np.random.default_rng(entropy + [draw.repeat] * (draw.repeat > 0))
        choices = allowed_symmetries(self._lines(draw.index)[1], self.symmetries)
        choice = int(rng.integers(len(choices)))
        if "fundus" in pictures and self.photometry.strength:
            photo = pictures["fundus"].numpy()
            photo[...] = self.photometry(photo, seed=int(rng.integers(2**31)))
        if self.transform is not None:
            own = {name: each.numpy() for name, each in pictures.items() if name not in ("rescan", MASKS)}
            apply_transform(self.transform, own, rng)
        photo_map = PhotoMap.draw(rng, self.photo_maps) if "fundus" in pictures and self.photo_maps else None
        return choices[choice] if choice else None, photo_map  # the identity comes first

    def _values_of(self, number: int) -> dict[str, Any]:
        masks = {MASKS_KNOWN: self._masks_known[number]} if self._masks else {}
        return self._values.of_eye(number) | masks

    def _lines(self, number: int) -> tuple[tuple[int, ...] | None, ScanPattern]:
        """The slices to read, None for all of them, and the lines under them."""
        return self._index.lines(number, self.shape[0])

    def _to_even(self, number: int, name: str) -> bool:
        photo_done, volume_done = self._index.prepared[number]
        if name == "fundus":
            return self._wanted.even_light and not photo_done
        return self._wanted.even_levels and not volume_done

    def _wants(self, name: str) -> bool:
        return name in NEEDED[self.content]

    def _optional(self, name: str) -> list[str]:
        """The name of an array that comes with volumes, where each eye has it."""
        return [name] if self._wants("volume") and self._index.has(name).all() else []

    def _where(self, number: int) -> str:
        return self._reader.where(self.keys[number])

    def _picture_shape(self, number: int, name: str) -> tuple[int, ...]:
        if name == MASKS:
            return (len(self._masks), *self._index.shape(number, "fundus")[:2])
        found = self._index.shape(number, name)
        return found if name == "fundus" else (self.shape[0], *found[1:])

    def _common_stored(self, name: str) -> tuple[int, ...] | None:
        on_photo = name in ("fundus", MASKS)
        sizes = self._index.shapes["fundus" if on_photo else name][:, 0 if on_photo else 1 :]
        return self._picture_shape(0, name) if (sizes == sizes[0]).all() else None


def _evened(name: str, picture: Array) -> Array:
    if name == "fundus":
        return even_light(picture)
    return even_levels(picture)
