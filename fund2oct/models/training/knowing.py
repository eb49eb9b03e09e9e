"""A module that may know more of an eye than its photo, such as the age."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fund2oct.data.loading.index import known_values
from fund2oct.eye import Eye
from fund2oct.models.training.stepping import SteppingModule
from fund2oct.networks.known import Known
from fund2oct.networks.noise import NoiseSource


class KnowingModule(SteppingModule):
    """A module whose networks may be told scalars and masks of an eye.

    A model of your own that can be told sets ``conditions`` and ``masks``, builds its network with
    ``n_known``, and passes ``**self.known(batch)`` to it.
    """

    masks: tuple[str, ...] = ()
    """Names of entries of the batch that are masks of the photo."""

    @property
    def n_known(self) -> tuple[int, int]:
        """Numbers of scalars and of masks."""
        return len(self.conditions), len(self.masks)

    def known(self, batch: Mapping[str, Any], withhold: bool = False) -> dict[str, Known]:
        """What is known of the eyes of a batch, as the argument ``known`` of networks; nothing without names.

        Args:
            batch: the batch. What it does not hold is missing.
            withhold: True in training steps, to leave things out at random.

        Returns:
            The argument by its name; empty for a model that knows photos alone.
        """
        if not any(self.n_known):
            return {}
        known = Known(self._conditions(batch), self._masks(batch))
        if withhold:
            noise = NoiseSource.of_keys(batch["key"], self.seed + self.global_step, self.device)
            known = known.withheld(noise)
        return {"known": known}

    def known_of(self, eye: Eye) -> dict[str, Known]:
        """The same of one eye, whose masks are missing."""
        told = {
            "metadata": json.dumps(eye.metadata),
            "laterality": eye.laterality,
            "diagnosis": eye.diagnosis,
        }
        return self.known({name: [text] for name, text in told.items()})

    def _conditions(self, batch: Mapping[str, Any]) -> Tensor | None:
        if not self.conditions or self.task is None or "metadata" not in batch:
            return None
        texts = zip(batch["metadata"], batch["laterality"], batch["diagnosis"], strict=True)
        eyes = [known_values(*text) for text in texts]
        return self.task.conditions.read(eyes).to(self.device, non_blocking=True)

    def _masks(self, batch: Mapping[str, Any]) -> Tensor | None:
        found = {name: batch[name] for name in self.masks if name in batch}
        if not found:
            return None
        missing = torch.full_like(next(iter(found.values())), math.nan)
        return torch.cat([found.get(name, missing) for name in self.masks], 1)
