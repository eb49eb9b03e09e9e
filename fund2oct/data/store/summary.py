"""``fund2oct info``: what a file of eyes holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fund2oct.data.store.layout import EyeInfo
from fund2oct.data.store.patients import one_name_each
from fund2oct.data.store.reader import EyeReader
from fund2oct.data.store.shards import EyePaths, Shard, find_shards
from fund2oct.eye import SEARCHED


@dataclass(frozen=True)
class FileSummary:
    """What a file of eyes, or several that are read as one, hold.

    Args:
        path: the file; where there are several, the folder, the pattern or the first one.
        n_files: number of files.
        n_bytes: size of all files on disk.
        n_eyes: number of eyes.
        n_patients: number of patients that the eyes belong to; a name and its hash are one.
        n_pairs: number of eyes with a photo and a volume.
        n_photos_alone: number of eyes without a volume.
        n_volumes_alone: number of eyes without a photo.
        n_with_pose: number of volumes whose pose is stored.
        n_with_surfaces: number of volumes whose pose and surfaces are stored.
        counts: for each thing that differs from eye to eye (``laterality``, ``diagnosis``, ``photo`` and
            ``volume`` by their shape, ``scan``, ``also``, ``masks``, ``metadata``, ``source``,
            ``compression``), the
            number of eyes with each value, most often first.

    Example:
        >>> summarise_file("eyes.h5").n_eyes
        24
    """

    path: str
    n_files: int
    n_bytes: int
    n_eyes: int
    n_patients: int
    n_pairs: int
    n_photos_alone: int
    n_volumes_alone: int
    n_with_pose: int
    n_with_surfaces: int
    counts: dict[str, dict[str, int]]

    def lines(self) -> list[str]:
        """The same as text, a line for each thing."""
        name = self.path if self.n_files == 1 else f"{self.path} ({self.n_files} files)"
        told = {what: _told(counts) for what, counts in self.counts.items()}
        return [
            f"{name}: {self.n_eyes} eyes of {self.n_patients} patients",
            f"pairs of photo and volume: {self.n_pairs}; photos alone: {self.n_photos_alone}; "
            f"volumes alone: {self.n_volumes_alone}",
            f"laterality: {told['laterality']}",
            f"diagnosis: {told['diagnosis']}",
            f"photo: {told['photo']}",
            f"volume (S, Z, X): {told['volume']}; {self.n_with_pose} with pose, {self.n_with_surfaces} with "
            "pose and surfaces",
            *(f"{what}: {told[what]}" for what in ("scan", "also")),
            *([f"masks: {told['masks']}"] if self.counts["masks"] else []),
            *(f"{what}: {told[what]}" for what in ("metadata", "source")),
            f"on disk: {self.n_bytes / 2**20:.1f} MiB, compression {told['compression']}",
        ]


def summarise_file(path: EyePaths) -> FileSummary:
    """Describe a file, or several that are read as one, without reading its pictures.

    Args:
        path: a file, a folder or pattern of files, or several of these.

    Returns:
        What is known.

    Raises:
        DataError: if a file, or what describes an eye in it, cannot be read.

    Example:
        >>> print(summarise_file("eyes.h5").lines()[1])
        pairs of photo and volume: 24; photos alone: 0; volumes alone: 0
    """
    with EyeReader(path) as reader:
        infos = [reader.info(key) for key in reader.keys]
        shards = [Shard(file) for file in find_shards(path)]
    compressions = []
    for shard in shards:  # one after the other: there may be more than a process may have open
        compressions.append(shard.compression)
        shard.close()
    volumes = [info for info in infos if "volume" in info.arrays]
    n_photos = sum("fundus" in info.arrays for info in infos)
    n_pairs = sum("fundus" in info.arrays for info in volumes)
    values: dict[str, Iterable[str]] = {
        "laterality": (_field(info, "laterality") for info in infos),
        "diagnosis": (_field(info, "diagnosis") for info in infos),
        "photo": (_size(info, "fundus", 2) for info in infos),
        "volume": (_size(info, "volume", 3) for info in infos),
        "scan": (info.scan.kind for info in volumes if info.scan),
        "also": (name for info in infos for name in info.arrays if name not in _MAIN),
        "masks": (name for info in infos for name in info.mask_names),
        "metadata": (name for info in infos for name in info.fields["metadata"]),
        "source": (_field(info, "source") for info in infos),
        "compression": compressions,
    }
    return FileSummary(
        path=str(reader.path),
        n_files=len(shards),
        n_bytes=sum(shard.path.stat().st_size for shard in shards),
        n_eyes=len(infos),
        n_patients=len(set(one_name_each([_field(info, "patient") for info in infos]))),
        n_pairs=n_pairs,
        n_photos_alone=n_photos - n_pairs,
        n_volumes_alone=len(volumes) - n_pairs,
        n_with_pose=sum("pose_um" in info.arrays for info in volumes),
        n_with_surfaces=sum(all(name in info.arrays for name in SEARCHED) for info in volumes),
        counts={what: dict(Counter(each).most_common()) for what, each in values.items()},
    )


_MAIN = ("fundus", "volume", *SEARCHED)


def _field(info: EyeInfo, name: str) -> str:
    return info.fields[name] or "not stated"


def _size(info: EyeInfo, name: str, n_axes: int) -> str:
    return "x".join(map(str, info.arrays[name][:n_axes])) if name in info.arrays else "none"


def _told(counts: dict[str, int], most: int = 8) -> str:
    """The values with how often each occurs."""
    more = [f"and {len(counts) - most} more"] if len(counts) > most else []
    told = [f"{value} ({count})" for value, count in list(counts.items())[:most]]
    return ", ".join([*told, *more]) or "none"
