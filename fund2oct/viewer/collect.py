"""Which eyes a page shows, and what is added to them before they are packed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fund2oct.by_path import listed
from fund2oct.data import EyeReader
from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.eye import GENERATED, SEARCHED, DataError, Eye, some_of

if TYPE_CHECKING:
    from fund2oct.models.thickness import ThicknessMap

_NOT_SHOWN = ("rescan", "lesion_fundus", "masks")


@dataclass(frozen=True)
class Source:
    """One file's word on an eye.

    Args:
        name: what the page calls the file.
        eye: the eye, with the surfaces and the pose of its volume.
        searched: whether these were searched for now, because the file has none.
        thickness: the map that ``fund2oct predict`` wrote beside the file, of a generated eye; None where
            there is none.
    """

    name: str
    eye: Eye
    searched: bool = False
    thickness: ThicknessMap | None = None


class Collection:
    """The eyes of several files, of which those with one key belong together.

    Args:
        files: files of eyes, or folders of them; the first holds the real eyes, the others what was
            generated for them.
        keys: the eyes to show; None takes those that the most files hold.
        n_eyes: how many at most, where ``keys`` is None.

    Raises:
        DataError: if a file cannot be used, or no file holds one of the keys.
    """

    def __init__(
        self,
        files: str | Path | Sequence[str | Path],
        keys: str | Sequence[str] | None = None,
        n_eyes: int = 20,
    ) -> None:
        files = listed(files)
        if not files:
            raise DataError("expected at least one file of eyes, found none")
        self._readers = [EyeReader(path) for path in files]
        self.names = source_names(files)
        held = self._held = [frozenset(reader.keys) for reader in self._readers]
        everywhere = sorted(set[str]().union(*held))
        self.n_found = len(everywhere)
        if keys is None:
            most_files_first = sorted(everywhere, key=lambda key: -sum(key in each for each in held))
            keys = sorted(most_files_first[:n_eyes])
        keys = listed(keys)
        for key in keys:
            if key not in everywhere:
                raise DataError(
                    f"eye {key!r}: expected a key of {', '.join(map(str, files))}: {some_of(everywhere)}"
                )
        self.keys = tuple(dict.fromkeys(keys))
        if not self.keys:
            raise DataError(f"{', '.join(map(str, files))}: expected at least one eye, found none")

    def sources(self, key: str) -> Iterator[Source]:
        """What each file that holds an eye says of it, in the order of the files."""
        for name, reader, held in zip(self.names, self._readers, self._held, strict=True):
            if key in held:
                yield _complete(name, reader.read(key, skip=_NOT_SHOWN), reader.path_of(key))
            if len(reader.paths) == 1:  # of a folder it would forget which file holds which eye
                reader.close()


def source_names(files: Sequence[str | Path]) -> tuple[str, ...]:
    """What the page calls each file: the first of several is ``real``, no name comes twice.

    Example:
        >>> source_names(["eyes.h5", "runs/a/made.h5", "runs/b/made.h5"])
        ('real', 'made', 'made 2')
    """
    names: list[str] = []
    for number, path in enumerate(map(Path, files)):
        own = path.name if path.is_dir() else path.stem
        name = "real" if number == 0 and len(files) > 1 else own or str(path)
        taken, again = name, 2
        while taken in names:
            taken, again = f"{name} {again}", again + 1
        names.append(taken)
    return tuple(names)


def _complete(name: str, eye: Eye, path: Path) -> Source:
    searched = eye.volume is not None and any(getattr(eye, field) is None for field in SEARCHED)
    if searched:
        assert eye.volume is not None
        eye = replace(eye, **searched_fields(eye.volume, eye.spacing_mm, []))
    return Source(name, eye, searched, _thickness_beside(path, eye))


def _thickness_beside(path: Path, eye: Eye) -> ThicknessMap | None:
    if not eye.source.startswith(GENERATED):  # predictions may lie beside the file of the real eyes
        return None
    for stem in (eye.key, path.stem):
        beside = path.with_name(f"{stem}.thickness.tif")
        if beside.is_file():
            # Lightning comes with it and takes seconds to import.
            from fund2oct.models.thickness import load_thickness

            return load_thickness(beside, eye.placement)
    return None
