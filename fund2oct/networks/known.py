"""What a network is told of an eye beside its photo: scalars and masks, any of which may be missing."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.lift import sample_lines
from fund2oct.networks.noise import NoiseSource

_HIDDEN = 64
_COARSE = 8
"""Pixels of a mask that are also averaged, along each side, or fewer where the mask has no whole number of
these: an A-scan is told what lies around it."""
_ALL, _EACH = -0.6745, -1.2816
"""Standard normal numbers below: all is withheld of a quarter of the eyes, and each thing of a tenth."""


class Known(NamedTuple):
    """What is known of the eyes of a batch beside their photos; NaN is missing.

    Args:
        conditions: scalars, see :class:`fund2oct.models.training.conditions.Conditions`, shape ``(B, n)``;
            None if none is known.
        masks: maps of the photo in [0, 1], such as its vessels, shape ``(B, m, H, H)``; None likewise. A mask
            is missing where all of it is NaN; a part of it that is NaN counts as 0.

    Example:
        >>> Known(conditions=torch.tensor([[0.3], [math.nan]])).conditions.isnan().flatten()
        tensor([False,  True])
    """

    conditions: Tensor | None = None
    masks: Tensor | None = None

    def withheld(self, rng: NoiseSource) -> Known:
        """Leave things out at random, so that a network learns to do without them.

        Args:
            rng: source of the choice, on the CPU.

        Returns:
            The rest.
        """
        given = [one for one in self if one is not None]
        if not given:
            return self
        every = rng.randn((len(given[0]), 1)) < _ALL  # one choice for scalars and masks
        return Known(*(None if one is None else _withheld(one, every, rng) for one in self))


def _withheld(values: Tensor, every: Tensor, rng: NoiseSource) -> Tensor:
    n_eyes, n_things = values.shape[:2]
    gone = (every | (rng.randn((n_eyes, n_things)) < _EACH)).to(values.device, non_blocking=True)
    return values.masked_fill(gone.view(n_eyes, n_things, *[1] * (values.ndim - 2)), math.nan)


class KnownFeatures(nn.Module):
    r"""Change the features of A-scans by what is known of their eyes.

    .. math:: x' = (1 + \gamma(c)) \, x + \beta(c) + W m

    for the features :math:`x`, the scalars :math:`c` [1] and the masks :math:`m` at the A-scan and around it.
    Each of them has learned weights for being missing. All begins at 0, so that nothing changes before it is
    trained, and takes no random number from others: a network with and without begins with the same weights.

    Args:
        width: number of channels of the features.
        n_conditions: number of scalars.
        n_masks: number of masks.

    References:
        [1] Perez et al., FiLM, AAAI 2018, arXiv:1709.07871, section 3.

    Example:
        >>> told = KnownFeatures(width=16, n_conditions=1, n_masks=0)
        >>> features, grid = torch.rand(2, 16, 6, 40), torch.zeros(2, 6, 40, 2)
        >>> told(features, grid, Known(torch.zeros(2, 1))).equal(features)  # before it is trained
        True
    """

    def __init__(self, width: int, n_conditions: int, n_masks: int) -> None:
        super().__init__()
        self.n_conditions, self.n_masks = n_conditions, n_masks
        with torch.random.fork_rng(devices=[]):
            self.scale_and_shift = (
                nn.Sequential(nn.Linear(2 * n_conditions, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, 2 * width))
                if n_conditions
                else None
            )
            self.masks = nn.Conv2d(3 * n_masks, width, 1) if n_masks else None
        for last in (self.scale_and_shift and self.scale_and_shift[-1], self.masks):
            if last is not None:
                nn.init.zeros_(last.weight)  # type: ignore[arg-type]
                nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, grid: Tensor, known: Known | None) -> Tensor:
        """Change features.

        Args:
            x: features, shape ``(B, width, S, X)``.
            grid: positions of the A-scans, see :class:`~fund2oct.networks.lines.LineEncoder`, shape
                ``(B, S, X, 2)``.
            known: what is known; None is nothing.

        Returns:
            Features of the same shape.
        """
        conditions, masks = known or Known()
        if self.scale_and_shift is not None:
            if conditions is None:
                conditions = x.new_full((len(x), self.n_conditions), math.nan)
            missing = conditions.isnan()
            told = torch.cat([conditions.masked_fill(missing, 0), missing.to(conditions)], 1)
            scale, shift = self.scale_and_shift(told)[..., None, None].chunk(2, 1)
            x = x * (1 + scale) + shift
        if self.masks is not None:
            if masks is None:
                masks = x.new_full((len(x), self.n_masks, 1, 1), math.nan)
            gone = masks.isnan()
            filled = masks.masked_fill(gone, 0)
            # Cells that cover the whole mask, for the grid runs from one edge of it to the other.
            rows, columns = (math.ceil(n / _COARSE) for n in masks.shape[-2:])
            around = F.adaptive_avg_pool2d(filled, (rows, columns))
            missing = gone.flatten(2).all(2)[..., None, None].to(masks).expand(-1, -1, *grid.shape[1:3])
            read = [sample_lines(filled, grid), sample_lines(around, grid), missing]
            x = x + self.masks(torch.cat(read, 1))
        return x
