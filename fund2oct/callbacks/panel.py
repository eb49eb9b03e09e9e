"""Panels of validation eyes as training goes on, and a film of each."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import default_collate

from fund2oct.data.masks.networks import vessels_of, with_vessels
from fund2oct.models import Batch, VolumeModel
from fund2oct.models.batch import to_device
from fund2oct.models.thickness import predict_interval_um
from fund2oct.models.training.optimisation import ends_by_epochs, last_share
from fund2oct.networks.noise import NoiseSource
from fund2oct.visual import ShownVolume, draw_panel, save_figure
from fund2oct.visual.film import write_film


class PanelCallback(pl.Callback):
    """Draw the first validation eyes as training goes on, real above generated.

    Writes ``panels/epoch-003-KEY.png`` into the run's folder and, with TensorBoard, an image; at the end
    ``panels/KEY.gif``, the eye over the epochs. The pictures are drawn with the averaged generator, and
    always with the same noise, so that what changes is the model. A model that draws no volumes, and a
    datamodule without a ``val_dataset``, have none.

    Args:
        n_eyes: eyes to draw; the same ones each time.
        n_epochs: at how many epochs they are drawn, spread evenly over the training, the last one included. A
            training without any end draws them after 1, 2, 4, 8 epochs, and so on.

    Example:
        >>> from fund2oct.run.config import load_experiment
        >>> panels = "{class_path: fund2oct.callbacks.PanelCallback, init_args: {n_eyes: 4}}"
        >>> config = load_experiment("pix2vol", [f"trainer.callbacks=[{panels}]"])
        >>> [one["init_args"] for one in config["trainer"]["callbacks"] if "Panel" in one["class_path"]]
        [{'n_eyes': 4}]
    """

    def __init__(self, n_eyes: int = 1, n_epochs: int = 12) -> None:
        self.n_eyes = n_eyes
        self.n_epochs = n_epochs
        self._n_drawn = 0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the eyes, if it is time."""
        if not isinstance(pl_module, VolumeModel) or not pl_module.draws_volumes:
            return
        # Both are asked by all processes: they agree on them by a broadcast.
        folder, due = trainer.log_dir, self._is_due(trainer, pl_module)
        data = getattr(trainer, "datamodule", None)
        eyes = getattr(data, "val_dataset", None)
        if folder is None or eyes is None or not due or not trainer.is_global_zero:
            return
        # A sample of the dataset lacks the map that the datamodule adds to its batches.
        vessels = vessels_of(getattr(data, "vessel_network", None))
        for number in range(min(self.n_eyes, len(eyes))):
            eye = with_vessels(to_device(default_collate([eyes[number]]), pl_module.device), vessels)
            self._draw(trainer, pl_module, eye, Path(folder) / "panels")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make a film of each eye's panels."""
        folder = trainer.log_dir
        if folder is None or not trainer.is_global_zero:
            return
        panels = Path(folder) / "panels"
        films: defaultdict[str, dict[int, Path]] = defaultdict(dict)
        for path in panels.glob("epoch-*-*.png"):
            _, epoch, key = path.stem.split("-", 2)  # a key may hold hyphens
            films[key][int(epoch)] = path
        for key, frames in films.items():
            write_film([frames[epoch] for epoch in sorted(frames)], panels / f"{key}.gif")

    def _is_due(self, trainer: pl.Trainer, model: VolumeModel) -> bool:
        epoch, last = trainer.current_epoch + 1, trainer.max_epochs or 0
        if self.n_epochs < 1:
            return False
        if ends_by_epochs(trainer):
            return bool(epoch in np.linspace(last, 1, min(self.n_epochs, last)).round())
        if not last_share(trainer):
            return (epoch & (epoch - 1)) == 0
        # The clock or the steps end it: as many parts of it have begun, the first one with the first epoch.
        share = 1.0 if trainer.should_stop or epoch == last else model.share_done()
        n_wanted = int(share * max(self.n_epochs - 1, 1)) + (self.n_epochs > 1)
        due, self._n_drawn = n_wanted > self._n_drawn, n_wanted
        return due

    @staticmethod
    def _draw(trainer: pl.Trainer, model: VolumeModel, eye: Batch, folder: Path) -> None:
        batch = model.prepare(trainer.precision_plugin.convert_input(eye))
        key, diagnosis = batch["key"][0], batch.get("diagnosis", [""])[0]
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            noise = NoiseSource.of_keys([key], model.seed, model.device)
            drawn = model.generate(model.generator_ema, batch, noise).volume[0, 0]
            given = batch["fundus"][0], batch["grid"][0]
            interval_um = predict_interval_um(model, *given, **model.known(batch))
        spacing_mm = float(batch["spacing_z_mm"][0]), float(batch["spacing_x_mm"][0])
        epoch = trainer.current_epoch + 1
        figure = draw_panel(
            {
                "real": ShownVolume.searched(batch["volume"][0, 0], spacing_mm),
                "generated": ShownVolume.searched(drawn, spacing_mm, interval_um),
            },
            spacing_mm,
            *given,
            minus=("generated", "real"),
            title=", ".join(filter(None, (key, diagnosis, f"epoch {epoch}"))),
            footer=model.task.provenance() if model.task else "",
        )
        path = save_figure(figure, folder / f"epoch-{epoch:03d}-{key}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                logger.experiment.add_image(f"panels/{key}", pixels, trainer.global_step, dataformats="HWC")
