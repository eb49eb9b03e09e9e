"""Functions and classes of a user's own file, by the import path that the user gives."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def import_own(path: str, what: str) -> Any:
    """Import something by its path.

    A path comes from the command line, an experiment or code. One that was read from a file of data or
    from a checkpoint is never imported: such a file could then run anything.

    Args:
        path: ``"module.name"``, as ``"my_losses.smoothness"``.
        what: the argument that it was given for, for the message.

    Raises:
        ValueError: if it cannot be imported.

    Example:
        >>> import_own("math.sqrt", "transform")(9.0)
        3.0
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise ValueError(
            f"{what}: {path!r}: expected an importable MODULE.NAME, in this folder or installed: {error}"
        ) from error
