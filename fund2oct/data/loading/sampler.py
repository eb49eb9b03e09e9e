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
    """The draws of :class:`~fund2oct.data.loading.order.EpochOrder`, dealt out over the group.

    No eye is dealt out twice. With ``even`` each process has as many as the others, and the last few
    eyes of an epoch's order may be left out; without, a process may have one more.

    Args:
        dataset: its order is drawn from.
        rank: of this process.
        world_size: processes in the group.
        even: see above.
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
    """Every eye exactly once over the group: an eye that is repeated would bias a metric."""

    def __init__(self, dataset: FundusOCTDataset, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.indices = range(rank, len(dataset), world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def even_batch_size(n_eyes: int, world_size: int, batch_size: int) -> int:
    """The size nearest to ``batch_size`` at which each process has as many batches as the others.

    A process with one batch more would wait for ever for the others to run theirs.

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
