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
    """Reads all eyes of a batch in one call, and leaves them bytes."""

    def __init__(self, dataset: FundusOCTDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: int | Draw) -> RawBatch:
        return self.dataset.fetch([item])

    def __getitems__(self, items: Sequence[int | Draw]) -> RawBatch:
        return self.dataset.fetch(items)


def as_they_are(batch: RawBatch) -> RawBatch:
    """Pass a batch on as it was read: its eyes lie in one array already."""
    return batch


class EyeLoader(DataLoader[Any]):
    """Reads batches of eyes, in the order that a sampler gives.

    It can go on in the middle of an epoch: a training that is resumed from a checkpoint sees the eyes that
    this epoch has not shown yet, also with another number of workers than before.

    Args:
        dataset: the eyes.
        sampler: which eyes, in which order; it gives numbers of eyes, or draws of
            :class:`~fund2oct.data.loading.order.EpochOrder` where eyes are augmented.
        batch_size: number of eyes in a batch.
        collate: applied to each batch by the worker that read it; by default the bytes are passed on as read.
        done: returns how many batches of the current epoch a training has seen already. It is called when an
            epoch begins or is resumed. None begins every epoch at its first batch.
        num_workers: number of processes that read ahead; 0 reads in the process that trains.
        start_method: how these processes are started; None takes the machine's usual way.
        seed: seed of the workers' own random numbers. It changes neither the order of the eyes, which is the
            sampler's, nor their augmentation, which is the draw's. It is there so that a loader takes no
            random number from torch's global generator, which would change what a model draws.
        drop_last: whether a last batch of fewer eyes is left out.

    Example:
        >>> dataset = FundusOCTDataset("eyes.h5")
        >>> loader = EyeLoader(dataset, TrainSampler(dataset), batch_size=8)
        >>> raw = next(iter(loader))  # eight eyes, still bytes
        >>> raw.pictures["volume"].shape, raw.pictures["volume"].dtype
        (torch.Size([8, 6, 32, 48]), torch.uint8)
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

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator: what follows happens at the first batch, when Lightning has told the sampler its
        # epoch and knows what was done of it.
        if isinstance(self.sampler, TrainSampler):
            n_done = self._done() if self._done else 0
            self.sampler.skip = n_done * (self.batch_size or 1)
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: Lightning itself counts the batches, and asks whether a loader can go on by this method.

        What it stores here it gives back only to a loader that is made after the checkpoint was read. Where
        the optimisers ask for the number of steps, the loader is made before.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing, see :meth:`state_dict`."""
