"""What other systems do otherwise.

Windows opens no folder, and syncs no file that is open to be read alone; some shared file systems take no
room in advance, or no locks; a process may have few files open.
"""

import errno
import fcntl
import os
from itertools import pairwise
from types import SimpleNamespace

import h5py
import pytest

from fund2oct.data import DataError, EyeReader, EyeWriter
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.data.store import reader, writer
from fund2oct.phantom import simulate_eye


class Windows:
    """The module ``os``, as far as the writer meets it there."""

    name = "nt"

    def __getattr__(self, name):
        if name == "posix_fallocate":
            raise AttributeError(name)
        return getattr(os, name)

    def open(self, path, flags):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return os.open(path, flags)

    def fsync(self, handle):
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        os.fsync(handle)


class Shared:
    """The module ``os`` on a file system that takes no room in advance."""

    def __init__(self, number=errno.EBADF):
        self.number = number

    def __getattr__(self, name):
        return getattr(os, name)

    def posix_fallocate(self, handle, start, length):
        raise OSError(self.number, os.strerror(self.number))


SYSTEMS = [os, Windows(), Shared(), Shared(errno.EOPNOTSUPP)]


@pytest.mark.parametrize("system", SYSTEMS, ids=["linux", "windows", "nfs", "fuse"])
def test_a_file_of_eyes_is_written_and_synced(system, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "os", system)
    with EyeWriter(tmp_path / "mine.h5") as made:
        made.add(simulate_eye(0, 0))
    assert EyeReader(tmp_path / "mine.h5").keys == ("sim-0000000-OD",)


@pytest.mark.parametrize("system", SYSTEMS[1:], ids=["windows", "nfs", "fuse"])
def test_a_full_disk_is_told_where_no_room_is_taken_in_advance(system, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "os", system)
    # Enough for the beginning of a file, not for an eye.
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1 << 17))
    with (
        pytest.raises(DataError, match=r"mine\.h5: not written, the disk is full; make room"),
        EyeWriter(tmp_path / "mine.h5") as made,
    ):
        made.add(simulate_eye(0, 0))
    assert not os.listdir(tmp_path)


def test_room_is_taken_behind_what_is_written(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(writer.os, "posix_fallocate", lambda handle, start, length: taken.append(start))
    with EyeWriter(tmp_path / "mine.h5") as made:
        for number in range(3):
            made.add(simulate_eye(0, number))
    eye_bytes = simulate_eye(0, 0).volume.nbytes
    assert len(taken) == 4
    assert all(after - before > eye_bytes for before, after in pairwise(taken[1:]))


def test_a_folder_is_synced_on_linux(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        writer.os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}"))
    )
    writer.sync(tmp_path)
    assert synced == [str(tmp_path)]


def test_a_disk_without_locks_is_read(make_file, monkeypatch):
    path, opened = make_file(), h5py.File

    def no_lock(name, *args, locking=None, **options):
        if locking is not False:
            raise OSError(errno.ENOLCK, "Unable to synchronously open file (unable to lock file)")
        return opened(name, *args, locking=locking, **options)

    monkeypatch.setattr(h5py, "File", no_lock)
    with EyeReader(path) as found:
        assert len(found.keys) == 3 and found.read(found.keys[0]).key == found.keys[0]


def test_a_disk_without_locks_makes_no_file_and_says_so(tmp_path, monkeypatch):
    def no_lock(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", no_lock)
    with pytest.raises(
        DataError, match=r"eyes\.h5: expected a disk that takes locks, .* \(No locks available\)"
    ):
        simulate_file(tmp_path / "eyes.h5", 1)


def test_more_files_than_may_be_open_are_read(tmp_path, make_eye, monkeypatch):
    monkeypatch.setattr(reader, "MOST_OPEN", 2)
    for number in range(5):
        with EyeWriter(tmp_path / f"{number}.h5") as file:
            file.add(make_eye(number))
    with EyeReader(tmp_path) as found:
        for _ in range(2):
            for number, key in enumerate(found.keys):
                assert found.read(key).fundus.tolist() == make_eye(number).fundus.tolist()
                assert sum(shard._file is not None for shard in found._all()) <= 2
