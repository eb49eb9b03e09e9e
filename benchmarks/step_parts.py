"""Where the time of a training step of `pix2vol` goes: python benchmarks/step_parts.py [--precision bf16]

Each part is run by itself on one thread, on a batch of the experiment's own data, as often as its time
allows, and its median is printed. The parts of the anatomy and of the adversaries are those of the two
halves of a training. With `--channels-last` the weights of the convolutions lie as that layout wants them, so
that what they give does too.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import chain, repeat

import torch

from fund2oct.models.surface_model import heights_above_pose
from fund2oct.networks.layered.generator import Real
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import align, unalign
from fund2oct.run.train import build


def median_s(work: Callable[[], object], budget_s: float) -> float:
    """Median time of a call, after one to warm up."""
    work()
    times: list[float] = []
    while sum(times) < budget_s or len(times) < 3:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def lay_channels_last(network: torch.nn.Module) -> None:
    """Lay the weights of all convolutions so that each sample's channels are neighbours."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in network.parameters():
        if weight.ndim in layouts:
            weight.data = weight.data.contiguous(memory_format=layouts[weight.ndim])


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--experiment", default="pix2vol")
    options.add_argument("--batch-size", type=int, default=4)
    options.add_argument("--seconds", type=float, default=2.0, help="for each part")
    options.add_argument("--precision", choices=("32", "bf16"), default="32")
    options.add_argument("--channels-last", action="store_true")
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = options.parse_args()
    torch.set_num_threads(1)
    own = [f"data.init_args.batch_size={given.batch_size}", "trainer.accelerator=cpu", *given.overrides]
    _, model, data = build(given.experiment, own)
    data.prepare_data()
    data.setup()
    model.configure_model()
    model.configure_training()
    if given.channels_last:
        lay_channels_last(model)
    loader = chain.from_iterable(repeat(data.train_dataloader()))  # epoch after epoch
    batch = next(loader)
    network, rng = model.generator, NoiseSource([torch.Generator().manual_seed(0)])
    where = batch["pose_um"], batch["spacing_z_mm"]
    slices = {name: batch[name][:, :, :2] for name in ("volume",)} | {"pose": batch["pose_um"][:, :2]}
    condition = torch.rand(given.batch_size, 4, 2, *batch["volume"].shape[3:])
    aligned = model.prepare(batch)["aligned"]
    real = Real(heights_above_pose(batch), aligned, data.spacing_mm[2])

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bf16")

    def anatomy(backward: bool) -> None:
        with autocast(), torch.set_grad_enabled(backward):
            found = network.anatomy(batch["fundus"], batch["grid"], batch["spacing_z_mm"], real=real)
            total = found.logits.mean() + found.surfaces.free_um.mean() + found.surfaces.loadings_um.mean()
        if backward:
            total.backward()

    with torch.no_grad():
        maps = network.encoder(batch["fundus"])
        drawn = network.anatomy(batch["fundus"], batch["grid"][:, :2], batch["spacing_z_mm"])

    def surfaces() -> None:
        with autocast():
            network.surfaces(batch["fundus"], maps, batch["grid"]).free_um.mean().backward()

    def dress() -> None:
        with autocast():
            image = network.dress(drawn, rng)
        image.mean().backward()

    def judge(name: str) -> Callable[[], None]:
        def work() -> None:
            fake = torch.rand_like(slices["volume"]).requires_grad_()
            with autocast():
                logits = [scale.logits.mean() for scale in model.discriminators[name](fake, condition)]
            torch.stack(logits).sum().backward()

        return work

    parts: dict[str, Callable[[], object]] = {
        "read and augment a batch": lambda: next(loader),
        "align the real volumes": lambda: align(batch["volume"], *where),
        "put two slices at their pose": lambda: unalign(slices["volume"], slices["pose"], where[1]),
        "encoder": lambda: network.encoder(batch["fundus"]),
        "surfaces, forwards and backwards": surfaces,
        "anatomy, forwards": lambda: anatomy(False),
        "anatomy, forwards and backwards": lambda: anatomy(True),
        "texture of two slices, forwards and backwards": dress,
    } | {f"discriminator {name}, forwards and backwards": judge(name) for name in model.discriminators}
    print(f"{given.experiment}, batch of {given.batch_size}, one thread, {given.precision}")
    for name, work in parts.items():
        print(f"{1000 * median_s(work, given.seconds):8.1f} ms  {name}")


if __name__ == "__main__":
    main()
