"""A module that may know more of an eye than its photo, such as the age."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fund2oct.by_path import listed
from fund2oct.data.loading.index import known_values
from fund2oct.data.masks.networks import draw_mask, load_mask_network
from fund2oct.data.masks.stored import masks_of
from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.eye import DataError, Eye
from fund2oct.models.batch import Batch
from fund2oct.models.training.encoding import EncodingModule
from fund2oct.networks.known import Known
from fund2oct.networks.noise import NoiseSource

_MASKS_OF_BATCHES = {"vessels"}
"""Entries of a batch that are masks of its photos."""
_ROUNDING = 1e-3


class KnowingModule(EncodingModule):
    """A module whose networks may be told scalars and masks of an eye.

    A model of your own that can be told calls :meth:`tell_networks` in its constructor, builds its network
    with ``n_known``, and has it take the argument ``known``. ``generate`` and a call of the model give it. A
    training step of your own passes ``**self.known(batch, withhold=True)``.
    """

    masks: tuple[str, ...] = ()
    """Names of the masks of the photo that the networks are told."""
    mask_networks: Mapping[str, nn.Module] = {}
    """Networks that draw them from the photo, by their names."""
    _looked_at: frozenset[str] = frozenset()

    def tell_networks(
        self, conditions: Sequence[str], masks: Sequence[str], mask_networks: Mapping[str, str] | None
    ) -> None:
        """Say what the networks are told.

        Args:
            conditions: names of scalars, see :class:`fund2oct.models.training.conditions.Conditions`.
            masks: names of masks. One without a network is an entry of the batch, such as those that the
                datamodule reads from its file.
            mask_networks: see :meth:`draw_masks`.

        Raises:
            ValueError: if a mask has the name of something else that batches hold.
        """
        self.conditions, self.masks = tuple(listed(conditions)), tuple(listed(masks))
        if taken := sorted((set(self.masks) & set(Batch.__annotations__)) - _MASKS_OF_BATCHES):
            raise ValueError(
                f"masks: {', '.join(taken)} names something else in a batch; choose another name"
            )
        self.draw_masks(mask_networks or {})

    def draw_masks(self, mask_networks: Mapping[str, str]) -> None:
        """Have masks drawn from the photo. Networks are not stored in checkpoints: name them again for use.

        Args:
            mask_networks: by the name of a mask a network, as
                :func:`fund2oct.data.masks.networks.load_mask_network` takes it.

        Raises:
            ValueError: if the model takes no such mask, or there is no such network.
        """
        for name in mask_networks:
            if name not in self.masks:
                known = (
                    f"one of {', '.join(self.masks)}" if self.masks else "none, for the model takes no masks"
                )
                raise ValueError(f"mask {name}: expected {known}")
        self.mask_networks = {
            name: load_mask_network(path, f"mask {name}") for name, path in mask_networks.items()
        }

    @property
    def undrawn_masks(self) -> tuple[str, ...]:
        """Masks that no network draws; they are missing where a batch does not hold them."""
        return tuple(name for name in self.masks if name not in self.mask_networks)

    @property
    def n_known(self) -> tuple[int, int]:
        """Numbers of scalars and of masks."""
        return len(self.conditions), len(self.masks)

    def known(self, batch: Mapping[str, Any], withhold: bool = False) -> dict[str, Any]:
        """What is known of the eyes of a batch, as the argument ``known`` of networks.

        Args:
            batch: the batch. What it does not hold is missing.
            withhold: True in training steps, to leave things out at random.

        Returns:
            The argument by its name; empty for a model that is told nothing but photos.

        Raises:
            ValueError: if a training batch lacks the metadata of a model with conditions, or a mask that no
                network draws.
        """
        if not any(self.n_known):
            return {}
        known = Known(self._conditions(batch), self._masks(batch))
        if withhold:
            if self.conditions and "metadata" not in batch:
                raise ValueError(
                    "batch: metadata: expected a JSON object of each eye, for the model has conditions; "
                    "fund2oct.data.FundusOCTDataset gives them"
                )
            if lacking := [name for name in self.undrawn_masks if name not in batch]:
                raise ValueError(
                    f"masks: {', '.join(lacking)}: neither in the batch nor drawn by a network; name it in "
                    "data.init_args.masks where the file holds it, or name a network that draws it in "
                    "mask_networks (data.init_args.vessel_network draws vessels), or leave the mask out"
                )
            known = known.withheld(NoiseSource.of_keys(batch["key"], self.seed + self.global_step))
        return {"known": known}

    def known_of(self, eye: Eye) -> dict[str, Any]:
        """The same of one eye with a photo."""
        told = {
            "metadata": json.dumps(eye.metadata),
            "laterality": eye.laterality,
            "diagnosis": eye.diagnosis,
        }
        batch: dict[str, Any] = {name: [text] for name, text in told.items()}
        if self.mask_networks and eye.fundus is not None:
            batch["fundus"] = photo_tensor(eye.fundus).to(self.device)
        held = masks_of(eye) if self.masks else {}
        batch |= {name: held[name].to(self.device) for name in self.undrawn_masks if name in held}
        return self.known(batch)

    def _conditions(self, batch: Mapping[str, Any]) -> Tensor | None:
        if not self.conditions or self.task is None or "metadata" not in batch:
            return None
        found = batch["metadata"]
        if not isinstance(found, list | tuple) or not all(isinstance(text, str) for text in found):
            raise ValueError(
                "batch: metadata: expected a JSON object of each eye, as a text that json.dumps makes, found "
                f"{type(found).__name__}{' of others' if isinstance(found, list | tuple) else ''}"
            )
        empty = [""] * len(found)
        texts = batch["metadata"], batch.get("laterality", empty), batch.get("diagnosis", empty)
        eyes = [known_values(*of_eye) for of_eye in zip(*texts, strict=True)]
        try:
            return self.task.conditions.read(eyes).to(self.device, non_blocking=True)
        except ValueError as error:
            raise DataError(f"metadata of {', '.join(batch.get('key', ()))}: {error}") from None

    def _masks(self, batch: Mapping[str, Any]) -> Tensor | None:
        found = {
            name: _checked(name, batch[name], name in self._looked_at) for name in self.masks if name in batch
        }
        self._looked_at = self._looked_at.union(found)
        if "fundus" in batch:
            found |= {name: draw_mask(one, batch["fundus"], name) for name, one in self.mask_networks.items()}
        if not found:
            return None
        sizes = {name: tuple(mask.shape[-2:]) for name, mask in found.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"masks: expected all of one size, that of the photo, found {sizes}")
        missing = torch.full_like(next(iter(found.values())), math.nan)
        return torch.cat([found.get(name, missing) for name in self.masks], 1)


def _checked(name: str, mask: Tensor, looked_at: bool) -> Tensor:
    """A mask of a batch as numbers in [0, 1], or NaN.

    Args:
        name: of the mask.
        mask: as the batch has it.
        looked_at: whether the values of such masks were seen before; to look at those on a GPU, it would have
            to be waited for.

    Raises:
        ValueError: if it has another shape than a mask of the photo, or other values.
    """
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"batch: mask {name}: expected shape (B, 1, H, H), found {tuple(mask.shape)}")
    values = mask if mask.is_floating_point() else mask.float()
    if not mask.is_meta and (mask.device.type == "cpu" or not looked_at):
        outside = values[(values < -_ROUNDING) | (values > 1 + _ROUNDING)]  # NaN is missing
        if outside.numel():
            raise ValueError(
                f"batch: mask {name}: expected values in [0, 1], found {float(outside[0]):g}; divide bytes "
                "by 255"
            )
    return values
