"""Masked autoencoding of photos, for the photo encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fund2oct.losses import masked_mean
from fund2oct.models.batch import Batch, Losses
from fund2oct.models.pretraining.masked import MaskedModel
from fund2oct.networks.masked.hiding import enlarged, hidden_cells
from fund2oct.networks.masked.photo import PhotoAutoencoder
from fund2oct.networks.noise import NoiseSource

_BLACK = 0.06
"""Intensity of a photo's brightest colour below which it is the surround of the retina."""


class MaskedPhotos(MaskedModel):
    r"""Masked autoencoding of photos: learns what photos look like from photos alone.

    Square cells of each photo are replaced by its mean colour, and the network fills them in. The loss is the
    L1 of the hidden pixels that show retina:

    .. math:: L = \frac{\sum_i h_i r_i |\hat x_i - x_i|}{\sum_i h_i r_i}

    with :math:`h_i = 1` where a pixel is hidden and :math:`r_i = 1` where it shows retina. The encoder has
    the name that it has in ``Pix2Vol``, ``SurfaceModel`` and ``VoxelGAN``; give them the same ``encoder``,
    and ``fine_tune: true`` where that is a pre-trained one.

    Args:
        encoder: photo encoder, see :class:`fund2oct.models.Pix2Vol`.
        fine_tune: what of a pre-trained encoder is trained on: True for all, False for nothing, a number for
            its last blocks; None for all, or nothing with ``lora_rank``.
        lora_rank: rank of trained low-rank changes of a foundation encoder; 0 for none.
        encoder_px: width in pixels to which photos are resized for it; None takes that of its weights.
        cells: number of cells along each side of a photo.
        hidden: share of the cells that are hidden, in (0, 1): one cell at least, and not all.
        options: further arguments, those of :class:`MaskedModel` without ``shape``.

    Raises:
        ValueError: if ``cells`` or ``hidden`` are out of their ranges, or the encoder has no use for an
            argument.

    References:
        He et al., Masked autoencoders are scalable vision learners, CVPR 2022, arXiv:2111.06377, section 3;
        Xie et al., SimMIM, CVPR 2022, arXiv:2111.09886, section 3 (cells replaced in the picture, L1). Of
        MAE it lacks the encoder that skips hidden cells, which a convolutional one cannot, and the targets
        normalised in each cell.

    Example:
        >>> import torch
        >>> model = MaskedPhotos(encoder="own")
        >>> model.configure_model()
        >>> batch = {"fundus": torch.rand(1, 3, 48, 48)}
        >>> model.filling_losses(model.generator, batch, NoiseSource())["photo"].shape
        torch.Size([])
    """

    needed = ("fundus",)

    def __init__(
        self,
        encoder: str = "auto",
        fine_tune: bool | int | None = None,
        lora_rank: int = 0,
        encoder_px: int | None = None,
        cells: int = 8,
        hidden: float = 0.6,
        **options: Any,
    ) -> None:
        if cells < 1:
            raise ValueError(f"cells: expected at least 1, found {cells}")
        if not (0 < hidden < 1 and 0 < round(hidden * cells**2) < cells**2):
            raise ValueError(
                f"hidden: expected a share in (0, 1), by which some of {cells**2} cells are hidden and not "
                f"all, found {hidden}"
            )
        super().__init__(shape=(0, 0, 0), **options)
        self.hparams.pop("shape", None)  # of no use here: there are no volumes
        self.choose_encoder(encoder, fine_tune, encoder_px, lora_rank)
        self.cells = cells, cells
        self.hidden = hidden

    def build_generator(self) -> nn.Module:
        """The encoder and a small decoder."""
        return PhotoAutoencoder(self.chosen_encoder())

    def filling_losses(self, network: nn.Module, batch: Batch, rng: NoiseSource) -> Losses:
        """L1 of the hidden retina."""
        fundus = batch["fundus"]
        cells = hidden_cells(len(fundus), self.cells, self.hidden, rng, fundus.device)
        hidden = enlarged(cells, (fundus.shape[2], fundus.shape[3]))
        return {"photo": hidden_photo_loss(network(fundus, hidden), fundus, hidden)}


def hidden_photo_loss(drawn: Tensor, fundus: Tensor, hidden: Tensor) -> Tensor:
    """L1 of the hidden pixels that show retina.

    Args:
        drawn: photos that were filled in, shape ``(B, 3, H, W)``.
        fundus: real ones, same shape.
        hidden: True where a pixel was hidden, shape ``(B, 1, H, W)``.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> photo = torch.tensor([[0.5, 0.5, 0.0]]).expand(1, 3, 1, 3)  # two pixels of retina, one beside it
        >>> hidden_photo_loss(photo + 0.1, photo, torch.tensor([[[[True, False, True]]]]))
        tensor(0.1000)
    """
    retina = fundus.amax(1, keepdim=True) > _BLACK
    return masked_mean((drawn - fundus).abs(), hidden & retina)
