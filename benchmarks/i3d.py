"""Slices a second that I3D describes, against what the machine's convolutions can do at most.

python benchmarks/i3d.py [--device cuda]

The bound is a large 3D convolution of the network's own kind, timed in the same run; the network's
arithmetic is that of grey slices, two operations a multiplication. On a CPU it is one thread, by the
time that the processor spent: other processes do not count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from fund2oct.networks.features.i3d import I3D

FRAMES = 12  # a full turn of six radial slices
BATCHES = (1, 2, 4)


def seconds(run: Callable[[], object], device: torch.device, repeats: int = 2) -> float:
    """Shortest time of some runs, behind one that is not counted."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    times = []
    for _ in range(repeats + 1):
        start = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times[1:])


def operations(network: I3D, video: torch.Tensor) -> float:
    """Additions and multiplications of the convolutions for a video."""
    counted: list[float] = []

    def count(layer: nn.Conv3d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        counted.append(2.0 * layer.weight[0, : inputs[0].shape[1]].numel() * output.numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv3d):
            layer.register_forward_hook(count)
    network.features(video)
    return sum(counted)


def convolution_peak(device: torch.device) -> float:
    """Operations a second of a large 3x3x3 convolution in the layout that suits it."""
    channels, best = 128, 0.0
    weight = torch.randn(channels, channels, 3, 3, 3, device=device)
    x = torch.randn(4, channels, FRAMES, 28, 28, device=device)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        ours, kernel = x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
        taken = seconds(lambda a=ours, b=kernel: F.conv3d(a, b, padding=1), device)  # type: ignore[misc]
        best = max(best, 2.0 * 27 * channels * x.numel() / taken)
    return best


@torch.inference_mode()
def main() -> None:
    """Print the bound, then slices a second by batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = I3D().to(options.device)
    peak = convolution_peak(options.device)
    print(f"{options.device}: convolutions reach {peak / 1e9:.0f} GFLOP/s")
    print(f"{'volumes':>8}{'slices/s':>10}{'GFLOP/s':>9}{'of the peak':>13}   ({FRAMES} frames of 224x224)")
    flops = operations(I3D().to(options.device), torch.rand(1, 1, FRAMES, 224, 224, device=options.device))
    for batch in BATCHES:
        video = torch.rand(batch, 1, FRAMES, 224, 224, device=options.device)
        taken = seconds(lambda x=video: network.features(x), options.device)  # type: ignore[misc]
        rate = batch * flops / taken
        print(f"{batch:8d}{batch * FRAMES / taken:10.1f}{rate / 1e9:9.0f}{rate / peak:13.0%}", flush=True)


if __name__ == "__main__":
    main()
