"""What registration recovers: python benchmarks/heights/registration.py DATA [--steps 300] [--arms true ...]

Each photo is moved first: by up to 1.3 mm in any direction, by up to 15 degrees, and it is enlarged by up to
10%. So the fovea is not in the middle, and the eye is not upright. The same black frame is then laid over all
photos, since the edge of the circle of retina would tell how the photo was moved. The scan of each eye is
misplaced on it by 1 mm in any direction, by 10 degrees and by 10% of scale, once and for all. The surfaces
alone are trained on every fourth A-scan, from the three coarser maps of the frozen EfficientNet-Lite0, which
are computed once: no photo is augmented.

true         at the true places
misplaced    at the wrong places
registered   at the wrong places, which a registration network corrects
blind        the same, but the registration network is shown the photo of another eye, drawn anew each time:
             what can be known of the place without the photo
centre       around the centre of each photo, as where nothing is known
photo        where ``--placement photo`` lays the scan: around the fovea, or the centre where it is uncertain
             (half a second a photo)
photo+       the same, from which a registration network starts

For each it prints the thickness error of the test eyes and how far an A-scan is from its true place. The
share that is recovered is (misplaced - registered) / (misplaced - true). What the photo tells is the
difference of registered from blind, not the whole share.
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
from fund2oct.data.augmenting.photo_map import PhotoMap
from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.data.preparing.placing import PhotoPlacement, place_on
from fund2oct.geometry import Placement
from fund2oct.networks.encoder import PretrainedEncoder
from fund2oct.networks.layered.surfaces import SurfaceDistribution, SurfaceNetwork
from fund2oct.networks.registration import RegistrationNetwork, registered

ARMS = ("true", "misplaced", "registered", "blind", "centre", "photo", "photo+")
HALF_WIDTH_MM = 6.5
SHIFT, TURN_DEG, ZOOM = 0.2, 15.0, 1.1
"""How far photos are moved at most: in grid units, in degrees, and by which factor."""


def photo_move(number: int) -> PhotoMap:
    """How the photo of an eye is moved; its centre is anywhere in a circle around the middle."""
    rng = np.random.default_rng([number, 2])
    angle, radius = rng.uniform(0, 2 * math.pi), SHIFT * math.sqrt(rng.uniform())
    shift = radius * math.cos(angle), radius * math.sin(angle)
    return PhotoMap(float(rng.uniform(-TURN_DEG, TURN_DEG)), float(ZOOM ** rng.uniform()), shift)


def moved_placement(true: Placement, move: PhotoMap) -> Placement:
    """Where a scan lies on a photo that was moved without a bend."""
    x, y = move.place(torch.tensor(true.shift, dtype=torch.float64)).tolist()
    return Placement((x, y), true.rotation_deg + move.turn_deg, true.half_width_mm / move.zoom)


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
            true = moved_placement(known.fields["placement"], photo_move(number))
            one = wanted(arm, true, number, eyes.photos[number], known.laterality)
            grids.append(one.to_grid(points))
            half_width_mm.append(true.half_width_mm)
    return torch.stack(grids), torch.tensor(half_width_mm)


class Network(nn.Module):
    """Surfaces at places that are corrected or not.

    Args:
        channels: of the photo's maps.
        registers: whether places are corrected.
        blind: whether the correction is made from the photo of another eye.
    """

    def __init__(self, channels: tuple[int, ...], registers: bool, blind: bool = False) -> None:
        super().__init__()
        self.surfaces = SurfaceNetwork(channels)
        self.registration = RegistrationNetwork(channels) if registers else None
        self.blind = blind

    def places(self, eyes: CachedEyes, chosen: Tensor) -> Tensor:
        """Where the A-scans of some eyes lie, as it finds them."""
        shown = others(chosen, len(eyes.photos)) if self.blind else chosen
        found, _ = registered(self.registration, eyes.of_some(shown)[1], eyes.grid[chosen])
        return found


def others(chosen: Tensor, n_eyes: int) -> Tensor:
    """For each number of an eye that of any other one."""
    return (chosen + torch.randint(1, n_eyes, chosen.shape)) % n_eyes


def predict(network: nn.Module, eyes: CachedEyes, chosen: Tensor) -> SurfaceDistribution:
    """The surfaces at the places that an arm knows."""
    assert isinstance(network, Network)
    photo, maps = eyes.of_some(chosen)
    found: SurfaceDistribution = network.surfaces(photo, maps, network.places(eyes, chosen))
    return found


@torch.inference_mode()
def off_mm(network: Network, eyes: CachedEyes, true: Tensor, half_width_mm: Tensor) -> tuple[Tensor, Tensor]:
    """How many millimetres A-scans are off, before and after their registration, by eye."""
    moved = network.places(eyes, torch.arange(len(true)))
    before, after = ((grid - true).norm(dim=-1).mean((1, 2)) * half_width_mm for grid in (eyes.grid, moved))
    return before, after


def main() -> None:
    """Train the arms and print what each reaches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1, help="number of trainings of each arm")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS[:4])
    options = parser.parse_args()
    data = FundusOCTDataModule(options.data)
    data.setup()
    encoder, datasets = PretrainedEncoder().eval(), (data.train_dataset, data.test_dataset)
    training, test = (
        CachedEyes.of(each, encoder, [photo_move(number) for number in range(len(each))]) for each in datasets
    )
    true = test.grid
    for arm in options.arms:
        (training.grid, _), (test.grid, half_width_mm) = (
            places(arm, eyes, dataset, data.path)
            for eyes, dataset in zip((training, test), datasets, strict=True)
        )
        for seed in range(options.seeds):
            began = time.process_time()
            registers = arm in ("registered", "blind", "photo+")
            network = train(
                lambda r=registers, b=arm == "blind": Network(training.map_channels, r, b),  # type: ignore[misc]
                predict, training, options.steps, seed,
            )  # fmt: skip
            assert isinstance(network, Network)
            before, after = off_mm(network, test, true, half_width_mm)
            off = f"A-scans {before.mean():.2f} mm off, then {after.mean():.2f}"
            errors = thickness_errors(network, predict, test)
            spent = time.process_time() - began
            print(f"{arm}, seed {seed}: {told(errors, test.patients)}; {off}; {spent:.0f} s", flush=True)


if __name__ == "__main__":
    main()
