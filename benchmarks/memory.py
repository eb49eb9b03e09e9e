"""Memory while a file of 20,000 eyes is trained from, over time.

python benchmarks/memory.py --figure docs/images/memory.webp

The eyes are simulated ones, repeated under other keys. The model is one convolution, so that all eyes
pass in minutes: what is measured is the data's way to it.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fund2oct.data import EyeReader, EyeWriter, FundusOCTDataModule
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.processes import n_cores
from fund2oct.visual.style import LIGHT, SERIES_COLOURS, TEXT_PT, TITLE_PT, dress, new_figure


class _Smallest(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 1)

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        return (self.layer(batch["fundus"]).mean((1, 2, 3)) - batch["volume"].mean((1, 2, 3, 4))).abs().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class _Memory(pl.Callback):
    """Proportional set size of this process and its workers, in MiB, each half second."""

    def __init__(self) -> None:
        self.start = 0.0
        self.rows: list[tuple[float, int, float]] = []

    def on_train_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        now = time.perf_counter() - self.start
        if not self.rows or now - self.rows[-1][0] > 0.5:
            self.rows.append((now, trainer.current_epoch, pss_mib()))


def pss_mib() -> float:
    """Memory of this process and its children; pages that they share count once."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    total = 0
    for pid in (str(os.getpid()), *children):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def main() -> None:
    """Print the memory of each epoch, and draw it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--eyes", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--figure")
    options = parser.parse_args()
    memory = _Memory()
    with tempfile.TemporaryDirectory() as folder:
        path, few = Path(folder) / "eyes.h5", Path(folder) / "simulated.h5"
        simulate_file(few, 20, workers=n_cores())
        with EyeReader(few) as reader:
            simulated = [
                dataclasses.replace(reader.read(key), rescan=None, lesions=None, lesion_fundus=None)
                for key in reader.keys
            ]
        with EyeWriter(path) as writer:
            for number in range(options.eyes):
                eye = simulated[number % len(simulated)]
                writer.add(dataclasses.replace(eye, key=f"eye-{number}", patient=f"patient-{number}"))
        gib = path.stat().st_size / 2**30
        print(f"{options.eyes} eyes, {gib:.2f} GiB", flush=True)
        data = FundusOCTDataModule(
            str(path), batch_size=16, num_workers=options.workers, val_fraction=0.001, test_fraction=0.0
        )
        trainer = pl.Trainer(
            max_epochs=options.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, limit_val_batches=0, callbacks=[memory],
        )  # fmt: skip
        before = pss_mib()
        trainer.fit(_Smallest(), datamodule=data)
        n_train = len(data.train_dataset)
    seconds, epochs, mib = (np.array(column) for column in zip(*memory.rows, strict=True))
    print(f"before: {before:.0f} MiB; {n_train * options.epochs / seconds[-1]:.0f} eyes/s with the model")
    for epoch in range(options.epochs):
        held = mib[epochs == epoch]
        print(f"epoch {epoch}: {held.min():.0f} to {held.max():.0f} MiB, at its end {held[-1]:.0f}")
    settled = seconds > seconds[-1] / 10
    slope = np.polyfit(seconds[settled], mib[settled], 1)[0] * 60
    print(f"slope after the first tenth: {slope:.1f} MiB a minute")
    if options.figure:
        _draw(seconds, epochs, mib, f"{options.eyes} eyes, {gib:.1f} GiB on disk", Path(options.figure))


def _draw(seconds: Any, epochs: Any, mib: Any, title: str, out: Path) -> None:
    figure = new_figure(6.4, 3.2, layout="constrained")
    axes = figure.subplots()
    dress(axes)
    axes.grid(False, axis="x")  # upright lines are the epochs
    axes.plot(seconds, mib, color=SERIES_COLOURS[0])
    for number, begin in enumerate([seconds[0], *seconds[1:][np.diff(epochs) > 0]]):
        axes.axvline(begin, color=LIGHT.muted, linewidth=0.8)
        axes.text(begin, 0.02 * mib.max(), f" epoch {number}", color=LIGHT.muted, fontsize=TEXT_PT)
    axes.set(xlabel="time, s", ylabel="memory, MiB", xlim=(0, seconds[-1]), ylim=(0, 1.15 * mib.max()))
    axes.set_title(title, fontsize=TITLE_PT, color=LIGHT.ink, loc="left")
    figure.savefig(out, pil_kwargs={"lossless": True})


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
