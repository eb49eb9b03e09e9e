"""How the B-scans of a volume become the frames of a video."""

from __future__ import annotations

import re

import torch
from torch import Tensor

_COUNTED = re.compile(r"(repeat|linear)([1-9]\d*)")


def slice_protocol(volume: Tensor, protocol: str) -> Tensor:
    r"""Make a video of a volume, one frame a B-scan or more.

    ==============  ===========================================================================
    ``native``      the S slices as they are
    ``closure``     the S slices followed by their mirror images along X, T = 2 S. The line of a
                    radial scan turned by 180 degrees is the same line read backwards, so these
                    are the frames of a full turn, each one real. It is for radial scans whose S
                    lines stand at equal angles; the tensor does not know: naming the protocol is
                    the caller's statement that they do.
    ``repeat<T>``   each slice repeated in place: frame t is slice :math:`\lfloor t S / T \rfloor`.
                    Where T is no multiple of S, some slices appear once more than others.
                    T must be at least S.
    ``linear<T>``   frame t is interpolated linearly at :math:`t (S - 1) / (T - 1)`, so that the
                    first and last frames are the first and last slices. A T below S leaves
                    slices out.
    ==============  ===========================================================================

    Args:
        volume: shape ``(B, C, S, Z, X)``.
        protocol: one of these, for example ``"closure"`` or ``"linear16"``.

    Returns:
        The frames along the third axis, shape ``(B, C, T, Z, X)``.

    Raises:
        ValueError: if the shape or the protocol is another, or the count does not fit S.
    """
    if volume.ndim != 5:
        raise ValueError(f"volume: expected (B, C, S, Z, X), found shape {tuple(volume.shape)}")
    kind, count = parse_protocol(protocol)
    n_slices = volume.shape[2]
    if kind == "native":
        return volume
    if kind == "closure":
        return torch.cat([volume, volume.flip(-1)], dim=2)
    if kind == "repeat":
        if count < n_slices:
            raise ValueError(
                f"slices: {protocol} would drop some of the {n_slices} slices; use linear{count}"
            )
        return volume.index_select(2, torch.arange(count, device=volume.device) * n_slices // count)
    if n_slices < 2 or count < 2:
        raise ValueError(f"slices: {protocol} of {n_slices} slices; interpolation needs two of each")
    # Whole numbers first, so that a frame on a slice is that slice and nothing else.
    steps = torch.arange(count, device=volume.device) * (n_slices - 1)
    before = (steps // (count - 1)).clamp(max=n_slices - 2)
    weight = (steps - before * (count - 1)).to(volume.dtype) / (count - 1)
    first, second = volume.index_select(2, before), volume.index_select(2, before + 1)
    return torch.lerp(first, second, weight.view(-1, 1, 1))


def parse_protocol(protocol: str) -> tuple[str, int]:
    """Kind and count of frames of a protocol that :func:`slice_protocol` knows.

    Returns:
        For example ``("linear", 16)``; the count is 0 where it depends on the volume.

    Raises:
        ValueError: if the name is another.
    """
    if protocol in ("native", "closure"):
        return protocol, 0
    counted = _COUNTED.fullmatch(protocol)
    if counted is None:
        raise ValueError(
            "slices: expected native, closure, repeat<count> or linear<count>, such as linear16, "
            f"found {protocol!r}"
        )
    return counted[1], int(counted[2])
