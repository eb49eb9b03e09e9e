"""Eyes whose photos are encoded once, and trainings of the surfaces alone on them.

Every fourth A-scan is taken, and the three coarser maps of the frozen EfficientNet-Lite0: no photo is
augmented.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fund2oct.data.augmenting.photo_map import PhotoMap
from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.evaluation.compare import mean_of
from fund2oct.models.surface_model import SURFACE_WEIGHTS, heights_above_pose, surface_losses
from fund2oct.networks.average import AveragedNetwork
from fund2oct.networks.layered.surfaces import SurfaceDistribution, thickness_um
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import SURFACES

BATCH, EVERY, RATE = 8, 4, 1.5e-3
SEEN = 0.8
"""Radius, in grid units, of the circle that is left of a photo that was moved: all of it shows retina."""
ILM, RPE = SURFACES.index("ILM"), SURFACES.index("RPE")


@dataclass
class CachedEyes:
    """Photos, maps and surfaces of some eyes, and whose they are."""

    photos: Tensor
    maps: list[Tensor]
    heights_um: Tensor
    grid: Tensor
    patients: list[str]

    @classmethod
    @torch.inference_mode()
    def of(
        cls, dataset: FundusOCTDataset, encoder: nn.Module, moves: Sequence[PhotoMap] | None = None
    ) -> CachedEyes:
        """Read and encode the eyes of a dataset once, each with its photo and its places moved."""
        parts = []
        patients: list[str] = []
        for first in range(0, len(dataset), BATCH):
            batch = dataset.finish(dataset.fetch(list(range(first, min(first + BATCH, len(dataset))))))
            if moves is not None:
                some = moves[first : first + BATCH]
                photos, places = batch["fundus"].split(1), batch["grid"]
                batch["fundus"] = torch.cat(
                    [moved_photo(photo, move) for photo, move in zip(photos, some, strict=True)]
                )
                batch["grid"] = torch.stack(
                    [move.place(grid) for grid, move in zip(places, some, strict=True)]
                )
            maps = [each.half() for each in encoder(batch["fundus"])[2:]]
            found = heights_above_pose(batch)[..., ::EVERY]
            parts.append((batch["fundus"], found, batch["grid"][:, :, ::EVERY], *maps))
            patients += batch["patient"]
        photos, heights, grid, *maps = map(torch.cat, zip(*parts, strict=True))
        return cls(photos, maps, heights, grid, patients)

    @property
    def map_channels(self) -> tuple[int, ...]:
        """Numbers of channels of the maps."""
        return tuple(each.shape[1] for each in self.maps)

    def of_some(self, chosen: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Photos and maps of some of them."""
        return self.photos[chosen], [each[chosen].float() for each in self.maps]


def moved_photo(photo: Tensor, move: PhotoMap) -> Tensor:
    """A photo ``(1, 3, H, H)`` after a move, in the same black frame as all others.

    The edge of the circle of retina would tell where the centre of the photo was.
    """
    line = (2 * torch.arange(photo.shape[-1]) + 1) / photo.shape[-1] - 1
    seen = torch.hypot(line[:, None], line) <= SEEN
    return move.apply_to_fundus(photo) * seen


Predict = Callable[[nn.Module, CachedEyes, Tensor], SurfaceDistribution]
"""The surfaces that a network predicts for some of the eyes."""


def train(
    build: Callable[[], nn.Module], predict: Predict, eyes: CachedEyes, steps: int, seed: int
) -> nn.Module:
    """Train a network; returns its average."""
    torch.manual_seed(seed)
    network = build()
    average = AveragedNetwork(network)
    optimizer = torch.optim.Adam(network.parameters(), RATE, (0.9, 0.99))
    rng, n_eyes = torch.Generator().manual_seed(seed), len(eyes.photos)
    order = torch.cat([torch.randperm(n_eyes, generator=rng) for _ in range(steps * BATCH // n_eyes + 1)])
    for step in range(steps):
        chosen = order[BATCH * step : BATCH * (step + 1)]
        optimizer.param_groups[0]["lr"] = RATE * min(1, 2 * (1 - step / steps))
        noise = NoiseSource([torch.Generator().manual_seed(step)])
        losses = surface_losses(predict(network, eyes, chosen), eyes.heights_um[chosen], noise)
        loss = torch.stack([SURFACE_WEIGHTS[name] * value for name, value in losses.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        average.update(network, min(0.995, (1 + step) / (10 + step)))
    return average.module


@torch.inference_mode()
def thickness_errors(network: nn.Module, predict: Predict, eyes: CachedEyes) -> Tensor:
    """Thickness error of each eye in micrometres, NaN of one whose surfaces were not found."""
    errors = []
    for chosen in torch.arange(len(eyes.photos)).split(BATCH):
        found, real = predict(network, eyes, chosen), eyes.heights_um[chosen]
        errors.append((thickness_um(found)[0] - real[:, ILM] + real[:, RPE]).abs().nanmean((1, 2)))
    return torch.cat(errors)


def told(errors: Tensor, patients: Sequence[str]) -> str:
    """Mean over the eyes whose error is known, and its standard error as that of a sample of patients."""
    found = mean_of(errors.tolist(), patients)
    return f"{found['mean']:.2f} ± {found['standard_error']:.2f} µm"
