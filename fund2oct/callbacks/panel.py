"""Panels of validation eyes as training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from fund2oct.visual import draw_panel, save_figure


class PanelCallback(pl.Callback):
    """Draw the first validation eyes, real above generated, after each validation.

    A model that draws no volumes has no panels.

    Writes ``panels/epoch-003-KEY.png`` into the run's folder and, with TensorBoard, an image.

    Args:
        n_eyes: eyes to draw; the same ones each time.
    """

    def __init__(self, n_eyes: int = 2) -> None:
        self.n_eyes = n_eyes
        self._folder: Path | None = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Learn where to draw, which all processes have to ask: they agree on it by a broadcast."""
        folder = trainer.log_dir
        draws = getattr(pl_module, "draws_volumes", True) and trainer.is_global_zero
        self._folder = Path(folder) / "panels" if folder and draws else None

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw what :meth:`fund2oct.models.VolumeModel.validation_step` returned."""
        batch_size = len(batch["key"])
        first = batch_idx * batch_size
        if first >= self.n_eyes or self._folder is None:
            return
        for number in range(min(batch_size, self.n_eyes - first)):
            rows = {"real": batch["volume"][number, 0], "generated": outputs["volume"][number, 0]}
            key, diagnosis = batch["key"][number], batch["diagnosis"][number]
            title = f"{key}  {diagnosis}  epoch {trainer.current_epoch + 1}"
            figure = draw_panel(batch["fundus"][number], batch["grid"][number], rows, title)
            path = save_figure(figure, self._folder / f"epoch-{trainer.current_epoch + 1:03d}-{key}.png")
            self._log(trainer, path, f"panels/{key}")

    @staticmethod
    def _log(trainer: pl.Trainer, path: Path, name: str) -> None:
        from PIL import Image

        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                picture = np.asarray(Image.open(path).convert("RGB"))
                logger.experiment.add_image(name, picture, trainer.global_step, dataformats="HWC")
