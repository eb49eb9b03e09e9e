"""Photos unlike the training: python benchmarks/photos/unlike.py CHECKPOINT [--data FILE] [--real DIR]

The test photos of the checkpoint's own data stand against photos of another kind, all of them changed or made
here but for those of a folder of real photos. For each kind it prints the AUROC of two measures, 0.5 for one
that tells nothing and 1 for one that tells every photo apart:

distance    of the photo from those of the training that the checkpoint knows, as ``predict`` warns by it
width       mean width of the 80% interval of the thickness, as the model predicts it

It also prints the median of the distance, the share of the photos that ``predict`` warns of, and, where the
volume is known, the thickness error and the share of the A-scans whose thickness lies in the interval. All
photos are prepared as ``predict`` does it. Of a disease the distance is that from the photos
without it among those from which a checkpoint learns what is usual, and the other test eyes stand against
those with it: the encoder of ``pix2vol`` is frozen and has seen neither.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from healthy import pictures_of
from scipy import ndimage
from scipy.stats import rankdata
from torch import Tensor

from fund2oct.data import FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.augmenting.photometry import FundusPhotometry
from fund2oct.eye import Array, diagnoses_of
from fund2oct.models import VolumeModel, load_model
from fund2oct.models.predicting.photo_reader import PhotoReader
from fund2oct.models.surface_model import heights_above_pose
from fund2oct.models.uncertainty.familiar import UNLIKE, FamiliarPhotos, looked_at, photo_features
from fund2oct.networks.layered.surfaces import thickness_interval_um, thickness_um
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.retina import SURFACES

BATCH = 8
ILM, RPE = SURFACES.index("ILM"), SURFACES.index("RPE")
Found = dict[str, Tensor]


def auroc(usual: Tensor, strange: Tensor) -> float:
    """Chance that a strange photo has the greater value; half of it where they are equal."""
    ranks = rankdata(torch.cat([usual, strange]).numpy())
    n, m = len(usual), len(strange)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def chunks(number: int) -> Iterator[range]:
    """Numbers of eyes, some at a time."""
    for first in range(0, number, BATCH):
        yield range(first, min(first + BATCH, number))


@torch.inference_mode()
def look(model: VolumeModel, photos: Array, grid: Tensor, real_um: Tensor | None = None) -> Found:
    """Features of photos ``(N, H, H, 3)``, widths of their intervals, and errors where the truth is known."""
    found: dict[str, list[Tensor]] = {"features": [], "width": [], "error": [], "covered": []}
    network: Any = model.generator_ema.module
    for eyes in chunks(len(photos)):
        photo = torch.from_numpy(photos[eyes.start : eyes.stop].copy()).permute(0, 3, 1, 2) / 255
        at = grid[eyes.start : eyes.stop] if len(grid) > 1 else grid.expand(len(photo), -1, -1, -1)
        found["features"].append(photo_features(network.encoder(photo)))
        surfaces = model.surfaces(photo, at)  # type: ignore[operator]
        low, high = thickness_interval_um(surfaces).unbind(1)
        found["width"].append((high - low).mean((1, 2)))
        if real_um is not None:
            real = real_um[eyes.start : eyes.stop]
            held = ((real >= low) & (real <= high)).float().masked_fill(real.isnan(), torch.nan)
            found["covered"].append(held.nanmean((1, 2)))
            found["error"].append((thickness_um(surfaces)[0] - real).abs().nanmean((1, 2)))
    return {name: torch.cat(parts) for name, parts in found.items() if parts}


def photos_of(dataset: FundusOCTDataset, numbers: Sequence[int]) -> Array:
    """Photos ``(N, H, H, 3)`` of some eyes as a batch shows them, without augmentation."""
    shown = torch.stack([dataset.photo(number) for number in numbers])
    return (shown * 255).round().byte().permute(0, 2, 3, 1).numpy()


def changed(photos: Array, model: VolumeModel, real: Sequence[Path]) -> dict[str, Array]:
    """Photos of other kinds, by a name."""
    assert model.task is not None
    strong = FundusPhotometry(1.0)
    kinds = {
        f"blurred, sigma {sigma:g} pixels": np.stack(
            [ndimage.gaussian_filter(photo, (sigma, sigma, 0)) for photo in photos]
        )
        for sigma in (0.7, 1.0, 2.0)
    }
    kinds["another camera's light and colour"] = np.stack(
        [strong(photo, seed=number) for number, photo in enumerate(photos)]
    )
    config = replace(PhantomConfig.of("long"), fundus_px=model.task.fundus_px)
    long = [simulate_eye(5, number, config).fundus for number in range(len(photos))]
    prepare = model.task.preparation.photo
    kinds["long eyes, none in the training"] = np.stack(
        [prepare(photo, {})[0] for photo in long if photo is not None]
    )
    if real:
        reader = PhotoReader.of(model)
        found = [photo for file in real if (photo := reader.read(file).eye.fundus) is not None]
        kinds[f"real photos, {real[0].parent.name}"] = np.stack(found)
    return kinds


def row(name: str, distances: Sequence[Tensor], widths: Sequence[Tensor], found: Found) -> str:
    """A line of the table."""
    told = [f"{auroc(*distances):.2f}", f"{auroc(*widths):.2f}", f"{distances[1].median():.2f}"]
    told.append(f"{(distances[1] >= UNLIKE).float().mean():.0%}")
    told.append(f"{found['error'].nanmean():.1f}" if "error" in found else "-")
    told.append(f"{found['covered'].nanmean():.0%}" if "covered" in found else "-")
    return f"| {name} ({len(distances[1])}) | {' | '.join(told)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--data", help="file of eyes (default: that of the training)")
    parser.add_argument("--real", type=Path, help="folder of real photos")
    options = parser.parse_args()
    real = pictures_of(options.real) if options.real else []
    model = load_model(options.checkpoint).eval()
    assert model.task is not None
    usual, preparation = model.task.photos, model.task.preparation
    if usual is None:
        raise SystemExit(
            f"{options.checkpoint}: expected a model that knows the photos of its training, found one that "
            "does not; take a Pix2Vol or SurfaceModel that was trained with at least 64 photos"
        )
    names = {part: [eye.key for eye in eyes] for part, eyes in model.task.seen.parts.items()}
    data = FundusOCTDataModule(
        options.data or model.task.seen.path,
        volume_shape=model.shape,
        split=names,
        fundus_px=model.task.fundus_px,
        even_light=preparation.even_light,
        even_levels=preparation.even_levels,
    )
    data.setup()
    train, test = data.train_dataset, data.test_dataset
    batches = [test.finish(test.fetch(list(eyes))) for eyes in chunks(len(test))]
    photos = photos_of(test, range(len(test)))
    heights = torch.cat([heights_above_pose(batch) for batch in batches])
    grid, real_um = torch.cat([batch["grid"] for batch in batches]), heights[:, ILM] - heights[:, RPE]
    own = look(model, photos, grid, real_um)
    away = usual.distance(own["features"])
    print(
        f"| photos | distance: AUROC | width: AUROC | distance, median | {UNLIKE:g} or more | "
        "thickness error, µm | 80% covers |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    print(row("like the training", (away, away), (own["width"], own["width"]), own), flush=True)
    print(f"(largest distance of a test photo: {away.max():.2f})")
    for name, strange in changed(photos, model, real).items():
        same = len(strange) == len(photos) and not name.startswith(("long", "real"))
        found = look(model, strange, grid if same else grid[:1], real_um if same else None)
        distances = away, usual.distance(found["features"])
        print(row(name, distances, (own["width"], found["width"]), found), flush=True)
    numbers = looked_at(len(train)).tolist()
    training = look(model, photos_of(train, numbers), grid[:1])["features"]
    told = train.metadata()
    of_train = [told[number]["diagnosis"] for number in numbers]
    of_test = [str(eye["diagnosis"]) for eye in test.metadata()]
    for disease in sorted(
        {part for diagnosis in of_test for part in diagnoses_of(diagnosis)} - {"normal", ""}
    ):
        without = torch.tensor([disease not in diagnoses_of(str(diagnosis)) for diagnosis in of_train])
        has = torch.tensor([disease in diagnoses_of(diagnosis) for diagnosis in of_test])
        away = FamiliarPhotos.fit(training[without]).distance(own["features"])
        some = {name: value[has] for name, value in own.items()}
        widths = own["width"][~has], own["width"][has]
        print(row(f"{disease}, left out of the distance", (away[~has], away[has]), widths, some), flush=True)


if __name__ == "__main__":
    main()
