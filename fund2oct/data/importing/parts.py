"""The parts of a file that is being made: an eye each, kept when the making is interrupted.

So an eye is written twice, into its part and from there into the file. HDF5 cannot go on with a file whose
writer was killed: written at once, it would be made anew after each interruption. The second time bytes are
copied and no eye is read: 1.2 ms and 1.4 MiB for a photo of 448 pixels and 6 x 320 x 448 voxels, whose
search for the surfaces alone takes 230 ms. Only the whole file is waited for until it is on the disk.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
from filelock import FileLock, Timeout

from fund2oct.data.store.checksum import keys_digest
from fund2oct.data.store.layout import LIBVER, Compression, read_text, text_attribute, write_eye
from fund2oct.data.store.reader import EyeReader
from fund2oct.data.store.shards import DAMAGE, NO_LOCKS, open_to_read
from fund2oct.data.store.writer import abandon_file, begin_file, finish_file, reserve, write_root
from fund2oct.eye import DataError, Eye
from fund2oct.outputs import whole_file


def write_part(
    path: Path, eye: Eye, notes: Sequence[str], identity: str, compression: Compression = "none"
) -> None:
    """Write a file of one eye, which appears under its name only once it is whole.

    A part that a power failure leaves damaged is known by its checksums, and made again.

    Args:
        path: the file to make.
        eye: what it holds.
        notes: what the importer noted on the eye.
        identity: what the eye was made from, see :func:`fund2oct.data.importing.engine.Candidate`.
        compression: how the part is compressed, see :class:`EyeWriter`.

    Raises:
        DataError: if the eye has a problem.
        OSError: if it cannot be written, as on a full disk.
    """
    # Made in memory: HDF5 is at a loss on a full disk, a plain write is not.
    image = io.BytesIO()
    with h5py.File(image, "w", libver=LIBVER) as file:
        write_root(file, compression)
        write_eye(file, eye, compression)
        group = file["eyes"][eye.key]
        group.attrs["identity"] = text_attribute(identity)
        group.attrs["notes"] = text_attribute(json.dumps(list(notes)))
        file.attrs["keys_digest"] = text_attribute(keys_digest([eye.key]))
    with whole_file(path) as part:
        part.write_bytes(image.getbuffer())


def read_part(path: Path, key: str | None = None) -> tuple[Eye, list[str]] | None:
    """Read and verify an eye and its notes; None where they cannot be used, to be made again.

    Args:
        path: a part, or a whole file.
        key: name of the eye; None for the only one of a part.
    """
    if not path.is_file():
        return None
    try:
        with EyeReader(path) as reader:
            key = key or reader.keys[0]
            return reader.read(key), reader.notes(key)
    except DataError:
        return None


def identities(path: Path) -> dict[str, str]:
    """The keys of a file's eyes by what they were made from, where the file says it."""
    try:
        with open_to_read(path) as file:
            eyes = file["eyes"]
            found = {read_text(eyes[key].attrs.get("identity")): key for key in eyes}
            return {identity: key for identity, key in found.items() if identity}
    except DAMAGE:
        return {}


def assemble(parts: Sequence[tuple[Path, str]], out: Path, made_from: str, compression: Compression) -> None:
    """Make a file of parts, without reading or compressing the eyes again.

    Args:
        parts: file and key of each eye.
        out: the file to make or replace.
        made_from: what the whole is made from.
        compression: how the parts are compressed.

    Raises:
        OSError: if it cannot be written, as on a full disk; ``out`` is then as it was.
    """
    partial = out.with_name(f".{out.name}.part")
    file = begin_file(partial, compression)
    try:
        file.attrs["made_from"] = text_attribute(made_from)
        for path, key in parts:
            reserve(file, partial, path.stat().st_size)
            with open_to_read(path) as part:
                part.copy(part["eyes"][key], file["eyes"], name=key)
        finish_file(file, partial, out)
    finally:
        abandon_file(file, partial)


@contextmanager
def locked(out: Path, wait: bool = False) -> Iterator[None]:
    """Have the making of a file for oneself; the lock ends with the process, however that ends.

    Args:
        out: the file to make.
        wait: whether to wait for another process that makes it.

    Raises:
        DataError: if another process makes it, or the disk takes no locks.
    """
    lock = FileLock(out.with_name(f".{out.name}.lock"), blocking=wait)
    try:
        lock.acquire()
    except Timeout:
        raise DataError(f"{out}: is being made by another process; wait for it to end") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise DataError(
            f"{out}: expected a disk that takes locks, so that no two processes make one file, found none "
            f"({error.strerror}); make it on another disk, and move it here"
        ) from error
    try:
        yield
    finally:
        # Removed while it is held: whoever waits for it notices, and makes another.
        with suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


@contextmanager
def parts_folder(out: Path) -> Iterator[Path]:
    """The folder of a file's parts, beside the file; removed at the end if it is empty."""
    folder = out.with_name(f".{out.name}.parts")
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        with suppress(OSError):
            folder.rmdir()


def disk_full(out: Path, folder: Path, n_eyes: int) -> DataError:
    """Say how much room a file of so many eyes still needs; the parts so far lie in ``folder``."""
    sizes = [part.stat().st_size for part in folder.glob("*.h5")]
    # Each eye is written twice, as a part and into the file.
    total = 2 * n_eyes * sum(sizes) / max(len(sizes), 1)
    missing = total - sum(sizes) - shutil.disk_usage(out.parent).free
    about = f"about {missing / 2**20:.0f} MiB more are needed; " if sizes and missing > 0 else ""
    state = "is as it was" if out.exists() else "was not written"
    return DataError(
        f"{out}: {state}, the disk is full after {len(sizes)} of {n_eyes} eyes; {about}"
        f"make room and run it again, it goes on from here ({folder} holds the eyes so far)"
    )
