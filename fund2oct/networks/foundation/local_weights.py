"""Pre-trained weights on this machine: found by path or name, told apart by their digest.

Nothing is ever downloaded. A user names weights by their path, or by their name in one of the folders for
weights: the one that the environment variable ``FUND2OCT_WEIGHTS`` names, and the cache of
``fund2oct weights``. A checkpoint names them by name and digest alone, ``NAME@sha256:DIGEST``, and they are
looked for in these folders: no file ever says which path is opened.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fund2oct.by_path import check_named_by_user
from fund2oct.file_kinds import file_sha256
from fund2oct.networks.features.weight_files import weight_folders

CONFIG, PHOTO_CONFIG = "config.json", "preprocessor_config.json"
ENDINGS = (".safetensors", ".pth", ".bin")
_PINNED = re.compile(r"(?!\.{1,2}@)([^/\\:@]{1,200})@sha256:([0-9a-f]{64})")
_SHOWN = 12


@dataclass(frozen=True)
class LocalWeights:
    """Weights that were found.

    Args:
        path: a file of weights, or a folder that holds ``config.json`` and weights.
        sha256: SHA-256 of the file, or of the list of the SHA-256 of the folder's files.

    Example:
        >>> LocalWeights(Path("/data/dinov2-small"), 64 * "0").pinned
        'dinov2-small@sha256:0000000000000000000000000000000000000000000000000000000000000000'
    """

    path: Path
    sha256: str

    @property
    def pinned(self) -> str:
        """Name and digest, which a checkpoint holds."""
        return f"{self.path.name}@sha256:{self.sha256}"


def find_local_weights(given: str) -> LocalWeights:
    """Find weights.

    Args:
        given: path of a folder or file; its name in a folder for weights, with or without the ending of a
            file; or name and digest, as a checkpoint holds them.

    Returns:
        Where they lie, and their digest.

    Raises:
        ValueError: if there is nothing of this name, it holds no weights, or a file gave the name without a
            digest.
        ModuleNotFoundError: if weights with a digest are not there; the message says which, and where to put
            them.

    Example:
        >>> find_local_weights("facebook/dinov2-small")
        Traceback (most recent call last):
            ...
        ValueError: encoder: no weights 'facebook/dinov2-small' on this machine, and none are downloaded; ...
    """
    if pinned := _PINNED.fullmatch(given):
        return _find_pinned(*pinned.groups())
    check_named_by_user(given)
    path = Path(given).expanduser()
    places = [path]
    if path.name == given:
        places += [folder / f"{given}{ending}" for folder in weight_folders() for ending in ("", *ENDINGS)]
    for place in places:
        if place.exists():
            found = Path(os.path.abspath(place))  # a link keeps its name
            return LocalWeights(found, weights_sha256(found))
    raise ValueError(
        f"encoder: no weights {given!r} on this machine, and none are downloaded; expected auto, "
        "efficientnet_lite0 or own, or the path of a folder or file of weights, or its name in "
        f"{_folders()}. To get a folder of the hub once: hf download OWNER/NAME --local-dir FOLDER"
    )


def weights_sha256(path: Path) -> str:
    """SHA-256 of a file of weights, or of the list of those of a folder, a line ``SHA256  NAME`` for each.

    Raises:
        ValueError: if the folder holds no weights.
    """
    if path.is_file():
        return _file_sha256(path)
    lines = "".join(f"{_file_sha256(file)}  {file.name}\n" for file in folder_files(path))
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_files(folder: Path) -> list[Path]:
    """The files of a folder that matter: what is built, how it wants the photo, and its weights.

    Raises:
        ValueError: if it lacks ``config.json`` or weights.
    """
    config = folder / CONFIG
    weights = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not config.is_file() or not weights:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
        single = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS)
        advice = f"; to read {single[0].name}, name that file itself" if single else ""
        raise ValueError(
            f"encoder: {folder}: expected {CONFIG} and model.safetensors, as the Hugging Face hub gives "
            f"them, found {there}{advice}"
        )
    return [path for path in (config, folder / PHOTO_CONFIG) if path.is_file()] + weights


def _find_pinned(name: str, sha256: str) -> LocalWeights:
    others = []
    for folder in weight_folders():
        place = folder / name
        if place.exists():
            if (found := weights_sha256(place)) == sha256:
                return LocalWeights(place, sha256)
            others.append(f"{place} holds others (SHA-256 {found[:_SHOWN]}...)")
    raise ModuleNotFoundError(
        f"encoder: the weights {name} with SHA-256 {sha256[:_SHOWN]}...: {'; '.join(others) or 'not found'}; "
        f"put them as {name} into {_folders()}"
    )


def _folders() -> str:
    own, *cache = (str(folder) for folder in weight_folders())
    return (
        f"{own} or {cache[0]}" if cache else f"{own} (or set FUND2OCT_WEIGHTS to the folder that holds them)"
    )


def _file_sha256(path: Path) -> str:
    about = path.stat()
    return _sha256_as_it_was(path, about.st_size, about.st_mtime_ns)


@lru_cache
def _sha256_as_it_was(path: Path, size: int, changed_ns: int) -> str:
    """A gigabyte is not read twice where it has not changed."""
    return file_sha256(path)
