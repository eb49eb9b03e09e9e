r"""The layer frame, in which the retina's surfaces are flat.

Between two neighbouring surfaces lies a band of a fixed number of rows, whatever its thickness in
micrometres; above the first surface and below the last one a row is as high as a row of the volume, or
a fixed share of it. Tissue that is drawn in this frame comes into a volume by its surfaces alone, so
that its edges are as sharp as the scanner's point spread lets them be, wherever they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.precision import no_autocast

_TAPS = 4
"""Depths in a row at which the layer frame is read, for an edge within a row to show its place."""
_FWHM_TO_SIGMA = 2.355
_LEAST_PX = 1e-3


@dataclass(frozen=True)
class LayerFrame:
    """How many rows each band of the layer frame has.

    Args:
        bands: rows above the first surface, between neighbouring surfaces, and below the last one;
            one band more than there are surfaces, each of at least one row.
        height: how many rows of the volume a row above the first or below the last surface covers.

    Raises:
        ValueError: if there are fewer than two bands, or a number is not positive.

    Example:
        >>> frame = LayerFrame(bands=(8, 28, 6, 32))
        >>> frame.n_rows, frame.n_surfaces, frame.edges
        (74, 3, (8, 36, 42))
    """

    bands: tuple[int, ...]
    height: float = 1.0

    def __post_init__(self) -> None:
        if len(self.bands) < 2 or min(self.bands) < 1 or not self.height > 0:
            raise ValueError(
                "layer frame: expected at least two bands of at least one row and a positive height, "
                f"found {self.bands} and {self.height}"
            )

    @property
    def n_surfaces(self) -> int:
        """Number of surfaces."""
        return len(self.bands) - 1

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return sum(self.bands)

    @property
    def edges(self) -> tuple[int, ...]:
        """Row edge on which each surface lies."""
        return tuple(accumulate(self.bands[:-1]))


def to_layers(volume: Tensor, surfaces_um: Tensor, spacing_z_mm: Tensor | float, frame: LayerFrame) -> Tensor:
    r"""Resample a volume into the layer frame, in which its surfaces are flat.

    Row :math:`r` of the frame, with :math:`e_k` the edges and :math:`n_k` the rows of the bands, lies
    at the depth

    .. math:: z(r) = d_0 + \min(r - e_0, 0) \, h
        + \sum_k (d_{k+1} - d_k) \, \mathrm{clamp}\!\left(\frac{r - e_k}{n_k}, 0, 1\right)
        + \max(r - e_K, 0) \, h

    for surfaces at the depths :math:`d_k`, and outside them :math:`h` rows of the volume a row. Linear
    between the volume's rows; beyond its edges the nearest row counts. Differentiable in the volume and in
    the surfaces; computed in float32 inside autocast.

    Args:
        volume: shape ``(B, C, S, Z, X)``.
        surfaces_um: depth of each surface below the volume's top edge in micrometres, vitreous to
            choroid, finite, shape ``(B, n, S, X)``.
        spacing_z_mm: distance of two rows of the volume, one number or one an eye, shape ``(B,)``.
        frame: the layer frame, of as many surfaces.

    Returns:
        Shape ``(B, C, S, frame.n_rows, X)``, float32.

    Raises:
        ValueError: if the shapes do not fit each other.

    Example:
        >>> frame = LayerFrame(bands=(4, 8, 4))
        >>> volume = torch.rand(1, 1, 6, 32, 48)
        >>> surfaces_um = torch.tensor([100.0, 250.0]).view(1, 2, 1, 1).expand(1, 2, 6, 48)
        >>> to_layers(volume, surfaces_um, spacing_z_mm=0.01, frame=frame).shape
        torch.Size([1, 1, 6, 16, 48])
    """
    _check(volume, surfaces_um, frame)
    with no_autocast(volume.device):
        depth_px = surfaces_um.float() / _row_um(spacing_z_mm, volume)
        row = (torch.arange(frame.n_rows, device=volume.device) + 0.5).view(1, 1, -1, 1)
        return _read_rows(volume.float(), _depth_px(row, depth_px, frame))


def from_layers(
    layers: Tensor,
    surfaces_um: Tensor,
    spacing_z_mm: Tensor | float,
    n_depth: int,
    frame: LayerFrame,
    axial_um: float = 7.0,
) -> Tensor:
    r"""Resample a volume out of the layer frame, to where its surfaces lie; undoes :func:`to_layers`.

    Each row of the volume is the mean over its height, widened by the axial point spread, so that a
    surface between two rows shows its place by their brightness, and moves smoothly. Differentiable in
    the layers and in the surfaces; computed in float32 inside autocast.

    Args:
        layers: what is drawn in the layer frame, shape ``(B, C, S, frame.n_rows, X)``.
        surfaces_um: depth of each surface below the volume's top edge in micrometres, vitreous to
            choroid, finite, shape ``(B, n, S, X)``.
        spacing_z_mm: distance of two rows of the volume, one number or one an eye, shape ``(B,)``.
        n_depth: rows of the volume.
        frame: the layer frame, of as many surfaces.
        axial_um: axial point spread, full width at half maximum, in micrometres.

    Returns:
        Shape ``(B, C, S, n_depth, X)``, float32.

    Raises:
        ValueError: if the shapes do not fit each other.

    Example:
        >>> frame = LayerFrame(bands=(4, 8, 4))
        >>> layers = torch.zeros(1, 1, 1, 16, 2)
        >>> layers[..., 4:12, :] = 1  # bright between the two surfaces
        >>> surfaces_um = torch.tensor([[[[100.0, 150.0]], [[250.0, 250.0]]]])  # thinner on the right
        >>> volume = from_layers(layers, surfaces_um, spacing_z_mm=0.01, n_depth=32, frame=frame)
        >>> (volume[0, 0, 0] > 0.5).sum(0)  # rows of 10 um: 150 um and 100 um
        tensor([15, 10])
    """
    _check(layers, surfaces_um, frame)
    if layers.shape[3] != frame.n_rows:
        raise ValueError(f"layers: expected {frame.n_rows} rows, found {layers.shape[3]}")
    with no_autocast(layers.device):
        row_um = _row_um(spacing_z_mm, layers)
        layers = layers.float()
        depth_px = surfaces_um.float() / row_um
        blur_px = axial_um / _FWHM_TO_SIGMA / row_um
        # Taps spread over a row and the point spread: of the variance of both.
        spread = (1 / 12 + blur_px**2) ** 0.5 / (1 / 12) ** 0.5
        total = torch.zeros((), device=layers.device)
        for tap in range(_TAPS):
            offset = ((tap + 0.5) / _TAPS - 0.5) * spread
            z = torch.arange(n_depth, device=layers.device).view(1, 1, -1, 1) + 0.5 + offset
            total = total + _read_rows(layers, _layer_row(z, depth_px, frame))
        return total / _TAPS


def warp(volume: Tensor, from_um: Tensor, to_um: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    """Move the tissue of volumes from some surfaces to others, through the layer frame in one reading.

    What lies on a surface stays on it; between two surfaces tissue is stretched evenly, above the first
    and below the last one it is shifted.

    Args:
        volume: shape ``(B, C, S, Z, X)``.
        from_um: depth of its surfaces below its top edge in micrometres, vitreous to choroid, finite, shape
            ``(B, n, S, X)``.
        to_um: the wanted depths, likewise.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.

    Returns:
        Shape ``(B, C, S, Z, X)``, float32.

    Raises:
        ValueError: if the shapes do not fit each other.
    """
    frame = LayerFrame((1,) * (from_um.shape[1] + 1))
    _check(volume, from_um, frame)
    _check(volume, to_um, frame)
    with no_autocast(volume.device):
        row_um = _row_um(spacing_z_mm, volume)
        z = (torch.arange(volume.shape[3], device=volume.device) + 0.5).view(1, 1, -1, 1)
        row = _layer_row(z, to_um.float() / row_um, frame)
        return _read_rows(volume.float(), _depth_px(row, from_um.float() / row_um, frame))


def _depth_px(row: Tensor, depth_px: Tensor, frame: LayerFrame) -> Tensor:
    """Depth in rows of the volume at a row of the layer frame, ``(B, S, R, X)``."""
    thickness = depth_px.diff(dim=1).clamp(min=0)
    outside = (row - frame.edges[0]).clamp(max=0) + (row - frame.edges[-1]).clamp(min=0)
    z = depth_px[:, 0, :, None] + outside * frame.height
    for number, (start, end) in enumerate(pairwise(frame.edges)):
        z = z + thickness[:, number, :, None] * ((row - start) / (end - start)).clamp(0, 1)
    return z


def _layer_row(z: Tensor, depth_px: Tensor, frame: LayerFrame) -> Tensor:
    """Row of the layer frame at a depth in rows of the volume, ``(B, S, Z, X)``."""
    first, last = depth_px[:, 0, :, None], depth_px[:, -1, :, None]
    outside = (z - first).clamp(max=0) + (z - last).clamp(min=0)
    row = frame.edges[0] + outside / frame.height
    for number, (start, end) in enumerate(pairwise(frame.edges)):
        above, below = depth_px[:, number, :, None], depth_px[:, number + 1, :, None]
        row = row + (end - start) * ((z - above) / (below - above).clamp(min=_LEAST_PX)).clamp(0, 1)
    return row


def _read_rows(volume: Tensor, z: Tensor) -> Tensor:
    """Read each A-scan at the depths ``z`` ``(B, S, R, X)``, 0 being the upper edge of its first row."""
    batch, _, n_slices, n_depth, n_ascans = volume.shape
    folded = volume.transpose(1, 2).flatten(0, 1)
    z = (z * (2 / n_depth) - 1).expand(batch, n_slices, -1, n_ascans).flatten(0, 1)
    x = (torch.arange(n_ascans, device=volume.device) + 0.5) * (2 / n_ascans) - 1
    grid = torch.stack([x.expand_as(z), z], -1)
    read = F.grid_sample(folded, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return read.unflatten(0, (batch, n_slices)).transpose(1, 2)


def _row_um(spacing_z_mm: Tensor | float, volume: Tensor) -> Tensor:
    spacing = torch.as_tensor(spacing_z_mm, dtype=torch.float32, device=volume.device)
    if spacing.ndim > 1 or (spacing.ndim == 1 and len(spacing) != len(volume)):
        raise ValueError(
            f"spacing: expected one number or one for each of {len(volume)} eyes, "
            f"found shape {tuple(spacing.shape)}"
        )
    return 1000 * spacing.view(-1, 1, 1, 1)


def _check(volume: Tensor, surfaces_um: Tensor, frame: LayerFrame) -> None:
    if volume.ndim != 5:
        raise ValueError(f"volume: expected (B, C, S, Z, X), found shape {tuple(volume.shape)}")
    expected = (volume.shape[0], frame.n_surfaces, volume.shape[2], volume.shape[4])
    if tuple(surfaces_um.shape) != expected:
        raise ValueError(
            f"surfaces: expected (B, n, S, X) = {expected}, found shape {tuple(surfaces_um.shape)}"
        )
