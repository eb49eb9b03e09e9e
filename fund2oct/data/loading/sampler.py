"""Order of the eyes, the same for any number of workers, and known to each process of a group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DistributedSampler

from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.data.loading.order import Draw
from fund2oct.eye import DataError

# Lightning replaces every sampler by its own in a group of processes, and then never tells ours the
# epoch; it leaves alone, and tells the epoch to, what is a DistributedSampler already.


class TrainSampler(DistributedSampler[Any]):
    """Which eyes this process trains on in an epoch, and in which order.

    Every process knows the order of the whole epoch (:class:`~fund2oct.data.loading.order.EpochOrder`) and
    takes each ``world_size``-th place of it, beginning with the one of its own rank. So no two processes
    train on the same draw, and nothing has to be agreed on between them. Two draws may be of one eye only
    where eyes are weighted or balanced, each time augmented anew.

    Args:
        dataset: the eyes to train on; its ``order`` is used.
        rank: number of this process in the group, from 0.
        world_size: number of processes in the group; 1 without a group.
        even: whether every process gets equally many eyes. The last eyes of the epoch's order, fewer than
            there are processes, are then left out. Otherwise some processes get one eye more.

    Example:
        >>> dataset = FundusOCTDataset("eyes.h5")
        >>> first, second = (TrainSampler(dataset, rank, world_size=2) for rank in range(2))
        >>> len(first), {draw.index for draw in first} & {draw.index for draw in second}
        (12, set())
    """

    def __init__(
        self, dataset: FundusOCTDataset, rank: int = 0, world_size: int = 1, even: bool = True
    ) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=True)
        self.order = dataset.order
        self.skip = 0
        """How many draws to pass over because they were given before an interruption."""
        n_eyes = len(self.order)
        self.numbers = range(rank, n_eyes - n_eyes % world_size if even else n_eyes, world_size)

    def __iter__(self) -> Iterator[Draw]:
        draws = self.order.draws(self.epoch)
        return (draws[number] for number in self.numbers[self.skip :])

    def __len__(self) -> int:
        return len(self.numbers)


class EvaluationSampler(DistributedSampler[Any]):
    """Which eyes this process measures in an evaluation.

    Every eye is measured exactly once by the whole group of processes, since one that is measured twice
    would bias a metric.

    Args:
        dataset: the eyes to measure.
        rank: number of this process in the group, from 0.
        world_size: number of processes in the group; 1 without a group.

    Example:
        >>> list(EvaluationSampler(FundusOCTDataset("eyes.h5"), rank=1, world_size=5))
        [1, 6, 11, 16, 21]
    """

    def __init__(self, dataset: FundusOCTDataset, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.indices = range(rank, len(dataset), world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def even_batch_size(n_eyes: int, world_size: int, batch_size: int) -> int:
    """Find the batch size nearest to the wanted one at which all processes have equally many batches.

    A process with one batch more would wait for ever for the others to run theirs.

    Args:
        n_eyes: how many eyes all processes share.
        world_size: how many processes there are.
        batch_size: the wanted size of a batch of one process.

    Returns:
        The size to use.

    Raises:
        DataError: if there are fewer eyes than processes.
    """
    fewest, rest = divmod(n_eyes, world_size)
    if not fewest:
        raise DataError(f"{n_eyes} eyes cannot be shared by {world_size} processes; use fewer devices")
    if not rest:
        return batch_size
    sizes = sorted(range(1, fewest + 2), key=lambda size: abs(size - batch_size))
    return next(size for size in sizes if fewest % size)
