"""An augmentation of the user's own, of the pictures of a training eye."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fund2oct.by_path import import_by_path
from fund2oct.eye import Array

Transform = Callable[[dict[str, Array], np.random.Generator], dict[str, Array]]
"""Called as ``transform(pictures, rng)``, see :func:`apply_transform`."""


def load_transform(transform: str | Transform | None) -> Transform | None:
    """Import an augmentation that an experiment file names by its import path.

    Args:
        transform: the augmentation, a function as :func:`apply_transform` calls it; or its import path, as
            ``"my_module.my_function"``; or None for no augmentation.

    Returns:
        The function; None where none was given.

    Raises:
        ValueError: if it cannot be imported or called.

    Example:
        >>> load_transform("numpy.fliplr").__name__
        'fliplr'
        >>> load_transform("my_module.darker")
        Traceback (most recent call last):
            ...
        ValueError: transform: ...
    """
    try:
        found = import_by_path(transform) if isinstance(transform, str) else transform
    except ValueError as error:
        raise ValueError(f"transform: {error}") from error
    if found is not None and not callable(found):
        raise ValueError(f"transform: expected a function (pictures, rng), found {type(found).__name__}")
    return found


def apply_transform(transform: Transform, pictures: dict[str, Array], rng: np.random.Generator) -> None:
    """Augment the pictures of an eye by a function of the user's own.

    Args:
        transform: the function, called as ``transform(pictures, rng)``. It gets copies of the pictures by
            name, and returns those that it changed, of the same type and shape. It may change light and
            colour, but move nothing, for the A-scans keep their places on the photo.
        pictures: uint8, ``fundus`` ``(H, H, 3)``, ``volume`` ``(S, Z, X)`` or both; changed in place.
        rng: random numbers that depend on the seed, the epoch and the eye alone.

    Raises:
        ValueError: if the function returns something else.

    Example:
        >>> eye = {"fundus": np.full((2, 2, 3), 100, np.uint8)}
        >>> apply_transform(lambda eye, rng: {"fundus": eye["fundus"] + 5}, eye, np.random.default_rng(0))
        >>> int(eye["fundus"].max())
        105
    """
    changed = transform({name: picture.copy() for name, picture in pictures.items()}, rng)
    if not isinstance(changed, dict):
        found = type(changed).__name__
        raise ValueError(f"transform: expected the changed pictures by name, a dict, found {found}")
    for name, picture in changed.items():
        if name not in pictures:
            raise ValueError(f"transform: expected {' and '.join(pictures)}, found {name!r}")
        wanted = pictures[name]
        is_like = getattr(picture, "dtype", None) == np.uint8 and picture.shape == wanted.shape
        if not is_like:
            found = f"{getattr(picture, 'dtype', type(picture).__name__)} {np.shape(picture)}"
            raise ValueError(f"transform: {name}: expected uint8 {wanted.shape}, found {found}")
        wanted[...] = picture
