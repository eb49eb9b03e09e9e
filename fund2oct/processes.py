"""Processes that share a machine well, and end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

from fund2oct.stopping import REQUEUE

P = ParamSpec("P")
T = TypeVar("T")

_WORTH_A_PROCESS = 16
_WAITING_BYTES = 4 * 2**30


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes started here compute in one thread: two pools of threads on one core crawl."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def one_order_of_sums() -> Iterator[None]:
    """Let NumPy's matrix products take one thread, as in the processes of a pool; a decorator too.

    On some processors the threads decide in which order a product is summed, and hence its last bits.
    """
    with threadpool_limits(1, "blas"):
        yield


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each; what waits when the block ends is dropped.

    Args:
        workers: how many processes.
    """
    # Spawned, because a fork copies the locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    with _one_thread_each():
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


class Here(Executor):
    """Does in this process, at once, what it is asked to do: for work too small to start processes for."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call the function."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def submit_by_value(pool: Executor, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Ask a pool for work on tensors, and send these as bytes.

    Each would otherwise lie in shared memory, which containers have little of, and hold a file descriptor,
    of which a process commonly has 1024.
    """
    if isinstance(pool, Here):
        return pool.submit(fn, *args, **kwargs)
    return pool.submit(_unpacked, pickle.dumps((fn, args, kwargs)))


def _unpacked(packed: bytes) -> Any:
    fn, args, kwargs = pickle.loads(packed)
    return fn(*args, **kwargs)


def n_cores() -> int:
    """Cores that this process may use; on a cluster a job's, not the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_waiting(task_bytes: int) -> int:
    """How many tasks may wait for :func:`processes_beside`, of so many bytes each.

    Several for each process, but of large ones as few as keep all at work.
    """
    return max(n_cores() // 2 + 2, min(4 * n_cores(), _WAITING_BYTES // task_bytes))


@contextmanager
def processes_beside(n_tasks: int, n_alike: int = 1) -> Iterator[Executor]:
    """Processes that share the machine with this one, while this one works too.

    Half of the cores are this process's, in threads; the others, and one more, have a process each, for
    this one may have to wait. For fewer than 16 tasks, or on a single core, none is started.

    Args:
        n_tasks: how much there is to do.
        n_alike: processes on the machine that do the same, this one among them; they share the cores.
    """
    cores = n_cores() // (1 if _has_own_cores(n_alike) else n_alike)
    if n_tasks < _WORTH_A_PROCESS or cores < 2:
        yield Here()
        return
    half = cores // 2
    import torch  # late: the command line asks for the cores alone

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, half))
    try:
        with process_pool(half + 1) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _has_own_cores(n_alike: int) -> bool:
    """Whether Slurm gave each of so many tasks cores of its own, so that they share none."""
    n_tasks, n_each = (int(os.environ.get(f"SLURM_{name}") or 0) for name in ("NTASKS", "CPUS_PER_TASK"))
    return n_tasks >= n_alike and n_cores() < n_each * n_alike


def _end_with_parent() -> None:
    """A pool's process waits for work for ever, even when the process that would send it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    # Ctrl-C goes to all processes of a terminal, and Slurm's signal may go to all of a job; the parent says
    # what they mean for the work.
    for number in (signal.SIGINT, REQUEUE):
        if number is not None:
            signal.signal(number, signal.SIG_IGN)
