"""What a model invents in healthy eyes: python benchmarks/photos/healthy.py CHECKPOINT... --photos DIR

DIR holds photos of healthy eyes that show disc and fovea. Each is prepared and placed as `fund2oct predict
--placement photo` does it. For each checkpoint it prints the share of the A-scans with more than 40 um of
subretinal fluid, in how many photos more than 1% of the A-scans have it, and the thickness of the middle
millimetre.

--like FILE   simulated eyes: the photos are shown once more with foveas that are as dark as those of the
              healthy eyes of the file, ring by ring: in all colours, in red alone, and in green and blue
              alone. What changes by it was read from the colour of the fovea

First of all it prints how dark foveas are: medians of rings around them, by that of the ring from 1.8 to
2.4 mm.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fund2oct.data import EyeReader
from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.eye import Array, Eye
from fund2oct.models import load_model
from fund2oct.models.predicting.photo_reader import PhotoReader, ReadyPhoto
from fund2oct.networks.layered.surfaces import SurfaceDistribution, thickness_um
from fund2oct.retina import SURFACES

PICTURES = ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".ppm"
EDGES_MM = 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0
AROUND_MM = 1.8, 2.4
FLUID_UM, SOME, MIDDLE_MM = 40, 0.01, 0.5
WAYS = {"as it is": (0, 0, 0), "all colours": (1, 1, 1), "red": (1, 0, 0), "green and blue": (0, 1, 1)}
OS, RPE = SURFACES.index("OS"), SURFACES.index("RPE")


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder by name; a folder without any ends the command."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not found:
        raise SystemExit(
            f"{folder}: expected pictures ({', '.join(PICTURES)}), found none; give the folder of them"
        )
    return found


def from_fovea_mm(eye: Eye) -> Array:
    """Distance of each pixel of the photo from the fovea, in millimetres."""
    assert eye.fundus is not None and eye.placement is not None
    centres = (np.arange(len(eye.fundus)) + 0.5) * 2 / len(eye.fundus) - 1
    x, y = eye.placement.shift
    return np.hypot(centres - x, centres[:, None] - y) * eye.placement.half_width_mm


def darkness(eye: Eye) -> Array:
    """Colour of the rings around the fovea by that of the retina around, ``(rings, 3)``."""
    distance_mm = from_fovea_mm(eye)

    def colour(least_mm: float, most_mm: float) -> Array:
        # A ring that is narrower than a pixel has the pixels nearest to its middle.
        middle_mm = (least_mm + most_mm) / 2
        nearest_mm = np.abs(distance_mm - middle_mm).min()
        ring = np.abs(distance_mm - middle_mm) <= max((most_mm - least_mm) / 2, nearest_mm)
        return np.median(np.asarray(eye.fundus, np.float32)[ring], axis=0)

    rings = [colour(*edges) for edges in pairwise(EDGES_MM)]
    return np.stack(rings) / colour(*AROUND_MM)


def recoloured(eye: Eye, factor: Array) -> Array:
    """The photo with another fovea; ``factor`` is that of each ring and colour, ``(rings, 3)``."""
    middles = (np.array(EDGES_MM[1:]) + EDGES_MM[:-1]) / 2
    change = [np.interp(from_fovea_mm(eye), middles, channel) for channel in factor.T]
    return np.clip(np.asarray(eye.fundus) * np.stack(change, -1), 0, 255).astype(np.uint8)


def told(rings: Sequence[Array], name: str) -> Array:
    """Print how dark foveas are, and give their median."""
    middle = np.median(rings, axis=0)
    low, high = np.percentile([ring[0] for ring in rings], [10, 90], axis=0)
    print(f"{name}, {len(rings)} eyes:")
    for number, colour in enumerate(("red", "green", "blue")):
        values = " ".join(f"{value:.2f}" for value in middle[:, number])
        print(f"  {colour:6s}{values}  (10 to 90% of the first: {low[number]:.2f} to {high[number]:.2f})")
    return middle


def share_with_fluid(found: SurfaceDistribution, seen: Tensor) -> Tensor:
    """Share of the A-scans of one eye that have subretinal fluid, of those that are seen, ``(S, X)``."""
    fluid_um = found.median_um[0, OS] - found.median_um[0, RPE]
    return (fluid_um > FLUID_UM)[seen].float().mean()


@torch.inference_mode()
def row(model: Any, photos: Sequence[ReadyPhoto], factor: Array) -> str:
    """What the model draws for photos whose foveas have another colour."""
    wet, thick = [], []
    for ready in photos:
        assert ready.eye.placement is not None
        points_mm = ready.scan.coordinates(model.shape[-1])
        grid = ready.eye.placement.to_grid(points_mm)
        found = model.surfaces(photo_tensor(recoloured(ready.eye, factor)), grid[None])
        wet.append(float(share_with_fluid(found, grid.norm(dim=-1) <= 1)))
        middle = points_mm.norm(dim=-1) < MIDDLE_MM
        thick.append(float(thickness_um(found)[0][0][middle].mean()))
    some = sum(share > SOME for share in wet)
    return f"{np.mean(wet):.2%} | {some} of {len(wet)} | {np.mean(thick):.0f}"


def main() -> None:
    """Read the photos, look at their foveas, and ask each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--like", type=Path)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    paths = pictures_of(given.photos)
    models = {str(path): load_model(path).eval() for path in given.checkpoints}
    photos = {
        name: [PhotoReader.of(model, PhotoPlacement()).read(path) for path in paths]
        for name, model in models.items()
    }
    real = told([darkness(ready.eye) for ready in next(iter(photos.values()))], str(given.photos))
    ways = {"as it is": np.ones_like(real)}
    if given.like:
        with EyeReader(given.like) as reader:
            healthy = [key for key in reader.keys if reader.info(key).fields.get("diagnosis") == "normal"]
            simulated = told([darkness(reader.read(key)) for key in healthy], str(given.like))
        ways = {name: np.where(which, simulated / real, 1.0) for name, which in WAYS.items()}
    print("| model | fovea like that of the file | A-scans with fluid | photos with fluid | middle, um |")
    print("|---|---|---:|---:|---:|")
    for name, model in models.items():
        for way, factor in ways.items():
            print(f"| {name} | {way} | {row(model, photos[name], factor)} |", flush=True)


if __name__ == "__main__":
    main()
