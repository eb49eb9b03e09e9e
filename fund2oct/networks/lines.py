"""Features of the retina under each A-scan, read from the photo along the lines of the scan."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.attention import MM_PER_UNIT, ScanAttention
from fund2oct.networks.blocks import norm, normalise_as
from fund2oct.networks.known import Known, KnownFeatures
from fund2oct.networks.lift import sample_lines

_PATCH = 7
_PATCH_CHANNELS = 128
_EVERY = 4
_CONTRAST = 8.0
"""Factor of a pixel's difference from the mean of its patch: a thin vessel is only a little darker."""
_BUMPS = (2.0, 8.0, 32.0, 128.0, 512.0)
"""Sharpness of the bumps that mark the scan's centre: half to a thirtieth of the photo's half width."""
N_PLACE = 3 + 3 * len(_BUMPS)
"""Channels of ``place_features``."""


def sample_patches(fundus: Tensor, grid: Tensor, size: int = _PATCH) -> Tensor:
    """Read a square patch of the photo's pixels around each A-scan.

    Outside the photo the nearest pixel is taken.

    Args:
        fundus: photos, shape ``(B, C, H, W)``.
        grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
            ``(B, S, X, 2)``.
        size: pixels along each side of a patch, an odd number.

    Returns:
        Pixels of the patches, row by row for each channel, shape ``(B, C * size**2, S, X)``.

    Example:
        >>> photo, grid = torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 40, 2)
        >>> sample_patches(photo, grid, size=5).shape
        torch.Size([1, 75, 6, 40])
    """
    height, width = fundus.shape[-2:]
    steps = torch.arange(size, device=grid.device, dtype=grid.dtype) - size // 2
    dy, dx = torch.meshgrid(steps * (2 / height), steps * (2 / width), indexing="ij")
    offsets = torch.stack([dx, dy], -1).view(1, 1, -1, 1, 2)
    places = (grid[:, :, None] + offsets).flatten(1, 2)  # (B, S * size**2, X, 2)
    read = sample_lines(fundus, places)
    return read.unflatten(2, (grid.shape[1], -1)).transpose(2, 3).flatten(1, 2)


def place_features(grid: Tensor, centre: Tensor | None = None) -> Tensor:
    """Where an A-scan lies around the scan's centre, so that a shape as small as the fovea's pit is told.

    Args:
        grid: positions of the A-scans in grid units, shape ``(B, S, X, 2)``.
        centre: position of the scan's centre, likewise, shape ``(B, 2)``; None takes the mean of ``grid``.

    Returns:
        Offset and distance, then bumps of several widths around the centre, and the same times the offset;
        shape ``(B, N_PLACE, S, X)``.

    Example:
        >>> grid = torch.tensor([[-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]]).view(1, 1, 3, 2)
        >>> features = place_features(grid)
        >>> features[0, 2, 0], features[0, -3, 0]  # the distance, and the narrowest bump
        (tensor([0.5000, 0.0000, 0.5000]), tensor([0., 1., 0.]))
    """
    centre = grid.mean((1, 2)) if centre is None else centre
    offset = (grid - centre[:, None, None]).permute(0, 3, 1, 2)
    distance = offset.norm(dim=1, keepdim=True)
    found = [offset, distance]
    for sharpness in _BUMPS:
        bump = (-sharpness * distance.square()).exp()
        found += [bump, sharpness**0.5 * offset * bump]
    return torch.cat(found, 1)


def slice_layers(width: int, n_layers: int) -> nn.ModuleList:
    """Convolutions along the slice, five A-scans wide, for :func:`along_slices`."""
    return nn.ModuleList(nn.Conv2d(width, width, (1, 5), padding=(0, 2)) for _ in range(n_layers))


def along_slices(layers: nn.ModuleList, features: Tensor) -> Tensor:
    """Exchange features ``(B, width, S, X)`` between neighbouring A-scans of a slice."""
    for layer in layers:
        features = features + layer(F.silu(features))
    return F.silu(features)


class LineEncoder(nn.Module):
    """Features of the retina under each A-scan, from the maps of a photo encoder.

    The maps of all scales are read at the position of the A-scan. The photo's own pixels around it are read
    too, because vessels are thinner than a pixel of the maps. Everything is projected to the same width and
    added, together with the position relative to the scan's centre. Convolutions along the slice, five
    A-scans wide, follow.

    Args:
        map_channels: number of channels of each of the encoder's maps.
        width: number of channels of the result.
        n_layers: number of convolutions along the slice.
        n_known: numbers of scalars and of masks by which the features are changed before these, see
            :class:`~fund2oct.networks.known.KnownFeatures`.
        position: places that an attention across all A-scans is told, see
            :class:`~fund2oct.networks.attention.ScanAttention`; None has no attention.

    Example:
        >>> encoder = LineEncoder(map_channels=(16, 24), width=32)
        >>> photo, grid = torch.rand(2, 3, 32, 32), torch.zeros(2, 6, 40, 2)
        >>> maps = [torch.rand(2, 16, 16, 16), torch.rand(2, 24, 8, 8)]
        >>> encoder(photo, maps, grid).shape
        torch.Size([2, 32, 6, 40])
    """

    def __init__(
        self,
        map_channels: Sequence[int],
        width: int = 96,
        n_layers: int = 3,
        n_known: tuple[int, int] = (0, 0),
        position: str | None = None,
    ) -> None:
        super().__init__()
        self.patch = nn.Sequential(
            nn.Conv2d(3 * (1 + _PATCH**2), _PATCH_CHANNELS, 1),
            nn.SiLU(),
            nn.Conv2d(_PATCH_CHANNELS, _PATCH_CHANNELS, 1),
            nn.SiLU(),
        )
        self.projections = nn.ModuleList(
            nn.Conv2d(channels, width, 1) for channels in (_PATCH_CHANNELS, *map_channels)
        )
        for projection in self.projections:
            # Each scale starts with the same weight in the sum, however many channels it has.
            nn.init.normal_(projection.weight, 0, 0.5 * projection.in_channels**-0.5)  # type: ignore[operator, arg-type]
        self.position = nn.Conv2d(N_PLACE, width, 1)
        self.norm = norm(width)
        self.layers = slice_layers(width, n_layers)
        self.attention = None if position is None else ScanAttention(width, position)
        self.known = KnownFeatures(width, *n_known) if any(n_known) else None

    def forward(
        self,
        fundus: Tensor,
        maps: Sequence[Tensor],
        grid: Tensor,
        where: Tensor | None = None,
        beside: Tensor | None = None,
        known: Known | None = None,
        whole: Tensor | None = None,
    ) -> Tensor:
        """Read the features.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            maps: the encoder's maps of the photos, each of shape ``(B, C_l, H_l, W_l)``.
            grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
                ``(B, S, X, 2)``.
            where: places of the A-scans around the scan's centre, see ``place_features``, shape
                ``(B, N_PLACE, S, X)``; None takes those around the mean of ``grid``.
            beside: other features of the A-scans that are added, shape ``(B, width, S, X)``.
            known: what is known of the eyes beside their photos.
            whole: positions of all A-scans of the scan, where ``grid`` holds others; shape
                ``(B, S', X', 2)``. Features are normalised by theirs, so that an A-scan has the same ones
                whatever is read beside it, and an attention asks them.

        Returns:
            Features, shape ``(B, width, S, X)``.
        """
        read = self.read(fundus, maps, grid, place_features(grid) if where is None else where)
        scan = read
        if whole is not None:
            # In training some A-scans tell the mean and the variance well enough, at a part of the cost.
            every = _EVERY if self.training and self.attention is None else 1
            scan = self.read(fundus, maps, whole[:, :, ::every], place_features(whole)[..., ::every])
        x = normalise_as(self.norm, read, scan)
        if self.attention is not None:
            others = x if whole is None else self.norm(scan)
            whole = grid if whole is None else whole
            centre = whole.mean((1, 2), keepdim=True)
            x = x + self.attention(x, MM_PER_UNIT * (grid - centre), others, MM_PER_UNIT * (whole - centre))
        if beside is not None:
            x = x + beside
        if self.known is not None:
            x = self.known(x, grid, known)
        return along_slices(self.layers, x)

    def read(self, fundus: Tensor, maps: Sequence[Tensor], grid: Tensor, where: Tensor) -> Tensor:
        """Features of A-scans by what the photo shows there alone, before they are normalised.

        The arguments are those of a call.
        """
        pixels = sample_patches(2 * fundus - 1, grid).unflatten(1, (fundus.shape[1], -1))
        mean = pixels.mean(2, keepdim=True)
        scales = [self.patch(torch.cat([mean, _CONTRAST * (pixels - mean)], 2).flatten(1, 2))]
        scales += [sample_lines(each, grid) for each in maps]
        read = [projection(each) for projection, each in zip(self.projections, scales, strict=True)]
        return torch.stack(read).sum(0) + self.position(where)
