"""What an attention across the scan is worth: python benchmarks/heights/positions.py DATA [--steps 600]

The surfaces alone are trained without an attention (``off``) and with one that is told the places of A-scans
in each of four ways. For each the thickness error of the test eyes is printed; and for each head of an
attention by how much the error grows when the head is closed, and the effective rank of its logits, at most
24, the channels of a head: in a head of rank 1 all A-scans heed the same ones. Beside it stands the rank
before the training. The heads of a model of your own: ``fund2oct.evaluation.report.heads.head_report``.
"""

import argparse
import time

import torch
from cached_eyes import CachedEyes, thickness_errors, told, train
from torch import nn

from fund2oct.data import FundusOCTDataModule
from fund2oct.networks.attention import POSITIONS, HeadValue, value_heads
from fund2oct.networks.encoder import PretrainedEncoder
from fund2oct.networks.layered.surfaces import SurfaceDistribution, SurfaceNetwork

ARMS = ("off", *POSITIONS)


def predict(network: nn.Module, eyes: CachedEyes, chosen: torch.Tensor) -> SurfaceDistribution:
    """The surfaces of some eyes."""
    found: SurfaceDistribution = network(*eyes.of_some(chosen), eyes.grid[chosen])
    return found


def heads_of(network: nn.Module, eyes: CachedEyes) -> list[HeadValue]:
    """What each head does; none without an attention."""
    assert isinstance(network, SurfaceNetwork)
    attention = network.encoder.attention

    def known() -> torch.Tensor:
        errors = thickness_errors(network, predict, eyes)
        return errors[~errors.isnan()]

    return value_heads(attention, known) if attention else []


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
            position = None if arm == "off" else arm

            def build(p: str | None = position) -> SurfaceNetwork:
                return SurfaceNetwork(training.map_channels, position=p)

            torch.manual_seed(seed)
            untrained = heads_of(build().eval(), test)
            began = time.process_time()
            network = train(build, predict, training, options.steps, seed)
            errors, spent = thickness_errors(network, predict, test), time.process_time() - began
            print(f"{arm}, seed {seed}: {told(errors, test.patients)}; {spent:.0f} s", flush=True)
            for number, (head, before) in enumerate(zip(heads_of(network, test), untrained, strict=True)):
                print(
                    f"    head {number}: closed, {head.worse:+.2f} µm; effective rank {head.rank:.1f} "
                    f"({before.rank:.1f} untrained)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
