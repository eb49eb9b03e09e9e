"""How a model steps: its optimisers and schedules, the average that follows, and the watch over both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import nn

from fund2oct.data.loading.split import SeenEyes
from fund2oct.models.batch import Losses
from fund2oct.models.task import TASK_KEY, Task, check_shape, eyes_of, lacking, tells
from fund2oct.models.training.beginning import Beginning, resumed, seen_in, seen_since
from fund2oct.models.training.checks.photos import check_augmented, check_no_maps, warn_of_unread_grid
from fund2oct.models.training.checks.steps import (
    Began,
    check_followed,
    check_same_sizes,
    check_steps_itself,
    warn_of_untrained,
)
from fund2oct.models.training.finite import FiniteWatch, NotFiniteError, advice
from fund2oct.models.training.going_on import (
    check_same_data,
    check_same_optimised,
    check_same_step,
    different_arguments,
    eyes_of_a_step,
    given_rates,
    group_sizes,
    take_rates,
)
from fund2oct.models.training.optimisation import (
    Progress,
    as_list,
    check_optimizers,
    datasets_of,
    falling,
    rest_frozen,
    step_plateaus,
    step_schedules,
    warn_without_end,
)
from fund2oct.models.training.terms import check_terms
from fund2oct.networks.average import AveragedNetwork
from fund2oct.networks.noise import NoiseSource

_COLLAPSED = 2.0**-14
"""Scale of gradients that a scaler only comes to if they are infinite in thirty steps after another."""


class SteppingModule(pl.LightningModule):
    """A module that steps its own optimisers, see :class:`fund2oct.models.VolumeModel`.

    Args:
        shape: slices, depth and A-scans ``(S, Z, X)`` of the volumes.
        learning_rate: step size of Adam.
        betas: Adam's two decay rates.
        decay_from: share of the training after which the rate falls linearly to zero.
        ema_decay: decay, in batches, of the averaged generator.
        gradient_clip: largest norm of a network's gradient; 0 turns it off.
        seed: seed of the noise.

    Raises:
        ValueError: if a number is out of its range.
    """

    draws_volumes: ClassVar[bool] = True
    """False for a model that predicts surfaces and draws no volumes."""
    draws_surfaces: ClassVar[bool] = False
    """True if ``forward`` takes ``draw_surfaces=True`` and then draws surfaces from their distribution."""
    translates: ClassVar[bool] = True
    """False for a pre-training, with whose weights another training begins."""
    conditions: tuple[str, ...] = ()
    """Names of scalars that the networks are told, see ``training.conditions.Conditions``."""
    reads_grid: bool = True
    """False where the generator does not read where the A-scans lie on the photo, see ``networks.lift``. A
    training is then refused ``photo_maps``, which move the photo and change the grid alone."""
    monitored: ClassVar[str] = "val/aligned/l1"
    """What a ``ReduceLROnPlateau`` of ``configure_optimizers`` watches."""
    generator: nn.Module
    generator_ema: AveragedNetwork

    def __init__(
        self,
        shape: tuple[int, int, int],
        learning_rate: float,
        betas: tuple[float, float],
        decay_from: float,
        ema_decay: float,
        gradient_clip: float,
        seed: int,
    ) -> None:
        super().__init__()
        for name, value, sound, expected in (
            ("decay_from", decay_from, 0 <= decay_from <= 1, "a share in [0, 1]"),
            ("ema_decay", ema_decay, 0 <= ema_decay < 1, "a share in [0, 1)"),
            ("gradient_clip", gradient_clip, gradient_clip >= 0, "0, for none, or more"),
        ):
            if not sound:  # NaN is in no range
                raise ValueError(f"{name}: expected {expected}, found {value}")
        self.automatic_optimization = False
        self.shape = shape[0], shape[1], shape[2]
        self.learning_rate = learning_rate
        self.betas = betas
        self.decay_from = decay_from
        self.ema_decay = ema_decay
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.task: Task | None = None
        self.seen_eyes: SeenEyes | None = None
        """The eyes that the weights have seen, in this training and in those that it began with."""
        self.photos_px = 0
        """Width in pixels of the photos of the training; 0 without photos."""
        self.begun: list[Beginning] = []
        """What the files of ``init_from`` say of their trainings, until the data of this one are known."""
        self._finite = FiniteWatch()
        self._progress = Progress()
        self._step_before: list[int] | None = None
        self._goes_on_from: dict[str, Any] | None = None
        self._optimised_before: list[list[int]] | None = None
        self._different = ""
        self._began: Began | None = None
        self._given_rates: list[list[dict[str, Any]]] = []

    def rate_factor(self, step: int) -> float:
        """Share of the learning rate at a step: 1, then linearly to 0."""
        return falling(self.share_done(step), 0, self.decay_from)

    def share_done(self, step: int | None = None) -> float:
        """Share of the training that is done at a step, by default this one.

        It is 0 as long as the training has no known end.
        """
        return self._progress.share_done(self.trainer, self.global_step if step is None else step)

    def step_generator(self, losses: Losses, *others: nn.Module) -> None:
        """Step the generator, its average, the schedules, and ``others`` that are optimised with it."""
        first = as_list(self.optimizers())[0]
        first.zero_grad()
        self.backward_of("generator", losses, nn.ModuleList([self.generator, *others]))
        first.step()
        self._began = check_same_sizes(self, self._began)
        self.generator_ema.update(self.generator, self._decay(self.global_step - 1))
        step_schedules(self.trainer, "step")
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # with 0 nothing is logged
        if every and self.global_step % every == 0:
            self._check_finite()

    def on_fit_start(self) -> None:
        """Refuse optimisers that would leave something untrained, and say what has no end to wait for."""
        check_optimizers(self.trainer.optimizers, 1, [])
        self.begin(self.generator)

    def begin(self, *networks: nn.Module) -> None:
        """Put what is frozen into evaluation mode, and learn of loaders what no datamodule told.

        Raises:
            ValueError: if the training goes on from a checkpoint in which other weights are optimised, or the
                loaders have other eyes than there, or tell too little of them, or Lightning is to step.
        """
        check_steps_itself(self)
        if not self.training:  # it was looked at since an earlier training
            self.train()
        self._finite, self._began = FiniteWatch(), None
        before, self._optimised_before = self._optimised_before, None
        check_same_optimised(before, group_sizes(self.trainer.optimizers), self._different)
        self._given_rates = given_rates(self.trainer.optimizers)
        warn_without_end(self.trainer, self.decay_from)
        rest_frozen(*networks)
        warn_of_untrained(self, self.trainer.optimizers)
        if not self.reads_grid:
            check_no_maps(self.trainer)
        data = getattr(self.trainer, "datamodule", None)
        content = getattr(data, "content", "pairs")
        if content == "pairs" and (self.task is None or lacking(data)):
            self.ask_loaders()  # else the datamodule told of its eyes when it was set up

    def ask_loaders(self) -> None:
        """Learn of the datasets of loaders what no datamodule told; a training that goes on compares it.

        Raises:
            ValueError: if too little is known of the data, their volumes are of another shape than the
                model's, or they are others than those of the checkpoint.
        """
        checkpoint, self._goes_on_from = self._goes_on_from, None
        stored, seen = self.task, self.seen_eyes
        train, vals = datasets_of(self.trainer)
        # Photos alone, or volumes alone, are no translation.
        pairs = getattr(train, "content", "pairs") == "pairs"
        missing = lacking(train) if pairs else []
        if not pairs:
            check_shape(train, self.shape)
        elif stored is None or not missing:
            self.learn_task((train, *vals))
        elif seen and checkpoint is None:
            rank_zero_warn(
                f"the training loader's dataset, a {type(train).__name__}, lacks {', '.join(missing)}: the "
                "model keeps the task of its earlier training. Where the eyes are others, its checkpoints do "
                "not name them, and an evaluation takes them for eyes that it has not seen"
            )
        about = self.task if pairs else train
        if checkpoint is not None:
            here = eyes_of(about, vals)
            if here and seen and not here.parts["val"]:  # none is validated on now
                here = replace(here, parts={**here.parts, "val": seen.parts["val"]})
            resumed(seen, here)
        self.remember(about, vals)
        if checkpoint is not None:
            check_same_data(checkpoint, stored, self)
            self.task, self.seen_eyes = stored or self.task, seen or self.seen_eyes

    def learn_task(self, data: Any) -> None:
        """Take from data what has to be known of them; scalars keep the scales that the weights know."""
        known = [one.conditions for one in self.begun]
        task = Task.of(data, self.shape, self.conditions)
        for before in [self.task.conditions, *known] if self.task else known:
            task = replace(task, conditions=task.conditions.scaled_as(before))
        self.task = task

    def remember(self, about: Any, vals: Sequence[Any] = ()) -> None:
        """Remember the eyes of a training beside those that the weights have seen before it.

        Args:
            about: the task, or the datamodule or training dataset of photos or volumes alone. Nothing is
                remembered of one that does not say which eyes it has.
            vals: the datasets to validate on, where they are ones of their own.

        Raises:
            ValueError: if the weights have seen eyes that it keeps for the test.
        """
        seen = eyes_of(about, vals)
        if seen is None:
            return
        earlier = [self.seen_eyes, *(one.seen for one in self.begun)]
        self.seen_eyes = seen_since(seen, [one for one in earlier if one])
        self.photos_px = getattr(about, "fundus_px", 0)
        if self.task and self.task is about:
            self.task = replace(self.task, seen=self.seen_eyes)
        for one in self.begun:
            one.warn_of_other_photos(self.photos_px)
        self.begun = []

    def go_on_from(self, checkpoint: Mapping[str, Any]) -> None:
        """Take over what a checkpoint knows of its data; refuse to go on from it with other data.

        What is not known before the training begins is compared there. Where a model is loaded for use, or to
        be trained on other data, nothing is compared.
        """
        about = checkpoint[TASK_KEY]
        stored = Task.from_dict(about["task"]) if about["task"] else None
        fitting = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and not tells(getattr(self.trainer, "datamodule", None)):
            self._goes_on_from = {name: checkpoint.get(name, {}) for name in (TASK_KEY, "hyper_parameters")}
            if self.seen_eyes:  # what it knows is of an earlier training
                self.task, self.seen_eyes, self.photos_px = None, None, 0
        seen = resumed(seen_in(about), self.task.seen if self.task else self.seen_eyes)
        if fitting:
            check_same_data(checkpoint, stored, self)
            self._step_before = about.get("eyes_of_a_step")
            if "optimizer_states" in checkpoint:  # of weights alone Lightning says that it cannot go on
                self._optimised_before = group_sizes(checkpoint["optimizer_states"])
            self._different = different_arguments(checkpoint.get("hyper_parameters", {}), self.hparams)
        self.task, self.seen_eyes = stored, seen

    def on_train_start(self) -> None:
        """Refuse to go on in steps of another number of eyes; let the rates that were given hold."""
        before, self._step_before = self._step_before, None
        check_same_step(before, eyes_of_a_step(self.trainer))
        if self._given_rates:  # not where a hook of the user's own stands in the place of ours
            take_rates(self.trainer, self._given_rates)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Look, before the first step, whether the batch is what it is to be, and where the average is."""
        if self._began is None:
            self._began = Began.of(self)
            check_augmented(self.trainer)
            warn_of_unread_grid(self, batch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Refuse a loss that a step of one's own returns, and a generator that does not keep its sizes."""
        if isinstance(outputs, Mapping) and "loss" in outputs:
            check_followed(self, self._began, returned=True)
        self._began = check_same_sizes(self, self._began)

    def on_train_epoch_end(self) -> None:
        """Step the schedules; stop where the training diverged, or nothing of it would be used."""
        check_followed(self, self._began)
        step_schedules(self.trainer, "epoch")
        self._check_finite()

    def on_validation_end(self) -> None:
        """Show what was measured to schedules that wait for a plateau."""
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            step_plateaus(self.trainer, self.monitored)

    def on_validation_start(self) -> None:
        """Stop where the training diverged, or nothing of it would be used, before it is measured."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            check_followed(self, self._began)
        self._check_finite()

    def backward_of(self, side: str, losses: Losses, network: nn.Module) -> None:
        """Give a network the clipped gradient of its losses, and log these as ``train/SIDE/NAME``."""
        check_terms(side, losses)
        total = torch.stack(list(losses.values())).sum()
        self.manual_backward(total)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        scale = 1.0 if scaler is None else scaler.get_scale()  # by which the gradient is too large here
        norm = nn.utils.clip_grad_norm_(network.parameters(), scale * (self.gradient_clip or math.inf))
        noted = {f"the {side}'s term {name}": value for name, value in losses.items()}
        # A gradient scaler skips the steps of infinite gradients, and scales less: in the end all are zero.
        if scaler is None or scale < _COLLAPSED:
            noted[f"the gradient of the {side}"] = norm
        self._finite.note(self.global_step, noted)
        logged = {f"train/{side}/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(logged | {f"train/{side}/total": total.detach()})

    def _check_finite(self) -> None:
        """Stop where a value was not finite; all processes of a training come here after the same step."""
        strategy = self.trainer.strategy
        if self.trainer.world_size > 1:
            mine = self._finite.first() is not None
            anyone = torch.tensor(float(mine), device=strategy.root_device)  # reduced in its place
            if strategy.reduce(anyone, reduce_op="max") and not mine:
                raise NotFiniteError(
                    "another process of this training met a value that is not a finite number, which its "
                    f"message names; {advice(self.trainer)}"
                )
        self._finite.check(advice(self.trainer))

    def _decay(self, n_averaged: int) -> float:
        # A young average follows quickly, so that it holds nothing of the random start.
        if n_averaged < 1:
            return 0.0
        return min(self.ema_decay, (1 + n_averaged) / (10 + n_averaged))

    def step_noise(self) -> NoiseSource:
        """The noise of a training step, by step and process: a resumed run draws what it would have drawn."""
        seed = (self.seed * 1_000_003 + self.global_step) * 4096 + self.global_rank
        return NoiseSource([torch.Generator(self.device).manual_seed(seed)])
