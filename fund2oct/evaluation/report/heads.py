"""What the heads of a model's attention across the scan do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fund2oct.models import Batch
from fund2oct.models.batch import to_device
from fund2oct.models.surface_model import heights_above_pose
from fund2oct.networks.attention import HeadValue, ScanAttention, value_heads
from fund2oct.networks.layered.surfaces import thickness_um
from fund2oct.retina.layers import SURFACES


def head_report(model: Any, batches: Iterable[Batch]) -> list[HeadValue]:
    """What each head of a model's attention does for the thickness.

    Args:
        model: a trained :class:`~fund2oct.models.Pix2Vol` or :class:`~fund2oct.models.SurfaceModel` with a
            ``position``.
        batches: batches of eyes that the model was not trained on, such as a datamodule's
            ``test_dataloader()``. They are gone through once for each head, and once more.

    Returns:
        For each head by how many micrometres the mean thickness error of the eyes grows when it is closed,
        and the effective rank of its logits.

    Raises:
        ValueError: if the model has no attention.

    Example:
        >>> from fund2oct.models import load_model
        >>> model = load_model("model.ckpt")  # doctest: +SKIP
        >>> head_report(model, datamodule.test_dataloader())[0]  # doctest: +SKIP
        HeadValue(worse=0.31, rank=9.6)
    """
    attentions = [part for part in model.generator_ema.modules() if isinstance(part, ScanAttention)]
    if not attentions:
        raise ValueError(
            "model: expected one that was trained with model.init_args.position, which has an attention, "
            "found one without"
        )
    ilm, rpe = SURFACES.index("ILM"), SURFACES.index("RPE")

    def errors() -> Tensor:
        found = []
        for given in batches:
            batch = to_device(given, model.device)
            heights = heights_above_pose(batch)
            predicted, _ = thickness_um(model.surfaces(batch["fundus"], batch["grid"], **model.known(batch)))
            found.append((predicted - heights[:, ilm] + heights[:, rpe]).abs().nanmean((1, 2)))
        return torch.cat(found)

    return value_heads(attentions[0], errors)
