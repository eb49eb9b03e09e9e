"""Resizing of B-scans to the size that a feature network was trained with."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Resize = Literal["legacy", "bilinear", "antialias"]
"""Names of the methods of resizing, see :func:`resize_images`."""

RESIZES: tuple[Resize, ...] = get_args(Resize)


def resize_images(images: Tensor, size: tuple[int, int], method: Resize) -> Tensor:
    """Resize images by one of three bilinear methods, without cropping.

    ==============  ==========================================================================
    ``legacy``      as TensorFlow 1 did: output pixel i is read at input position i * in / out,
                    so the picture moves by up to half a pixel. The first implementations of
                    the Frechet distances of images and of videos resize like this.
    ``bilinear``    pixel centres stay in their places. The default of torch and OpenCV.
    ``antialias``   each output pixel is a weighted mean of all input pixels under it, as in
                    Pillow. With the other two, fine speckle becomes coarse speckle when the
                    size is halved.
    ==============  ==========================================================================

    Args:
        images: intensities, floating point, shape ``(N, C, H, W)``.
        size: height and width of the result in pixels.
        method: name of the method.

    Returns:
        Images ``(N, C, *size)``; unchanged where they have that size.

    Raises:
        ValueError: if the shape or the method is another.

    References:
        Parmar et al., CVPR 2022, arXiv:2104.11222 (how resizing changes such distances).

    Example:
        >>> stripes = torch.tensor([0.0, 1.0]).repeat(1, 1, 2, 4)  # columns 0, 1, 0, 1, ...
        >>> resize_images(stripes, (2, 4), "legacy")[0, 0, 0]
        tensor([0., 0., 0., 0.])
        >>> resize_images(stripes, (2, 4), "bilinear")[0, 0, 0]
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
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
    """Refuse a method that :func:`resize_images` does not have.

    Args:
        method: its name.

    Raises:
        ValueError: if there is no such method.

    Example:
        >>> check_resize("bicubic")
        Traceback (most recent call last):
        ValueError: resize: expected one of legacy, bilinear, antialias, found 'bicubic'
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
