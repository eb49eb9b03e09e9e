"""What a file is: its kind by its first bytes, for errors that say what was found, and its SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path

HDF5, JPEG = "an HDF5 file", "a JPEG picture"
MADE_HERE = "made by fund2oct"
"""The mark in what fund2oct draws, by which it is told from photos (PNG and TIFF: the tag Software; SVG and
PDF: the creator; GIF, MP4 and NPZ: the comment)."""
_BY = b"by fund2oct"
"""What this mark has in common with the sentence on an eye in the headers of NIfTI, DICOM, PLY and VTK."""
_GZIP = b"\x1f\x8b"
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"II+\0", "a TIFF picture"),
    (b"MM\0+", "a TIFF picture"),
    (b"\x89HDF\r\n\x1a\n", f"{HDF5}, as files of eyes are"),
    (b"PK\x03\x04", "a zip archive, as PyTorch's checkpoints are"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"%PDF", "a PDF document"),
    (_GZIP, "a file compressed by gzip"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"CMDb", "a Heidelberg .e2e file"),
    (b"HSF-OCT-", "a Heidelberg .vol file"),
    (b"FOCT", "a Topcon .fda file"),
)
_LFS = b"version https://git-lfs"
_READ = 512
_READ_FOR_MARK = 8192


def kind_of(path: str | os.PathLike[str]) -> str:
    """Tell what a file is by its first bytes, whatever its name says.

    Args:
        path: the file.

    Returns:
        Words that an error can put behind "is"; empty where the bytes tell nothing.

    Raises:
        OSError: if it cannot be opened.

    Example:
        >>> kind_of("photo.png"), kind_of("eyes.h5")
        ('a PNG picture', 'an HDF5 file, as files of eyes are')
    """
    with open(path, "rb") as file:
        start = file.read(_READ)
    if not start:
        return "empty: it was copied or downloaded in part at best"
    if start.startswith(_LFS):
        return "a pointer of Git LFS and not the file itself; run git lfs pull"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, perhaps of a download that wanted a login"
    # safetensors: the length of a JSON header, little endian, and the header.
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < 100_000_000:
        return "a file of tensors alone (safetensors)"
    if start[128:132] == b"DICM":
        return "a DICOM file"
    return next((kind for first, kind in _STARTS if start.startswith(first)), "")


def is_made_here(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file was written by this library: it is a result then, and no photo and no scan.

    Args:
        path: the file. Of a file of eyes (HDF5) and of a table (CSV) it cannot be told.

    Returns:
        Whether it says so at its beginning or its end, by the mark ``MADE_HERE`` or by what its header tells
        of the eye.

    Raises:
        OSError: if it cannot be opened.

    Example:
        >>> from fund2oct.visual.style import new_figure, save_figure
        >>> is_made_here(save_figure(new_figure(1, 1), "figure.png")), is_made_here("photo.png")
        (True, False)
    """
    with open(path, "rb") as file:
        start = file.read(_READ_FOR_MARK)
        file.seek(-min(_READ_FOR_MARK, os.path.getsize(path)), os.SEEK_END)
        end = file.read()
    if start.startswith(_GZIP):
        try:
            with gzip.open(path) as inside:
                start = inside.read(_READ_FOR_MARK)
        except (OSError, EOFError, zlib.error):  # it is damaged
            return False
    return _BY in start or _BY in end


def why_not_a_file(path: str | os.PathLike[str]) -> str:
    """Tell why a path cannot be opened as a file.

    Args:
        path: the path that a user gave.

    Returns:
        Words that an error can put behind the path; empty where the file can be opened.

    Example:
        >>> why_not_a_file("/")
        'is a folder, expected a file'
        >>> why_not_a_file("eye-of-nobody.h5")
        'no such file'
    """
    path = Path(path)
    try:
        if path.is_dir():
            return "is a folder, expected a file"
        if not path.exists():
            return "no such file"
        with open(path, "rb"):
            return ""
    except PermissionError:
        return "cannot be opened, permission is denied; ask its owner, or change its mode"
    except OSError as error:
        return f"cannot be opened ({error.strerror or error})"


def file_identity(path: str | os.PathLike[str]) -> tuple[int, int]:
    """What is the same for all names of a file or a folder, as links and capital letters make them.

    Args:
        path: the file or folder; a link is followed.

    Returns:
        Device and number on it.

    Raises:
        OSError: if there is none.

    Example:
        >>> _ = Path("empty.png").write_bytes(b"")
        >>> file_identity("empty.png") == file_identity("./empty.png")
        True
    """
    found = os.stat(path)
    return found.st_dev, found.st_ino


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, read piece by piece.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: if it cannot be read.

    Example:
        >>> _ = Path("empty.png").write_bytes(b"")
        >>> file_sha256("empty.png")[:12]
        'e3b0c44298fc'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
