"""What an attention across the scan is worth: python benchmarks/heights/positions.py DATA [--steps 600]

The surfaces alone are trained without an attention (``off``) and with one that is told the places of A-scans
in each of four ways. For each the thickness error of the test eyes is printed; and for each head of an
attention by how much the error grows when the head is closed, and the effective rank of its logits, of the
168 that there can be: in a head of rank 1 all A-scans heed the same ones.
"""

import argparse
import time

import torch
from cached_eyes import BATCH, CachedEyes, thickness_errors, told, train
from torch import nn

from fund2oct.data import FundusOCTDataModule
from fund2oct.networks.attention import MM_PER_UNIT, N_HEADS, POSITIONS, ScanAttention, effective_rank
from fund2oct.networks.encoder import PretrainedEncoder
from fund2oct.networks.layered.surfaces import SurfaceDistribution, SurfaceNetwork
from fund2oct.networks.lines import place_features

ARMS = ("off", *POSITIONS)


def predict(network: nn.Module, eyes: CachedEyes, chosen: torch.Tensor) -> SurfaceDistribution:
    """The surfaces of some eyes."""
    found: SurfaceDistribution = network(*eyes.of_some(chosen), eyes.grid[chosen])
    return found


@torch.inference_mode()
def ranks(network: nn.Module, eyes: CachedEyes) -> list[float]:
    """Effective rank of each head's logits, the mean of the eyes."""
    assert isinstance(network, SurfaceNetwork)
    reader, found = network.encoder, []
    assert isinstance(reader.attention, ScanAttention)
    for chosen in torch.arange(len(eyes.photos)).split(BATCH):
        grid = eyes.grid[chosen]
        features = reader.read(*eyes.of_some(chosen), grid, place_features(grid))
        at = features, MM_PER_UNIT * (grid - grid.mean((1, 2), keepdim=True))
        found.append(effective_rank(reader.attention.logits(*at, *at)))
    mean: list[float] = torch.cat(found).mean(0).tolist()
    return mean


def main() -> None:
    """Train the arms and print what each reaches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    options = parser.parse_args()
    data = FundusOCTDataModule(options.data)
    data.setup()
    encoder = PretrainedEncoder().eval()
    training, test = (CachedEyes.of(each, encoder) for each in (data.train_dataset, data.test_dataset))
    for seed in range(options.seeds):
        for arm in options.arms:
            position, began = None if arm == "off" else arm, time.process_time()
            network = train(
                lambda p=position: SurfaceNetwork(training.map_channels, position=p),  # type: ignore[misc]
                predict, training, options.steps, seed,
            )  # fmt: skip
            errors, spent = thickness_errors(network, predict, test), time.process_time() - began
            print(f"{arm}, seed {seed}: {told(errors)}; {spent:.0f} s", flush=True)
            assert isinstance(network, SurfaceNetwork)
            attention = network.encoder.attention
            for head in range(N_HEADS if attention else 0):
                assert attention is not None
                with attention.without(head):
                    worse = (thickness_errors(network, predict, test) - errors).mean()
                rank = ranks(network, test)[head]
                print(f"    head {head}: closed, {worse:+.2f} µm; effective rank {rank:.1f}", flush=True)


if __name__ == "__main__":
    main()
