"""Ways of bringing B-scans to the size that a feature network was trained with."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Resize = Literal["legacy", "bilinear", "antialias"]
"""Names of the ways, see :func:`resize_images`."""

RESIZES: tuple[Resize, ...] = get_args(Resize)


def resize_images(images: Tensor, size: tuple[int, int], method: Resize) -> Tensor:
    """Squeeze images to a size, without cropping, by one of three bilinear ways.

    ==============  ==========================================================================
    ``legacy``      the output pixel i is read at i * in / out, as TensorFlow 1 did: the picture
                    moves by up to half a pixel. The first implementations of the Frechet
                    distances, of images and of videos, resize in this way.
    ``bilinear``    the same with pixel centres in their places (torch's and OpenCV's default).
    ``antialias``   a triangle filter as wide as the output's pixels, as Pillow does; nothing
                    else keeps fine speckle from turning into coarse when the size is halved.
    ==============  ==========================================================================

    Args:
        images: shape ``(N, C, H, W)``, floating point.
        size: height and width to reach.
        method: one of these.

    Returns:
        Images ``(N, C, *size)``; unchanged where they have that size.

    Raises:
        ValueError: if the shape or the method is another.

    References:
        Parmar et al., CVPR 2022, arXiv:2104.11222 (what the way of resizing does to distances).
    """
    if images.ndim != 4:
        raise ValueError(f"images: expected (N, C, H, W), found shape {tuple(images.shape)}")
    check_resize(method)
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    if method == "legacy":
        return _legacy(_legacy(images, -2, size[0]), -1, size[1])
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=method == "antialias")


def check_resize(method: str) -> None:
    """Refuse a way that :func:`resize_images` does not know.

    Raises:
        ValueError: if the name is another.
    """
    if method not in RESIZES:
        raise ValueError(f"resize: expected one of {', '.join(RESIZES)}, found {method!r}")


def _legacy(images: Tensor, dim: int, size: int) -> Tensor:
    length = images.shape[dim]
    # In whole numbers, so that a pixel read in its place is copied exactly.
    steps = torch.arange(size, device=images.device) * length
    before = steps // size
    weight = (steps - before * size).to(images.dtype) / size
    first = images.index_select(dim, before)
    second = images.index_select(dim, (before + 1).clamp(max=length - 1))
    return torch.lerp(first, second, weight.view(-1, 1) if dim == -2 else weight)
