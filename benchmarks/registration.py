"""What registration recovers: python benchmarks/registration.py DATA [--steps 300] [--arms true ...]

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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.data.preparing.placing import PhotoPlacement, place_on
from fund2oct.geometry import Placement
from fund2oct.models.surface_model import SURFACE_WEIGHTS, heights_above_pose, surface_losses
from fund2oct.networks.average import AveragedNetwork
from fund2oct.networks.encoder import PretrainedEncoder
from fund2oct.networks.layered.surfaces import SurfaceDistribution, SurfaceNetwork, thickness_um
from fund2oct.networks.noise import NoiseSource
from fund2oct.networks.registration import RegistrationNetwork, registered
from fund2oct.retina import SURFACES

ARMS = ("true", "misplaced", "registered", "centre", "photo", "photo+")
BATCH, EVERY, HALF_WIDTH_MM, RATE = 8, 4, 6.5, 1.5e-3
ILM, RPE = SURFACES.index("ILM"), SURFACES.index("RPE")


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


@dataclass
class Eyes:
    """Photos, maps and surfaces of some eyes, and where each arm has their scans."""

    photos: Tensor
    maps: list[Tensor]
    heights_um: Tensor
    grids: dict[str, Tensor]
    half_width_mm: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, dataset: FundusOCTDataset, path: Path, encoder: nn.Module, arms: list[str]) -> "Eyes":
        """Read and encode the eyes of a dataset once."""
        batches = []
        for first in range(0, len(dataset), BATCH):
            batch = dataset.finish(dataset.fetch(list(range(first, min(first + BATCH, len(dataset))))))
            maps = [each.half() for each in encoder(batch["fundus"])[2:]]
            batches.append((batch["fundus"], heights_above_pose(batch)[..., ::EVERY], *maps))
        photos, heights, *maps = map(torch.cat, zip(*batches, strict=True))
        places = dataset.scan.coordinates(dataset.shape[2])[:, ::EVERY]
        with EyeReader(path) as reader:
            known = [reader.info(key) for key in dataset.keys]
        true = [one.fields["placement"] for one in known]
        grids = {
            arm: torch.stack(
                [
                    wanted(arm, placement, number, photos[number], known[number].laterality).to_grid(places)
                    for number, placement in enumerate(true)
                ]
            )
            for arm in {"true", *arms}
        }
        return cls(photos, maps, heights, grids, torch.tensor([one.half_width_mm for one in true]))

    def batch(self, chosen: Tensor, arm: str) -> tuple[Tensor, list[Tensor], Tensor]:
        """Photos, maps and grids of some of them."""
        return self.photos[chosen], [each[chosen].float() for each in self.maps], self.grids[arm][chosen]


class Network(nn.Module):
    """Surfaces, with a registration or without."""

    def __init__(self, channels: tuple[int, ...], registers: bool) -> None:
        super().__init__()
        self.surfaces = SurfaceNetwork(channels)
        self.registration = RegistrationNetwork(channels) if registers else None

    def forward(self, photo: Tensor, maps: list[Tensor], grid: Tensor) -> tuple[SurfaceDistribution, Tensor]:
        """The surfaces, and the places at which they were read."""
        grid, centre = registered(self.registration, maps, grid)
        return self.surfaces(photo, maps, grid, centre), grid


def train(arm: str, eyes: Eyes, steps: int, seed: int) -> nn.Module:
    """Train an arm; returns the averaged network."""
    torch.manual_seed(seed)
    network = Network(tuple(each.shape[1] for each in eyes.maps), arm == "registered" or arm.endswith("+"))
    average = AveragedNetwork(network)
    optimizer = torch.optim.Adam(network.parameters(), RATE, (0.9, 0.99))
    rng, n_eyes = torch.Generator().manual_seed(seed), len(eyes.photos)
    order = torch.cat([torch.randperm(n_eyes, generator=rng) for _ in range(steps * BATCH // n_eyes + 1)])
    for step in range(steps):
        chosen = order[BATCH * step : BATCH * (step + 1)]
        optimizer.param_groups[0]["lr"] = RATE * min(1, 2 * (1 - step / steps))
        found, _ = network(*eyes.batch(chosen, arm))
        noise = NoiseSource([torch.Generator().manual_seed(step)])
        losses = surface_losses(found, eyes.heights_um[chosen], noise)
        loss = torch.stack([SURFACE_WEIGHTS[name] * value for name, value in losses.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        average.update(network, min(0.995, (1 + step) / (10 + step)))
    return average


@torch.inference_mode()
def measure(network: nn.Module, eyes: Eyes, arm: str) -> tuple[Tensor, Tensor, Tensor]:
    """Thickness error in micrometres, and how many millimetres A-scans are off, before and after, by eye."""
    errors, before, after = [], [], []
    for chosen in torch.arange(len(eyes.photos)).split(BATCH):
        photo, maps, grid = eyes.batch(chosen, arm)
        found, moved = network(photo, maps, grid)
        real = eyes.heights_um[chosen]
        errors.append((thickness_um(found)[0] - real[:, ILM] + real[:, RPE]).abs().nanmean((1, 2)))
        for far, places in ((before, grid), (after, moved)):
            off = (places - eyes.grids["true"][chosen]).norm(dim=-1).mean((1, 2))
            far.append(off * eyes.half_width_mm[chosen])
    return torch.cat(errors), torch.cat(before), torch.cat(after)


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
    encoder, arms = PretrainedEncoder().eval(), list(options.arms)
    training, test = (
        Eyes.of(each, data.path, encoder, arms) for each in (data.train_dataset, data.test_dataset)
    )
    for arm in arms:
        for seed in range(options.seeds):
            began = time.process_time()
            network = train(arm, training, options.steps, seed)
            errors, before, after = measure(network, test, arm)
            error = f"{errors.mean():.2f} ± {errors.std() / len(errors) ** 0.5:.2f} µm"
            off = f"A-scans {before.mean():.2f} mm off, then {after.mean():.2f}"
            print(f"{arm}, seed {seed}: {error}; {off}; {time.process_time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
