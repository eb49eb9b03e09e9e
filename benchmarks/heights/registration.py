"""What registration recovers: python benchmarks/heights/registration.py DATA [--steps 300] [--arms true ...]

The scan of each simulated eye is misplaced on its photo by 1 mm in any direction, by 10 degrees and by 10% of
scale, once and for all. The surfaces alone are trained on every fourth A-scan, from the three coarser maps of
the frozen EfficientNet-Lite0, which are computed once: no photo is augmented.

true         at the true places
misplaced    at the wrong places
registered   at the wrong places, which a registration network corrects
centre       around the centre of each photo, as where nothing is known
photo        where ``--placement photo`` lays the scan: around the fovea, or the centre where it is uncertain
             (half a second a photo)
photo+       the same, from which a registration network starts

For each it prints the thickness error of the test eyes and how far an A-scan is from its true place. The
share that is recovered is (misplaced - registered) / (misplaced - true).
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from cached_eyes import EVERY, CachedEyes, thickness_errors, told, train
from torch import Tensor, nn

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.data.preparing.placing import PhotoPlacement, place_on
from fund2oct.geometry import Placement
from fund2oct.networks.encoder import PretrainedEncoder
from fund2oct.networks.layered.surfaces import SurfaceDistribution, SurfaceNetwork
from fund2oct.networks.registration import RegistrationNetwork, registered

ARMS = ("true", "misplaced", "registered", "centre", "photo", "photo+")
HALF_WIDTH_MM = 6.5


def misplaced(true: Placement, number: int) -> Placement:
    """A placement 1 mm, 10 degrees and 10% off; the eye's number decides in which directions."""
    rng = np.random.default_rng([number, 1])
    angle, width_mm = rng.uniform(0, 2 * math.pi), true.half_width_mm
    shift = true.shift[0] + math.cos(angle) / width_mm, true.shift[1] + math.sin(angle) / width_mm
    turn, scale = rng.choice([-10, 10]), 1.1 ** rng.choice([-1, 1])
    return Placement(shift, true.rotation_deg + float(turn), width_mm * float(scale))


def wanted(arm: str, true: Placement, number: int, photo: Tensor, laterality: str) -> Placement:
    """Where an arm has the scan of an eye."""
    if arm.startswith("photo"):
        picture = (photo.permute(1, 2, 0) * 255).round().byte().numpy()
        return place_on(picture, laterality, PhotoPlacement(HALF_WIDTH_MM), {}, [])
    places = {"true": true, "centre": Placement(half_width_mm=HALF_WIDTH_MM)}
    return places.get(arm) or misplaced(true, number)


def places(arm: str, eyes: CachedEyes, dataset: FundusOCTDataset, path: Path) -> tuple[Tensor, Tensor]:
    """Where an arm has the A-scans of the eyes, and how many millimetres a grid unit has."""
    points = dataset.scan.coordinates(dataset.shape[2])[:, ::EVERY]
    grids, half_width_mm = [], []
    with EyeReader(path) as reader:
        for number, key in enumerate(dataset.keys):
            known = reader.info(key)
            true: Placement = known.fields["placement"]
            one = wanted(arm, true, number, eyes.photos[number], known.laterality)
            grids.append(one.to_grid(points))
            half_width_mm.append(true.half_width_mm)
    return torch.stack(grids), torch.tensor(half_width_mm)


class Network(nn.Module):
    """Surfaces, with a registration or without."""

    def __init__(self, channels: tuple[int, ...], registers: bool) -> None:
        super().__init__()
        self.surfaces = SurfaceNetwork(channels)
        self.registration = RegistrationNetwork(channels) if registers else None


def predict(network: nn.Module, eyes: CachedEyes, chosen: Tensor) -> SurfaceDistribution:
    """The surfaces at the places that an arm knows."""
    assert isinstance(network, Network)
    photo, maps = eyes.of_some(chosen)
    grid, _ = registered(network.registration, maps, eyes.grid[chosen])
    found: SurfaceDistribution = network.surfaces(photo, maps, grid)
    return found


@torch.inference_mode()
def off_mm(network: Network, eyes: CachedEyes, true: Tensor, half_width_mm: Tensor) -> tuple[Tensor, Tensor]:
    """How many millimetres A-scans are off, before and after their registration, by eye."""
    _, maps = eyes.of_some(torch.arange(len(true)))
    moved, _ = registered(network.registration, maps, eyes.grid)
    before, after = ((grid - true).norm(dim=-1).mean((1, 2)) * half_width_mm for grid in (eyes.grid, moved))
    return before, after


def main() -> None:
    """Train the arms and print what each reaches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1, help="number of trainings of each arm")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS[:3])
    options = parser.parse_args()
    data = FundusOCTDataModule(options.data)
    data.setup()
    encoder, datasets = PretrainedEncoder().eval(), (data.train_dataset, data.test_dataset)
    training, test = (CachedEyes.of(each, encoder) for each in datasets)
    true = test.grid
    for arm in options.arms:
        (training.grid, _), (test.grid, half_width_mm) = (
            places(arm, eyes, dataset, data.path)
            for eyes, dataset in zip((training, test), datasets, strict=True)
        )
        for seed in range(options.seeds):
            began = time.process_time()
            registers = arm == "registered" or arm.endswith("+")
            network = train(
                lambda r=registers: Network(training.map_channels, r),  # type: ignore[misc]
                predict, training, options.steps, seed,
            )  # fmt: skip
            assert isinstance(network, Network)
            before, after = off_mm(network, test, true, half_width_mm)
            off = f"A-scans {before.mean():.2f} mm off, then {after.mean():.2f}"
            errors = thickness_errors(network, predict, test)
            print(
                f"{arm}, seed {seed}: {told(errors)}; {off}; {time.process_time() - began:.0f} s", flush=True
            )


if __name__ == "__main__":
    main()
