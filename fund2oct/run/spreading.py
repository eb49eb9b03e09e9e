"""On how many processes a training runs, where nobody says."""

from __future__ import annotations

import os
from typing import Any

from fund2oct.processes import n_cores

# A GAN's discriminators rest until they join, which DDP has to be told.
_STRATEGY = "ddp_find_unused_parameters_true"
_LAUNCHED_BY_OTHERS = ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "OMPI_COMM_WORLD_SIZE")


def spread(config: dict[str, Any]) -> None:
    """Use all GPUs of a machine; on one without any, spread each batch over its cores.

    A convolution of this size gains a quarter from a second thread; two processes of one thread, with
    half of the batch each, take little more than half the time. The gradient is that of the whole batch,
    so that nothing but the draw of the noise changes. What the configuration says of ``devices`` or
    ``strategy`` stays, and so does all of it under a cluster's launcher.

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

    trainer = config.setdefault("trainer", {})
    chosen = trainer.get("devices", "auto") != "auto" or trainer.get("strategy", "auto") != "auto"
    if chosen or any(name in os.environ for name in _LAUNCHED_BY_OTHERS):
        return
    accelerator = trainer.get("accelerator", "auto")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        if torch.cuda.device_count() > 1:
            trainer["strategy"] = _STRATEGY
        return
    if accelerator not in ("auto", "cpu") or torch.backends.mps.is_available():
        return
    arguments = config.get("data", {}).get("init_args", {})
    batch_size = arguments.get("batch_size", 1)
    n_processes = max(n for n in range(1, min(n_cores(), batch_size) + 1) if batch_size % n == 0)
    if n_processes > 1:
        trainer |= {"accelerator": "cpu", "devices": n_processes, "strategy": _STRATEGY}
        arguments["batch_size"] = batch_size // n_processes
