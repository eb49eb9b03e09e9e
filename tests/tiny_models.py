"""Models that are small enough for a test, and what trains them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl

TINY_PIX2VOL = {
    "encoder": "own", "surface_width": 16, "tissue_width": 16, "texture": (8, 8), "feature_width": 0,
    "bscan_width": 8,
}  # fmt: skip
"""A small Pix2Vol that needs nobody's weights."""


def quick_trainer(**options: Any) -> pl.Trainer:
    """A trainer on the CPU that shows and writes nothing, but for what ``options`` say."""
    import pytorch_lightning as pl  # late: many tests need none

    quiet = {
        "accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False,
    }  # fmt: skip
    return pl.Trainer(**(quiet | options))
