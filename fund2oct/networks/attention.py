"""Attention across the A-scans of a scan, which knows where they lie on the retina."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.blocks import norm, normalise_as
from fund2oct.networks.lift import sample_lines
from fund2oct.precision import full_precision

POSITIONS = ("none", "learned", "sincos", "rope")
"""How an attention is told the places of A-scans, see :class:`ScanAttention`."""
N_HEADS = 4
MM_PER_UNIT = 6.5
"""Millimetres of a grid unit, half the width of a photo of the usual field."""
_REACH_MM = 8.0
_CELLS = 16
_WAVES_MM = 0.5, 32.0
"""Shortest and longest wavelength of the phases: a druse, and twice the longest scan."""


class ScanAttention(nn.Module):
    r"""Exchange features between all A-scans of a scan, across its slices.

    Each A-scan asks all of the scan by :math:`\mathrm{softmax}(q k^\top / \sqrt d) v` (equation 1 of Vaswani
    et al.), in four heads. Places are counted in millimetres from the scan's centre, on a photo of the usual
    field, so that A-scans over the same point of the retina have the same phases, whatever slice they belong
    to and however finely or in which direction it was scanned. On a photo of another field they are scaled.

    * ``"none"``: the attention is not told the places;
    * ``"learned"``: it adds a learned map of the retina, read at the place;
    * ``"sincos"``: it adds sines and cosines of both coordinates, of wavelengths from 0.5 to 32 mm
      (section 3.5 of Vaswani et al.);
    * ``"rope"``: it turns pairs of channels of questions and keys by these phases, half of the pairs by each
      coordinate, so that what two A-scans say to each other depends on how far apart they are (section 3.2 of
      Su et al.).

    It begins with an exchange of 0, and takes no random number from others: a network with and without begins
    with the same weights.

    Args:
        width: number of channels of an A-scan's features, a multiple of 16.
        position: one of :data:`POSITIONS`.

    Raises:
        ValueError: if the position is unknown, or the width does not fit.

    References:
        Vaswani et al., Attention is all you need, NeurIPS 2017, arXiv:1706.03762; Su et al., RoFormer,
        arXiv:2104.09864.

    Example:
        >>> attention = ScanAttention(width=32, position="rope")
        >>> features, places_mm = torch.rand(1, 32, 6, 40), torch.rand(1, 6, 40, 2)
        >>> exchanged = attention(features, places_mm, features, places_mm)
        >>> exchanged.shape, bool((exchanged == 0).all())  # before it is trained
        (torch.Size([1, 32, 6, 40]), True)
    """

    open: Tensor

    def __init__(self, width: int, position: str) -> None:
        super().__init__()
        if position not in POSITIONS:
            raise ValueError(f"position: expected one of {', '.join(POSITIONS)}, found {position!r}")
        if width % (4 * N_HEADS):
            raise ValueError(
                f"attention: expected a width that is a multiple of {4 * N_HEADS}, found {width}"
            )
        self.position = position
        with torch.random.fork_rng(devices=[]):
            self.norm = norm(width)
            self.query, self.key, self.value, self.out = (nn.Conv2d(width, width, 1) for _ in range(4))
            if position == "learned":
                self.map = nn.Parameter(0.1 * torch.randn(1, width, _CELLS, _CELLS))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        self.register_buffer("open", torch.ones(N_HEADS), persistent=False)

    def forward(self, features: Tensor, places_mm: Tensor, others: Tensor, others_mm: Tensor) -> Tensor:
        """What each A-scan takes from those of the whole scan.

        Args:
            features: features of the A-scans that ask, shape ``(B, width, S, X)``.
            places_mm: their places in millimetres from the scan's centre, as (x, y), shape ``(B, S, X, 2)``.
            others: features of the A-scans that are asked, shape ``(B, width, S', X')``.
            others_mm: their places, shape ``(B, S', X', 2)``.

        Returns:
            Features to be added to those of the A-scans that ask, shape ``(B, width, S, X)``.
        """
        q, k = self._asking(features, places_mm, others, others_mm)
        v = _heads(self.value(self.norm(others)))
        taken = F.scaled_dot_product_attention(q, k, v) * self.open.view(1, -1, 1, 1)
        exchanged: Tensor = self.out(taken.transpose(2, 3).flatten(1, 2).unflatten(2, features.shape[2:]))
        return exchanged

    def ranks(self, features: Tensor, places_mm: Tensor, others: Tensor, others_mm: Tensor) -> Tensor:
        r"""Effective rank of the logits of each head: where it is low, A-scans heed the same others.

        It tells how many directions the logits have, by :math:`\exp(-\sum_i p_i \log p_i)` of their singular
        values :math:`p_i` over their sum (equation 4 of Roy and Vetterli). The mean of each row is taken out
        first, since a softmax does not see it. The rank is at most the number of channels of a head, a
        quarter of the width, for logits are products of so many; the logits themselves are not needed.

        The arguments are those of :meth:`forward`; the ranks have the shape ``(B, heads)``.

        References:
            Roy and Vetterli, The effective rank, EUSIPCO 2007.
        """
        q, k = (part.double() for part in self._asking(features, places_mm, others, others_mm))
        k = k - k.mean(2, keepdim=True)
        triangles = torch.linalg.qr(q, mode="r").R, torch.linalg.qr(k, mode="r").R
        values = torch.linalg.svdvals(triangles[0] @ triangles[1].transpose(2, 3))
        share = values / values.sum(-1, keepdim=True).clamp(min=1e-30)
        return torch.special.entr(share).sum(-1).exp().float()

    @contextmanager
    def without(self, head: int) -> Iterator[None]:
        """Close a head for a while: what a model loses by it is what the head is worth."""
        self.open[head] = 0
        try:
            yield
        finally:
            self.open[head] = 1

    def _asking(
        self, features: Tensor, places_mm: Tensor, others: Tensor, others_mm: Tensor
    ) -> tuple[Tensor, Tensor]:
        told = normalise_as(self.norm, features, others)
        q = _heads(self.query(self._told(told, places_mm)))
        k = _heads(self.key(self._told(self.norm(others), others_mm)))
        if self.position != "rope":
            return q, k
        return _turned(q, places_mm), _turned(k, others_mm)

    def _told(self, features: Tensor, places_mm: Tensor) -> Tensor:
        """Normalised features that are told their places."""
        if self.position == "learned":
            return features + sample_lines(self.map.expand(len(features), -1, -1, -1), places_mm / _REACH_MM)
        if self.position == "sincos":
            angles = phases(places_mm, features.shape[1] // 4).flatten(-2)
            return features + torch.cat([angles.sin(), angles.cos()], -1).permute(0, 3, 1, 2)
        return features


@full_precision
def phases(places_mm: Tensor, n_waves: int) -> Tensor:
    """Phases of places in radians, by coordinate and wavelength.

    Args:
        places_mm: places in millimetres, shape ``(..., 2)``.
        n_waves: number of wavelengths, in equal ratios from 0.5 to 32 mm.

    Returns:
        Shape ``(..., 2, n_waves)``.

    Example:
        >>> phases(torch.tensor([0.125, 0.0]), n_waves=2)[0, 0]  # a quarter of the shortest wave
        tensor(1.5708)
    """
    short, long = _WAVES_MM
    steps = torch.arange(n_waves, device=places_mm.device, dtype=places_mm.dtype) / max(1, n_waves - 1)
    return places_mm[..., None] * (2 * torch.pi / short) * (short / long) ** steps


class HeadValue(NamedTuple):
    """What a head of an attention does.

    Attributes:
        worse: by how much the mean error grows when the head is closed.
        rank: effective rank of its logits, see :meth:`ScanAttention.ranks`; the mean of the eyes.

    Example:
        >>> HeadValue(worse=0.3, rank=9.6)._asdict()
        {'worse': 0.3, 'rank': 9.6}
    """

    worse: float
    rank: float


@torch.no_grad()
def value_heads(attention: ScanAttention, errors: Callable[[], Tensor]) -> list[HeadValue]:
    """What each head of a trained attention does.

    Args:
        attention: part of a model.
        errors: runs the model on some eyes, and returns their errors, NaN where one is not known.

    Returns:
        A value for each head.

    Example:
        >>> attention = ScanAttention(width=32, position="rope")  # untrained: its exchange is 0
        >>> features, places_mm = torch.rand(2, 32, 6, 40), torch.rand(2, 6, 40, 2)
        >>> heads = value_heads(attention, lambda: attention(features, places_mm, features, places_mm).abs())
        >>> len(heads), heads[0].worse
        (4, 0.0)
    """
    ranks = list[Tensor]()

    def look(_: nn.Module, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        ranks.append(attention.ranks(*given))

    hook = attention.register_forward_pre_hook(look)
    try:
        whole = errors().nanmean()
    finally:
        hook.remove()
    mean_ranks, values = torch.cat(ranks).mean(0).tolist(), []
    for head, rank in enumerate(mean_ranks):
        with attention.without(head):
            values.append(HeadValue(float(errors().nanmean() - whole), rank))
    return values


def _heads(features: Tensor) -> Tensor:
    """``(B, width, S, X)`` to ``(B, heads, S X, width / heads)``."""
    return features.flatten(2).unflatten(1, (N_HEADS, -1)).transpose(2, 3)


def _turned(heads: Tensor, places_mm: Tensor) -> Tensor:
    """Turn pairs of channels by the phases of the places."""
    angles = phases(places_mm.flatten(1, 2), heads.shape[-1] // 4).flatten(-2)[:, None]
    cos, sin = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    a, b = heads.chunk(2, -1)
    return torch.cat([cos * a - sin * b, sin * a + cos * b], -1)
