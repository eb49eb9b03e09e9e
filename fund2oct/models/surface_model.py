"""A model of the surfaces alone: thickness and its uncertainty from a photo, without a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fund2oct.losses import energy_score, height_loss, normal_crps
from fund2oct.metrics.eyes.heights import interval_coverage
from fund2oct.metrics.eyes.layers import surface_error_um
from fund2oct.metrics.eyes.measuring import EyeMean
from fund2oct.models.base import Batch, Losses, VolumeModel
from fund2oct.models.batch import check_batch
from fund2oct.models.training.terms import check_scored, chosen_weights, own_terms
from fund2oct.networks.known import Known
from fund2oct.networks.layered.surface_predictor import SurfacePredictor
from fund2oct.networks.layered.surfaces import (
    SurfaceDistribution,
    increments_of,
    thickness_interval_um,
    thickness_um,
)
from fund2oct.networks.noise import NoiseSource
from fund2oct.precision import no_autocast
from fund2oct.retina import SURFACES
from fund2oct.retina.pose import heights_of

SURFACE_WEIGHTS = {"surfaces": 100.0, "energy": 1 / 30, "crps": 1 / 30}
"""Weights of the terms of :func:`surface_losses`."""

_N_DRAWS = 4
_LEAST_DEVIATION_UM = 1.0
_READ = ("fundus", "grid", "pose_um", "surfaces_um")
"""Entries of a batch that a :class:`SurfaceModel` reads."""
_ILM, _RPE = SURFACES.index("ILM"), SURFACES.index("RPE")


def heights_above_pose(batch: Batch) -> Tensor:
    """Heights of the found surfaces above the pose's surface in micrometres, ``(B, n, S, X)``.

    Raises:
        ValueError: if the batch has no ``surfaces_um``.
    """
    check_batch(batch, ("pose_um", "surfaces_um"))
    return heights_of(batch["surfaces_um"], batch["pose_um"])


def surface_losses(found: SurfaceDistribution, heights_um: Tensor, rng: NoiseSource) -> Losses:
    """Losses of a predicted distribution of the surfaces.

    * ``surfaces``: Huber loss of the medians, :func:`fund2oct.losses.height_loss`;
    * ``energy``: energy score of draws of all surfaces of an eye, :func:`fund2oct.losses.energy_score`;
    * ``crps``: score of each increment alone, :func:`fund2oct.losses.normal_crps`.

    The two scores train the loadings only. They compare the errors of the medians with the predicted spread.

    Args:
        found: the prediction.
        heights_um: real heights above the pose's surface in micrometres, NaN where unknown, shape
            ``(B, n, S, X)``.
        rng: source of the draws.

    Returns:
        The losses by name, without weights.
    """
    increments = increments_of(heights_um)
    known = increments.isfinite()
    off = torch.where(known, increments - found.increments_um.detach(), 0)
    z = rng.randn((_N_DRAWS, len(off), found.loadings_um.shape[2]), off.device)
    with no_autocast(off.device):
        draws = torch.einsum("mbk,bnksx->mbnsx", z, found.loadings_um)
    deviation = (found.loadings_um.square().sum(2) + _LEAST_DEVIATION_UM**2).sqrt()
    score = normal_crps(torch.zeros_like(off), deviation, off)
    return {
        "surfaces": height_loss(found.free_um, heights_um),
        "energy": energy_score(draws, off, known).mean(),
        "crps": (score * known).sum() / known.sum().clamp(min=1),
    }


class SurfaceModel(VolumeModel):
    """Predicts the distribution of the retina's surfaces, and draws no volume.

    Use it for maps of the thickness without a volume. It predicts the same surfaces as
    :class:`fund2oct.models.Pix2Vol`, and trains in a fraction of the time.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes that it learns from.
        encoder: photo encoder, see :class:`fund2oct.models.Pix2Vol`, as the four arguments that follow.
        fine_tune: what of a pre-trained encoder is trained too.
        lora_rank: rank of trained low-rank changes of a foundation encoder; 0 for none.
        encoder_px: width in pixels to which photos are resized for it; None takes that of its weights.
        encoder_learning_rate: step size of Adam for pre-trained weights.
        surface_width: number of channels of an A-scan's features.
        conditions: scalars that it is told of an eye beside the photo, see
            :class:`fund2oct.models.training.conditions.Conditions`.
        masks: names of masks of the photo that it is told likewise, such as ``vessels``.
        mask_networks: networks that draw masks from the photo, by name, as
            :func:`fund2oct.data.masks.networks.load_mask_network` takes them; other masks are entries of
            the batch. No checkpoint holds them: name them again for use.
        registration: whether it learns to correct where the scan lies on the photo, see
            :class:`fund2oct.networks.registration.RegistrationNetwork`.
        position: places that an attention across all A-scans of the scan is told: ``"none"``, ``"learned"``,
            ``"sincos"`` or ``"rope"``, see :class:`fund2oct.networks.attention.ScanAttention`; None has no
            attention.
        weights: weights of the terms ``surfaces``, ``energy`` and ``crps``, instead of the default ones. A
            loss of your own, see :func:`fund2oct.models.training.terms.own_terms`, gets the batch and the
            predicted :class:`~fund2oct.networks.layered.surfaces.SurfaceDistribution`.
        learning_rate: step size of Adam.
        options: further arguments, those of :class:`VolumeModel`.

    Example:
        >>> model = SurfaceModel(shape=(6, 32, 48), encoder="own")
        >>> found = model.surfaces(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2))
        >>> median_um, deviation_um = thickness_um(found)
        >>> median_um.shape, 200 < median_um.mean() < 330  # untrained, it begins at a healthy eye
        (torch.Size([1, 6, 48]), tensor(True))
    """

    draws_volumes = False
    encodes_photos = True
    monitored = "val/thickness/error_um"
    generator_class = SurfacePredictor

    def __init__(
        self,
        shape: tuple[int, int, int],
        encoder: str = "auto",
        fine_tune: bool | int = False,
        lora_rank: int = 0,
        encoder_px: int | None = None,
        encoder_learning_rate: float = 1e-4,
        surface_width: int = 96,
        conditions: Sequence[str] = (),
        masks: Sequence[str] = (),
        mask_networks: dict[str, str] | None = None,
        registration: bool = False,
        position: str | None = None,
        weights: dict[str, float] | None = None,
        learning_rate: float = 1.5e-3,
        **options: Any,
    ) -> None:
        super().__init__(shape, learning_rate=learning_rate, **options)
        self.choose_encoder(encoder, fine_tune, encoder_px, lora_rank)
        self.encoder_learning_rate = encoder_learning_rate
        self.surface_width = surface_width
        self.registration = registration
        self.position = position
        self.tell_networks(conditions, masks, mask_networks)
        self.weights = chosen_weights(weights, SURFACE_WEIGHTS)

    def configure_model(self) -> None:
        """Build the network, and what validation measures."""
        super().configure_model()
        if not hasattr(self, "means"):
            names = ("thickness/error_um", "thickness/covered", "rpe/error_um")
            self.means = nn.ModuleDict({name: EyeMean() for name in names})

    def configure_training(self) -> None:
        """Import the losses of your own that ``weights`` names."""
        check_scored(self.weights)
        self.own_terms = own_terms(self.weights)

    def build_generator(self) -> nn.Module:
        """Encoder and surface network."""
        return SurfacePredictor(
            self.chosen_encoder(),
            self.surface_width,
            n_known=self.n_known,
            registration=self.registration,
            position=self.position,
        )

    def surfaces(
        self, fundus: Tensor, grid: Tensor, known: Known | None = None, whole: Tensor | None = None
    ) -> SurfaceDistribution:
        """Predict the surfaces with the averaged network.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
                ``(B, S, X, 2)``.
            known: what is known of the eyes beside their photos, see ``known``.
            whole: positions of all A-scans of the scan, by which it is registered, where ``grid`` holds
                others.

        Returns:
            Their distribution.
        """
        self.configure_model()
        network = self.generator_ema.module
        assert isinstance(network, SurfacePredictor)
        return network.predict_surfaces(fundus, grid, known, whole)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Predict a batch and step the network."""
        check_batch(batch, (*_READ, "key") if any(self.n_known) else _READ)
        if self.own_terms:  # nothing else reads what is added
            batch = self.prepare(batch)
        assert isinstance(self.generator, SurfacePredictor)
        found = self.generator.predict_surfaces(
            batch["fundus"], batch["grid"], **self.known(batch, withhold=True)
        )
        losses = surface_losses(found, heights_above_pose(batch), self.step_noise())
        losses |= {name: loss(batch, found) for name, loss in self.own_terms.items()}
        self.step_generator(
            {name: self.weights[name] * loss for name, loss in losses.items() if name in self.weights}
        )

    def measure(self, batch: Batch, part: str) -> dict[str, Tensor]:
        """Measure the median thickness and its interval against the surfaces found in the real volumes."""
        check_batch(batch, _READ)
        found = self.surfaces(batch["fundus"], batch["grid"], **self.known(batch))
        heights = heights_above_pose(batch)
        thickness, _ = thickness_um(found)
        real = heights[:, _ILM] - heights[:, _RPE]
        values = {
            "thickness/error_um": surface_error_um(thickness, real),
            "thickness/covered": interval_coverage(thickness_interval_um(found), real),
            "rpe/error_um": surface_error_um(found.median_um[:, _RPE], heights[:, _RPE]),
        }
        for name, value in values.items():
            self.means[name].update(value)  # type: ignore[operator]
        return values

    def _end_measuring(self, part: str) -> None:
        super()._end_measuring(part)
        # In a step each loader would have names of its own.
        if any(mean.update_called for mean in self.means.values()):
            logged: dict[str, Any] = {f"{part}/{name}": mean for name, mean in self.means.items()}
            self.log_dict(logged)
