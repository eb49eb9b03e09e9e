"""What all pre-trainings have in common: hide, fill in, and compare what was hidden."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fund2oct.models.base import VolumeModel
from fund2oct.models.batch import Batch, Losses, check_batch, eye_of
from fund2oct.networks.noise import NoiseSource


class MaskedModel(VolumeModel):
    """Base class of the pre-trainings by masking: parts of an eye are hidden, and a network fills them in.

    It translates no photo. A later training begins with its weights, see
    :func:`fund2oct.models.training.init_from.init_from`. The eyes that it saw are in its checkpoint, so that
    a later training is refused which would be judged by them.

    A subclass builds its network, ``build_generator``, and says what was hidden and how wrong the network
    was, :meth:`filling_losses`.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        encoder_learning_rate: step size of Adam for weights that others have trained before.
        options: further arguments, those of :class:`fund2oct.models.VolumeModel`.

    Example:
        A pre-training of your own, which hides the green light:

        >>> from fund2oct.networks.encoder import FundusEncoder
        >>> from fund2oct.networks.masked.photo import PhotoAutoencoder
        >>> class WithoutGreen(MaskedModel):
        ...     def build_generator(self):
        ...         return PhotoAutoencoder(FundusEncoder((8, 16)))
        ...
        ...     def filling_losses(self, network, batch, rng):
        ...         seen = batch["fundus"] * torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1)
        ...         drawn = network(seen, torch.zeros_like(seen[:, :1], dtype=torch.bool))
        ...         return {"green": (drawn - batch["fundus"])[:, 1].abs().mean()}
        >>> model = WithoutGreen(shape=(6, 32, 48))
        >>> model.configure_model()
        >>> model.filling_losses(model.generator, {"fundus": torch.rand(1, 3, 32, 32)}, NoiseSource()).keys()
        dict_keys(['green'])
    """

    draws_volumes = False
    translates: ClassVar[bool] = False
    monitored: ClassVar[str] = "val/total"
    needed: ClassVar[tuple[str, ...]] = ()
    """Entries of a batch that a training step reads."""

    def __init__(
        self, shape: tuple[int, int, int], encoder_learning_rate: float = 1e-4, **options: Any
    ) -> None:
        super().__init__(shape, **options)
        self.encoder_learning_rate = encoder_learning_rate
        self._measured: list[Losses] = []

    def filling_losses(self, network: nn.Module, batch: Batch, rng: NoiseSource) -> Losses:
        """Hide parts of a batch, fill them in, and compare.

        Args:
            network: the network or its average.
            batch: the batch, as the datamodule gives it.
            rng: source of the noise that decides what is hidden.

        Returns:
            Weighted scalar tensors by name; their sum is optimised.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what is hidden and filled in")

    def choose_encoder(
        self, encoder: str, fine_tune: bool | int | None, encoder_px: int | None, lora_rank: int
    ) -> None:
        """Choose the photo encoder.

        The library's own is trained in any case. Of others None trains all, or nothing beside low-rank
        changes.
        """
        if fine_tune is None:
            fine_tune = not lora_rank
        super().choose_encoder(encoder, fine_tune, encoder_px, lora_rank)

    def judges(self) -> list[nn.Module]:
        """Networks that are trained beside the generator: discriminators whose layers are the encoder."""
        found = getattr(self, "discriminators", None)
        return [] if found is None else [found]

    def optimised_networks(self) -> nn.Module:
        """The generator, and what is trained beside it."""
        return nn.ModuleList([self.generator, *self.judges()])

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Fill in a batch and step the networks."""
        check_batch(batch, self.needed)
        losses = self.filling_losses(self.generator, batch, self.step_noise())
        self.step_generator(losses, *self.judges())

    def measure(self, batch: Batch, part: str) -> dict[str, Tensor]:
        """Measure how well the network fills in, the same parts each time.

        It is the averaged network. Where others that are trained with it read for it, :meth:`judges`, of
        which there is no average, it is the network of now, which has learned together with them.
        """
        check_batch(batch, (*self.needed, "key"))
        network = self.generator if self.judges() else self.generator_ema
        of_eyes = []
        # A loss is a mean over what was hidden: of a batch it would depend on which eyes are together.
        for number, key in enumerate(batch["key"]):
            rng = NoiseSource.of_keys([key], self.seed, self.device)
            of_eyes.append(self.filling_losses(network, eye_of(batch, number), rng))
        self._measured += of_eyes
        return _means(of_eyes)

    def _begin_measuring(self, n_batches: list[int | float]) -> None:
        super()._begin_measuring(n_batches)
        self._measured = []  # of a validation that was interrupted

    def _end_measuring(self, part: str) -> None:
        super()._end_measuring(part)
        of_eyes, self._measured = self._measured, []
        # In a step each loader would have names of its own.
        if of_eyes:
            logged: dict[str, Any] = {f"{part}/{name}": value for name, value in _means(of_eyes).items()}
            self.log_dict(logged, batch_size=len(of_eyes), sync_dist=True)


def _means(of_eyes: list[Losses]) -> Losses:
    """Means of the terms over the eyes, and their sum, ``total``."""
    losses = {name: torch.stack([one[name] for one in of_eyes]).mean() for name in of_eyes[0]}
    return losses | {"total": torch.stack(list(losses.values())).sum()}
