"""What several commands share."""

from __future__ import annotations

import argparse
import os
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")


def add_compression(parser: argparse.ArgumentParser) -> None:
    """Add ``--compression``."""
    parser.add_argument(
        "--compression", choices=("none", "gzip", "zstd"), default="none",
        help="none is the fastest to read; zstd needs fund2oct[zstd] (default: none)",
    )  # fmt: skip


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``."""
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
