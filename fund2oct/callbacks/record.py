"""What a run was made with, beside its outputs."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from fund2oct.outputs import versions


class RunRecordCallback(pl.Callback):
    """Write ``run.json`` into the run's folder: what the run was made with, and how long it took.

    It holds the command, the seed, the versions of the libraries, the device, the number of processes and
    the precision; at the end also the hours that the training took and the number of its steps, by which the
    checkpoint with its last weights is known.

    Example:
        >>> record = RunRecordCallback()
        >>> options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
        >>> trainer = pl.Trainer(default_root_dir="run", callbacks=[record], **options)
        >>> record.setup(trainer, pl.LightningModule(), "fit")  # as the trainer does when it begins
        >>> json.loads(Path("run/run.json").read_text())["device"]
        'cpu'
    """

    def __init__(self) -> None:
        self._record: dict[str, Any] = {}
        self._began = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write the record before anything can fail."""
        if stage != "fit":
            return
        self._began = time.monotonic()
        self._record = {
            "command": sys.argv,
            "seed": os.environ.get("PL_GLOBAL_SEED"),
            "versions": versions(),
            "device": str(trainer.strategy.root_device),
            "world_size": trainer.world_size,
            "precision": str(trainer.precision),
        }
        self._write(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add how long it took, of a training that went on since then, and the number of its steps."""
        self._record["hours"] = round((time.monotonic() - self._began) / 3600, 4)
        self._record["global_step"] = trainer.global_step
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        folder = trainer.log_dir  # asked by all processes: they agree on it by a broadcast
        if folder is None or not trainer.is_global_zero:
            return
        path = Path(folder) / "run.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self._record, indent=2) + "\n")
