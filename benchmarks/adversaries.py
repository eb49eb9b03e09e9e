"""What an adversary is worth: python benchmarks/adversaries.py CHECKPOINT [--steps 500] [--kinds hinge ...]

The anatomy of a trained ``pix2vol`` is drawn once for each eye of its own data, between the real surfaces
for training eyes and the predicted ones for test eyes. Then the texture alone is trained from nothing, for
so many steps of 16 slices on one thread, once under each kind of adversary; the image distance of the test
eyes, the sharpness and the processor's time are printed. ``spread_loss`` is added to each, as in ``pix2vol``.

hinge          the discriminators of ``pix2vol`` as they are: frozen features and patches
features       frozen features alone
patches        patches alone
relativistic   pairs of a real and a generated slice, and both gradient penalties on the patches
               (R3GAN, Huang et al., NeurIPS 2024, arXiv:2501.05441, equations 2 and 6)
high_bands     the discriminators see what is left of a slice after its low band is taken out
               (Korkmaz et al., CVPR 2024, arXiv:2402.19215, which uses the wavelet transform)
augmented      both sides shifted, scaled in contrast and with a hole, alike at random
               (Zhao et al., NeurIPS 2020, arXiv:2006.10738)
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from fund2oct.data import FundusOCTDataModule
from fund2oct.losses import HingeLoss, spread_loss
from fund2oct.metrics import frechet_distance, high_frequency_energy
from fund2oct.metrics.sets.resize import resize_images
from fund2oct.models import load_model
from fund2oct.models.pix2vol import Pix2Vol
from fund2oct.models.surface_model import heights_above_pose
from fund2oct.networks.adversaries.discriminators import BScanPatchDiscriminator
from fund2oct.networks.adversaries.feature_discriminator import FeatureDiscriminator
from fund2oct.networks.features import EfficientNetLite0
from fund2oct.networks.layered.generator import PredictedAnatomy, Real, dressed
from fund2oct.networks.layered.texture import TextureNetwork
from fund2oct.networks.lift import sample_lines
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import align, unalign

KINDS = ("hinge", "features", "patches", "relativistic", "high_bands", "augmented")
BATCH, GAMMA = 16, 1.0
Logits = list[Tensor]


class Slices:
    """Anatomy, pose, photo and real image of every slice of some eyes."""

    def __init__(self, model: Pix2Vol, batches: list[dict], known: bool) -> None:
        parts: list[list[Tensor]] = [[] for _ in range(6)]
        network = model.generator_ema.module
        for batch in batches:
            where = batch["spacing_z_mm"]
            aligned = align(batch["volume"], batch["pose_um"], where)
            real = Real(heights_above_pose(batch), aligned, model.task.spacing_mm[2]) if known else None
            n_slices, n_depth = batch["volume"].shape[2:4]
            with torch.no_grad():
                found = network.anatomy(batch["fundus"], batch["grid"], where, n_depth, real)
            photo = sample_lines(batch["fundus"], batch["grid"])
            row_um = found.row_um.expand(-1, 1, n_slices, 1)
            volume = batch["volume"].half()
            each = found.logits.half(), found.heights_um, row_um, batch["pose_um"], photo, volume
            for part, value in zip(parts, each, strict=True):
                axis = 1 if value.ndim == 3 else 2
                part.append(value.movedim(axis, 1).flatten(0, 1))
        self.logits, self.heights_um, self.row_um, self.pose_um, self.photo, self.real = map(torch.cat, parts)
        self.surfaces = found.surfaces
        self.dz_mm = float(where[0])

    def take(self, chosen: Tensor) -> tuple[PredictedAnatomy, Tensor, Tensor, Tensor]:
        """Anatomy, pose, condition of the discriminators and real image of some slices."""
        logits = self.logits[chosen].float()[:, :, None]
        heights_um, row_um = self.heights_um[chosen][:, :, None], self.row_um[chosen][:, :, None, :]
        anatomy = PredictedAnatomy(self.surfaces, heights_um, logits, row_um, pockets=logits)
        pose = self.pose_um[chosen][:, None]
        shown = unalign(anatomy.image, pose, self.dz_mm)
        photo = self.photo[chosen][:, :, None, None].expand(-1, -1, -1, shown.shape[3], -1)
        return anatomy, pose, torch.cat([photo, shown], 1), self.real[chosen].float()[:, :, None]


def low_band(volume: Tensor) -> Tensor:
    """Mean over the 7 x 7 neighbours in the slice."""
    image = volume[:, :, 0]
    return F.avg_pool2d(image, 7, 1, 3, count_include_pad=False)[:, :, None]


def augment(volume: Tensor, rng: torch.Generator) -> Tensor:
    """Shift, contrast and a hole, the same for the whole batch."""
    dz, dx = (int(torch.randint(-10, 11, (1,), generator=rng)) for _ in range(2))
    moved = volume.roll((dz, dx), (3, 4))
    mean = moved.mean((2, 3, 4), keepdim=True)
    moved = mean + (moved - mean) * float(0.7 + 0.6 * torch.rand(1, generator=rng))
    top, left = (int(torch.randint(0, size // 2, (1,), generator=rng)) for size in volume.shape[3:])
    hole = torch.ones_like(moved)
    hole[..., top : top + volume.shape[3] // 3, left : left + volume.shape[4] // 3] = 0
    return moved * hole


def view(kind: str, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
    """How the discriminators of a kind are shown volumes, in one step of the training."""
    if kind == "high_bands":
        return lambda volume: 0.5 + volume - low_band(volume)
    if kind == "augmented":
        seed = int(torch.randint(2**31, (1,), generator=rng))
        return lambda volume: augment(volume, torch.Generator().manual_seed(seed))
    return lambda volume: volume


def ask(judge: nn.Module, volume: Tensor, condition: Tensor) -> Logits:
    """The logits of each scale."""
    return [scale.logits for scale in judge(volume, condition)]


def train(kind: str, slices: Slices, steps: int, seed: int) -> nn.Module:
    """Train a texture network under one kind of adversary; returns its average."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    texture, average = TextureNetwork(), TextureNetwork()
    average.load_state_dict(texture.state_dict())
    judges = nn.ModuleList()
    if kind != "patches":
        judges.append(FeatureDiscriminator())
    if kind != "features":
        judges.append(BScanPatchDiscriminator(4, 32, n_scales=1))
    judging = [weight for weight in judges.parameters() if weight.requires_grad]
    optimizers = (
        torch.optim.Adam(texture.parameters(), 1e-3, (0.5, 0.99)),
        torch.optim.Adam(judging, 1e-3, (0.5, 0.99)),
    )
    hinge = HingeLoss()

    for step in range(steps):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, 2 * (1 - step / steps))
        anatomy, pose, condition, real = slices.take(torch.randint(len(slices.real), (BATCH,), generator=rng))
        fake = unalign(dressed(texture, anatomy, NoiseSource([rng])), pose, slices.dz_mm)
        see = view(kind, rng)
        shown, seen = see(real), see(fake)
        context = see(condition) if kind == "augmented" else condition
        total = torch.zeros(())
        for judge in judges:
            if kind == "relativistic":
                total = total + relativistic(judge, shown, seen.detach(), context)
            else:
                of_real, of_fake = ask(judge, shown, context), ask(judge, seen.detach(), context)
                total = total + hinge.discriminator(of_real, of_fake)
        optimizers[1].zero_grad()
        total.backward()
        optimizers[1].step()
        for weight in judging:
            weight.requires_grad_(False)
        terms = []
        for judge in judges:
            of_fake = ask(judge, seen, context)
            if kind == "relativistic":
                terms.append(paired(of_fake, ask(judge, shown, context)))
            else:
                terms.append(hinge.generator(of_fake))
        told = condition[:, -1:]
        loss = torch.stack(terms).sum() + spread_loss(fake - told, real - told)
        optimizers[0].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(texture.parameters(), 5.0)
        optimizers[0].step()
        for weight in judging:
            weight.requires_grad_(True)
        decay = min(0.995, (1 + step) / (10 + step))
        for slow, fast in zip(average.parameters(), texture.parameters(), strict=True):
            slow.data.lerp_(fast.data, 1 - decay)
    return average


def paired(better: Logits, worse: Logits) -> Tensor:
    """How far each logit is from being above its partner's."""
    return torch.stack([F.softplus(b - a).mean() for a, b in zip(better, worse, strict=True)]).mean()


def relativistic(judge: nn.Module, real: Tensor, fake: Tensor, condition: Tensor) -> Tensor:
    """Loss of a discriminator on pairs, with R1 and R2 where it has no frozen part to go through."""
    penalised = isinstance(judge, BScanPatchDiscriminator)
    real, fake = real.detach().requires_grad_(penalised), fake.detach().requires_grad_(penalised)
    of_real, of_fake = ask(judge, real, condition), ask(judge, fake, condition)
    loss = paired(of_real, of_fake)
    if penalised:
        for logits, image in ((of_real, real), (of_fake, fake)):
            score = torch.stack([scale.flatten(1).mean(1) for scale in logits]).sum()
            (slope,) = torch.autograd.grad(score, image, create_graph=True)
            loss = loss + GAMMA / 2 * slope.square().sum() / len(image)
    return loss


def main() -> None:
    """Train and print."""
    text = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    options.add_argument("checkpoint")
    options.add_argument("--data", help="the file of eyes, where it is not where it was in the training")
    options.add_argument("--steps", type=int, default=500)
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    given = options.parse_args()
    torch.set_num_threads(1)
    model = load_model(given.checkpoint).eval()
    assert model.task is not None
    data = FundusOCTDataModule(
        given.data or model.task.seen.path,
        volume_shape=model.shape,
        split={part: [eye.key for eye in eyes] for part, eyes in model.task.seen.parts.items()},
        fundus_px=model.task.fundus_px,
        even_light=model.task.preparation.even_light,
        even_levels=model.task.preparation.even_levels,
    )
    data.prepare_data()
    data.setup()
    # Each eye once, and as it is.
    training, test = (
        Slices(model, list(DataLoader(dataset, batch_size=8)), known=dataset is data.train_dataset)
        for dataset in (data.train_dataset, data.test_dataset)
    )
    judge = EfficientNetLite0()

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [resize_images(part, (224, 224), "antialias") for part in images.clamp(0, 1).split(24)]
            return torch.cat([judge.features(part)["pooled"] for part in parts])

    real = test.real.float()
    of_real = features(real)
    for seed in given.seeds:
        for kind in given.kinds:
            start = time.process_time()
            texture = train(kind, training, given.steps, seed)
            spent = time.process_time() - start
            anatomy, pose, _, _ = test.take(torch.arange(len(real)))
            with torch.no_grad():
                drawn = dressed(texture, anatomy, NoiseSource([torch.Generator().manual_seed(0)]))
                fake = unalign(drawn, pose, test.dz_mm)[:, :, 0]
            distance = float(frechet_distance(of_real, features(fake)))
            energy = [float(high_frequency_energy(image[:, :, None]).sum()) for image in (fake, real)]
            print(
                f"{kind:13s} seed {seed} {given.steps} steps: image distance {distance:5.1f}, "
                f"sharpness {energy[0] / energy[1]:.2f}, {spent:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
