"""Draw the README's figures of the model: python docs/make_model_figures.py RUN [KEY]

RUN is the folder of a training, KEY one of its test eyes. Written to docs/images are pix2vol.webp, real and
generated slices of that eye; thickness.webp, the map of its thickness; and curves.webp, how the training
went.
"""

import sys
from pathlib import Path

import torch
from figure_files import IMAGES, save_webp
from omegaconf import OmegaConf
from torch.utils.data import default_collate

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.models import load_model
from fund2oct.models.task import DEMONSTRATION
from fund2oct.models.thickness import predict_interval_um, predict_thickness
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import unalign
from fund2oct.visual import ShownVolume, draw_panel, draw_thickness
from fund2oct.visual.curves import draw_curves, read_curves


def main(run: Path, key: str = "") -> None:
    """Draw the figures."""
    model = load_model(run / "checkpoints/last.ckpt")
    path = OmegaConf.load(run / "config.yaml").data.init_args.path
    data = FundusOCTDataModule(path, volume_shape=model.shape)
    eyes = data.test_dataset
    key = key or next(
        key for key, eye in zip(eyes.keys, (eyes[n] for n in range(len(eyes))), strict=True)
        if eye["diagnosis"] == "PED"
    )  # fmt: skip
    batch = default_collate([eyes[eyes.keys.index(key)]])
    with torch.inference_mode():
        aligned = model(batch["fundus"], batch["grid"], rng=NoiseSource.of_keys([key]))
        drawn = unalign(aligned, batch["pose_um"], batch["spacing_z_mm"])
    spacing_mm = float(batch["spacing_z_mm"][0]), float(batch["spacing_x_mm"][0])
    photo, grid = batch["fundus"][0], batch["grid"][0]
    interval_um = predict_interval_um(model, photo, grid)
    volumes = {
        "real": ShownVolume.searched(batch["volume"][0, 0], spacing_mm),
        "generated": ShownVolume.searched(drawn[0, 0], spacing_mm, interval_um),
    }
    with EyeReader(path) as reader:
        eye = reader.read(key)
    assert eye.fundus is not None and eye.scan is not None
    found = predict_thickness(model, eye.fundus, eye.placement, eye.scan)
    assert found is not None
    title = f"{key}, {batch['diagnosis'][0]}: simulated, kept for the test"
    footer = f"Pix2Vol {DEMONSTRATION}. Generated from the photo alone: no measurement and no diagnosis."
    panel = draw_panel(
        volumes, spacing_mm, photo, grid, minus=("generated", "real"), thickness=found, title=title,
        footer=footer,
    )  # fmt: skip
    save_webp(panel, IMAGES / "pix2vol.webp")
    save_webp(draw_thickness(eye.fundus, found, title, footer), IMAGES / "thickness.webp")
    save_webp(draw_curves(read_curves(run / "metrics.csv")), IMAGES / "curves.webp")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
