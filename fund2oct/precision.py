"""Numbers measured in full precision, whatever precision the networks run in."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])

_HALF = (torch.bfloat16, torch.float16)


def no_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A block without autocast on a device, also on one that never has it, as ``meta``.

    Example:
        >>> a = torch.rand(4, 4)
        >>> with torch.autocast("cpu", torch.bfloat16), no_autocast(a.device):
        ...     (a @ a).dtype
        torch.float32
    """
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def full_precision(function: F) -> F:
    """Run a function of tensors in float32: no autocast in it, and half precision widened before.

    For metrics and geometry: bfloat16 keeps 8 bits, so that a position in 448 A-scans is up to 0.44 off,
    a brightness above one half has steps of 1/256 (of the 16257 numbers of bfloat16 from 0 to 1, only 129 lie
    from one half on), and the variances of SSIM, small differences of large numbers, are lost.

    Args:
        function: the function. Its arguments that are tensors of half precision are made float32; all
            others are passed on as they are.

    Returns:
        The function, which is called as before.

    Example:
        >>> @full_precision
        ... def mean_product(a, b):
        ...     return (a @ b).mean()
        >>> a = torch.rand(4, 4, dtype=torch.bfloat16)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     mean_product(a, a).dtype
        torch.float32
    """

    @functools.wraps(function)
    def widened(*args: Any, **options: Any) -> Any:
        given = [*args, *options.values()]
        devices = {value.device for value in given if isinstance(value, torch.Tensor)}
        with contextlib.ExitStack() as stack:
            for device in devices:
                stack.enter_context(no_autocast(device))
            return function(
                *map(_widened, args), **{name: _widened(value) for name, value in options.items()}
            )

    return cast(F, widened)


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _HALF else value
