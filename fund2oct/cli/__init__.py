"""The ``fund2oct`` command, a page for each group of its commands."""

from fund2oct.cli.main import main

__all__ = ["main"]
