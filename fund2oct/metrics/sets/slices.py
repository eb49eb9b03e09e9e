"""How the B-scans of a volume become the frames of a video."""

from __future__ import annotations

import re

import torch
from torch import Tensor

_COUNTED = re.compile(r"(repeat|linear)([1-9]\d*)")


def slice_protocol(volume: Tensor, protocol: str) -> Tensor:
    r"""Make the frames of a video from the B-scans of a volume.

    ==============  ===========================================================================
    ``native``      The S slices as they are.
    ``closure``     The S slices, then the same slices mirrored along X; T = 2 S. It is for radial
                    scans whose lines stand at equal angles. A line turned by 180 degrees is the
                    same line read backwards, so these are real frames of a full turn. The volume
                    does not tell whether its scan is of this kind; the caller has to know.
    ``repeat<T>``   Each slice repeated: frame t is slice :math:`\lfloor t S / T \rfloor`. T must be
                    at least S. If it is no multiple of S, some slices come once more than others.
    ``linear<T>``   Linear interpolation: frame t lies at :math:`t (S - 1) / (T - 1)`, so that the
                    first and last frames are the first and last slices. If T is below S, slices
                    are left out.
    ==============  ===========================================================================

    Args:
        volume: intensities in [0, 1], shape ``(B, C, S, Z, X)``.
        protocol: name of a protocol, for example ``"closure"`` or ``"linear16"``.

    Returns:
        The frames along the third axis, shape ``(B, C, T, Z, X)``.

    Raises:
        ValueError: if the shape or the protocol is another, or the count does not fit S.

    Example:
        >>> volume = torch.rand(1, 1, 6, 32, 48)  # six B-scans; the video network I3D needs nine frames
        >>> slice_protocol(volume, "closure").shape, slice_protocol(volume, "linear16").shape
        (torch.Size([1, 1, 12, 32, 48]), torch.Size([1, 1, 16, 32, 48]))
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
