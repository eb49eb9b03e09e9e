"""Draw the README's figures of the model: python docs/make_model_figures.py RUN [KEY]

Writes docs/images/pix2vol.png, real and generated slices of an eye that was kept for the test, and
docs/images/thickness.png, the map of its thickness. RUN is the folder of a training, KEY the eye.
"""

import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch.utils.data import default_collate

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.models import load_model
from fund2oct.models.thickness import predict_thickness
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import unalign
from fund2oct.visual import draw_panel, draw_thickness, save_figure

IMAGES = Path(__file__).parent / "images"


def main(run: Path, key: str = "") -> None:
    """Draw both figures."""
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
    rows = {"real": batch["volume"][0, 0], "generated from the photo": drawn[0, 0]}
    title = f"{key}, {batch['diagnosis'][0]}: simulated, kept for the test"
    save_figure(draw_panel(batch["fundus"][0], batch["grid"][0], rows, title), IMAGES / "pix2vol.png")
    with EyeReader(path) as reader:
        eye = reader.read(key)
    assert eye.fundus is not None and eye.scan is not None
    found = predict_thickness(model, eye.fundus, eye.placement, eye.scan)
    assert found is not None
    save_figure(draw_thickness(eye.fundus, found, title), IMAGES / "thickness.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
