"""How much fine detail a generated volume has, compared with the real ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from fund2oct.precision import full_precision

CUTOFF = 0.25


@full_precision
def high_frequency_energy(volume: Tensor, cutoff: float = CUTOFF) -> Tensor:
    r"""Energy of the B-scans' detail finer than a cut-off, per pixel.

    .. math:: \frac{1}{\sum_{z,x} w_{zx}^2} \cdot \frac{1}{ZX} \sum_{|f| > f_c}
        \left| \mathrm{DFT}\left[ w \cdot (V_s - \bar V_s) \right](f) \right|^2

    for each B-scan :math:`V_s` with mean :math:`\bar V_s`, a Hann window :math:`w` (without it the
    frame's edges would count as detail), and frequencies :math:`f = (f_z, f_x)` in cycles per pixel. By
    Parseval's theorem, white noise of variance :math:`\sigma^2` has :math:`\sigma^2` times the
    share of the frequencies above the cut-off, and a sinusoid of amplitude :math:`a` above it has
    :math:`a^2/2`.

    Args:
        volume: intensities in [0, 1], shape ``(B, C, S, Z, X)``.
        cutoff: radius in cycles per pixel; 0.25 is half the Nyquist frequency, a period of four
            pixels.

    Returns:
        Energy of each volume, the mean over its channels and B-scans, shape ``(B,)``.

    Raises:
        ValueError: if ``volume`` is not five-dimensional, is smaller than 3 x 3 pixels, or the
            cut-off is outside [0, 0.5).
    """
    if volume.ndim != 5 or min(volume.shape[-2:]) < 3:
        raise ValueError(f"volume: expected (B, C, S, Z, X), Z and X >= 3, found {tuple(volume.shape)}")
    if not 0 <= cutoff < 0.5:
        raise ValueError(f"cutoff: expected cycles per pixel in [0, 0.5), found {cutoff}")
    bscans = volume.to(torch.promote_types(volume.dtype, torch.float32))
    size = n_depth, n_ascans = volume.shape[-2:]
    along_z, along_x = (torch.hann_window(n, dtype=bscans.dtype, device=volume.device) for n in size)
    window = along_z[:, None] * along_x
    f_z, f_x = (torch.fft.fftfreq(n, dtype=bscans.dtype, device=volume.device) for n in size)
    fine = torch.hypot(f_z[:, None], f_x) > cutoff
    spectrum = torch.fft.fft2((bscans - bscans.mean((-2, -1), keepdim=True)) * window)
    energy = spectrum.abs().square()[..., fine].sum(-1) / (window.square().sum() * n_depth * n_ascans)
    return energy.mean((1, 2))


class SharpnessRatio(Metric):
    r"""Fine detail of the generated volumes over that of the real ones, both summed over the set.

    .. math:: \frac{\sum_i H(\hat V_i)}{\sum_i H(V_i)}

    with the :func:`high_frequency_energy` :math:`H`. 1 is as sharp as real; a blurred volume is
    below, a noisy one above. It compares sets, not pairs, so it asks nothing of the speckle's
    position, and it is no measure of anatomy.

    Args:
        cutoff: radius in cycles per pixel.
    """

    full_state_update = False
    higher_is_better = None
    fake: Tensor
    real: Tensor

    def __init__(self, cutoff: float = CUTOFF) -> None:
        super().__init__()
        self.cutoff = cutoff
        for side in ("fake", "real"):
            self.add_state(side, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, fake: Tensor, real: Tensor) -> None:
        """Add as many generated as real volumes in [0, 1], shape ``(B, C, S, Z, X)``."""
        if fake.shape != real.shape:
            raise ValueError(
                f"fake and real: expected one shape, found {tuple(fake.shape)} and {tuple(real.shape)}"
            )
        self.fake += high_frequency_energy(fake, self.cutoff).sum()
        self.real += high_frequency_energy(real, self.cutoff).sum()

    def compute(self) -> Tensor:
        """The ratio, a scalar >= 0; NaN while the real volumes have no fine detail."""
        if self.real == 0:
            return torch.tensor(math.nan, device=self.real.device)
        return self.fake / self.real
