"""Colour fundus photograph to OCT volume, with the scan's geometry known."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_model"]


def __getattr__(name: str) -> Any:
    # Importing the package stays light: torch and Lightning take seconds.
    if name == "load_model":
        from fund2oct.models import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
