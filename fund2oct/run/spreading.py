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

    apple = torch.backends.mps.is_available() and not torch.cuda.is_available()
    if apple and config.setdefault("trainer", {}).get("accelerator", "auto") == "auto":
        config["trainer"]["accelerator"] = "cpu"  # Apple's GPU has no 64-bit numbers, which measures need
    trainer = config.setdefault("trainer", {})
    if trainer.get("strategy", "auto") != "auto":
        return
    devices, launched = trainer.get("devices", "auto"), [n for n in _LAUNCHED_BY_OTHERS if n in os.environ]
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):  # where Lightning starts the processes
        launched = [name for name in launched if name != "SLURM_NTASKS"]
    if devices != "auto" or launched:
        if _several(devices) or trainer.get("num_nodes", 1) > 1 or _n_launched(launched) > 1:
            trainer["strategy"] = _STRATEGY
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


def _several(devices: int | str | list[int]) -> bool:
    """Whether Lightning would take more than one device; -1 is all of them."""
    if isinstance(devices, str) and "," in devices:
        devices = [int(each) for each in devices.split(",") if each.strip()]
    return len(devices) > 1 if isinstance(devices, list) else str(devices) not in ("0", "1", "auto")


def _n_launched(launchers: list[str]) -> int:
    """Processes that a cluster's launcher started."""
    counts = {"TORCHELASTIC_RUN_ID": "WORLD_SIZE"}
    return max((int(os.environ.get(counts.get(name, name), 1)) for name in launchers), default=1)
