"""What it is worth to tell a model more than the photo: python benchmarks/heights/told.py DATA [--steps 900]

The surfaces alone are trained, on every fourth A-scan, from the three coarser maps of the frozen
EfficientNet-Lite0, without augmentation. As in any training, all that is known is withheld of a quarter of
the eyes, and each thing of a tenth.

nothing     told nothing
laterality  told the side
diagnosis   told for each kind of lesion whether the eye has it
lesions     shown a mask of the lesions that the simulation put into the photo

For each the thickness error of the test eyes is printed with what is *true*, with that of *other* patients,
drawn at random, and with all of it *missing*; and by how much each differs from ``nothing`` with the same
seed, eye by eye, with the 95% interval over patients. What is known of others must not help, and what is
missing must not hurt by more than 1%.
"""

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cached_eyes import CachedEyes, Predict, thickness_errors, told, train
from torch import Tensor, nn

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.networks.encoder import PretrainedEncoder
from fund2oct.networks.known import Known
from fund2oct.networks.layered.surfaces import SurfaceDistribution, SurfaceNetwork
from fund2oct.networks.noise import NoiseSource

ARMS = ("nothing", "laterality", "diagnosis", "lesions")
DISEASES = ("PED", "drusen", "SRF", "IRF", "GA", "ERM", "haemorrhage")


def known_of(arm: str, dataset: FundusOCTDataset, path: Path) -> Known:
    """What an arm is told of the eyes of a dataset."""
    scalars: list[list[float]] = []
    masks: list[Tensor] = []
    with EyeReader(path) as reader:
        for key in dataset.keys:
            eye = reader.read(key)
            scalars.append(
                [float(eye.laterality == "OD")]
                if arm == "laterality"
                else [float(each in eye.diagnosis.split("+")) for each in DISEASES]
            )
            if arm == "lesions":
                assert eye.lesion_fundus is not None
                masks.append(torch.from_numpy(np.asarray(eye.lesion_fundus) > 0)[None].float())
    if arm == "lesions":
        return Known(masks=torch.stack(masks))
    return Known(conditions=None if arm == "nothing" else torch.tensor(scalars))


def of_some(known: Known, chosen: Tensor) -> Known:
    """What is known of some of the eyes."""
    return Known(*(None if one is None else one[chosen] for one in known))


def missing(known: Known) -> Known:
    """As many things, all unknown."""
    return Known(*(None if one is None else torch.full_like(one, math.nan) for one in known))


def of_others(patients: Sequence[str], seed: int) -> Tensor:
    """For each eye the number of one of another patient, or of any where there is no other patient."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(len(patients))
    names = np.asarray(patients)
    of_each = (numbers[names != name] for name in names)
    return torch.tensor([int(rng.choice(others if len(others) else numbers)) for others in of_each])


def predictor(known: Known, rng: NoiseSource | None = None) -> Predict:
    """Predict surfaces from what is known; with ``rng`` some of it is withheld."""

    def predict(network: nn.Module, eyes: CachedEyes, chosen: Tensor) -> SurfaceDistribution:
        some = of_some(known, chosen)
        some = some if rng is None else some.withheld(rng)
        found: SurfaceDistribution = network(*eyes.of_some(chosen), eyes.grid[chosen], known=some)
        return found

    return predict


def difference(errors: Tensor, plain: Tensor, patients: Sequence[str]) -> str:
    """Mean difference where both are known, and its 95% interval, as patients are drawn again."""
    known = ~(errors - plain).isnan()
    names, numbers = np.unique(np.asarray(patients)[known.numpy()], return_inverse=True)
    differences = (errors - plain)[known].double().numpy()
    off, n_eyes = (np.bincount(numbers, weights, len(names)) for weights in (differences, None))
    drawn = np.random.default_rng(0).integers(0, len(names), (2000, len(names)))
    low, high = np.percentile(off[drawn].sum(1) / n_eyes[drawn].sum(1), [2.5, 97.5])
    return f"{off.sum() / n_eyes.sum():+.2f} ({low:+.2f} to {high:+.2f})"


def main() -> None:
    """Train the arms and print what each reaches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data = FundusOCTDataModule(options.data)
    data.setup()
    encoder, datasets = PretrainedEncoder().eval(), (data.train_dataset, data.test_dataset)
    training, test = (CachedEyes.of(each, encoder) for each in datasets)
    for seed in range(options.seeds):
        plain = torch.empty(0)
        for arm in ARMS:
            known, of_test = (known_of(arm, each, data.path) for each in datasets)
            shape = [0 if one is None else one.shape[1] for one in known]
            network = train(
                partial(SurfaceNetwork, training.map_channels, n_known=(shape[0], shape[1])),
                predictor(known, NoiseSource([torch.Generator().manual_seed(seed)])),
                training,
                options.steps,
                seed,
            )
            if arm == "nothing":
                plain = thickness_errors(network, predictor(of_test), test)
                print(f"seed {seed}, nothing: {told(plain, test.patients)}", flush=True)
                continue
            others = of_some(of_test, of_others(test.patients, seed))
            for name, given in (("true", of_test), ("other", others), ("missing", missing(of_test))):
                errors = thickness_errors(network, predictor(given), test)
                off = difference(errors, plain, test.patients)
                print(f"seed {seed}, {arm}, {name}: {told(errors, test.patients)}; {off}", flush=True)


if __name__ == "__main__":
    main()
