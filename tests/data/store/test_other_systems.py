"""What Windows does otherwise: it opens no folder, and syncs no file that is open to be read alone."""

import errno
import fcntl
import os

import pytest

from fund2oct.data import EyeReader, EyeWriter
from fund2oct.data.store import writer
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


@pytest.mark.parametrize("system", [os, Windows()], ids=["linux", "windows"])
def test_a_file_of_eyes_is_written_and_synced(system, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "os", system)
    with EyeWriter(tmp_path / "mine.h5") as made:
        made.add(simulate_eye(0, 0))
    assert EyeReader(tmp_path / "mine.h5").keys == ("sim-0000000-OD",)


def test_a_folder_is_synced_on_linux(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        writer.os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}"))
    )
    writer.sync(tmp_path)
    assert synced == [str(tmp_path)]
