"""Files of eyes that a test makes itself."""

from collections.abc import Iterable
from pathlib import Path

from fund2oct.data.store.reader import EyeWriter
from fund2oct.eye import Eye


def write_eyes(path: str | Path, eyes: Iterable[Eye]) -> Path:
    """A file of these eyes, in place of one that is there."""
    with EyeWriter(path, overwrite=True) as writer:
        for eye in eyes:
            writer.add(eye)
    return Path(path)
