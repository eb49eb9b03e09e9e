"""On how many processes a training runs, where nobody says."""

from __future__ import annotations

import os
from typing import Any

from fund2oct.processes import n_cores

# A GAN's discriminators rest until they join, which DDP has to be told.
_STRATEGY = "ddp_find_unused_parameters_true"
_TWO_EACH = 4
"""Eyes in a batch from which on each process keeps at least two."""
_LAUNCHED_BY_OTHERS = ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "OMPI_COMM_WORLD_SIZE")


def spread(config: dict[str, Any]) -> None:
    """Use all GPUs of a machine; on one without any, spread each batch over its cores.

    A convolution of this size gains a quarter from a second thread; two processes of one thread, with
    half of the batch each, take little more than half the time. The gradient is the mean of those of the
    processes, each of its own eyes. For a mean over eyes that is the gradient of the whole batch; two kinds
    of terms differ. A mean over known values (heights, ``crps``, masked voxels) weighs each process alike,
    however many values are known in its eyes, which is a small difference. And
    :func:`fund2oct.losses.spread_loss` takes a logarithm of what varies in a process's own eyes: with
    several eyes a process the difference is small, with one eye a process it is another loss, which wants
    each eye to vary as its own real volume does. The draw of the noise differs too.

    What the configuration says of ``devices`` stays, as does the number of processes of a cluster's launcher.
    Several processes, whoever asked for them, get the strategy that a GAN needs, unless the configuration
    names one.

    Args:
        config: from :func:`fund2oct.run.config.load_experiment`. Its ``trainer``, and the ``batch_size`` of
            its ``data``, are changed in place.

    Example:
        >>> config = {"trainer": {"devices": 1}, "data": {"init_args": {"batch_size": 4}}}
        >>> spread(config)
        >>> config["trainer"]  # what was chosen stays, however many cores or GPUs there are
        {'devices': 1}
    """
    import torch

    trainer = _trainer_of(config)
    if not _is_open(trainer):
        _give_strategy(trainer)
        return
    accelerator = trainer.get("accelerator", "auto")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        if torch.cuda.device_count() > 1:
            trainer["strategy"] = _STRATEGY
        return
    # Lightning starts processes by the name of the command, which Windows does not know.
    if accelerator not in ("auto", "cpu") or os.name == "nt":
        return
    arguments = config.get("data", {}).get("init_args", {})
    batch_size = arguments.get("batch_size", 1)
    if type(batch_size) is not int or batch_size < 1:
        return  # the datamodule says what is wrong with it
    # With one eye a process, losses that compare the eyes of a batch would be others.
    most = min(n_cores(), batch_size if batch_size < _TWO_EACH else batch_size // 2)
    n_processes = max(n for n in range(1, most + 1) if batch_size % n == 0)
    if n_processes > 1:
        trainer |= {"accelerator": "cpu", "devices": n_processes, "strategy": _STRATEGY}
        arguments["batch_size"] = batch_size // n_processes


def stay_on_one_device(config: dict[str, Any]) -> None:
    """Use one device where nobody says how many, as from Python.

    For each further device Lightning would run the whole program that trains once more. What is said stays,
    as in :func:`spread`, and several processes get the strategy that a GAN needs.

    Args:
        config: from :func:`fund2oct.run.config.load_experiment`. Its ``trainer`` is changed in place.

    Example:
        >>> config = {"trainer": {"accelerator": "cpu", "devices": 2}}
        >>> stay_on_one_device(config)
        >>> config["trainer"]["devices"], config["trainer"]["strategy"]
        (2, 'ddp_find_unused_parameters_true')
    """
    trainer = _trainer_of(config)
    if _is_open(trainer):
        trainer["devices"] = 1
    _give_strategy(trainer)


def _trainer_of(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of the trainer, without Apple's GPU: measures need 64-bit numbers, which it lacks."""
    import torch

    trainer: dict[str, Any] = config.setdefault("trainer", {})
    apple = torch.backends.mps.is_available() and not torch.cuda.is_available()
    if apple and trainer.get("accelerator", "auto") == "auto":
        trainer["accelerator"] = "cpu"
    return trainer


def _is_open(trainer: dict[str, Any]) -> bool:
    """Whether neither the settings nor a launcher say how many processes there are."""
    given = trainer.get("strategy", "auto"), trainer.get("devices", "auto")
    return given == ("auto", "auto") and not _launchers()


def _give_strategy(trainer: dict[str, Any]) -> None:
    """Name the strategy that a GAN needs, where there are several processes and no other is named."""
    launchers, given = _launchers(), (trainer.get("strategy", "auto"), trainer.get("devices", "auto"))
    if launchers and _n_launched(launchers) == 1 and given == ("auto", "auto"):
        trainer["devices"] = 1  # the launcher started one process, and nobody starts others
    several = _several(trainer.get("devices", "auto")) or trainer.get("num_nodes", 1) > 1
    if trainer.get("strategy", "auto") == "auto" and (several or _n_launched(launchers) > 1):
        trainer["strategy"] = _STRATEGY


def _launchers() -> list[str]:
    """The launchers of a cluster that started this process, by the variables that tell of them."""
    launched = [name for name in _LAUNCHED_BY_OTHERS if name in os.environ]
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):  # where Lightning starts the processes
        launched = [name for name in launched if name != "SLURM_NTASKS"]
    return launched


def _several(devices: int | str | list[int]) -> bool:
    """Whether Lightning would take more than one device; -1 is all of them."""
    if isinstance(devices, str) and "," in devices:
        devices = [int(each) for each in devices.split(",") if each.strip()]
    return len(devices) > 1 if isinstance(devices, list) else str(devices) not in ("0", "1", "auto")


def _n_launched(launchers: list[str]) -> int:
    """Processes that a cluster's launcher started."""
    counts = {"TORCHELASTIC_RUN_ID": "WORLD_SIZE"}
    return max((int(os.environ.get(counts.get(name, name), 1)) for name in launchers), default=1)
