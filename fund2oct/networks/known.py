"""What is known of an eye beside its photo, such as the age: read as numbers, any of which may be missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.eye import Plain
from fund2oct.networks.lift import sample_lines
from fund2oct.networks.noise import NoiseSource

_HIDDEN = 64
_COARSE = 8
"""Pixels of a mask that are also averaged, along each side: an A-scan is told what lies around it."""
_ALL, _EACH = -0.6745, -1.2816
"""Standard normal numbers below: all is withheld of a quarter of the eyes, and each thing of a tenth."""
_SHOWN = 5


class Known(NamedTuple):
    """What is known of the eyes of a batch beside their photos; NaN is missing.

    Args:
        conditions: scalars, see :class:`Conditions`, shape ``(B, n)``; None if none is known.
        masks: maps of the photo in [0, 1], such as its vessels, shape ``(B, m, H, H)``; None likewise.

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
        return Known(*(None if one is None else _withheld(one, rng) for one in self))


def _withheld(values: Tensor, rng: NoiseSource) -> Tensor:
    n_eyes, n_things = values.shape[:2]
    drawn = rng.randn((n_eyes, 1 + n_things))
    gone = ((drawn[:, :1] < _ALL) | (drawn[:, 1:] < _EACH)).to(values.device, non_blocking=True)
    return values.masked_fill(gone.view(n_eyes, n_things, *[1] * (values.ndim - 2)), math.nan)


@dataclass(frozen=True)
class Conditions:
    """Reads scalars out of what is known of eyes, and scales them as in the training.

    A name is that of a number, as in ``age_years``. Or it is that of a text with one of its values, as in
    ``device=Topcon``, a scalar of 1 for this value and -1 for any other.

    Args:
        names: of the scalars.
        means: of the training eyes.
        deviations: standard deviations of the training eyes.

    Example:
        >>> eyes = [{"age_years": 50, "laterality": "OD"}, {"age_years": 70, "laterality": ""}, {}]
        >>> conditions = Conditions.of(["age_years", "laterality=OD"], eyes)
        >>> conditions.means, conditions.deviations
        ((60.0, 0.5), (10.0, 0.5))
        >>> conditions.read(eyes)
        tensor([[-1.,  1.],
                [ 1., nan],
                [nan, nan]])
    """

    names: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], eyes: Sequence[Mapping[str, Plain]]) -> Conditions:
        """Learn the scale of each scalar from the training eyes.

        Args:
            names: of the scalars.
            eyes: what is known of each eye, by name; a text that is empty is missing.

        Raises:
            ValueError: if no eye has one of them, or it is of the other kind.
        """
        scales = [_scale(name, eyes) for name in names]
        means, deviations = zip(*scales, strict=True) if scales else ((), ())
        return cls(tuple(names), means, deviations)

    def read(self, eyes: Sequence[Mapping[str, Plain]]) -> Tensor:
        """The scalars of some eyes, NaN where missing, shape ``(B, n)``."""
        values = torch.tensor([[_value(name, eye) for name in self.names] for eye in eyes])
        return (values - torch.tensor(self.means)) / torch.tensor(self.deviations)

    def check(self, given: Mapping[str, Plain]) -> None:
        """Refuse what a user tells of an eye if it means nothing here.

        Raises:
            ValueError: naming it, and what would.
        """
        fields = [name.partition("=")[0] for name in self.names]
        for name in given:
            if name not in fields:
                known = (
                    f"one of {', '.join(fields)}" if fields else "nothing, for the model takes only photos"
                )
                raise ValueError(f"{name}: expected {known}")
        self.read([given])

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain values."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Conditions:
        """Read what :meth:`to_dict` wrote."""
        means, deviations = (tuple(map(float, values.get(name, ()))) for name in ("means", "deviations"))
        return cls(tuple(map(str, values.get("names", ()))), means, deviations)


def _value(name: str, eye: Mapping[str, Plain]) -> float:
    """A scalar as it is, NaN where missing."""
    field, is_text, wanted = name.partition("=")
    value = eye.get(field, "")
    if value == "":
        return math.nan
    if is_text:
        return float(str(value) == wanted)
    if isinstance(value, str):
        raise ValueError(f"{name}: expected a number, found {value!r}")
    return float(value)


def _scale(name: str, eyes: Sequence[Mapping[str, Plain]]) -> tuple[float, float]:
    """Mean and standard deviation; those of a coin for a text."""
    field, is_text, _ = name.partition("=")
    texts = [value for eye in eyes if isinstance(value := eye.get(name), str) and value]
    if texts:
        one = texts[0]
        raise ValueError(f"conditions: {name} is a text, {one!r}; name it with a value, as in {name}={one}")
    values = torch.tensor([_value(name, eye) for eye in eyes], dtype=torch.float64)
    known = values[~values.isnan()]
    if not known.numel():
        fields = sorted({field for eye in eyes for field, value in eye.items() if value != ""})
        raise ValueError(
            f"conditions: no training eye has {field}; they have {', '.join(fields) or 'nothing'}"
        )
    if not is_text:
        return float(known.mean()), float(known.std(correction=0)) or 1.0
    if not known.any():
        found = sorted({str(eye[field]) for eye in eyes if eye.get(field, "") != ""})
        more = ", ..." if len(found) > _SHOWN else ""
        raise ValueError(f"conditions: {name}: no training eye has it, but {', '.join(found[:_SHOWN])}{more}")
    return 0.5, 0.5


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
            around = F.avg_pool2d(filled, min(_COARSE, masks.shape[-1]))
            missing = gone[..., :1, :1].to(masks).expand(-1, -1, *grid.shape[1:3])
            read = [sample_lines(filled, grid), sample_lines(around, grid), missing]
            x = x + self.masks(torch.cat(read, 1))
        return x
