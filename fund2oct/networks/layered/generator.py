"""The generator: surfaces and tissue from the photo, texture from noise, put together by the layer frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fund2oct.networks.blocks import Recomputing, fold, unfold
from fund2oct.networks.encoder import build_encoder
from fund2oct.networks.layered.pockets import dark_pockets
from fund2oct.networks.layered.surfaces import SurfaceDistribution, SurfaceNetwork, increments_of
from fund2oct.networks.layered.texture import TextureNetwork
from fund2oct.networks.layered.tissue import Tissue, TissueNetwork
from fund2oct.networks.noise import NoiseSource, NoNoise
from fund2oct.retina.frame import ALIGNED_DEPTH
from fund2oct.retina.layer_frame import LayerFrame, from_layers, to_layers
from fund2oct.retina.layers import SURFACES


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What the generator knows before it draws texture.

    Args:
        surfaces: distribution of the surfaces.
        heights_um: the surfaces that the tissue lies between, heights above the pose's surface in
            micrometres, vitreous to choroid, shape ``(B, n, S, X)``.
        logits: of the intensities in the aligned frame, without noise, shape ``(B, 1, S, Z, X)``.
        row_um: height of a row, shape ``(B, 1, 1, 1)``.
        pockets: logits of the probability that a voxel of the layer frame's inner band is fluid, shape
            ``(B, 1, S, rows of the band, X)``.
        real_pockets: 1 where the real volume has fluid there, else 0, if that was given.
    """

    surfaces: SurfaceDistribution
    heights_um: Tensor
    logits: Tensor
    row_um: Tensor
    pockets: Tensor
    real_pockets: Tensor | None = None

    @property
    def image(self) -> Tensor:
        """Intensities in [0, 1] in the aligned frame, without noise, shape ``(B, 1, S, Z, X)``."""
        return self.logits.sigmoid()

    @property
    def depth_um(self) -> Tensor:
        """Depth of the surfaces below the aligned frame's top edge, shape ``(B, n, S, X)``."""
        return aligned_depth_um(self.heights_um, self.row_um, self.logits.shape[3])


class Real(NamedTuple):
    """What a real volume tells of the anatomy.

    Args:
        heights_um: surfaces above the pose's in micrometres, NaN where unknown, shape ``(B, n, S, X)``.
        aligned: the volume in the aligned frame, shape ``(B, 1, S, Z, X)``.
        spacing_x_mm: distance of two A-scans.
    """

    heights_um: Tensor
    aligned: Tensor
    spacing_x_mm: float


def aligned_depth_um(heights_um: Tensor, row_um: Tensor, n_depth: int) -> Tensor:
    """Depth below the aligned frame's top edge of heights ``(B, n, S, X)`` above the pose's surface."""
    return ALIGNED_DEPTH * n_depth * row_um - heights_um


class LayeredGenerator(Recomputing):
    """Surfaces as numbers, tissue between them, texture on top.

    Args:
        n_depth: axial samples of the volumes that it is made for.
        encoder: name of the photo encoder, see :func:`fund2oct.networks.encoder.build_encoder`, or a module
            of one's own: it has ``channels`` and maps a photo to as many maps, of any size.
        fine_tune: whether a pre-trained encoder is trained as well.
        encoder_px: the width in pixels at which a pre-trained encoder sees the photo.
        surface_width: channels of an A-scan's features in the surface network.
        tissue_width: likewise in the tissue network.
        texture: widths of the texture's levels, finest first.
        n_numbers: random numbers that an eye's surfaces are drawn from.
    """

    def __init__(
        self,
        n_depth: int,
        encoder: str | nn.Module = "efficientnet_lite0",
        fine_tune: bool = False,
        encoder_px: int = 192,
        surface_width: int = 96,
        tissue_width: int = 128,
        texture: Sequence[int] = (16, 24, 32),
        n_numbers: int = 16,
    ) -> None:
        super().__init__()
        self.n_depth = n_depth
        self.bands = layer_bands(n_depth)
        self.encoder = build_encoder(encoder, fine_tune, encoder_px) if isinstance(encoder, str) else encoder
        channels: Sequence[int] = self.encoder.channels  # type: ignore[assignment]
        self.surfaces = SurfaceNetwork(channels, SURFACES, surface_width, n_numbers)
        self.tissue = TissueNetwork(channels, sum(self.bands), self.bands[1], len(SURFACES), tissue_width)
        self.texture = TextureNetwork(texture, len(SURFACES))

    def forward(
        self,
        fundus: Tensor,
        grid: Tensor,
        spacing_z_mm: Tensor | float,
        n_depth: int | None = None,
        rng: NoiseSource | None = None,
        draw_surfaces: bool = False,
    ) -> Tensor:
        """Draw the retina in the aligned frame.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: A-scan positions in grid units, shape ``(B, S, X, 2)``.
            spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.
            n_depth: axial samples of the volume; the network's own when absent.
            rng: source of the noise; torch's own when absent.
            draw_surfaces: whether surfaces are drawn rather than the median ones.

        Returns:
            Volumes in [0, 1], shape ``(B, 1, S, Z, X)``.
        """
        rng = rng or NoiseSource()
        anatomy = self.anatomy(fundus, grid, spacing_z_mm, n_depth, draw=rng if draw_surfaces else None)
        return self.dress(anatomy, rng)

    def anatomy(
        self,
        fundus: Tensor,
        grid: Tensor,
        spacing_z_mm: Tensor | float,
        n_depth: int | None = None,
        real: Real | None = None,
        draw: NoiseSource | None = None,
        centre: Tensor | None = None,
    ) -> Anatomy:
        """Predict surfaces, and draw the tissue between them without noise.

        Args:
            fundus: as :meth:`forward`.
            grid: likewise.
            spacing_z_mm: likewise.
            n_depth: likewise.
            real: the real retina, to draw the tissue between its surfaces and around its fluid.
            draw: noise to draw the surfaces from; the median ones when absent.
            centre: of the scan, see :class:`fund2oct.networks.lines.LineEncoder`.
        """
        n_depth = n_depth or self.n_depth
        if grid.ndim != 4 or grid.shape[-1] != 2 or len(grid) != len(fundus):
            raise ValueError(f"grid: expected ({len(fundus)}, S, X, 2), found {tuple(grid.shape)}")
        maps = self.encoder(fundus)
        found = self.surfaces(fundus, maps, grid, centre)
        # Tissue is taught on real surfaces; it must not bend the surfaces to its own ends.
        heights = (found.median_um if draw is None else found.draw(draw)).detach()
        if real is not None:
            heights = torch.where(real.heights_um.isfinite(), real.heights_um, heights)
        if not isinstance(spacing_z_mm, Tensor) and not spacing_z_mm > 0:
            raise ValueError(
                f"spacing: expected a positive distance of rows in millimetres, found {spacing_z_mm}; a "
                "model that was not trained knows none"
            )
        tissue: Tissue = self.tissue(fundus, maps, grid, increments_of(heights), centre)
        row_um = 1000 * torch.as_tensor(spacing_z_mm, dtype=torch.float32, device=grid.device).view(
            -1, 1, 1, 1
        )
        depth_um = aligned_depth_um(heights, row_um, n_depth)
        frame = LayerFrame(self.bands, n_depth / self.n_depth)
        pockets = None
        if real is not None:
            layers = to_layers(real.aligned, depth_um, spacing_z_mm, frame)
            pockets = dark_pockets(layers, frame, real.spacing_x_mm)
        columns = tissue.drawn(frame.edges[0], pockets)
        logits = self.part(from_layers, columns, depth_um, spacing_z_mm, n_depth, frame)
        return Anatomy(found, heights, logits, row_um, tissue.pockets, pockets)

    def dress(self, anatomy: Anatomy, rng: NoiseSource) -> Tensor:
        """Draw texture on an anatomy, see :func:`dressed`."""
        return dressed(self.texture, anatomy, rng)


def dressed(texture: nn.Module, anatomy: Anatomy, rng: NoiseSource) -> Tensor:
    """Draw texture on an anatomy; no gradient reaches the anatomy.

    What the texture network draws without noise is taken off: it would be one pattern in all eyes.

    Args:
        texture: called as :class:`fund2oct.networks.layered.texture.TextureNetwork`.
        anatomy: without noise.
        rng: source of the noise.

    Returns:
        Volumes in [0, 1], shape ``(B, 1, S, Z, X)``.
    """
    logits = anatomy.logits.detach()
    n_slices, n_depth = logits.shape[2:4]
    row = torch.arange(n_depth, device=logits.device).view(1, 1, 1, -1, 1) + 0.5
    distances = row * anatomy.row_um[..., None] - anatomy.depth_um.detach()[:, :, :, None]
    given = fold(logits), fold(distances)
    drawn = texture(*given, rng) - texture(*given, NoNoise())
    return (logits + unfold(drawn, n_slices).float()).sigmoid()


def layer_bands(n_depth: int) -> tuple[int, ...]:
    """Rows of the layer frame for volumes of a depth: about as fine as the volume itself.

    Example:
        >>> layer_bands(80)
        (8, 28, 6, 6, 36)
    """
    share = n_depth / 80
    return tuple(max(1, round(rows * share)) for rows in (8, 28, 6, 6, 36))
