"""Losses of the two parts of :class:`fund2oct.models.Pix2Vol`, and the condition of its discriminators."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.losses import AdversarialLoss, shadow_loss, slab_loss, spread_loss
from fund2oct.models.batch import Batch, Fake, Losses
from fund2oct.models.surface_model import heights_above_pose, surface_losses
from fund2oct.models.task import Task
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import unalign

N_CONDITION = 4
"""Channels of :func:`photo_and_anatomy`."""


def anatomy_losses(batch: Batch, fake: Fake, rng: NoiseSource, task: Task | None) -> Losses:
    """Losses of surfaces, tissue and fluid, without weights; :class:`fund2oct.models.Pix2Vol` lists them.

    Args:
        batch: the batch, see :meth:`fund2oct.models.VolumeModel.losses`.
        fake: predicted anatomy, and the volume drawn from it without texture.
        rng: source of the draws of the surfaces.
        task: the model's, which knows the usual distance of two A-scans.

    Returns:
        Scalar tensors by name.
    """
    assert fake.anatomy is not None and task is not None
    losses = surface_losses(fake.anatomy.surfaces, heights_above_pose(batch), rng)
    assert fake.anatomy.real_pockets is not None
    losses["pockets"] = F.binary_cross_entropy_with_logits(fake.anatomy.pockets, fake.anatomy.real_pockets)
    losses["tissue"] = (fake.aligned - batch["aligned"]).square().mean()
    light = fake.aligned, batch["aligned"], batch["spacing_z_mm"]
    return losses | {"slab": slab_loss(*light), "shadow": shadow_loss(*light, task.spacing_mm[2])}


def texture_losses(
    batch: Batch, fake: Fake, discriminators: nn.ModuleDict, adversarial: AdversarialLoss
) -> Losses:
    """Losses of the texture, without weights; :class:`fund2oct.models.Pix2Vol` lists them.

    Args:
        batch: the batch, see :meth:`fund2oct.models.VolumeModel.losses`.
        fake: predicted anatomy, and the volume drawn from it with texture.
        discriminators: by name.
        adversarial: what the discriminators' scores are turned into.

    Returns:
        Scalar tensors by name.
    """
    assert fake.anatomy is not None
    condition = photo_and_anatomy(batch, fake)
    told = fake.anatomy.image.detach()
    losses = {"spread": spread_loss(fake.aligned - told, batch["aligned"] - told, batch["mask"])}
    for name, discriminator in discriminators.items():
        logits = [scale.logits for scale in discriminator(fake.volume, condition)]
        losses[f"adversarial/{name}"] = adversarial.generator(logits)
    return losses


def judging_losses(
    batch: Batch, fake: Fake, discriminators: nn.ModuleDict, adversarial: AdversarialLoss
) -> Losses:
    """Losses of the discriminators, by their names; the arguments are those of :func:`texture_losses`."""
    losses = {}
    condition = photo_and_anatomy(batch, fake)
    for name, discriminator in discriminators.items():
        real = [scale.logits for scale in discriminator(batch["volume"], condition)]
        generated = [scale.logits for scale in discriminator(fake.volume, condition)]
        losses[name] = adversarial.discriminator(real, generated)
    return losses


def photo_and_anatomy(batch: Batch, fake: Fake) -> Tensor:
    """Condition of the patch discriminators: the photo's colours over each voxel, and the anatomy there.

    Args:
        batch: the batch, see :meth:`fund2oct.models.VolumeModel.losses`.
        fake: predicted anatomy.

    Returns:
        Values in [0, 1] at the pose of the real volumes, shape ``(B, 4, S, Z, X)``.
    """
    assert fake.anatomy is not None
    anatomy = unalign(fake.anatomy.image.detach(), batch["pose_um"], batch["spacing_z_mm"])
    photo = batch["lines"].unsqueeze(3).expand(-1, -1, -1, anatomy.shape[3], -1)
    return torch.cat([photo, anatomy], 1)
