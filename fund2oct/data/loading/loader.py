"""A loader of raw batches that goes on in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.data.loading.finish import RawBatch
from fund2oct.data.loading.order import Draw
from fund2oct.data.loading.sampler import TrainSampler

StartMethod = Literal["fork", "spawn", "forkserver"]


class _Raw(Dataset[Any]):
    """Many eyes at once, as bytes."""

    def __init__(self, dataset: FundusOCTDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: int | Draw) -> RawBatch:
        return self.dataset.fetch([item])

    def __getitems__(self, items: Sequence[int | Draw]) -> RawBatch:
        return self.dataset.fetch(items)


def as_they_are(batch: RawBatch) -> RawBatch:
    """Collate nothing: the batch was read as one."""
    return batch


class EyeLoader(DataLoader[Any]):
    """Batches of a dataset, in the order of a sampler.

    Lightning stores ``state_dict`` in its checkpoints, and gives it back to the loader of a training that
    goes on in the middle of an epoch. The rest of that epoch follows then, whatever the number of
    workers is now.

    Args:
        dataset: whose eyes are read.
        sampler: of draws or indices.
        batch_size: eyes in a batch.
        collate: what becomes of a raw batch in the worker.
        done: how many batches of the epoch are done, for a training that goes on.
        num_workers: processes that read ahead.
        start_method: how they are started; None leaves it to the machine.
        seed: of nothing that is shown.
        drop_last: whether to leave out a last smaller batch.
    """

    def __init__(
        self,
        dataset: FundusOCTDataset,
        sampler: Sampler[Any],
        batch_size: int,
        collate: Callable[[RawBatch], Any] = as_they_are,
        done: Callable[[], int] | None = None,
        num_workers: int = 0,
        start_method: StartMethod | None = None,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            _Raw(dataset),
            batch_size,
            sampler=sampler,
            num_workers=num_workers,
            collate_fn=collate,  # type: ignore[arg-type]  # a batch is read as one
            pin_memory=torch.cuda.is_available(),
            drop_last=drop_last,
            multiprocessing_context=start_method if num_workers else None,
            persistent_workers=num_workers > 0,
            # Its own generator: how eyes are loaded must not shift the random numbers of a model.
            generator=torch.Generator().manual_seed(seed),
        )
        self._done = done
        self._goes_on = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator: what follows happens at the first batch, when Lightning has told the sampler its
        # epoch and knows what was done of it.
        if isinstance(self.sampler, TrainSampler):
            n_done = self._done() if self._goes_on and self._done else 0
            self.sampler.skip = n_done * (self.batch_size or 1)
        self._goes_on = False
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Nothing but that there is such a loader: Lightning itself counts the batches."""
        return {"goes_on": True}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the training stopped."""
        self._goes_on = bool(state["goes_on"])
