"""A training step of `pix2vol` beside those of the 3D baselines: python benchmarks/step.py [--threads 1]

Each model is trained for some steps on simulated eyes of the given shape, in one run, with its optimisers.
`x2ct` and `unet3d` have about as many trained weights in their generator as `pix2vol`, or as many as are
asked for. `pix2vol` has two kinds of steps, those of the anatomy and those of the texture.

Of each step the time is printed, the floating-point operations of convolutions and products, their share of
the peak of a large matrix product on the same threads, and the memory: on a GPU the most that a step held,
on a CPU an estimate for float32, without what a convolution needs for a moment. With `--compile` the parts of
the networks are compiled before, by torch.compile; the time of the compilation is left out.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.flop_counter import FlopCounterMode

from fund2oct.data import FundusOCTDataModule
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.geometry import RadialScan
from fund2oct.models import Pix2Vol, VolumeModel
from fund2oct.models.baselines.unet3d import UNet3D
from fund2oct.models.baselines.x2ct import X2CT
from fund2oct.models.training.memory import batch_without_values, step_memory
from fund2oct.phantom import PhantomConfig
from fund2oct.processes import n_cores

N_EYES = 16
N_BEFORE = 3
"""Steps before those that are timed."""
MODELS = ("pix2vol", "x2ct", "unet3d")


def x2ct(shape: tuple[int, int, int], width: int) -> X2CT:
    """X2CT-GAN with all its widths in the paper's proportions, of which the growth is the width."""
    n_levels = 4 if shape[1] < 128 else 6
    dense_layers = (6, 12, 24, 16, 6, 6)[:n_levels]
    channels = [max(2, width * share // 2) for share in (1, 1, 2, 4, 8, 16, 16)][: n_levels + 1]
    n_blocks = [1, *[2] * (n_levels - 1), 0]
    return X2CT(shape, 2 * width, dense_layers, width, channels, n_blocks, discriminator_width=2 * width)


def unet3d(shape: tuple[int, int, int], width: int) -> UNet3D:
    """The U-Net with all its widths in its own proportions."""
    return UNet3D(shape, [width * 2**level for level in range(5)])


def n_trained(network: torch.nn.Module) -> int:
    """Number of weights that are trained."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def of_size(make: Callable[[Any, int], VolumeModel], shape: Any, n_parameters: float) -> VolumeModel:
    """The model whose generator has nearest to so many weights."""
    found = {}
    with torch.device("meta"):
        for width in range(2, 65):
            found[width] = n_trained(make(shape, width).build_generator())
            if found[width] > 2 * n_parameters:
                break
    return make(shape, min(found, key=lambda width: abs(found[width] - n_parameters)))


class Steps(pl.Callback):
    """Times the steps; counts the operations of the first one, and then warms up for one more."""

    def __init__(self) -> None:
        self.counter = FlopCounterMode(display=False)
        self.seconds: list[float] = []
        self.n_bytes = 0
        """The most that a timed step held on a GPU."""

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, number: int) -> None:
        """Start the clock."""
        if not self.seconds:  # not number == 0, which each epoch has again
            self.counter.__enter__()
        if module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(module.device)
        self.start = now(module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, out: Any, batch: Any, number: int) -> None:
        """Stop it."""
        if not self.seconds:
            self.counter.__exit__(None, None, None)
        self.seconds.append(now(module.device) - self.start)
        # Here, because after the training the model is on the CPU.
        if module.device.type == "cuda" and len(self.seconds) > N_BEFORE:
            self.n_bytes = max(self.n_bytes, torch.cuda.max_memory_allocated(module.device))


def now(device: torch.device) -> float:
    """Seconds; on a CPU those that the processor worked, for each thread, as others may work too."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def peak_flops(device: torch.device, dtype: torch.dtype, size: int, n_times: int = 10) -> float:
    """Operations a second of a product of two large matrices, the best of some."""
    a = torch.rand(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(n_times + 1):
        start = now(device)
        _ = a @ a
        best = min(best, now(device) - start)
    return 2 * size**3 / best


def measure(model: VolumeModel, path: Path, given: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds, operations and bytes of a step; the bytes are an estimate where it is not on a GPU."""
    steps = Steps()
    data = FundusOCTDataModule(str(path), batch_size=given.batch_size, num_workers=0)
    if given.compile:
        compile_parts(model)
    trainer = pl.Trainer(
        accelerator=given.accelerator, devices=1, max_steps=given.steps + N_BEFORE, limit_val_batches=0,
        logger=False, callbacks=[steps], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
        precision="bf16-mixed" if given.precision == "bf16" else "32-true",
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    n_bytes = steps.n_bytes
    if not n_bytes:
        batch = batch_without_values(data.train_dataset, given.batch_size)
        n_bytes = step_memory(model, batch, shares=[0.0]).total
    return statistics.median(steps.seconds[N_BEFORE:]), steps.counter.get_total_flops(), n_bytes


def compile_parts(model: VolumeModel) -> None:
    """Compile the parts of the generator and the discriminators, each for itself."""
    model.configure_model()
    model.configure_training()
    for network in (model.generator, getattr(model, "discriminators", torch.nn.ModuleList())):
        for part in network.children():
            part.compile()


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--shape", type=int, nargs=3, default=(6, 80, 112), metavar=("S", "Z", "X"))
    options.add_argument("--fundus-px", type=int, default=128, help="width of the photos")
    options.add_argument("--batch-size", type=int, default=4)
    options.add_argument("--steps", type=int, default=8)
    options.add_argument("--parameters", type=float, help="trained weights of each generator")
    options.add_argument("--precision", choices=("32", "bf16"), default="32")
    options.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--compile", action="store_true", help="compile the networks")
    options.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    given = options.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(given.threads)
    device = torch.device("cuda" if given.accelerator == "gpu" else "cpu")
    shape = tuple(given.shape)
    ours = Pix2Vol(shape)
    n_parameters = given.parameters or n_trained(ours.build_generator())
    models: dict[str, VolumeModel] = {}
    if "pix2vol" in given.models:
        models["pix2vol, anatomy"] = Pix2Vol(shape, adversaries_from=0.9999)  # after the last step
        models["pix2vol, texture"] = Pix2Vol(shape, adversaries_from=0.0)
    for name, make in (("x2ct", x2ct), ("unet3d", unet3d)):
        if name not in given.models:
            continue
        try:
            models[name] = of_size(make, shape, n_parameters)
        except ImportError as error:
            print(f"{name} is left out: {error}")
    dtype = torch.bfloat16 if given.precision == "bf16" else torch.float32
    size = 8192 if device.type == "cuda" else 2048
    peak = peak_flops(device, dtype, size)
    how = "compiled, " if given.compile else ""
    where = f"{how}{device.type}, threads: {given.threads}, {given.precision}, peak: {peak / 1e9:.0f} GFLOP/s"
    print(f"{'x'.join(map(str, shape))}, batch of {given.batch_size}, {where}")
    memory = "MiB" if device.type == "cuda" else "MiB, estimated"
    print(f"{'':18s} {'weights':>10s} {'ms':>9s} {'ms/eye':>8s} {'GFLOP':>8s} {'of peak':>8s} {memory:>14s}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "eyes.h5"
        config = PhantomConfig(
            fundus_px=given.fundus_px, n_depth=shape[1], n_ascans=shape[2], scan=RadialScan(shape[0])
        )
        simulate_file(path, N_EYES, config=config, workers=n_cores())
        taken = {}
        for name, model in models.items():
            seconds, n_flops, n_bytes = measure(model, path, given)
            taken[name] = seconds / given.batch_size
            weights = n_trained(model.generator)
            print(
                f"{name:18s} {weights:10,d} {1000 * seconds:9.0f} {1000 * seconds / given.batch_size:8.0f} "
                f"{n_flops / 1e9:8.1f} {n_flops / seconds / peak:8.0%} {n_bytes / 2**20:14.0f}"
            )
    if "pix2vol" not in given.models:
        return
    share = ours.adversaries_from
    mean = share * taken["pix2vol, anatomy"] + (1 - share) * taken["pix2vol, texture"]
    print(f"pix2vol in the mean of a training ({share:.0%} anatomy): {1000 * mean:.0f} ms an eye")


if __name__ == "__main__":
    main()
