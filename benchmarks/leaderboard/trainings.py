"""Trainings under one budget, one after the other or side by side; what is done is not done again."""

from __future__ import annotations

import inspect
import json
import os
import platform
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from plan import Entry, Plan, PlanError

import fund2oct
from fund2oct.by_path import import_by_path, listed
from fund2oct.data import DataError, EyeReader
from fund2oct.file_kinds import file_sha256
from fund2oct.models.training.finite import NotFiniteError
from fund2oct.processes import Here, n_cores, process_pool
from fund2oct.run.config import load_experiment
from fund2oct.run.train import build
from fund2oct.stopping import INTERRUPTED

_NO_PANELS = "{class_path: fund2oct.callbacks.PanelCallback, init_args: {n_eyes: 0}}"
_FIXED = (
    "trainer.devices=1",
    "trainer.max_epochs=-1",
    "trainer.limit_val_batches=0",
    "trainer.enable_checkpointing=false",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=false",
    f"trainer.callbacks=[{_NO_PANELS}]",
)
"""A training ends by the clock, and looks at no eye but the training eyes."""


@dataclass(frozen=True)
class Training:
    """One training of an entry.

    Args:
        name: the entry's.
        seed: of weights, noise and order of the eyes.
        experiment: what is trained.
        settings: ``key=value`` that differ from the experiment.
        folder: where the checkpoint and what is known of the training go.
        at_once: how many trainings run side by side.
    """

    name: str
    seed: int
    experiment: str
    settings: tuple[str, ...]
    folder: Path
    at_once: int = 1

    @property
    def answer(self) -> str:
        """Its name in a report."""
        return f"{self.name} {self.seed}"

    @property
    def checkpoint(self) -> Path:
        """The trained model; a report calls it by the two folders above."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def is_done(self) -> bool:
        """Whether it came to its end.

        Raises:
            PlanError: if the folder holds a training with other settings, of the plan or of the experiment,
                with other code of the user's own, other weights to begin with, or on other eyes.
        """
        if not (self.folder / "training.json").is_file():
            return False
        before, now = self.known(), self._asked()
        other = [name for name, value in now.items() if before.get(name, value) != value]
        if other == ["eyes"]:
            path = _path_of_eyes(now["config"])
            raise PlanError(
                f"{self.folder}: was trained on other eyes than {path} holds now; bring those back, give "
                "another folder (--out), or delete this one and all others that were trained on them"
            )
        if other:
            raise PlanError(
                f"{self.folder}: was trained with other settings or minutes, other code of your own or other "
                "weights to begin with; give another folder (--out), or delete this one"
            )
        return True

    def _asked(self) -> dict[str, Any]:
        """What the plan says, what it makes of the experiment, and what the files hold that this names."""
        config = load_experiment(self.experiment, self.settings)
        asked = {"settings": [self.experiment, *self.settings], "config": config}
        return asked | {"digests": digests_of(config)} | digest_of_eyes(config)

    @property
    def failure(self) -> str:
        """Why the finished training holds no model, as where it diverged; empty where it holds one."""
        return str(self.known().get("failed", ""))

    def known(self) -> dict[str, Any]:
        """Settings of the finished training, and its steps, minutes, weights and so on, or why it failed."""
        found: dict[str, Any] = json.loads((self.folder / "training.json").read_text())
        return found

    def write(self, known: Mapping[str, Any]) -> None:
        """Keep what is known of the finished training."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "training.json").write_text(json.dumps(self._asked() | {**known}, indent=1) + "\n")


def digests_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Of the files with the user's own classes and with the weights that a training begins with, by path.

    Their names say nothing of what they hold.
    """
    classes = [config[part]["class_path"] for part in ("model", "data")]
    own = (inspect.getfile(import_by_path(path)) for path in classes if not path.startswith("fund2oct."))
    begins = listed(config["model"].get("init_args", {}).get("init_from") or [])
    files = [path for path in map(Path, (*own, *begins)) if path.is_file()]
    return {str(path): file_sha256(path) for path in files}


def digest_of_eyes(config: Mapping[str, Any]) -> dict[str, str]:
    """Of the eyes that a training reads, under the key `eyes`; nothing where there is no file of eyes.

    A file that was made anew has the same name.
    """
    try:
        with EyeReader(_path_of_eyes(config)) as reader:
            return {"eyes": reader.digest()}
    except DataError:
        return {}


def _path_of_eyes(config: Mapping[str, Any]) -> Any:
    return config["data"].get("init_args", {}).get("path", [])


def train_plan(plan: Plan, out: Path) -> list[Training]:
    """Train what a plan says, pre-trainings first.

    Args:
        plan: the plan.
        out: folder under which each training gets its own.

    Returns:
        The trainings of the entries, finished; those that diverged hold no model.

    Raises:
        PlanError: if a pre-training diverged.
        RuntimeError: if a training failed otherwise.
    """
    pretrainings = pretrainings_of(plan, out)
    train_all(pretrainings, plan.at_once)
    if failed := [f"{training.answer}: {training.failure}" for training in pretrainings if training.failure]:
        raise PlanError(f"others begin with what diverged, change the plan: {'; '.join(failed)}")
    trainings = trainings_of(plan, out)
    train_all(trainings, plan.at_once)
    return trainings


def trainings_of(plan: Plan, out: Path) -> list[Training]:
    """All trainings of a plan's entries; those of one seed stand together.

    Args:
        plan: the plan.
        out: folder under which each gets its own.
    """
    begun = {training.name: training.checkpoint for training in pretrainings_of(plan, out)}
    found = []
    for seed in plan.seeds:
        for name, entry in plan.entries.items():
            files = ",".join(str(begun[each]) for each in entry.begins_with)
            begins = [f"model.init_args.init_from=[{files}]"] if files else []
            found.append(_training(plan, name, entry, seed, out, begins))
    return found


def pretrainings_of(plan: Plan, out: Path) -> list[Training]:
    """The trainings whose weights others begin with.

    Args:
        plan: the plan.
        out: folder under which each gets its own.
    """
    return [
        _training(plan, name, entry, plan.seeds[0], out / "pretrained", [])
        for name, entry in plan.pretrainings.items()
    ]


def _training(plan: Plan, name: str, entry: Entry, seed: int, out: Path, more: list[str]) -> Training:
    minutes = timedelta(seconds=round(60 * plan.minutes))
    hours, rest = divmod(int(minutes.total_seconds()), 3600)
    time_limit = f"trainer.max_time={hours // 24:02d}:{hours % 24:02d}:{rest // 60:02d}:{rest % 60:02d}"
    seeded = [f"{key}={seed}" for key in ("seed_everything", "model.init_args.seed", "data.init_args.seed")]
    settings = (*plan.settings, *entry.settings, *more, *_FIXED, *seeded, time_limit)
    return Training(name, seed, entry.experiment, settings, out / name / str(seed), plan.at_once)


def train_all(trainings: list[Training], at_once: int) -> None:
    """Train what is not trained yet; a training that fails does not stop the others.

    Args:
        trainings: all of them.
        at_once: how many run side by side.

    Raises:
        PlanError: if finished ones had another machine than the rest would have, so that the same minutes are
            not the same budget.
        RuntimeError: if some failed in another way than by diverging, with what each said.
    """
    missing = [training for training in trainings if not training.is_done]
    if not missing:
        return
    for done in trainings:
        if done not in missing and not done.failure:
            check_machine(done, at_once)
    pool: AbstractContextManager[Executor] = process_pool(at_once) if at_once > 1 else nullcontext(Here())
    with pool as processes:
        try:
            asked = {training.answer: processes.submit(try_one, training) for training in missing}
            failed = {answer: said for answer, future in asked.items() if (said := _said(future))}
        except KeyboardInterrupt:
            print("interrupted; the same command goes on")
            os._exit(INTERRUPTED)  # the other processes end with this one, in the middle of their trainings
    if failed:
        each = "; ".join(f"{answer}: {said}" for answer, said in failed.items())
        raise RuntimeError(f"{len(failed)} of {len(asked)} trainings failed, run again to go on: {each}")


def check_machine(done: Training, at_once: int) -> None:
    """Refuse to train others beside a finished training that had another machine, or another share of it.

    Args:
        done: the finished training.
        at_once: how many of the others would run side by side.

    Raises:
        PlanError: if it had; the message says what to do.
    """
    alone = at_once == 1
    known = done.known()
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if known["config"]["trainer"].get("accelerator") == "cpu":
        device = "cpu"
    threads = torch.get_num_threads() if alone else 1
    now = {"device": device, "threads": threads, "at_once": at_once, "machine": machine(device)}
    before = {name: known.get(name, value) for name, value in now.items()}
    before["device"] = known["device"].partition(":")[0]
    if before != now:
        had, have = (
            f"{one['device']}, threads: {one['threads']}, side by side: {one['at_once']}, {one['machine']}"
            for one in (before, now)
        )
        raise PlanError(
            f"{done.folder}: expected a training on {have}, as the others would have, found one on {had}; "
            "give the same `at_once` and machine as before, another folder (--out), or delete this one"
        )


def machine(device: str) -> str:
    """What a training runs on: the name of the GPU, or the processor's and the number of its cores.

    Args:
        device: as ``cuda:0`` or ``cpu``.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{n_cores()} cores of {names[0] if names else platform.processor() or platform.machine()}"


def try_one(training: Training) -> str:
    """Train, and keep it where the training diverged: trained again it would do so again.

    Returns:
        Why it failed otherwise; empty where it did not. In words: an error holds the tensors of the training.
    """
    try:
        train_one(training)
    except NotFiniteError as error:
        why = str(error).partition(";")[0]
        training.write({"failed": why})
        print(f"{training.answer}: {why}", flush=True)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _said(future: Future[str]) -> str:
    error = future.exception()  # of the process itself, as where it was killed
    return future.result() if error is None else f"{type(error).__name__}: {error}"


def train_one(training: Training) -> None:
    """Train, and write the model and what is known of the training."""
    began = time.monotonic()
    where = f"trainer.default_root_dir={training.folder}"
    trainer, model, data = build(training.experiment, [*training.settings, where])
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(training.checkpoint)
    known = {
        "fund2oct": fund2oct.__version__,
        "steps": trainer.global_step,
        "minutes": (time.monotonic() - began) / 60,
        "batch_size": data.batch_size,
        "n_train": data.n_eyes_of("train"),
        "generator": _n_trained(model.generator),
        "discriminators": _n_trained(getattr(model, "discriminators", torch.nn.ModuleDict())),
        "device": str(trainer.strategy.root_device),
        "threads": torch.get_num_threads(),
        "at_once": training.at_once,
        "machine": machine(str(trainer.strategy.root_device)),
    }
    training.write(known)
    print(f"{training.answer}: {known['steps']} steps in {known['minutes']:.1f} minutes", flush=True)


def _n_trained(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
