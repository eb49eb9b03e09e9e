"""Masking across modalities, on pairs: the photo helps to fill in the volume, and the volume the photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fund2oct.losses import masked_mean
from fund2oct.models.batch import Batch, Losses
from fund2oct.models.pretraining.photos import hidden_photo_loss
from fund2oct.models.pretraining.volumes import (
    MaskedVolumes,
    hidden_tissue_losses,
    known_heights_um,
    seen_voxels,
)
from fund2oct.networks.layered.surfaces import increments_of
from fund2oct.networks.lift import sample_lines
from fund2oct.networks.masked.hiding import enlarged, hidden_cells, hide
from fund2oct.networks.masked.pair import PairAutoencoder
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import align

WEIGHTS = {"photo": 100.0, "colours": 100.0}
"""Weights of the two terms of the photo; those of the volume are those of ``MaskedVolumes``."""


class MaskedPairs(MaskedVolumes):
    """Masking across modalities on pairs: fills in photo and volume from what is left of both.

    Of each eye a random share of the photo's cells and of the volume's cells is hidden. Both shares vary
    from eye to eye: what one side shows more of, the other shows less of, so that now and then the whole
    volume is filled in from the photo, or the other way round. Its terms, of what was hidden alone:

    * ``tissue`` and ``pockets``: those of :class:`MaskedVolumes`. The true heights of the four surfaces are
      given at every A-scan, hidden ones too, so that what is learned of the volume is tissue and not shape;
    * ``photo``: L1 of the photo, by the photo's encoder;
    * ``colours``: L1 of the photo's colours over each A-scan, by what is known of volume and photo there.

    The photo encoder, the whole tissue network and the discriminator have the names that they have in
    ``Pix2Vol``.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        encoder: photo encoder, see :class:`fund2oct.models.Pix2Vol`.
        fine_tune: what of a pre-trained encoder is trained on: True for all, False for nothing, a number for
            its last blocks; None for all, or nothing with ``lora_rank``.
        lora_rank: rank of trained low-rank changes of a foundation encoder; 0 for none.
        encoder_px: width in pixels to which photos are resized for it; None takes that of its weights.
        tissue_width: number of channels of an A-scan's features.
        photo_cells: number of cells along each side of a photo.
        cells: numbers of cells along Z and X of each B-scan.
        hidden: mean of both hidden shares, in [0.5, 1].
        options: further arguments, those of :class:`MaskedVolumes`.

    Raises:
        ValueError: if ``hidden`` or ``photo_cells`` are out of their ranges, or the encoder has no use for an
            argument.

    References:
        Bachmann et al., MultiMAE, ECCV 2022, arXiv:2204.01678, section 3.2 (shares from a symmetric
        Dirichlet distribution, which of two is a uniform one).

    Example:
        >>> model = MaskedPairs(shape=(6, 32, 48), encoder="own", tissue_width=16, bscan_width=8)
        >>> model.configure_model()
        >>> sorted(name for name, _ in model.generator.named_children())
        ['code', 'colours', 'encoder', 'photo', 'tissue']
    """

    needed = ("fundus", "grid", *MaskedVolumes.needed)

    def __init__(
        self,
        shape: tuple[int, int, int],
        encoder: str = "auto",
        fine_tune: bool | int | None = None,
        lora_rank: int = 0,
        encoder_px: int | None = None,
        tissue_width: int = 128,
        photo_cells: int = 8,
        cells: Sequence[int] = (10, 14),
        hidden: float = 0.75,
        **options: Any,
    ) -> None:
        if photo_cells < 1:
            raise ValueError(f"photo_cells: expected at least 1, found {photo_cells}")
        if not 0.5 <= hidden <= 1:
            raise ValueError(f"hidden: expected a mean share in [0.5, 1], found {hidden}")
        super().__init__(shape, tissue_width=tissue_width, cells=cells, hidden=hidden, **options)
        self.choose_encoder(encoder, fine_tune, encoder_px, lora_rank)
        self.photo_cells = photo_cells, photo_cells

    def build_generator(self) -> nn.Module:
        """Encoder, tissue network, and what fills in the photo."""
        return PairAutoencoder(self.chosen_encoder(), *self.sizes())

    def filling_losses(self, network: nn.Module, batch: Batch, rng: NoiseSource) -> Losses:
        """The terms of what was hidden of photo and volume."""
        fundus, grid = batch["fundus"], batch["grid"]
        aligned = align(batch["volume"], batch["pose_um"], batch["spacing_z_mm"])
        of_photo, of_volume = self.shares(len(fundus), rng, fundus.device)
        cells = hidden_cells(len(fundus), self.photo_cells, of_photo, rng, fundus.device)
        hidden = enlarged(cells, (fundus.shape[2], fundus.shape[3]))
        hidden_voxels = self.hidden_voxels(aligned, of_volume, rng)
        heights = known_heights_um(batch)
        seen = hide(fundus, hidden)
        layers = self.read(seen_voxels(aligned, hidden_voxels, batch), sample_lines(seen, grid))
        filled = network(seen, grid, layers, increments_of(heights))
        under = sample_lines(hidden.float(), grid) > 0.5
        off = (filled.colours.sigmoid() - sample_lines(fundus, grid)).abs()
        losses = {
            "photo": hidden_photo_loss(seen + filled.photo, fundus, hidden),
            "colours": masked_mean(off, under),
        }
        losses = {name: WEIGHTS[name] * loss for name, loss in losses.items()}
        return losses | hidden_tissue_losses(
            filled.tissue, heights, aligned, hidden_voxels, batch, self.ascan_mm(batch)
        )

    def shares(self, n_eyes: int, rng: NoiseSource, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Draw the hidden shares of photo and volume of each eye, two tensors ``(B,)``."""
        visible = 2 * (1 - self.hidden)
        to_photo = torch.special.ndtr(rng.randn((n_eyes, 1), device)[:, 0])
        return 1 - visible * to_photo, 1 - visible * (1 - to_photo)
