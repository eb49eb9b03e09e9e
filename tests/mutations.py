"""Damage done to a file by a seed, and what a reader then makes of it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import h5py
import numpy as np

from fund2oct.data import DataError, EyeReader
from fund2oct.data.store.check import check_file
from fund2oct.eye import Eye

Rng = np.random.Generator


def flip_bits(content: bytearray, rng: Rng, _: Path) -> None:
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))


def flip_a_bit_of_structure(content: bytearray, rng: Rng, path: Path) -> None:
    """Of HDF5's own structures, which are a small part of the bytes and tell where all else lies."""
    covered = np.zeros(len(content), bool)
    for start, stop in array_places(path):
        covered[start:stop] = True
    content[rng.choice(np.flatnonzero(~covered))] ^= 1 << int(rng.integers(8))


def truncate(content: bytearray, rng: Rng, _: Path) -> None:
    del content[rng.integers(len(content)) :]


def swap_blocks(content: bytearray, rng: Rng, _: Path) -> None:
    size = int(2 ** rng.integers(3, 12))
    a, b = (int(start) * size for start in rng.choice(len(content) // size, 2, replace=False))
    content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]


def swap_arrays(content: bytearray, rng: Rng, path: Path) -> None:
    """The bytes of two stored arrays, or chunks of arrays, of one size."""
    places = array_places(path)
    start, stop = places[rng.integers(len(places))]
    alike = [place for place in places if place[1] - place[0] == stop - start]
    other, _ = alike[rng.integers(len(alike))]
    size = stop - start
    content[start:stop], content[other : other + size] = content[other : other + size], content[start:stop]


def zero_header(content: bytearray, rng: Rng, _: Path) -> None:
    stop = int(rng.integers(1, 4096))
    content[:stop] = bytes(stop)


def zero_block(content: bytearray, rng: Rng, _: Path) -> None:
    size = int(2 ** rng.integers(3, 13))
    start = int(rng.integers(len(content) // size)) * size
    content[start : start + size] = bytes(size)


def noise_block(content: bytearray, rng: Rng, _: Path) -> None:
    start = int(rng.integers(len(content)))
    size = min(int(2 ** rng.integers(3, 12)), len(content) - start)
    content[start : start + size] = rng.bytes(size)


def copy_block(content: bytearray, rng: Rng, _: Path) -> None:
    size = int(2 ** rng.integers(6, 12))
    a, b = (int(start) * size for start in rng.integers(len(content) // size, size=2))
    content[a : a + size] = content[b : b + size]


def lose_bytes(content: bytearray, rng: Rng, _: Path) -> None:
    start = int(rng.integers(len(content)))
    del content[start : start + int(rng.integers(1, 64))]


def add_bytes(content: bytearray, rng: Rng, _: Path) -> None:
    start = int(rng.integers(len(content) + 1))
    content[start:start] = rng.bytes(int(rng.integers(1, 64)))


MUTATIONS = (
    flip_bits, flip_a_bit_of_structure, truncate, swap_blocks, swap_arrays, zero_header, zero_block,
    noise_block, copy_block, lose_bytes, add_bytes,
)  # fmt: skip


def array_places(path: Path) -> list[tuple[int, int]]:
    """Where the stored arrays, or their chunks, begin and end in the file."""
    places = []

    def visit(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks is None:
            start = item.id.get_offset()
            places.append((start, start + item.nbytes))
        elif isinstance(item, h5py.Dataset):
            chunks = map(item.id.get_chunk_info, range(item.id.get_num_chunks()))
            places.extend((chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return places


def mutate(sound: Path, path: Path, seed: int) -> str:
    """Write a damaged copy of a file; returns the kind of damage."""
    rng = np.random.default_rng(seed)
    change = MUTATIONS[seed % len(MUTATIONS)]
    content = bytearray(sound.read_bytes())
    change(content, rng, sound)
    path.write_bytes(content)
    return change.__name__


def verdict(sound: Path, folder: Path, seed: int) -> tuple[str, str]:
    """The kind of damage, and ``"identical"``, ``"detected"``, or what is wrong with how it was read."""
    path = folder / f"{seed}.h5"
    kind = mutate(sound, path, seed)
    try:
        return kind, _judge(sound, path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        path.unlink()


def _judge(sound: Path, path: Path) -> str:
    with EyeReader(sound) as reader:
        wanted = {key: reader.read(key) for key in reader.keys}
    messages = []
    with EyeReader(path) as reader:
        try:
            if reader.keys != tuple(wanted):
                return f"other keys: {reader.keys}"
        except DataError as error:
            messages.append(str(error))
        for key, eye in wanted.items():
            try:
                if not same(reader.read(key), eye):
                    return f"WRONG EYE {key}"
            except DataError as error:
                if key not in str(error) and "HDF5" not in str(error):
                    return f"does not name eye {key}: {error}"
                messages.append(str(error))
    if any(str(path) not in message or "\n" in message for message in messages):
        return f"does not name the file on one line: {messages}"
    checked = check_file(path)
    if bool(checked) != bool(messages):
        return f"the reader says {messages}, the check {checked}"
    return "detected" if messages else "identical"


def same(a: Eye, b: Eye) -> bool:
    """Whether two eyes are alike to the bit."""

    def plain(eye: Eye) -> bytes:
        values = [getattr(eye, field.name) for field in dataclasses.fields(eye)]
        return b"".join(
            value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode() for value in values
        )

    return plain(a) == plain(b)
