"""The order of the training eyes, known to whoever knows the seed and the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch


@dataclass(frozen=True)
class Draw:
    """An eye to augment.

    Args:
        index: of the eye.
        epoch: that the augmentation is drawn for.
        repeat: how often the eye was drawn in this epoch before; above 0 only where files are weighted.
        position: in the order of the epoch, where another eye is sought if this one is damaged.
    """

    index: int
    epoch: int
    repeat: int = 0
    position: int = 0


def check_weights(path: str | Sequence[str], weights: Sequence[float] | None) -> None:
    """Refuse weights of files that are not positive, or not one a path.

    Raises:
        ValueError: if they are not.
    """
    n_paths = 1 if isinstance(path, str) else len(path)
    if weights is not None and (len(weights) != n_paths or not all(weight > 0 for weight in weights)):
        raise ValueError(f"weights: expected a positive number for each of {n_paths} paths, found {weights}")


@dataclass(frozen=True)
class EpochOrder:
    r"""Which eyes an epoch shows, in which order.

    Without weights each eye comes once. With weights :math:`w_k`, an epoch is as long and file k has
    the share :math:`w_k / \sum_j w_j` of it. It then goes through its own eyes round after round, over
    the epochs, so that none of its eyes comes a second time before all others came once.

    Args:
        files: indices of the eyes of each file.
        weights: of the files; None shows each eye once.
        seed: seed of the order.
    """

    files: tuple[tuple[int, ...] | range, ...]
    weights: tuple[float, ...] | None = None
    seed: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.files))

    def draws(self, epoch: int) -> list[Draw]:
        """The whole epoch, for all processes together."""
        return _draws(self, epoch)

    def next_after(self, draw: Draw) -> Draw:
        """The draw that follows in the order of the same epoch; the first follows the last."""
        draws = self.draws(draw.epoch)
        return draws[(draw.position + 1) % len(draws)]

    def quotas(self) -> list[int]:
        """Draws of each file in an epoch; the rounding goes to the largest remainders."""
        if self.weights is None:
            return [len(indices) for indices in self.files]
        exact = [len(self) * weight / sum(self.weights) for weight in self.weights]
        quotas = [int(share) for share in exact]
        by_remainder = sorted(range(len(exact)), key=lambda k: quotas[k] - exact[k])
        for k in by_remainder[: len(self) - sum(quotas)]:
            quotas[k] += 1
        return quotas


@lru_cache(maxsize=2)
def _draws(order: EpochOrder, epoch: int) -> list[Draw]:
    if order.weights is None:
        indices = [index for file in order.files for index in file]
        chosen = [(index, 0) for index in indices]
    else:
        chosen = []
        for number, (file, quota) in enumerate(zip(order.files, order.quotas(), strict=True)):
            chosen += _rounds(file, epoch * quota, quota, order.seed + 1_000_003 * (number + 1))
    return [
        Draw(chosen[place][0], epoch, chosen[place][1], position)
        for position, place in enumerate(_permutation(len(chosen), order.seed + epoch))
    ]


def _rounds(file: Sequence[int], start: int, count: int, seed: int) -> list[tuple[int, int]]:
    """``count`` eyes from ``start`` on in the endless sequence of a file's shuffled rounds."""
    chosen: list[tuple[int, int]] = []
    seen: dict[int, int] = {}
    while len(chosen) < count:
        number, offset = divmod(start + len(chosen), len(file))
        places = _permutation(len(file), seed + number)[offset : offset + count - len(chosen)]
        for place in places:
            index = file[place]
            chosen.append((index, seen.get(index, 0)))
            seen[index] = seen.get(index, 0) + 1
    return chosen


def _permutation(n: int, seed: int) -> list[int]:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
