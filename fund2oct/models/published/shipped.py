"""Models that come with the installation."""

from __future__ import annotations

from pathlib import Path

import fund2oct
from fund2oct.models.published.files import is_published

_SHIPPED = Path(fund2oct.__file__).parent / "weights"
_FIRST = "pix2vol"


def shipped_models() -> list[Path]:
    """List the published models that come with this installation, the default one first.

    Returns:
        Their folders; empty if the installation has none.

    Example:
        >>> all(is_published(folder) for folder in shipped_models())
        True
    """
    found = [path for path in _SHIPPED.glob("*") if is_published(path)]
    return sorted(found, key=lambda path: (path.name != _FIRST, path.name))


def shipped_model() -> Path:
    """The model to use where none is named.

    Raises:
        ValueError: if the installation holds none.
    """
    found = shipped_models()
    if not found:
        raise ValueError(
            "no model was named, and none came with this installation: name one, as in fund2oct predict "
            "runs/pix2vol/001/checkpoints/last.ckpt PHOTO, or train one with fund2oct train pix2vol"
        )
    return found[0]
