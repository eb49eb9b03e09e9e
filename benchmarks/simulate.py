"""Eyes simulated per second of one core, and the share of the parts.

python benchmarks/simulate.py
"""

from __future__ import annotations

import time

import torch

from fund2oct.phantom import PhantomConfig, simulate_eye


def main() -> None:
    """Time small and full-size eyes on one thread."""
    torch.set_num_threads(1)
    sizes = {
        "128 px, 6x80x112": (PhantomConfig(), 40),
        "448 px, 6x320x448": (PhantomConfig(fundus_px=448, n_depth=320, n_ascans=448), 4),
    }
    for name, (config, n_eyes) in sizes.items():
        simulate_eye(0, 0, config)  # textures that are made once
        start = time.process_time()
        for number in range(n_eyes):
            simulate_eye(0, number, config)
        seconds = time.process_time() - start
        print(f"{name}: {n_eyes / seconds:.1f} eyes per CPU second, each with its rescan")


if __name__ == "__main__":
    main()
