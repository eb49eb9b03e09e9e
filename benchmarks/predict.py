"""A volume of 6x320x448 from a photo, as a multiple of the arithmetic limit: python benchmarks/predict.py

The limit is the time in which the same threads would do the network's convolutions and products at the rate
of a product of two large matrices. Resampling, noise and what is added or scaled count no operation, so no
network reaches it. Networks are untrained, which takes as long. *Whole* is `VolumeModel.predict`: the photo
is prepared, the volume drawn, put at a pose and made bytes.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from step import N_EYES, n_trained, of_size, peak_flops, unet3d, x2ct
from torch.utils.flop_counter import FlopCounterMode

from fund2oct.data import FundusOCTDataModule
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.geometry import RadialScan
from fund2oct.models import Pix2Vol, VolumeModel
from fund2oct.networks.noise import NoiseSource
from fund2oct.phantom import PhantomConfig
from fund2oct.processes import n_cores


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--shape", type=int, nargs=3, default=(6, 320, 448), metavar=("S", "Z", "X"))
    options.add_argument("--fundus-px", type=int, default=448)
    options.add_argument("--threads", type=int, default=n_cores())
    options.add_argument("--times", type=int, default=5, help="of which the fastest counts")
    options.add_argument(
        "--models", nargs="+", choices=("pix2vol", "x2ct", "unet3d"), default=("pix2vol", "x2ct")
    )
    given = options.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(given.threads)
    shape = tuple(given.shape)
    ours = Pix2Vol(shape)
    n_parameters = n_trained(ours.build_generator())
    make: dict[str, Callable[[], VolumeModel]] = {
        "pix2vol": lambda: ours,
        "x2ct": lambda: of_size(x2ct, shape, n_parameters),
        "unet3d": lambda: of_size(unet3d, shape, n_parameters),
    }
    peak = peak_flops(torch.device("cpu"), torch.float32, 2048)
    print(f"{'x'.join(map(str, shape))}, threads: {given.threads}, peak: {peak / 1e9:.0f} GFLOP/s")
    print(f"{'':10s} {'weights':>9s} {'network, s':>10s} {'GFLOP':>7s} {'limits':>7s} {'whole, s':>8s}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "eyes.h5"
        config = PhantomConfig(
            fundus_px=given.fundus_px, n_depth=shape[1], n_ascans=shape[2], scan=RadialScan(shape[0])
        )
        simulate_file(path, N_EYES, config=config, workers=n_cores())
        data = FundusOCTDataModule(str(path), batch_size=1)
        for name in given.models:
            model = knowing(make[name](), data)
            network, n_flops, whole = measure(model, data, given.times)
            print(
                f"{name:10s} {n_trained(model.generator):9,d} {network:10.2f} {n_flops / 1e9:7.1f} "
                f"{network * peak / n_flops:7.1f} {whole:8.2f}"
            )


@torch.inference_mode()
def measure(model: VolumeModel, data: FundusOCTDataModule, n_times: int) -> tuple[float, int, float]:
    """Seconds and operations of the network, and seconds of the whole, for one photo."""
    eye = data.train_dataset[0]
    photo = (255 * eye["fundus"]).byte().permute(1, 2, 0).numpy()
    fundus, grid = eye["fundus"][None], eye["grid"][None]

    def draw() -> None:
        model(fundus, grid, rng=NoiseSource())

    with FlopCounterMode(display=False) as counter:
        draw()
    return best(draw, n_times), counter.get_total_flops(), best(lambda: model.predict(photo), n_times)


def knowing(model: VolumeModel, data: FundusOCTDataModule) -> VolumeModel:
    """The model after a training of no step: it knows the eyes' scan, spacing and poses."""
    pl.Trainer(
        accelerator="cpu", devices=1, max_steps=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    ).fit(model, datamodule=data)  # fmt: skip
    return model.eval()


def best(action: Callable[[], Any], n_times: int) -> float:
    """Seconds of the fastest of several times."""
    found = []
    for _ in range(n_times):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return min(found)


if __name__ == "__main__":
    main()
