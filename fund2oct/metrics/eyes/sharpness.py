"""How much fine detail a generated volume has, compared with the real ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from fund2oct.precision import full_precision

CUTOFF = 0.25
"""Detail is what has a frequency above this, in cycles per pixel."""


@full_precision
def high_frequency_energy(volume: Tensor) -> Tensor:
    r"""Energy of the fine detail in B-scans: speckle, and edges as far as they are sharp.

    .. math:: \frac{1}{\sum_{z,x} w_{zx}^2} \cdot \frac{1}{ZX} \sum_{|f| > f_c}
        \left| \mathrm{DFT}\left[ w \cdot (V_s - \bar V_s) \right](f) \right|^2

    for each B-scan :math:`V_s` with mean :math:`\bar V_s`, a Hann window :math:`w` (without it the
    frame's edges would count as detail), and frequencies :math:`f = (f_z, f_x)` in cycles per pixel above
    the cut-off :math:`f_c` of 0.25, a period of four pixels. It is a mean square per pixel: a sinusoid of
    amplitude :math:`a` that is finer than the cut-off has :math:`a^2/2`, and white noise its variance times
    the share of the frequencies above the cut-off.

    Args:
        volume: intensities in [0, 1], shape ``(B, C, S, Z, X)``.

    Returns:
        Energy of each volume, in squared intensity, the mean over its channels and B-scans, shape ``(B,)``.

    Raises:
        ValueError: if ``volume`` is not five-dimensional, or is smaller than 3 x 3 pixels.

    Example:
        >>> volume = torch.zeros(1, 1, 1, 32, 32)
        >>> volume[..., ::2] = 1  # bright and dark A-scans in turn: a period of two pixels
        >>> high_frequency_energy(volume).round(decimals=2)
        tensor([0.2500])
    """
    if volume.ndim != 5 or min(volume.shape[-2:]) < 3:
        raise ValueError(f"volume: expected (B, C, S, Z, X), Z and X >= 3, found {tuple(volume.shape)}")
    bscans = volume.to(torch.promote_types(volume.dtype, torch.float32))
    size = n_depth, n_ascans = volume.shape[-2:]
    along_z, along_x = (torch.hann_window(n, dtype=bscans.dtype, device=volume.device) for n in size)
    window = along_z[:, None] * along_x
    f_z, f_x = (torch.fft.fftfreq(n, dtype=bscans.dtype, device=volume.device) for n in size)
    fine = torch.hypot(f_z[:, None], f_x) > CUTOFF
    spectrum = torch.fft.fft2((bscans - bscans.mean((-2, -1), keepdim=True)) * window)
    energy = spectrum.abs().square()[..., fine].sum(-1) / (window.square().sum() * n_depth * n_ascans)
    return energy.mean((1, 2))


class SharpnessRatio(Metric):
    r"""Fine detail of the generated volumes over that of the real ones, both summed over the set.

    .. math:: \frac{\sum_i H(\hat V_i)}{\sum_i H(V_i)}

    with the :func:`high_frequency_energy` :math:`H`. 1 means as sharp as the real volumes; blurred volumes
    are below 1, noisy ones above. The place of the speckle does not matter, and neither does the anatomy.

    Example:
        >>> real = torch.rand(1, 1, 2, 32, 40)
        >>> blurred = torch.nn.functional.avg_pool3d(real, (1, 3, 3), 1, (0, 1, 1))
        >>> ratio = SharpnessRatio()
        >>> ratio.update(fake=blurred, real=real)
        >>> ratio.compute().item() < 0.5
        True
    """

    full_state_update = False
    higher_is_better = None
    fake: Tensor
    real: Tensor

    def __init__(self) -> None:
        super().__init__()
        for side in ("fake", "real"):
            self.add_state(side, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, fake: Tensor, real: Tensor) -> None:
        """Add a batch.

        Args:
            fake: generated volumes in [0, 1], shape ``(B, C, S, Z, X)``.
            real: real volumes of the same shape.

        Raises:
            ValueError: if the shapes differ.
        """
        if fake.shape != real.shape:
            raise ValueError(
                f"fake and real: expected one shape, found {tuple(fake.shape)} and {tuple(real.shape)}"
            )
        self.fake += high_frequency_energy(fake).sum()
        self.real += high_frequency_energy(real).sum()

    def compute(self) -> Tensor:
        """The ratio, a scalar >= 0; NaN while the real volumes have no fine detail."""
        if self.real == 0:
            return torch.tensor(math.nan, device=self.real.device)
        return self.fake / self.real
