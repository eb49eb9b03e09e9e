"""The order of the training eyes, which follows from the seed and the number of the epoch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch

from fund2oct.data.loading.index import EyeIndex, numbers_by_file
from fund2oct.eye import DataError, diagnoses_of

Balance = Literal["diagnosis"]
"""By what the eyes of an epoch are balanced."""
_OFTEN = 10


@dataclass(frozen=True)
class Draw:
    """One showing of an eye in a training: which eye, and all that its augmentation depends on.

    Args:
        index: number of the eye in its dataset.
        epoch: number of the epoch; in another epoch the eye is augmented otherwise.
        repeat: how often this epoch has shown the eye before; above 0 only where eyes are weighted.
        position: place in the order of the epoch; the eye at the next place is taken if this one is damaged.

    Example:
        >>> from fund2oct.data import FundusOCTDataset
        >>> dataset = FundusOCTDataset("eyes.h5", symmetries="all")
        >>> one, again, other = (dataset[Draw(index=3, epoch=epoch)]["volume"] for epoch in (0, 0, 2))
        >>> one.equal(again), one.equal(other)
        (True, False)
    """

    index: int
    epoch: int
    repeat: int = 0
    position: int = 0


def check_mixture(
    path: str | Sequence[str], weights: Sequence[float] | None, balance: str | None = None
) -> None:
    """Refuse weights of files that are not positive, or not one a path, and a balance of something else.

    Raises:
        ValueError: if they are not.
    """
    n_paths = 1 if isinstance(path, str) else len(path)
    if weights is not None and (len(weights) != n_paths or not all(weight > 0 for weight in weights)):
        raise ValueError(f"weights: expected a positive number for each of {n_paths} paths, found {weights}")
    if balance not in (None, *get_args(Balance)):
        raise ValueError(f"balance: expected diagnosis or nothing, found {balance!r}")


@dataclass(frozen=True)
class EpochOrder:
    r"""Which eyes an epoch of a training shows, and in which order.

    Without weights, an epoch shows each eye once. With weights, it shows as many eyes as without, and
    :math:`w_k / \sum_j w_j` of them come from group k, such as a file or a diagnosis. A small group with a
    large weight is then shown several times in an epoch, and of a large group with a small weight each epoch
    shows other eyes: no eye of a group comes a second time before all others of that group came once.

    Args:
        groups: for each group, the numbers of its eyes in the dataset.
        weights: for each group, its weight :math:`w_k` above 0, in any unit; None shows each eye once.
        seed: another seed gives another order. The order depends on nothing else but the epoch, so that
            processes agree on it, and a training that is resumed goes on in it.

    Example:
        >>> order = EpochOrder((range(4), range(4, 6)), weights=(1, 2))  # two groups: four eyes and two
        >>> order.quotas()
        [2, 4]
        >>> sorted(draw.index for draw in order.draws(epoch=0))
        [1, 2, 4, 4, 5, 5]
    """

    groups: tuple[tuple[int, ...] | range, ...]
    weights: tuple[float, ...] | None = None
    seed: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def draws(self, epoch: int) -> list[Draw]:
        """The whole epoch, for all processes together."""
        return _draws(self, epoch)

    def next_after(self, draw: Draw) -> Draw:
        """The draw that follows in the order of the same epoch; the first follows the last."""
        draws = self.draws(draw.epoch)
        return draws[(draw.position + 1) % len(draws)]

    def quotas(self) -> list[int]:
        """Draws of each group in an epoch; the rounding goes to the largest remainders."""
        if self.weights is None:
            return [len(indices) for indices in self.groups]
        exact = [len(self) * weight / sum(self.weights) for weight in self.weights]
        quotas = [int(share) for share in exact]
        by_remainder = sorted(range(len(exact)), key=lambda k: quotas[k] - exact[k])
        for k in by_remainder[: len(self) - sum(quotas)]:
            quotas[k] += 1
        return quotas


@lru_cache(maxsize=2)
def _draws(order: EpochOrder, epoch: int) -> list[Draw]:
    if order.weights is None:
        indices = [index for group in order.groups for index in group]
        chosen = [(index, 0) for index in indices]
    else:
        chosen = []
        for number, (group, quota) in enumerate(zip(order.groups, order.quotas(), strict=True)):
            chosen += _rounds(group, epoch * quota, quota, order.seed + 1_000_003 * (number + 1))
    return [
        Draw(chosen[place][0], epoch, chosen[place][1], position)
        for position, place in enumerate(_permutation(len(chosen), order.seed + epoch))
    ]


def _rounds(group: Sequence[int], start: int, count: int, seed: int) -> list[tuple[int, int]]:
    """``count`` eyes from ``start`` on in the endless sequence of a group's shuffled rounds."""
    chosen: list[tuple[int, int]] = []
    seen: dict[int, int] = {}
    while len(chosen) < count:
        number, offset = divmod(start + len(chosen), len(group))
        places = _permutation(len(group), seed + number)[offset : offset + count - len(chosen)]
        for place in places:
            index = group[place]
            chosen.append((index, seen.get(index, 0)))
            seen[index] = seen.get(index, 0) + 1
    return chosen


def _permutation(n: int, seed: int) -> list[int]:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


def mixed_order(
    index: EyeIndex,
    path: str | Sequence[str],
    weights: Sequence[float] | None,
    balance: Balance | None,
    seed: int,
) -> EpochOrder:
    """Order the training eyes so that files come by their weights, and diagnoses equally often.

    With both, the diagnoses are balanced within each file. An eye of several diagnoses, joined by ``+``,
    counts as the rarest of them; eyes without a diagnosis are one more. Small and capital letters are one.
    A line of the log says how often an epoch shows each.

    Args:
        index: the training eyes.
        path: the file or files that hold them.
        weights: of each file; None takes the eyes of all files together.
        balance: ``"diagnosis"``, or None to leave diagnoses as frequent as they are.
        seed: see :class:`EpochOrder`.

    Returns:
        The order, the same in every process.

    Raises:
        DataError: if a file that has a weight holds none of the eyes, or no eye has a diagnosis to balance.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> index = EyeIndex.read(EyeReader("eyes.h5"))
        >>> order = mixed_order(index, "eyes.h5", weights=None, balance="diagnosis", seed=0)
        >>> [len(group) for group in order.groups], order.quotas()  # eyes of each kind, and draws
        ([3, 1, 3, 3, 2, 1, 11], [4, 4, 4, 3, 3, 3, 3])
    """
    files: tuple[tuple[int, ...] | range, ...] = (range(len(index)),)
    if weights is not None:
        files = numbers_by_file([path] if isinstance(path, str) else path, index.keys)
    if balance is None:
        return EpochOrder(files, None if weights is None else tuple(weights), seed)
    if not any(index.diagnoses):
        raise DataError(f"balance: none of {len(index)} training eyes has a diagnosis; leave balance out")
    classes = _rarest(index.diagnoses)
    groups: list[tuple[int, ...]] = []
    shares: list[float] = []
    names: list[str] = []
    for file, weight in zip(files, weights or (1.0,), strict=True):
        found: dict[str, list[int]] = defaultdict(list)
        for number in file:
            found[classes[number]].append(number)
        groups += [tuple(found[name]) for name in sorted(found)]
        shares += [weight / len(found)] * len(found)
        names += sorted(found)
    order = EpochOrder(tuple(groups), tuple(shares), seed)
    _tell_balance(names, order)
    return order


def _tell_balance(names: Sequence[str], order: EpochOrder) -> None:
    """Say how often an epoch shows the eyes of each diagnosis, and warn where that is very often."""
    # Lightning takes seconds to import.
    from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

    shown = list(zip(names, map(len, order.groups), order.quotas(), strict=True))
    told = ", ".join(f"{name or 'none'} {quota} times (of {n_eyes})" for name, n_eyes, quota in shown)
    rank_zero_info(f"balance: an epoch shows {told}")
    if never := [name or "none" for name, _, quota in shown if not quota]:
        rank_zero_warn(
            f"balance: {', '.join(never)} is never shown, for its share of an epoch is less than one eye; "
            "join rare diagnoses in the file, or leave balance out"
        )
    if often := [f"{name or 'none'} ({n_eyes})" for name, n_eyes, quota in shown if quota > _OFTEN * n_eyes]:
        rank_zero_warn(
            f"balance: each eye of {', '.join(often)} is shown more than {_OFTEN} times in an epoch, and may "
            "be learned by heart; join rare diagnoses in the file, or leave balance out"
        )


def _rarest(diagnoses: Sequence[str]) -> list[str]:
    """Of each eye the rarest of its diagnoses."""
    spelt: dict[str, str] = {}  # as it is written first, whatever its capital letters
    of_eyes = [
        [spelt.setdefault(one.casefold(), one) for one in diagnoses_of(diagnosis)] or [""]
        for diagnosis in diagnoses
    ]
    counts = Counter(name for names in of_eyes for name in names)
    return [min(names, key=lambda name: (counts[name], name)) for names in of_eyes]
