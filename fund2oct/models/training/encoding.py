"""A module on networks of others: its photo encoder, chosen by name, and what of it a checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from fund2oct.models.batch import frozen_features, trained_features
from fund2oct.models.training.optimisation import each_step, trained_parts
from fund2oct.models.training.stepping import SteppingModule
from fund2oct.models.uncertainty.familiar import familiar_photos
from fund2oct.networks.encoder import (
    available_encoder,
    build_encoder,
    check_encoder,
    encoder_for_file,
    pretrained_parts,
)


class EncodingModule(SteppingModule):
    """A module whose photo encoder may be chosen by name.

    A model of your own that has such an encoder calls :meth:`choose_encoder` in its constructor, and builds
    it by :meth:`chosen_encoder`.
    """

    encodes_photos: ClassVar[bool] = False
    """True where ``generator.encoder`` makes maps of photos, by which photos of another kind are told."""
    encoder_learning_rate: float = 1e-4
    """Step size of Adam for weights that others have trained before."""
    _learned: frozenset[str] = frozenset()
    """Names of weights of others that belong into checkpoints, see :meth:`note_trained`."""

    def choose_encoder(
        self, encoder: str, fine_tune: bool | int, encoder_px: int | None, lora_rank: int
    ) -> None:
        """Choose the photo encoder; the arguments are those of :class:`fund2oct.models.Pix2Vol`.

        Raises:
            ValueError: if there are no such weights, or it has no use for one of the arguments.
        """
        self.encoder = available_encoder(encoder)
        if (encoder, self.encoder) == ("auto", "own") and encoder_px is not None:
            # The width was meant for the encoder whose weights are missing, of which a warning tells. A
            # checkpoint names what was built.
            encoder_px = self.hparams["encoder_px"] = None
        check_encoder(self.encoder, fine_tune, encoder_px, lora_rank)
        # What was chosen belongs to the checkpoint: another machine may have other weights at hand.
        self.hparams["encoder"] = encoder_for_file(self.encoder)
        self._encoder_options = fine_tune, encoder_px, lora_rank

    def chosen_encoder(self) -> nn.Module:
        """Build it."""
        return build_encoder(self.encoder, *self._encoder_options)

    def rebuilt(self) -> tuple[str, ...]:
        """Prefixes of the names of weights that are there whenever the model is built.

        They are neither saved in checkpoints nor read from them. By default these are the weights of frozen
        :class:`fund2oct.networks.features.FeatureNetwork` parts, which come from packages. What such a part
        has once learned is saved all the same, also where it was frozen since.
        """
        return frozen_features(self)

    def rebuilt_names(self) -> set[str]:
        """Names of the weights that come along each time the model is built, see :meth:`rebuilt`."""
        self.note_trained()
        beginnings = self.rebuilt()
        # The average is built of the generator.
        names = {name: name.replace("generator_ema.module.", "generator.", 1) for name in self.state_dict()}
        return {
            name
            for name, built in names.items()
            if built.startswith(beginnings) and built not in self._learned
        }

    def note_trained(self) -> None:
        """Remember which weights of others are trained now; checkpoints hold them, also if frozen later.

        A model that is built to train them waits for a file that holds them. And weights whose training
        began later are no longer those that are built.
        """
        self._learned |= trained_features(self)

    def note_read(self, names: Iterable[str]) -> None:
        """Remember weights that a checkpoint held though they come along: they had learned something."""
        self._learned |= set(names)

    def on_train_epoch_end(self) -> None:
        """Look at what was trained in the epoch; some of it may be frozen before the next checkpoint."""
        super().on_train_epoch_end()
        self.note_trained()

    def configure_optimizers(self) -> Any:
        """Adam, with a rate of its own for pre-trained weights; both fall linearly after ``decay_from``.

        A subclass returns what Lightning takes, with or without schedules. A schedule is stepped after
        every epoch, or after every batch with ``"interval": "step"``, and a ``ReduceLROnPlateau`` after
        every validation, by :attr:`monitored`.
        """
        networks = self.optimised_networks()
        pretrained, others = trained_parts(networks, pretrained_parts(networks))
        groups = [
            {"params": others, "lr": self.learning_rate},
            {"params": pretrained, "lr": self.encoder_learning_rate},
        ]
        optimizer = torch.optim.Adam(groups, betas=self.betas)
        return [optimizer], [each_step(optimizer, self.rate_factor)]

    def optimised_networks(self) -> nn.Module:
        """What the optimiser of :meth:`configure_optimizers` trains."""
        return self.generator

    def know_photos(self) -> None:
        """Note in the task how the photos of the training look to the encoder, once that is trained.

        As long as it is trained nothing is noted. What a finished training noted, from which this one goes
        on, is taken out: it is not of the weights of now. A generator of your own without an ``encoder`` that
        has ``channels`` tells nothing of its photos.
        """
        encoder = getattr(self.generator, "encoder", None)
        if self.task is None or not self.encodes_photos or not hasattr(encoder, "channels"):
            return
        assert isinstance(encoder, nn.Module)
        trained = any(weight.requires_grad for weight in encoder.parameters())
        # Whoever stops it, by the clock or for a plateau, may do so before the share is all.
        ended = self.share_done() >= 1 or self.trainer.should_stop
        if trained and not ended and self.trainer.state.fn == TrainerFn.FITTING:
            self.task = replace(self.task, photos=None)
        ready = ended if trained else self.task.photos is None
        if not ready:
            return
        of_loader = getattr(self.trainer.train_dataloader, "dataset", None)
        dataset = getattr(getattr(self.trainer, "datamodule", None), "train_dataset", of_loader)
        averaged = cast(nn.Module, self.generator_ema.module.encoder)
        self.task = replace(self.task, photos=familiar_photos(averaged, dataset, self.device))
