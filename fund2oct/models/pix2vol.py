"""The library's own model: surfaces and tissue are regressed from the photo, texture is learned as a GAN."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from fund2oct.losses import adversarial_loss
from fund2oct.models.base import Batch, Fake, Losses
from fund2oct.models.batch import some_slices
from fund2oct.models.gan import VolumeGAN
from fund2oct.models.pix2vol_losses import N_CONDITION, anatomy_losses, judging_losses, texture_losses
from fund2oct.models.surface_model import SURFACE_WEIGHTS, heights_above_pose
from fund2oct.models.training.optimisation import each_step, falling, trained_parts
from fund2oct.models.training.terms import check_judged, check_scored, chosen_weights, own_terms
from fund2oct.networks.adversaries.discriminators import BScanPatchDiscriminator, VolumePatchDiscriminator
from fund2oct.networks.adversaries.feature_discriminator import FeatureDiscriminator
from fund2oct.networks.encoder import pretrained_parts
from fund2oct.networks.known import Known
from fund2oct.networks.layered.generator import LayeredGenerator, PredictedAnatomy, Real
from fund2oct.networks.layered.surfaces import SurfaceDistribution
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import unalign

WEIGHTS = {
    **SURFACE_WEIGHTS,
    "tissue": 1000.0,
    "pockets": 100.0,
    "slab": 200.0,
    "shadow": 20000.0,
    "adversarial": 1.0,
    "spread": 1.0,
}
"""Default weights of the terms of :class:`Pix2Vol`, by name."""


class Pix2Vol(VolumeGAN):
    r"""The model of this library: its anatomy is regressed from the photo, its texture drawn by a GAN.

    A training has two parts. In the first the *anatomy* is learned: the distribution of the surfaces, and the
    brightness of the tissue between them. Its terms:

    * ``surfaces``: Huber loss of the median heights;
    * ``energy`` and ``crps``: proper scores of the distribution of the heights;
    * ``tissue``: squared difference from the real volume in the aligned frame. The tissue is drawn between
      the *real* surfaces here, so that it is compared with the right layer;
    * ``pockets``: cross entropy of the fluid within the retina;
    * ``slab`` and ``shadow``: losses of the light from below the epithelium, see
      :func:`fund2oct.losses.slab_loss` and :func:`fund2oct.losses.shadow_loss`.

    In the second part the anatomy does not change, and the *texture* is learned on some slices of each eye,
    with ``adversarial`` and with ``spread``, see :func:`fund2oct.losses.spread_loss`. The discriminators see
    frozen features, patches of B-scans, or patches of volumes; the last two also see photo and anatomy. Real
    and generated volumes have the same surfaces there, so that the discriminators judge tissue alone.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        encoder: photo encoder: ``"efficientnet_lite0"``, pre-trained on ImageNet; ``"own"``, with random
            weights; ``"auto"``, the first if its weights are installed, else the second; or path or name of
            the weights of a :class:`~fund2oct.networks.foundation.encoder.FoundationEncoder`.
        fine_tune: True to train the weights of a pre-trained encoder too, a number for its last blocks alone.
        lora_rank: rank of trained low-rank changes of a foundation encoder; 0 for none.
        encoder_px: width in pixels to which photos are resized for a pre-trained one; None takes its own.
        encoder_learning_rate: step size of Adam for pre-trained weights. It falls with that of the anatomy.
        surface_width: number of channels of an A-scan's features in the surface network.
        tissue_width: the same in the tissue network.
        texture: numbers of channels of the texture's levels, finest first.
        conditions: scalars that it is told of an eye beside the photo, see
            :class:`fund2oct.models.training.conditions.Conditions`.
        masks: names of masks of the photo that it is told likewise, such as ``vessels``.
        mask_networks: networks that draw masks from the photo, by name, as
            :func:`fund2oct.data.masks.networks.load_mask_network` takes them; other masks are entries of
            the batch. No checkpoint holds them: name them again for use.
        registration: whether to learn to correct where the scan lies on the photo, see
            :class:`fund2oct.networks.registration.RegistrationNetwork`.
        position: places that an attention across all A-scans of the scan is told: ``"none"``, ``"learned"``,
            ``"sincos"`` or ``"rope"``, see :class:`fund2oct.networks.attention.ScanAttention`; None has no
            attention.
        weights: weights of the terms by name, instead of the default ones. A term that is left out is not
            used. A name can also be the import path of a loss of your own, see
            :func:`fund2oct.models.training.terms.own_terms`, which is used in both parts. Without
            ``adversarial`` the whole training is one of the anatomy, and no texture is drawn.
        adversarial: ``"hinge"``, ``"least_squares"`` or ``"non_saturating"``, see
            :data:`fund2oct.losses.ADVERSARIAL`.
        feature_width: number of channels of the heads of the feature discriminator; 0 for none.
        bscan_width: number of channels of the first layer of the B-scan discriminator; 0 for none.
        volume_width: the same of the volume discriminator, which needs all slices; 0 for none.
        judged_slices: number of slices of each eye that the discriminators see in a step; 0 for all.
        anatomy_learning_rate: step size of Adam for the anatomy. It falls linearly to 0 until the end of the
            first part.
        anatomy_betas: the two decay rates of Adam for the anatomy.
        adversaries_from: share of the training, in [0, 1), that is spent on the anatomy.
        learning_rate: step size of Adam for the texture. It falls linearly to 0 until the end.
        discriminator_learning_rate: step size of Adam for the discriminators, likewise.
        options: further arguments, those of :class:`VolumeGAN`. ``decay_from`` is a
            share of the part up to ``adversaries_from`` for the anatomy, of the rest for all else.

    Raises:
        ValueError: if a term has an unknown name, ``spread`` a weight without ``adversarial``, the encoder no
            use for an argument, or a number is out of range; or, in training, there is no discriminator.

    References:
        Isola et al., pix2pix, CVPR 2017, arXiv:1611.07004 (patch discriminators); Sauer et al., Projected
        GANs, NeurIPS 2021, arXiv:2111.01007 (discriminators on frozen features).

    Example:
        >>> model = Pix2Vol(shape=(6, 32, 48), encoder="own")  # untrained
        >>> photo, grid = torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)
        >>> model.surfaces(photo, grid).median_um.shape  # heights of four surfaces
        torch.Size([1, 4, 6, 48])
        >>> model.anatomy(photo, grid, spacing_z_mm=0.06).image.shape
        torch.Size([1, 1, 6, 32, 48])
    """

    encodes_photos = draws_surfaces = True
    generator_class = LayeredGenerator
    without_end = "leave adversarial and spread out of the weights, to train the anatomy alone"

    def __init__(
        self,
        shape: tuple[int, int, int],
        encoder: str = "auto",
        fine_tune: bool | int = False,
        lora_rank: int = 0,
        encoder_px: int | None = None,
        encoder_learning_rate: float = 1e-4,
        surface_width: int = 96,
        tissue_width: int = 128,
        texture: Sequence[int] = (16, 24, 32),
        conditions: Sequence[str] = (),
        masks: Sequence[str] = (),
        mask_networks: dict[str, str] | None = None,
        registration: bool = False,
        position: str | None = None,
        weights: dict[str, float] | None = None,
        adversarial: str = "hinge",
        feature_width: int = 48,
        bscan_width: int = 32,
        volume_width: int = 0,
        judged_slices: int = 2,
        anatomy_learning_rate: float = 1.5e-3,
        anatomy_betas: tuple[float, float] = (0.9, 0.99),
        adversaries_from: float = 0.6,
        learning_rate: float = 1e-3,
        discriminator_learning_rate: float = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(
            shape,
            adversaries_from=adversaries_from,
            learning_rate=learning_rate,
            discriminator_learning_rate=discriminator_learning_rate,
            **options,
        )
        self.choose_encoder(encoder, fine_tune, encoder_px, lora_rank)
        self.encoder_learning_rate = encoder_learning_rate
        self.surface_width, self.tissue_width = surface_width, tissue_width
        self.texture = tuple(texture)
        if not texture or min(texture) < 1:
            raise ValueError(f"texture: expected one or more numbers above 0, found {list(texture)}")
        self.registration, self.position = registration, position
        self.tell_networks(conditions, masks, mask_networks)
        self.weights = chosen_weights(weights, WEIGHTS)
        if "spread" in self.weights and "adversarial" not in self.weights:
            raise ValueError("weights: spread needs adversarial, with which alone the texture is learned")
        self.adversarial = adversarial_loss(adversarial)
        self.feature_width, self.bscan_width, self.volume_width = feature_width, bscan_width, volume_width
        if judged_slices < 0:
            raise ValueError(f"judged_slices: expected 0, for all, or more, found {judged_slices}")
        self.judged_slices = judged_slices
        self.anatomy_learning_rate, self.anatomy_betas = anatomy_learning_rate, anatomy_betas

    def build_generator(self) -> nn.Module:
        """Build a :class:`fund2oct.networks.layered.generator.LayeredGenerator`."""
        widths = self.surface_width, self.tissue_width, self.texture
        options = {name: getattr(self, name) for name in ("n_known", "registration", "position")}
        made = LayeredGenerator(self.shape[1], self.chosen_encoder(), *widths, **options)
        if "adversarial" not in self.weights:  # random weights that nothing teaches would draw noise
            nn.init.zeros_(made.texture.out.weight)
        return made

    def build_discriminators(self) -> nn.ModuleDict:
        """Build a discriminator of each kind that has a width.

        Without the weights of the feature discriminator the others are used, with a warning.

        Returns:
            The discriminators by name.

        Raises:
            ModuleNotFoundError: if the frozen features are missing, and no other discriminator is wanted.
        """
        found = nn.ModuleDict()
        if "adversarial" not in self.weights:
            return found
        if self.feature_width:
            try:
                found["features"] = FeatureDiscriminator(self.feature_width)
            except ModuleNotFoundError as error:
                if not (self.bscan_width or self.volume_width):
                    raise
                self.for_want_of, self.hparams["feature_width"] = str(error), 0  # for the checkpoint
                warnings.warn(f"trained without the feature discriminator, for want of {error}", stacklevel=2)
        if self.bscan_width:
            found["bscan"] = BScanPatchDiscriminator(N_CONDITION, self.bscan_width, n_scales=1)
        if self.volume_width:
            found["volume"] = VolumePatchDiscriminator(N_CONDITION, self.volume_width, n_scales=1)
        return found

    def configure_training(self) -> None:
        """Build the discriminators, and import the losses of your own that ``weights`` names."""
        super().configure_training()
        check_judged(self.weights, self.discriminators, "feature_width, bscan_width or volume_width")
        if not set(self.weights) <= {"adversarial", "spread"}:
            check_scored(self.weights)
        self.own_terms = own_terms(self.weights)
        self._has_learned = bool(self.init_from or self.from_file)

    def on_fit_start(self) -> None:
        """Refuse what would leave something untrained, and warn of an anatomy that stays random."""
        super().on_fit_start()
        learns = self.adversaries_from or self._has_learned or self.trainer.ckpt_path
        if self.discriminators and not learns:
            rank_zero_warn(
                "adversaries_from: 0 leaves no part of the training to the anatomy, which keeps its random "
                "weights; set more, as the default 0.6, or begin with a trained one (init_from)"
            )

    def configure_optimizers(self) -> Any:
        """Adam, with a learning rate of the anatomy that falls to 0 before the discriminators are used."""
        network, networks = self.generator, self.optimised_networks()
        assert isinstance(network, LayeredGenerator)
        pretrained, texture, anatomy = trained_parts(networks, pretrained_parts(networks), [network.texture])
        first = torch.optim.Adam(
            [
                {"params": anatomy, "lr": self.anatomy_learning_rate, "betas": self.anatomy_betas},
                {"params": texture, "lr": self.learning_rate, "betas": self.betas},
                {"params": pretrained, "lr": self.encoder_learning_rate, "betas": self.anatomy_betas},
            ]
        )
        factors = [self._anatomy_factor, self._texture_factor, self._anatomy_factor]
        optimizers, schedules = [first], [each_step(first, factors)]
        if self.discriminators:
            judging = torch.optim.Adam(self.judging(), self.discriminator_learning_rate, self.betas)
            optimizers.append(judging)
            schedules.append(each_step(judging, self._texture_factor))
        return optimizers, schedules

    def _anatomy_factor(self, step: int) -> float:
        whole = self.adversaries_from if self.discriminators else 1.0
        return falling(self.share_done(step) / max(whole, 1e-9), 0, self.decay_from)

    def _texture_factor(self, step: int) -> float:
        start = self.adversaries_from if self.discriminators else 1.0
        return falling(self.share_done(step), start, self.decay_from)

    def forward(
        self,
        fundus: Tensor,
        grid: Tensor,
        n_depth: int | None = None,
        rng: NoiseSource | None = None,
        draw_surfaces: bool = False,
        known: Known | None = None,
    ) -> Tensor:
        """Draw volumes in the aligned frame with the averaged generator.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
                ``(B, S, X, 2)``.
            n_depth: number of rows Z; None takes that of ``shape``.
            rng: source of the noise; None takes torch's global generator.
            draw_surfaces: True draws the surfaces from their distribution, so that they vary like those of
                real eyes; False takes the median, which is the best single prediction.
            known: what is known of the eyes beside their photos, see ``known``.

        Returns:
            Aligned volumes in [0, 1], shape ``(B, 1, S, Z, X)``.
        """
        self.configure_model()
        n_depth = n_depth or self.shape[1]
        given = fundus, grid, self.spacing_z_mm(n_depth), n_depth
        drawn: Tensor = self.generator_ema(*given, rng, draw_surfaces, known)
        return drawn

    def surfaces(
        self, fundus: Tensor, grid: Tensor, known: Known | None = None, whole: Tensor | None = None
    ) -> SurfaceDistribution:
        """Predict the surfaces without drawing a volume; the arguments are those of ``SurfaceModel``."""
        self.configure_model()
        network = self.generator_ema.module
        assert isinstance(network, LayeredGenerator)
        return network.predict_surfaces(fundus, grid, known, whole)

    def anatomy(
        self, fundus: Tensor, grid: Tensor, spacing_z_mm: Tensor | float, known: Known | None = None
    ) -> PredictedAnatomy:
        """Predict surfaces and tissue without noise; the arguments are those of ``forward``."""
        self.configure_model()
        network = self.generator_ema.module
        assert isinstance(network, LayeredGenerator)
        return network.anatomy(fundus, grid, spacing_z_mm, known=known)

    def training_batch(self, batch: Batch) -> Batch:
        """Keep only some slices of each eye while the discriminators are used."""
        if not self.adversaries_joined or not self.judged_slices or self.volume_width:
            return batch
        rng = torch.Generator().manual_seed(self.seed + self.global_step)
        chosen = torch.randperm(batch["volume"].shape[2], generator=rng)[: self.judged_slices]
        return some_slices(batch, chosen.to(self.device, non_blocking=True))

    def generate(self, network: nn.Module, batch: Batch, rng: NoiseSource) -> Fake:
        """Draw volumes for a batch; in training between the real surfaces, and with texture only while the
        discriminators are used. The arguments are those of :meth:`VolumeModel.generate`.
        """
        if network is not self.generator:
            return super().generate(network, batch, rng)
        assert isinstance(network, LayeredGenerator) and self.task is not None
        dressed = self.adversaries_joined
        with torch.set_grad_enabled(not dressed):
            anatomy = network.anatomy(
                batch["fundus"], batch["grid"], batch["spacing_z_mm"], batch["volume"].shape[3],
                real=Real(heights_above_pose(batch), batch["aligned"], self.task.spacing_mm[2]),
                whole=batch.get("whole"), **self.known(batch, withhold=True),
            )  # fmt: skip
        aligned = network.dress(anatomy, rng) if dressed else anatomy.image
        return Fake(aligned, unalign(aligned, batch["pose_um"], batch["spacing_z_mm"]), anatomy)

    def generator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """The weighted terms of the current part of the training."""
        if self.adversaries_joined:
            losses = texture_losses(batch, fake, self.discriminators, self.adversarial)
        else:
            losses = anatomy_losses(batch, fake, self.step_noise(), self.task)
        losses |= {name: loss(batch, fake) for name, loss in self.own_terms.items()}
        return {
            name: self.weights[name.partition("/")[0]] * loss
            for name, loss in losses.items()
            if name.partition("/")[0] in self.weights
        }

    def discriminator_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Each discriminator's adversarial loss."""
        return judging_losses(batch, fake, self.discriminators, self.adversarial)
