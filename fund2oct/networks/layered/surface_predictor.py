"""From a photo to the distribution of the surfaces: encoder, registration and surface network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fund2oct.networks.known import Known
from fund2oct.networks.layered.surfaces import SurfaceDistribution, SurfaceNetwork
from fund2oct.networks.registration import RegistrationNetwork, registered
from fund2oct.retina.layers import SURFACES


class SurfacePredictor(nn.Module):
    """A photo encoder and the surface network behind it.

    Args:
        encoder: the photo encoder, see :func:`fund2oct.networks.encoder.build_encoder`.
        width: number of channels of an A-scan's features.
        n_numbers: number of random numbers from which the surfaces of an eye are drawn.
        n_known: numbers of scalars and of masks that it may be told, see
            :class:`fund2oct.networks.known.Known`.
        registration: whether it corrects where the scan lies on the photo, see
            :class:`fund2oct.networks.registration.RegistrationNetwork`.
        position: places that an attention across the scan is told, see
            :class:`fund2oct.networks.attention.ScanAttention`; None has no attention.

    Example:
        >>> import torch
        >>> from fund2oct.networks.encoder import FundusEncoder
        >>> predictor = SurfacePredictor(FundusEncoder((8, 16)), width=16)
        >>> predictor.predict_surfaces(torch.rand(1, 3, 32, 32), torch.zeros(1, 2, 24, 2)).median_um.shape
        torch.Size([1, 4, 2, 24])
    """

    def __init__(
        self,
        encoder: nn.Module,
        width: int = 96,
        n_numbers: int = 16,
        n_known: tuple[int, int] = (0, 0),
        registration: bool = False,
        position: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        channels: Sequence[int] = encoder.channels  # type: ignore[assignment]
        self.surfaces = SurfaceNetwork(channels, SURFACES, width, n_numbers, n_known, position)
        self.registration = RegistrationNetwork(channels) if registration else None

    def read(
        self, fundus: Tensor, grid: Tensor, whole: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """The encoder's maps of the photos, and the positions in ``grid`` and ``whole``, corrected.

        The arguments are those of :meth:`predict_surfaces`.
        """
        maps = self.encoder(fundus)
        return maps, *registered(self.registration, maps, grid, whole)

    def predict_surfaces(
        self, fundus: Tensor, grid: Tensor, known: Known | None = None, whole: Tensor | None = None
    ) -> SurfaceDistribution:
        """Predict the surfaces.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
                ``(B, S, X, 2)``.
            known: what is known of the eyes beside their photos.
            whole: positions of all A-scans of the scan, where ``grid`` holds only some, see
                :func:`fund2oct.networks.registration.registered`.

        Returns:
            Their distribution.
        """
        maps, grid, whole = self.read(fundus, grid, whole)
        found: SurfaceDistribution = self.surfaces(fundus, maps, grid, whole, known)
        return found
