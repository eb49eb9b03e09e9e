"""`x2ct` beside the code that its authors published: python benchmarks/x2ct_reference.py PATH

PATH is a copy of the published repository (github.com/kylekma/X2CT, GPL-3.0), of which nothing is here. Both
networks are built for the paper's cubes of 128 and compared layer by layer. Then the published weights are
given to ours, and the volumes and the losses of one batch are compared. What differs is said at the end.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.losses import LeastSquaresLoss
from fund2oct.models.baselines.x2ct import three_projections_loss
from fund2oct.networks.baselines.x2ct import X2CTGenerator
from fund2oct.networks.baselines.x2ct_discriminator import X2CTDiscriminator

SIZE = 128
KINDS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d, nn.Linear)

DIFFERENCES = """
Different on purpose:
* Biases. Ours has none where a normalisation follows, which takes them out, nor in the dense layers.
* Volumes. An axis is halved as long as four samples remain, where the published code asks for cubes. The
  kernels of the discriminator and of the last convolution are no longer than the volume.
* Photo. Three channels, resized to the plane of a slice; the published code has one and asks for squares.
* Last activation. A sigmoid; the published one is a ReLU in training, clamped to [0, 1] in use.
* Adversarial loss. Half the published one, on both sides: the paper's formula has the half.
* Normalisation. The published one keeps running means, and uses them in place of an eye's own once trained.
* Initial weights. Those of PyTorch; the published ones are normal with a deviation of 0.02.
* A step. The discriminator is stepped first, in the published code second. Gradients are clipped, and
  weights averaged."""


def layers(parts: Iterable[nn.Module]) -> list[Any]:
    """All layers with weights, in the order of the parts."""
    return [layer for part in parts for layer in part.modules() if isinstance(layer, KINDS)]


def grouped(ours: X2CTGenerator, published: nn.Module) -> dict[str, tuple[list[Any], list[Any]]]:
    """The layers of both generators, by what they are for, each in the order of the data's way."""
    of = dict(published.named_children())
    n = len(ours.encoder.levels)
    encoder = [ours.encoder.stem]
    for number, level in enumerate(ours.encoder.levels):
        encoder += [level, *ours.encoder.compressions[number : number + 1]]
    decoder = [part for level in reversed(ours.levels) for part in (level.blocks, level.up)]
    return {
        "encoder": (
            layers(encoder),
            layers([of["encoder_layer"], *(of[f"encoder_layer{i}"] for i in range(n))]),
        ),
        "connection A": (layers([ours.bridge]), layers([of["base_link"]])),
        "connection B": (
            layers(level.connection for level in ours.levels[:-1]),
            layers(of[f"linker_layer{i}"] for i in range(n)),
        ),
        "decoder": (layers(decoder), layers(of[f"decoder_layer{i}"] for i in range(n - 1, -2, -1))),
        "last convolution": (layers([ours.head]), layers([of["decoder_layer"]])),
    }


def compare(name: str, ours: list[Any], published: list[Any], shapes: dict[Any, torch.Size]) -> None:
    """Print how two lists of layers agree, and give the published weights to ours."""
    if len(ours) != len(published):
        raise SystemExit(f"{name}: {len(ours)} layers, published {len(published)}")
    sides, n = (ours, published), len(ours)
    same_kernels = [a.weight.shape == b.weight.shape for a, b in zip(ours, published, strict=True)]
    same_shapes = [shapes[a] == shapes[b] for a, b in zip(ours, published, strict=True)]
    weights, biases = (
        [sum(getattr(one, kind).numel() for one in side if getattr(one, kind) is not None) for side in sides]
        for kind in ("weight", "bias")
    )
    print(
        f"{name:17s} {sum(same_kernels):3d} of {n:3d} kernels and {sum(same_shapes):3d} of {n:3d} "
        f"output shapes agree; weights {weights[0]:>10,d} and {weights[1]:>10,d}, "
        f"biases {biases[0]:>8,d} and {biases[1]:>8,d}"
    )
    with torch.no_grad():
        for a, b in zip(ours, published, strict=True):
            a.weight.copy_(b.weight)
            if a.bias is not None:
                a.bias.copy_(b.bias)
            elif b.bias is not None and b.bias.any():
                raise SystemExit(f"{name}: a published bias that ours lacks is not 0")


def watched(networks: Iterable[nn.Module]) -> dict[Any, torch.Size]:
    """Where the shape of each layer's output will be noted."""
    shapes: dict[Any, torch.Size] = {}
    for layer in layers(networks):
        layer.register_forward_hook(lambda layer, _, out: shapes.__setitem__(layer, out.shape))
    return shapes


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("published", type=Path)
    root = parser.parse_args().published
    root = next((path for path in (root, root / "3DGAN") if (path / "lib/model").is_dir()), None)
    if root is None:
        parser.error("expected a copy of github.com/kylekma/X2CT, which has a folder 3DGAN/lib/model")
    sys.path.insert(0, str(root))
    warnings.filterwarnings("ignore")
    from lib.model.loss.multi_gan_loss import GANLoss, RestructionLoss
    from lib.model.nets.factory import define_3DG, define_D

    torch.manual_seed(0)
    # The values of the published experiment/singleview2500/d2_singleview2500.yml, but for three colours.
    published = define_3DG(
        None, None, None, 512, 1, 64, "singleview_network_denseUNet_transposed", 4, norm="instance3d",
        encoder_input_shape=(SIZE, SIZE), encoder_input_nc=3, encoder_norm="instance", activation_type="relu",
    )  # fmt: skip
    published_judge = define_D(1 + 3, 64, "basic3d", norm="instance3d")
    ours, judge = X2CTGenerator((SIZE,) * 3), X2CTDiscriminator((SIZE,) * 3)
    for network in (ours, published):
        for part in network.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
    ours.eval()
    photo, real = torch.rand(1, 3, SIZE, SIZE), torch.rand(1, 1, SIZE, SIZE, SIZE)
    grid = torch.zeros(1, SIZE, SIZE, 2)
    condition = photo.unsqueeze(2).expand(-1, -1, SIZE, -1, -1)
    logits: list[Tensor] = []
    with torch.no_grad():
        shapes = watched((ours, published, judge, published_judge))
        ours(photo, grid)
        published(photo)
        judge(real, photo)
        published_judge(torch.cat([condition, real], 1))
        print(f"cubes of {SIZE}, ours and published:")
        for name, (own, other) in grouped(ours, published).items():
            compare(name, own, other, shapes)
        compare("discriminator", layers([judge]), layers([published_judge]), shapes)
        ours.head.register_forward_hook(lambda *given: logits.append(given[-1]))
        ours(photo, grid)
        volume = published(photo)
        difference = (F.relu(logits[0]) - volume).abs().max()
        print(
            f"\nwith the published weights, before the last activation: largest difference {difference:.1e}"
        )
        print(f"of volumes up to {volume.max():.2f}. Losses of one batch, ours and published:")
        fake = volume / volume.max()
        least_squares, gan = LeastSquaresLoss(), GANLoss()
        mse, l1 = RestructionLoss("mse"), RestructionLoss("l1")
        scores = [judge(each, photo) for each in (real, fake)]
        theirs = [published_judge(torch.cat([condition, each], 1)) for each in (real, fake)]
        projected = [l1(fake.abs().mean(axis), real.abs().mean(axis)) for axis in (2, 3, 4)]
        rows = {
            "adversarial, generator": (least_squares.generator(scores[1:]), gan(theirs[1], True)),
            "adversarial, discriminator": (
                least_squares.discriminator(scores[:1], scores[1:]),
                gan(theirs[0], True) + gan(theirs[1], False),
            ),
            "reconstruction": (F.mse_loss(fake, real), mse(fake, real)),
            "projections": (three_projections_loss(fake, real), sum(projected) / 3),
        }
    for name, (own, other) in rows.items():
        print(f"{name:27s} {float(own):.6f}  {float(other):.6f}  ratio {float(own / other):.4f}")
    print(DIFFERENCES)


if __name__ == "__main__":
    main()
