"""From simulated eyes to real ones: do slices from real photos come closer to real slices?

    python benchmarks/photos/simulated_to_real.py CHECKPOINT --photos DIR --volume FILE --slices DIR
        --other DIR

A `Pix2Vol` that was trained on simulated eyes goes on for some steps: with simulated eyes alone (the
control), or with as many simulated behind real photos, with one real volume and its en face projection, or
with both, a quarter each. All are asked for the volumes of photos of other people, around the fovea.

--photos   photos of healthy eyes, centred on the macula; a name without a last L or R is the person's. The
           first half of the people are trained on, but for photos in which disc or fovea is uncertain
--volume   a raster with its spacing (--spacing-mm), as a TIFF
--slices   single B-scans, from which the distance is measured
--other    slices of one eye from another scanner, of which six are taken: how far another scanner is

It prints, for the model before and after each training: the kernel distance of its slices to the real ones
(EfficientNet-Lite0) beside its floor, the halves of the real slices; the share of A-scans with more than
40 um of subretinal fluid; and how much the thickness at an A-scan differs between the eyes.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from healthy import pictures_of, share_with_fluid
from PIL import Image
from torch import Tensor

from fund2oct.data import EyeReader
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.data.importing.table import import_table
from fund2oct.data.importing.volumes import import_volumes
from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.data.preparing.scans import ScanOptions, white_border
from fund2oct.geometry import RadialScan
from fund2oct.metrics import kernel_distance
from fund2oct.metrics.sets.resize import resize_images
from fund2oct.models import VolumeModel, load_model
from fund2oct.models.predicting.generate import complete
from fund2oct.models.predicting.photo_reader import PhotoReader
from fund2oct.networks.features import load_feature_network
from fund2oct.networks.layered.surfaces import thickness_um
from fund2oct.phantom import PhantomConfig
from fund2oct.processes import n_cores
from fund2oct.run.train import build

ARMS = "simulated eyes alone", "photos", "volume", "both"
STAR_MM = 5.5
"""Length of the lines that are cut out of the raster."""


def person_of(photo: Path) -> str:
    """Whose photo it is: its name without the side."""
    return re.sub(r"[LR]$", "", photo.stem)


def people_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """Photos of the first half of the people, and of the others."""
    by_person: dict[str, list[Path]] = {}
    for path in pictures_of(folder):
        by_person.setdefault(person_of(path), []).append(path)
    people = list(by_person.values())
    first, others = people[: len(people) // 2], people[len(people) // 2 :]
    return [path for each in first for path in each], [path for each in others for path in each]


def make_files(given: argparse.Namespace, photos: Sequence[Path], model: VolumeModel) -> tuple[str, str]:
    """Simulated eyes behind the photos, and the volume with its en face projection, as files of eyes."""
    assert model.task is not None
    _, n_depth, n_ascans = model.shape
    px, out = model.task.fundus_px, given.out
    with (out / "photos.csv").open("w", newline="") as file:
        rows = [[path.resolve(), person_of(path), "normal"] for path in photos]
        csv.writer(file).writerows([["photo", "patient", "diagnosis"], *rows])
    import_table(out / "photos.csv", out / "photos.h5", ImportOptions(fundus_px=px), overwrite=True)
    config = PhantomConfig(fundus_px=px, n_depth=n_depth, n_ascans=n_ascans)
    behind = simulate_file(
        out / "behind.h5",
        given.eyes,
        config=config,
        workers=n_cores(),
        photos=out / "photos.h5",
        overwrite=True,
    )
    print(
        f"behind {len(photos)} photos: {len(behind.imported)} eyes, {len(behind.skipped)} left out",
        flush=True,
    )
    scan = ScanOptions(
        tuple(given.spacing_mm), star=RadialScan(model.shape[0], length_mm=STAR_MM), shape=(n_depth, n_ascans)
    )
    options = ImportOptions(scan, fundus_px=px, en_face=True)
    import_volumes(given.volume, out / "cube.h5", options, overwrite=True, no_patients=True)
    return str(out / "behind.h5"), str(out / "cube.h5")


def go_on(given: argparse.Namespace, model: VolumeModel, others: Sequence[str], seed: int) -> VolumeModel:
    """The model after some steps with simulated eyes and as many of the other files, in equal shares."""
    assert model.task is not None
    first = {part: [eye.key for eye in eyes] for part, eyes in model.task.seen.parts.items()}
    split = {**first, "train": [*first["train"]]}
    for path in others:
        with EyeReader(path) as reader:
            split["train"] += reader.keys
    paths = [model.task.seen.path, *others]
    trainer, module, data = build(
        "pix2vol",
        [
            "data.class_path=fund2oct.data.FundusOCTDataModule", f"data.init_args.path=[{','.join(paths)}]",
            f"data.init_args.weights=[{','.join(map(str, [max(1, len(others)), *(1 for _ in others)]))}]",
            f"data.init_args.volume_shape=[{','.join(map(str, model.shape))}]",
            f"data.init_args.fundus_px={model.task.fundus_px}", f"data.init_args.split={json.dumps(split)}",
            "data.init_args.batch_size=4", "data.init_args.photo_maps=0.5", "data.init_args.photometric=0.15",
            f"data.init_args.seed={seed}", f"model.init_args.seed={seed}", f"seed_everything={seed}",
            f"model.init_args.init_from={given.checkpoint}", f"trainer.max_steps={given.steps}",
            f"model.init_args.shape=[{','.join(map(str, model.shape))}]",
            "trainer.max_epochs=-1", "trainer.limit_val_batches=0", "trainer.devices=1",
            "trainer.callbacks=[]", "trainer.enable_progress_bar=false",
            "trainer.enable_model_summary=false", "trainer.logger=false",
            f"trainer.default_root_dir={given.out}",
        ],
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(given.out / "after.ckpt")
    return load_model(given.out / "after.ckpt").eval()


class Judge:
    """Features of real slices, and what a model draws for real photos."""

    def __init__(self, given: argparse.Namespace, photos: Sequence[Path], shape: Sequence[int]) -> None:
        self.network = load_feature_network("efficientnet_lite0")
        self.photos, self.shape = photos, (shape[1], shape[2])
        singles = pictures_of(given.slices)
        series = sorted(pictures_of(given.other), key=lambda path: int(re.findall(r"\d+", path.stem)[-1]))
        some = [series[round(number)] for number in np.linspace(0, len(series) - 1, 6)]
        self.real, self.other = (self.features(self.read(paths)) for paths in (singles, some))
        draws = [torch.randperm(len(singles), generator=torch.Generator().manual_seed(n)) for n in range(40)]
        half = len(singles) // 2
        floor = [float(kernel_distance(self.real[order[:half]], self.real[order[half:]])) for order in draws]
        print(f"{len(photos)} photos; {len(singles)} real slices, whose halves are {np.mean(floor):.3f} +- "
              f"{np.std(floor):.3f} apart; {len(some)} of another scanner are "
              f"{float(kernel_distance(self.real, self.other)):.2f} away", flush=True)  # fmt: skip

    def read(self, paths: Sequence[Path]) -> Tensor:
        """Slices in [0, 1], with as many rows and A-scans as the model draws, shape ``(N, 1, Z, X)``.

        White that a vendor filled in around a slice is made black, as an import makes it.
        """
        size = self.shape[1], self.shape[0]
        images = []
        for path in paths:
            bscan = np.asarray(Image.open(path).convert("L"))
            filled = Image.fromarray(np.where(white_border(bscan), np.uint8(0), bscan))
            images.append(np.asarray(filled.resize(size, Image.Resampling.BOX)))
        return torch.from_numpy(np.stack(images))[:, None] / 255

    @torch.inference_mode()
    def features(self, slices: Tensor) -> Tensor:
        """What the network sees in slices ``(N, 1, Z, X)``."""
        assert self.network.size is not None
        output = next(iter(self.network.num_features))
        return self.network.features(resize_images(slices, self.network.size, "antialias"))[output]

    @torch.inference_mode()
    def row(self, name: str, model: Any) -> str:
        """A line of the table."""
        reader = PhotoReader.of(model, PhotoPlacement())
        drawn, wet, thick = [], [], []
        for path in self.photos:
            ready = reader.read(path)
            eye = complete(model, ready)
            assert eye.volume is not None and eye.fundus is not None
            drawn.append(torch.from_numpy(eye.volume)[:, None] / 255)
            grid = eye.placement.to_grid(ready.scan.coordinates(self.shape[1]))
            found = model.surfaces(photo_tensor(eye.fundus), grid[None])
            seen = grid.norm(dim=-1) <= 1
            wet.append(share_with_fluid(found, seen))
            thick.append(thickness_um(found)[0][0].masked_fill(~seen, torch.nan))
        distance = float(kernel_distance(self.real, self.features(torch.cat(drawn))))
        maps = torch.stack(thick)
        spread = (maps - maps.nanmean(0)).square().nanmean(0).sqrt().nanmean()
        return f"| {name} | {distance:.2f} | {torch.stack(wet).mean():.2%} | {spread:.0f} |"


def main() -> None:
    """Make the files, train, judge and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    for name in ("photos", "volume", "slices", "other"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--spacing-mm", type=float, nargs=3, default=(0.122, 0.0097, 0.03))
    parser.add_argument("--eyes", type=int, default=560, help="simulated behind the photos")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--out", type=Path, default=Path("runs/simulated_to_real"))
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    train, test = people_of(given.photos)
    model = load_model(given.checkpoint).eval()
    judge = Judge(given, test, model.shape)
    given.out.mkdir(parents=True, exist_ok=True)
    behind, cube = make_files(given, train, model)
    arms: dict[str, list[str]] = dict(zip(ARMS, ([], [behind], [cube], [behind, cube]), strict=True))
    print(
        "| model | kernel distance | A-scans with fluid | thickness, standard deviation over the eyes, um |"
    )
    print("|---|---:|---:|---:|")
    print(judge.row("before", model), flush=True)
    for seed in given.seeds:
        for name in given.arms:
            print(judge.row(f"{name}, seed {seed}", go_on(given, model, arms[name], seed)), flush=True)


if __name__ == "__main__":
    main()
