"""``fund2oct info``: what a file of eyes holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fund2oct.data.store.layout import Record
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
        records = [reader.record(key) for key in reader.keys]
        shards = [Shard(file) for file in find_shards(path)]
    n_bytes = sum(shard.path.stat().st_size for shard in shards)
    compression = _counts(shard.compression for shard in shards)
    versions = _counts(f"version {shard.version}" for shard in shards)
    for shard in shards:
        shard.close()
    volumes = [record for record in records if "volume" in record.arrays]
    poses = sum("pose_um" in record.arrays for record in volumes)
    searched = sum(all(name in record.arrays for name in SEARCHED) for record in volumes)
    photos = sum("fundus" in record.arrays for record in records)
    pairs = sum("fundus" in record.arrays for record in volumes)
    name = reader.path if len(shards) == 1 else f"{reader.path} ({len(shards)} files)"
    return [
        f"{name}: {len(records)} eyes of {len({_field(record, 'patient') for record in records})} patients",
        f"pairs of photo and volume: {pairs}; photos alone: {photos - pairs}; "
        f"volumes alone: {len(volumes) - pairs}",
        f"laterality: {_counts(_field(record, 'laterality') for record in records)}",
        f"diagnosis: {_counts(_field(record, 'diagnosis') for record in records)}",
        f"photo: {_counts(_size(record, 'fundus', 2) for record in records)}",
        f"volume (S, Z, X): {_counts(_size(record, 'volume', 3) for record in records)}; "
        f"{poses} with pose, {searched} with pose and surfaces",
        f"scan: {_counts(record.fields['scan'].kind for record in volumes if record.fields.get('scan'))}",
        f"also: {_counts(name for record in records for name in record.arrays if name not in _MAIN)}",
        f"metadata: {_counts(name for record in records for name in record.fields.get('metadata', {}))}",
        f"source: {_counts(_field(record, 'source') for record in records)}",
        f"on disk: {n_bytes / 2**20:.1f} MiB, compression {compression}, schema {versions}",
    ]


_MAIN = ("fundus", "volume", *SEARCHED)


def _field(record: Record, name: str) -> str:
    return record.fields[name] or "not stated"


def _size(record: Record, name: str, n_axes: int) -> str:
    stored = record.arrays.get(name)
    return "none" if stored is None else "x".join(map(str, stored.shape[:n_axes]))


def _counts(values: Iterable[str], most: int = 8) -> str:
    """The values with how often each occurs, most often first."""
    counts = Counter(values).most_common()
    more = [f"and {len(counts) - most} more"] if len(counts) > most else []
    return ", ".join([*(f"{value} ({count})" for value, count in counts[:most]), *more]) or "none"
