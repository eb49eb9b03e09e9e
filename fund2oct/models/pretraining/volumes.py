"""Masked autoencoding of volumes, for the tissue's decoder and a discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.losses import masked_mean
from fund2oct.models.batch import Batch, Losses
from fund2oct.models.pix2vol_losses import N_CONDITION
from fund2oct.models.pretraining.masked import MaskedModel
from fund2oct.models.surface_model import heights_above_pose
from fund2oct.networks.adversaries.discriminators import BScanPatchDiscriminator
from fund2oct.networks.blocks import fold, unfold
from fund2oct.networks.layered.generator import Real, aligned_depth_um, layer_bands, tissue_between
from fund2oct.networks.layered.surfaces import increments_of, usual_heights_um
from fund2oct.networks.layered.tissue import Tissue
from fund2oct.networks.masked.hiding import enlarged, hidden_cells, hide
from fund2oct.networks.masked.volume import VolumeAutoencoder
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import SURFACES, LayerFrame, align, aligned_mask, to_layers

WEIGHTS = {"tissue": 1000.0, "pockets": 100.0}
"""Weights of the terms of :func:`hidden_tissue_losses`, those that they have in ``Pix2Vol``."""
_UNKNOWN = 0.5
"""Value of a condition that is not known: the middle, which a discriminator takes for 0."""
_LAYERS = 3


class MaskedVolumes(MaskedModel):
    """Masked autoencoding of volumes: learns what tissue looks like from volumes alone.

    Cells of each B-scan in the aligned frame, and what was not scanned, are replaced by the mean of the rest.
    The hidden layers of a B-scan discriminator read what is left, and a decoder draws the tissue of every
    A-scan between the real surfaces. Their true heights are given at every A-scan, hidden ones too. Its
    terms, of hidden voxels alone, are two of ``Pix2Vol``:

    * ``tissue``: squared difference from the real volume; fluid is drawn where the real volume has it, and
      trains its brightness alone;
    * ``pockets``: cross entropy of the fluid within the retina.

    Decoder and discriminator have the names that they have in ``Pix2Vol``; give it the same ``tissue_width``
    and ``bscan_width``. What the discriminator sees of photo and anatomy there is unknown here.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        tissue_width: number of channels of an A-scan's features.
        bscan_width: number of channels of the discriminator's first layer.
        cells: numbers of cells along Z and X of each B-scan.
        hidden: share of the cells that are hidden, in [0, 1]. With 0 it is a plain autoencoder, whose loss is
            that of all voxels.
        options: further arguments, those of :class:`MaskedModel`.

    Raises:
        ValueError: if ``hidden`` or ``cells`` are out of their ranges, or no cell is hidden and ``hidden`` is
            not 0.

    References:
        He et al., Masked autoencoders are scalable vision learners, CVPR 2022, arXiv:2111.06377; Pathak et
        al., Context encoders, CVPR 2016, arXiv:1604.07379 (convolutions that fill in).

    Example:
        >>> model = MaskedVolumes(shape=(6, 32, 48), tissue_width=16, bscan_width=8)
        >>> model.configure_model()
        >>> sorted(name.partition(".")[0] for name, _ in model.generator.named_children())
        ['code', 'tissue']
    """

    needed: ClassVar[tuple[str, ...]] = ("volume", "pose_um", "spacing_z_mm", "spacing_x_mm", "surfaces_um")

    def __init__(
        self,
        shape: tuple[int, int, int],
        tissue_width: int = 128,
        bscan_width: int = 32,
        cells: Sequence[int] = (10, 14),
        hidden: float = 0.6,
        **options: Any,
    ) -> None:
        if len(cells) != 2 or min(cells) < 1:
            raise ValueError(f"cells: expected two numbers of at least 1, found {list(cells)}")
        n_cells = cells[0] * cells[1]
        if not (0 <= hidden <= 1 and (hidden == 0 or round(hidden * n_cells) > 0)):
            raise ValueError(
                f"hidden: expected a share in [0, 1], 0 or enough to hide one of {n_cells} cells, found "
                f"{hidden}"
            )
        super().__init__(shape, **options)
        self.tissue_width = tissue_width
        self.bscan_width = bscan_width
        self.cells = cells[0], cells[1]
        self.hidden = hidden
        self.spacing_x_mm: float | None = None

    def configure_model(self) -> None:
        """Build the networks: here a discriminator is the encoder."""
        super().configure_model()
        if not hasattr(self, "discriminators"):
            judge = BScanPatchDiscriminator(N_CONDITION, self.bscan_width, _LAYERS, n_scales=1)
            # Its last layer gives scores, which nothing here asks for.
            judge.scales[0][-1].requires_grad_(False)  # type: ignore[index]
            self.discriminators = nn.ModuleDict({"bscan": judge})

    def build_generator(self) -> nn.Module:
        """The decoder of tissue, and what reads the discriminator's layers for it."""
        return VolumeAutoencoder(*self.sizes())

    def sizes(self) -> tuple[int, tuple[int, ...], tuple[int, ...], int, int]:
        """Rows, bands of the layer frame, channels of the discriminator's layers, surfaces and width."""
        channels = tuple(self.bscan_width * 2**level for level in range(_LAYERS))
        n_depth = self.shape[1]
        return n_depth, layer_bands(n_depth), channels, len(SURFACES), self.tissue_width

    def setup(self, stage: str) -> None:
        """Ask the datamodule how far two A-scans are apart."""
        super().setup(stage)
        spacing = getattr(getattr(self.trainer, "datamodule", None), "spacing_mm", None)
        self.spacing_x_mm = None if spacing is None else spacing[2]

    def filling_losses(self, network: nn.Module, batch: Batch, rng: NoiseSource) -> Losses:
        """The terms of the hidden voxels."""
        aligned = align(batch["volume"], batch["pose_um"], batch["spacing_z_mm"])
        hidden = self.hidden_voxels(aligned, self.hidden, rng)
        heights = known_heights_um(batch)
        tissue = network(self.read(seen_voxels(aligned, hidden, batch)), increments_of(heights))
        counted = hidden if self.hidden else torch.ones_like(hidden)
        return hidden_tissue_losses(tissue, heights, aligned, counted, batch, self.ascan_mm(batch))

    def ascan_mm(self, batch: Batch) -> float:
        """Distance of two A-scans in millimetres; loaders without a datamodule tell it in each batch."""
        return float(batch["spacing_x_mm"].mean()) if self.spacing_x_mm is None else self.spacing_x_mm

    def hidden_voxels(self, aligned: Tensor, share: float | Tensor, rng: NoiseSource) -> Tensor:
        """Draw what is hidden of volumes ``(B, 1, S, Z, X)``, bool, of the same shape."""
        n_slices, n_depth, n_ascans = aligned.shape[2:]
        if isinstance(share, Tensor):
            share = share.repeat_interleave(n_slices)
        cells = hidden_cells(len(aligned) * n_slices, self.cells, share, rng, aligned.device)
        return unfold(enlarged(cells, (n_depth, n_ascans)), n_slices)

    def read(self, seen: Tensor, lines: Tensor | None = None) -> list[Tensor]:
        """Outputs of the discriminator's hidden layers.

        Args:
            seen: volumes whose hidden voxels were replaced, shape ``(B, 1, S, Z, X)``.
            lines: the photo under each A-scan, shape ``(B, 3, S, X)``; None where it is not known.

        Returns:
            A tensor for each hidden layer, from shallow to deep.
        """
        n_eyes, _, n_slices, _, n_ascans = seen.shape
        condition = seen.new_full((n_eyes, N_CONDITION, n_slices, n_ascans), _UNKNOWN)
        if lines is not None:
            condition[:, : lines.shape[1]] = lines
        (found,) = self.discriminators["bscan"](seen, condition)
        layers: list[Tensor] = found.features
        return layers


def hide_voxels(volume: Tensor, hidden: Tensor) -> Tensor:
    """Replace the hidden voxels of volumes ``(B, 1, S, Z, X)`` by the mean of the rest of their B-scan."""
    return unfold(hide(fold(volume), fold(hidden)), volume.shape[2])


def seen_voxels(aligned: Tensor, hidden: Tensor, batch: Batch) -> Tensor:
    """What is left to be seen of aligned volumes ``(B, 1, S, Z, X)`` of which some voxels are hidden.

    What was not scanned is hidden too: it repeats the rows at the edge of the scan, hidden ones among them.
    """
    scanned = aligned_mask(batch["volume"], batch["pose_um"], batch["spacing_z_mm"])
    return hide_voxels(aligned, hidden | ~scanned)


def known_heights_um(batch: Batch) -> Tensor:
    """Heights of the surfaces above the pose's surface, ``(B, n, S, X)``, usual ones where none was found."""
    heights = heights_above_pose(batch)
    return torch.where(heights.isfinite(), heights, usual_heights_um(heights.device))


def hidden_tissue_losses(
    tissue: Tissue, heights_um: Tensor, aligned: Tensor, hidden: Tensor, batch: Batch, spacing_x_mm: float
) -> Losses:
    """Compare tissue with the real volume, where it was hidden.

    Args:
        tissue: tissue in the layer frame.
        heights_um: surfaces in micrometres above the pose's surface, shape ``(B, n, S, X)``.
        aligned: real volume in the aligned frame, shape ``(B, 1, S, Z, X)``.
        hidden: True where it was hidden, same shape.
        batch: the batch.
        spacing_x_mm: distance of two A-scans in millimetres; a number, for a value on a GPU would have to be
            waited for.

    Returns:
        The weighted terms of :data:`WEIGHTS`.
    """
    spacing_z_mm, n_depth = batch["spacing_z_mm"], aligned.shape[3]
    frame = LayerFrame(layer_bands(n_depth))
    row_um = 1000 * spacing_z_mm.view(-1, 1, 1, 1)
    real = Real(heights_um, aligned, spacing_x_mm)
    logits, pockets = tissue_between(tissue, heights_um, row_um, spacing_z_mm, n_depth, frame, real)
    assert pockets is not None
    counted = hidden & (aligned_mask(batch["volume"], batch["pose_um"], spacing_z_mm) > 0)
    depth_um = aligned_depth_um(heights_um, row_um, n_depth)
    layers = to_layers(hidden.float(), depth_um, spacing_z_mm, frame)
    band = layers[:, :, :, frame.edges[0] : frame.edges[1]] > _UNKNOWN
    entropy = F.binary_cross_entropy_with_logits(tissue.pockets, pockets, reduction="none")
    losses = {
        "tissue": masked_mean((logits.sigmoid() - aligned).square(), counted),
        "pockets": masked_mean(entropy, band),
    }
    return {name: WEIGHTS[name] * loss for name, loss in losses.items()}
