"""The generator: surfaces and tissue from the photo, then texture from noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fund2oct.networks.blocks import Recomputing, fold, unfold
from fund2oct.networks.encoder import build_encoder
from fund2oct.networks.known import Known
from fund2oct.networks.layered.pockets import dark_pockets
from fund2oct.networks.layered.surface_predictor import SurfacePredictor
from fund2oct.networks.layered.surfaces import SurfaceDistribution, increments_of
from fund2oct.networks.layered.texture import TextureNetwork
from fund2oct.networks.layered.tissue import Tissue, TissueNetwork
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina.frame import ALIGNED_DEPTH
from fund2oct.retina.layer_frame import LayerFrame, from_layers, to_layers
from fund2oct.retina.layers import SURFACES

_STRENGTH = 0.25
"""Intensity that a texture of 1 adds, so that an untrained one is about as strong as speckle."""


@dataclass(frozen=True, eq=False)
class PredictedAnatomy:
    """Surfaces and tissue that the generator predicts for some photos, before it draws texture.

    Args:
        surfaces: predicted distribution of the surfaces.
        heights_um: surfaces between which the tissue was drawn, in micrometres above the pose's surface, in
            the order from vitreous to choroid, shape ``(B, n, S, X)``.
        logits: logits of the intensities in the aligned frame, without noise, shape ``(B, 1, S, Z, X)``.
        row_um: height of a row in micrometres, shape ``(B, 1, 1, 1)``.
        pockets: logits of the probability that a voxel of the layer frame's inner band is fluid, shape
            ``(B, 1, S, rows of the band, X)``.
        real_pockets: 1 where the real volume shows fluid, else 0, same shape as ``pockets``; None without a
            real volume.

    Example:
        >>> generator = LayeredGenerator(n_depth=32, encoder="own")
        >>> photo, grid = torch.rand(1, 3, 32, 32), torch.zeros(1, 2, 24, 2)
        >>> anatomy = generator.anatomy(photo, grid, spacing_z_mm=0.06)
        >>> anatomy.image.shape, anatomy.depth_um.shape  # intensities, and the depths of four surfaces
        (torch.Size([1, 1, 2, 32, 24]), torch.Size([1, 4, 2, 24]))
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
        """Depth of the surfaces below the top of the aligned frame in micrometres, ``(B, n, S, X)``."""
        return aligned_depth_um(self.heights_um, self.row_um, self.logits.shape[3])


class Real(NamedTuple):
    """A real volume and its surfaces, from which the generator learns to draw tissue.

    Args:
        heights_um: surfaces in micrometres above the pose's surface, in the order from vitreous to choroid,
            NaN where unknown, shape ``(B, n, S, X)``.
        aligned: volume in the aligned frame, in [0, 1], shape ``(B, 1, S, Z, X)``.
        spacing_x_mm: distance of two A-scans in millimetres.

    Example:
        >>> heights_um = torch.tensor([300.0, 40.0, 26.0, 0.0]).view(1, 4, 1, 1).expand(-1, -1, 2, 24)
        >>> real = Real(heights_um, aligned=torch.rand(1, 1, 2, 32, 24), spacing_x_mm=0.1)
        >>> generator = LayeredGenerator(n_depth=32, encoder="own")
        >>> photo, grid = torch.rand(1, 3, 32, 32), torch.zeros(1, 2, 24, 2)
        >>> anatomy = generator.anatomy(photo, grid, spacing_z_mm=0.06, real=real)
        >>> anatomy.heights_um.equal(heights_um)  # tissue was drawn between the real surfaces
        True
    """

    heights_um: Tensor
    aligned: Tensor
    spacing_x_mm: float


def aligned_depth_um(heights_um: Tensor, row_um: Tensor, n_depth: int) -> Tensor:
    """Depths below the top of the aligned frame from heights above the pose's surface, ``(B, n, S, X)``."""
    return ALIGNED_DEPTH * n_depth * row_um - heights_um


class LayeredGenerator(SurfacePredictor, Recomputing):
    """Generator that predicts surfaces, draws the tissue between them, and adds texture.

    The surfaces are heights in micrometres, one for each A-scan. The tissue is drawn in layer coordinates, in
    which the surfaces are flat, and is warped to the surfaces. Both follow from the photo; the texture,
    such as speckle, is drawn from noise.

    Args:
        n_depth: number of rows Z of the volumes that it is trained on.
        encoder: the photo encoder, a module with ``channels`` that makes one map of the photo, of any size,
            for each of them; or its name, see :func:`fund2oct.networks.encoder.build_encoder`.
        surface_width: number of channels of an A-scan's features in the surface network.
        tissue_width: the same in the tissue network.
        texture: numbers of channels of the texture's levels, finest first.
        n_numbers: number of random numbers from which the surfaces of an eye are drawn.
        n_known: numbers of scalars and of masks that it may be told, see
            :class:`fund2oct.networks.known.Known`.
        registration: whether it corrects where the scan lies on the photo, see
            :class:`fund2oct.networks.registration.RegistrationNetwork`.
        position: places that an attention across the scan is told, see
            :class:`fund2oct.networks.attention.ScanAttention`; None has no attention.

    Example:
        >>> generator = LayeredGenerator(n_depth=32, encoder="own")
        >>> photo, grid = torch.rand(1, 3, 32, 32), torch.zeros(1, 2, 24, 2)
        >>> generator(photo, grid, spacing_z_mm=0.06).shape
        torch.Size([1, 1, 2, 32, 24])
    """

    def __init__(
        self,
        n_depth: int,
        encoder: str | nn.Module = "efficientnet_lite0",
        surface_width: int = 96,
        tissue_width: int = 128,
        texture: Sequence[int] = (16, 24, 32),
        n_numbers: int = 16,
        n_known: tuple[int, int] = (0, 0),
        registration: bool = False,
        position: str | None = None,
    ) -> None:
        photo_encoder = build_encoder(encoder) if isinstance(encoder, str) else encoder
        super().__init__(photo_encoder, surface_width, n_numbers, n_known, registration, position)
        self.n_depth = n_depth
        self.bands = layer_bands(n_depth)
        channels: Sequence[int] = photo_encoder.channels  # type: ignore[assignment]
        self.tissue = TissueNetwork(
            channels, sum(self.bands), self.bands[1], len(SURFACES), tissue_width, n_known
        )
        self.texture = TextureNetwork(texture, len(SURFACES))

    def forward(
        self,
        fundus: Tensor,
        grid: Tensor,
        spacing_z_mm: Tensor | float,
        n_depth: int | None = None,
        rng: NoiseSource | None = None,
        draw_surfaces: bool = False,
        known: Known | None = None,
    ) -> Tensor:
        """Draw the retina in the aligned frame.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
                ``(B, S, X, 2)``.
            spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.
            n_depth: number of rows Z of the volume; None takes that of the constructor.
            rng: source of the noise; None takes torch's global generator.
            draw_surfaces: True draws the surfaces from their distribution, False takes the median.
            known: what is known of the eyes beside their photos.

        Returns:
            Volumes in [0, 1], shape ``(B, 1, S, Z, X)``.

        Raises:
            ValueError: if the grid does not belong to the photos or the spacing is not positive.
        """
        rng = rng or NoiseSource()
        draw = rng if draw_surfaces else None
        anatomy = self.anatomy(fundus, grid, spacing_z_mm, n_depth, draw=draw, known=known)
        return self.dress(anatomy, rng)

    def anatomy(
        self,
        fundus: Tensor,
        grid: Tensor,
        spacing_z_mm: Tensor | float,
        n_depth: int | None = None,
        real: Real | None = None,
        draw: NoiseSource | None = None,
        whole: Tensor | None = None,
        known: Known | None = None,
    ) -> PredictedAnatomy:
        """Predict surfaces, and draw the tissue between them without noise.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: positions of the A-scans, as in :meth:`forward`, shape ``(B, S, X, 2)``.
            spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.
            n_depth: number of rows Z of the volume; None takes that of the constructor.
            real: real volumes in training. The tissue is then drawn between their surfaces and around their
                fluid.
            draw: source of noise to draw the surfaces from their distribution; None takes the median.
            whole: positions of all A-scans of the scan, where ``grid`` holds only some, see
                :func:`fund2oct.networks.registration.registered`.
            known: what is known of the eyes beside their photos.

        Returns:
            The anatomy.

        Raises:
            ValueError: if the grid does not belong to the photos or the spacing is not positive.
        """
        n_depth = n_depth or self.n_depth
        if grid.ndim != 4 or grid.shape[-1] != 2 or len(grid) != len(fundus):
            raise ValueError(f"grid: expected ({len(fundus)}, S, X, 2), found {tuple(grid.shape)}")
        maps, grid, whole = self.read(fundus, grid, whole)
        found = self.surfaces(fundus, maps, grid, whole, known)
        # Tissue is taught on real surfaces; it must not bend the surfaces to its own ends.
        heights = (found.median_um if draw is None else found.draw(draw)).detach()
        if real is not None:
            heights = torch.where(real.heights_um.isfinite(), real.heights_um, heights)
        if not isinstance(spacing_z_mm, Tensor) and not spacing_z_mm > 0:
            raise ValueError(
                f"spacing: expected a positive distance of rows in millimetres, found {spacing_z_mm}; a "
                "model that was not trained knows none"
            )
        tissue: Tissue = self.tissue(fundus, maps, grid, increments_of(heights), whole, known)
        row_um = 1000 * torch.as_tensor(spacing_z_mm, dtype=torch.float32, device=grid.device).view(
            -1, 1, 1, 1
        )
        given = heights, row_um, spacing_z_mm, n_depth, LayerFrame(self.bands, n_depth / self.n_depth)
        logits, pockets = self.part(tissue_between, tissue, *given, real)
        return PredictedAnatomy(found, heights, logits, row_um, tissue.pockets, pockets)

    def dress(self, anatomy: PredictedAnatomy, rng: NoiseSource) -> Tensor:
        """Draw texture on an anatomy.

        Args:
            anatomy: surfaces and tissue without noise, see :meth:`anatomy`.
            rng: source of the noise.

        Returns:
            Volumes in [0, 1], shape ``(B, 1, S, Z, X)``.
        """
        return dressed(self.texture, anatomy, rng)


def dressed(texture: nn.Module, anatomy: PredictedAnatomy, rng: NoiseSource) -> Tensor:
    """Draw texture on an anatomy, without a gradient into the anatomy.

    Texture is added to the intensities, since the speckle of a scan with logarithmic intensities is about
    normal and as strong in the dark as in the light. Added to the logits it would be skewed in the dark, and
    fill fluid with bright grains.

    Args:
        texture: a texture network, called like :class:`fund2oct.networks.layered.texture.TextureNetwork`.
        anatomy: surfaces and tissue without noise.
        rng: source of the noise.

    Returns:
        Volumes in [0, 1], shape ``(B, 1, S, Z, X)``.
    """
    logits = anatomy.logits.detach()
    n_slices, n_depth = logits.shape[2:4]
    row = torch.arange(n_depth, device=logits.device).view(1, 1, 1, -1, 1) + 0.5
    distances = row * anatomy.row_um[..., None] - anatomy.depth_um.detach()[:, :, :, None]
    drawn = unfold(texture(fold(logits), fold(distances), rng), n_slices)
    return (logits.sigmoid() + _STRENGTH * drawn.float()).clamp(0, 1)


def tissue_between(
    tissue: Tissue,
    heights_um: Tensor,
    row_um: Tensor,
    spacing_z_mm: Tensor | float,
    n_depth: int,
    frame: LayerFrame,
    real: Real | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Put tissue between surfaces.

    Args:
        tissue: tissue in the layer frame.
        heights_um: surfaces in micrometres above the pose's surface, shape ``(B, n, S, X)``.
        row_um: height of a row in micrometres, shape ``(B, 1, 1, 1)``.
        spacing_z_mm: the same in millimetres, one number or one for each eye, shape ``(B,)``.
        n_depth: number of rows Z.
        frame: the layer frame.
        real: real volumes in training, whose fluid is drawn in place of the predicted one.

    Returns:
        Logits of the intensities in the aligned frame, shape ``(B, 1, S, Z, X)``, and 1 where the real
        volumes show fluid, see :attr:`PredictedAnatomy.real_pockets`.
    """
    depth_um = aligned_depth_um(heights_um, row_um, n_depth)
    pockets = None
    if real is not None:
        layers = to_layers(real.aligned, depth_um, spacing_z_mm, frame)
        pockets = dark_pockets(layers, frame, real.spacing_x_mm)
    columns = tissue.drawn(frame.edges[0], pockets)
    return from_layers(columns, depth_um, spacing_z_mm, n_depth, frame), pockets


def layer_bands(n_depth: int) -> tuple[int, ...]:
    """Number of rows in each band of the layer frame, about as fine as those of the volume.

    Args:
        n_depth: number of rows Z of the volume.

    Returns:
        A number for each band between two surfaces, from vitreous to choroid.

    Example:
        >>> layer_bands(80)
        (8, 28, 6, 6, 36)
    """
    share = n_depth / 80
    return tuple(max(1, round(rows * share)) for rows in (8, 28, 6, 6, 36))
