"""``fund2oct info``: what a file of eyes holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fund2oct.data.store.layout import EyeInfo
from fund2oct.data.store.reader import EyeReader
from fund2oct.data.store.shards import EyePaths, Shard, find_shards
from fund2oct.eye import SEARCHED


def summarise_file(path: EyePaths) -> list[str]:
    """Describe a file, or several that are read as one, without reading its pictures.

    Returns:
        A line for each thing that is known.

    Raises:
        DataError: if a file, or what describes an eye in it, cannot be read.
    """
    with EyeReader(path) as reader:
        infos = [reader.info(key) for key in reader.keys]
        shards = [Shard(file) for file in find_shards(path)]
    n_bytes = sum(shard.path.stat().st_size for shard in shards)
    compression = _counts(shard.compression for shard in shards)
    for shard in shards:
        shard.close()
    volumes = [info for info in infos if "volume" in info.arrays]
    poses = sum("pose_um" in info.arrays for info in volumes)
    searched = sum(all(name in info.arrays for name in SEARCHED) for info in volumes)
    photos = sum("fundus" in info.arrays for info in infos)
    pairs = sum("fundus" in info.arrays for info in volumes)
    name = reader.path if len(shards) == 1 else f"{reader.path} ({len(shards)} files)"
    return [
        f"{name}: {len(infos)} eyes of {len({_field(info, 'patient') for info in infos})} patients",
        f"pairs of photo and volume: {pairs}; photos alone: {photos - pairs}; "
        f"volumes alone: {len(volumes) - pairs}",
        f"laterality: {_counts(_field(info, 'laterality') for info in infos)}",
        f"diagnosis: {_counts(_field(info, 'diagnosis') for info in infos)}",
        f"photo: {_counts(_size(info, 'fundus', 2) for info in infos)}",
        f"volume (S, Z, X): {_counts(_size(info, 'volume', 3) for info in infos)}; "
        f"{poses} with pose, {searched} with pose and surfaces",
        f"scan: {_counts(info.scan.kind for info in volumes if info.scan)}",
        f"also: {_counts(name for info in infos for name in info.arrays if name not in _MAIN)}",
        f"metadata: {_counts(name for info in infos for name in info.fields['metadata'])}",
        f"source: {_counts(_field(info, 'source') for info in infos)}",
        f"on disk: {n_bytes / 2**20:.1f} MiB, compression {compression}",
    ]


_MAIN = ("fundus", "volume", *SEARCHED)


def _field(info: EyeInfo, name: str) -> str:
    return info.fields[name] or "not stated"


def _size(info: EyeInfo, name: str, n_axes: int) -> str:
    return "x".join(map(str, info.arrays[name][:n_axes])) if name in info.arrays else "none"


def _counts(values: Iterable[str], most: int = 8) -> str:
    """The values with how often each occurs, most often first."""
    counts = Counter(values).most_common()
    more = [f"and {len(counts) - most} more"] if len(counts) > most else []
    return ", ".join([*(f"{value} ({count})" for value, count in counts[:most]), *more]) or "none"
