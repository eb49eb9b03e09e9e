"""Volumes a second from a file of eyes and from other formats, and what it takes of a training.

python benchmarks/loader.py [KEY=VALUE ...] [--parts formats workers training]

KEY=VALUE are settings of the trainings, as in data.init_args.num_workers=8 or trainer.precision=bf16-mixed.

All files are read once before they are timed, so that the disk's speed does not count: what is compared
is the work of reading, in seconds of the processor. Each figure is the best of three passes over the same
voxels. No slice of a volume repeats another one, for a compressor would find it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image

from fund2oct.data import Eye, EyeReader, EyeWriter, FundusOCTDataModule
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.data.loading.loader import EyeLoader
from fund2oct.data.loading.sampler import TrainSampler
from fund2oct.geometry import RadialScan, RasterScan, ScanPattern
from fund2oct.phantom import PhantomConfig
from fund2oct.processes import n_cores
from fund2oct.run.train import build

_CONFIG = PhantomConfig(fundus_px=448, n_depth=320, n_ascans=448)
_N_SIMULATED = 4
PARTS = ("formats", "workers", "training")
EXPERIMENTS = ("pix2vol", "regression", "aptos2024")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--steps", type=int, default=12, help="training steps of each experiment")
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS)
    parser.add_argument("settings", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    wanted = {*options.parts, *(options.experiments if "training" in options.parts else ())}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans = ((RadialScan(), 48), (RasterScan(64, 8.0, 6.0), 12)) if "formats" in options.parts else ()
        for scan, n_eyes in scans:
            print(f"\n{scan.n_slices}x320x448, {n_eyes} volumes", flush=True)
            compare_formats(list(repeated(scan, n_eyes, folder)), folder / str(scan.n_slices))
        many = folder / "many.h5"
        if wanted & {"workers", "aptos2024"}:
            with EyeWriter(many) as writer:
                for eye in repeated(RadialScan(), 200, folder):
                    writer.add(eye)
        if "workers" in options.parts:
            print("\nloader of photos and volumes, 6x320x448, batches of 2", flush=True)
            compare_workers(many)
        if "training" in options.parts:
            print("\ntraining", flush=True)
            compare_training(many, options)


def repeated(scan: ScanPattern, n_eyes: int, folder: Path) -> Iterator[Eye]:
    """Four simulated eyes, with the surfaces that the search finds, over and over, under other names."""
    path = folder / f"simulated-{scan.n_slices}.h5"
    if not path.exists():
        simulate_file(path, _N_SIMULATED, config=dataclasses.replace(_CONFIG, scan=scan), workers=n_cores())
    with EyeReader(path) as reader:
        simulated = [reader.read(key) for key in reader.keys]
    for number in range(n_eyes):
        eye = simulated[number % len(simulated)]
        yield Eye(
            key=f"eye-{number}",
            patient=f"patient-{number}",
            laterality=eye.laterality,
            fundus=eye.fundus,
            volume=eye.volume,
            pose_um=eye.pose_um,
            surfaces_um=eye.surfaces_um,
            surface_confidence=eye.surface_confidence,
            scan=eye.scan,
            spacing_mm=eye.spacing_mm,
        )


def compare_formats(eyes: list[Eye], folder: Path) -> None:
    """Write the volumes in each format, and time reading all of them."""
    folder.mkdir()
    volumes = {eye.key: np.asarray(eye.volume) for eye in eyes}
    readers: dict[str, Callable[[str], Any]] = {}
    sizes: dict[str, int] = {}

    def add(name: str, path: Path, read: Callable[[str], Any]) -> None:
        readers[name] = read
        files = path.rglob("*") if path.is_dir() else [path]
        sizes[name] = sum(file.stat().st_size for file in files if file.is_file())

    for kind in ("raw", "npz", "npz compressed", "png", "jpg"):
        (folder / kind).mkdir()
    plain = h5py.File(folder / "plain.h5", "w")
    for key, volume in volumes.items():
        volume.tofile(folder / "raw" / key)
        np.savez(folder / "npz" / key, volume=volume)
        np.savez_compressed(folder / "npz compressed" / key, volume=volume)
        plain.create_dataset(key, data=volume, compression="gzip")
        for kind, options in (("png", {}), ("jpg", {"quality": 95})):
            (folder / kind / key).mkdir()
            for number, bscan in enumerate(volume):
                Image.fromarray(bscan).save(folder / kind / key / f"{number}.{kind}", **options)
    plain.flush()
    shape = eyes[0].volume.shape  # type: ignore[union-attr]
    out = np.empty(shape, np.uint8)
    add("bytes of a file each", folder / "raw", lambda key: np.fromfile(folder / "raw" / key, np.uint8))
    for compression in ("none", "zstd", "gzip"):
        path = folder / f"{compression}.h5"
        with EyeWriter(path, compression=compression) as writer:  # type: ignore[arg-type]
            for eye in eyes:
                # Voxels alone, so that sizes compare; the loader is timed with photos.
                writer.add(eye if compression == "none" else dataclasses.replace(eye, fundus=None))
        reader = EyeReader(path)
        add(f"fund2oct, {compression}", path, lambda key, r=reader: r.read_into(key, "volume", out))
    add("h5py, gzip", folder / "plain.h5", lambda key: plain[key][()])
    for kind in ("npz", "npz compressed"):
        add(kind, folder / kind, lambda key, kind=kind: np.load(folder / kind / f"{key}.npz")["volume"])
    for kind in ("png", "jpg"):
        add(f"{kind} folder", folder / kind, lambda key, kind=kind: _pictures(folder / kind / key, kind))
    rates = {}
    for name, read in readers.items():
        seconds = _best(lambda r=read: [r(key) for key in volumes], clock=time.process_time)
        rates[name] = len(volumes) / seconds
    for name, rate in rates.items():
        print(
            f"  {name:22} {rate:8.1f} volumes/s, {rate / rates['jpg folder']:6.1f} times the JPG folder, "
            f"{rate / rates['bytes of a file each']:.2f} of the bytes; {sizes[name] / 2**20:.0f} MiB"
        )


def compare_workers(path: Path) -> None:
    """Time an epoch of the loader, bytes as they go to the device, by the number of workers."""
    data = FundusOCTDataModule(str(path), symmetries="none", photometric=0.0, test_fraction=0.0)
    dataset = data.train_dataset
    arrays = []
    with EyeReader(path) as reader:
        for key in dataset.keys:
            eye = reader.read(key)
            arrays += [eye.fundus, eye.volume]
    copies = [np.ascontiguousarray(array) for array in arrays]
    files = []
    for number, array in enumerate(copies):
        files.append(path.parent / f"array-{number}")
        array.tofile(files[-1])
    raw = len(dataset) / _best(lambda: [np.fromfile(file, np.uint8) for file in files])
    print(f"  {'bytes of a file each':22} {raw:8.1f} eyes/s")
    for workers in (0, 1, 2):
        loader = EyeLoader(dataset, TrainSampler(dataset), 2, num_workers=workers)
        rate = len(dataset) / _best(lambda it=loader: [None for _ in it])
        print(f"  {workers} workers {'':12} {rate:8.1f} eyes/s, {rate / raw:.2f} of the bytes")


class _Steps(pl.Callback):
    """Seconds of each training step, without what the loader takes."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.since = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self.since = _now()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds.append(_now() - self.since)


def _now() -> float:
    if torch.cuda.is_available():  # which goes on by itself
        torch.cuda.synchronize()
    return time.perf_counter()


def compare_training(many: Path, options: argparse.Namespace) -> None:
    """The loader's rate over the training's, for the shipped experiments, augmentation included.

    Args:
        many: a file of eyes of 6x320x448.
        options: steps, experiments and settings.
    """
    folder = many.parent
    phantom = folder / "phantom.h5"
    simulate_file(phantom, 40, workers=n_cores())
    for name in options.experiments:
        path, more = (many, []) if name == "aptos2024" else (phantom, ["data.init_args.n_eyes=40"])
        overrides = [
            f"data.init_args.path={path}", f"trainer.default_root_dir={folder}",
            f"trainer.max_steps={options.steps}", "trainer.devices=1", "trainer.limit_val_batches=0",
            "trainer.callbacks=[]", "trainer.enable_checkpointing=false",
            "trainer.enable_progress_bar=false", *more, *options.settings,
        ]  # fmt: skip
        trainer, model, data = build(name, overrides)
        steps = _Steps()
        trainer.callbacks.append(steps)  # type: ignore[attr-defined]
        trainer.fit(model, datamodule=data)
        step = float(np.median(steps.seconds[options.steps // 2 :]))
        loader = trainer.train_dataloader
        batch = _best(partial(_read, loader, data, trainer.strategy.root_device)) / len(loader)
        print(f"  {name:10} step {step:.3f} s, batch {batch:.4f} s: ratio {step / batch:.0f}", flush=True)


def _read(loader: EyeLoader, data: FundusOCTDataModule, device: torch.device) -> None:
    """An epoch of batches as a training gets them: bytes go to the device and are made batches there."""
    for raw in loader:
        data.on_after_batch_transfer(raw.to(device), 0)
    _now()


def _pictures(folder: Path, kind: str) -> np.ndarray:
    paths = sorted(folder.glob(f"*.{kind}"), key=lambda path: int(path.stem))
    return np.stack([np.asarray(Image.open(io.BytesIO(path.read_bytes()))) for path in paths])


def _best(
    action: Callable[[], Any], n_times: int = 3, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of the fastest of several times, after one that is not timed."""
    action()
    seconds = []
    for _ in range(n_times):
        start = clock()
        action()
        seconds.append(clock() - start)
    return min(seconds)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
