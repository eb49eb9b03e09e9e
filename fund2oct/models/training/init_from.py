"""Begin a training with weights from a file: a checkpoint of this library, or what others published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.data.loading.split import SeenEyes
from fund2oct.models.task import TASK_KEY
from fund2oct.networks.features.weight_files import read_saved, read_weights

_AVERAGED = "generator_ema.module."
_NAMED = 3


@dataclass
class Taken:
    """Report on which weights of a model were taken from a file.

    Args:
        path: the file.
        n_weights: number of weights of the model.
        there: prefix of the names in the file that is replaced by ``here``.
        here: prefix of the names in the model.
        taken: names of the model's weights that were taken from the file.
        resized: names of those that were resized, because the file has them for another depth.
        unlike: names of the model's weights that have another shape in the file, with both shapes.
        left: names of the model's weights that are not in the file.
        frozen: names of the model's frozen weights, which come from a package and were not replaced, although
            the file has them.
        unused: names of the file's weights that were not taken.

    Example:
        >>> print(Taken(Path("a.pth"), 2, taken=["generator.0.weight"], left=["generator.0.bias"]))
        init_from a.pth: 1 of 2 weights taken; 1 left as they were, not in the file (generator.0.bias)
    """

    path: Path
    n_weights: int
    there: str = ""
    here: str = ""
    taken: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.taken)} of {self.n_weights} weights taken"]
        if self.there != self.here:
            parts[0] += f" ({self.there or 'all'}* as {self.here or 'all'}*)"
        if self.resized:
            parts.append(f"{len(self.resized)} resized to this depth ({_some(self.resized)})")
        if self.unlike:
            parts.append(f"{len(self.unlike)} left as they were, of another shape ({_some(self.unlike)})")
        if self.left:
            parts.append(f"{len(self.left)} left as they were, not in the file ({_some(self.left)})")
        if self.frozen:
            parts.append(
                f"{len(self.frozen)} left as they were, for they are frozen: fine_tune takes them "
                f"({_some(self.frozen)})"
            )
        if self.unused:
            parts.append(f"{len(self.unused)} of the file not used ({_some(self.unused)})")
        return f"init_from {self.path}: {'; '.join(parts)}"


@torch.no_grad()
def init_from(path: str | Path, networks: Mapping[str, nn.Module], kept: tuple[str, ...] = ()) -> Taken:
    """Replace the weights of networks by those of a file, where names and shapes agree.

    The names in the file can have another prefix, such as ``backbone.`` for ``generator.encoder.``. The
    prefix with which most weights agree is found. From a checkpoint of this library the averaged generator is
    taken.

    If a weight differs only in the length of a depth axis, it is resized. A module declares such weights and
    their axis in ``depth_axes``, for example ``{"weight": 2}``.

    Args:
        path: a ``.safetensors`` file, or a file of ``torch.save`` with tensors by name, which can lie in a
            dictionary, as Lightning, timm and MAE write it. Only tensors and plain values are read.
        networks: networks by name, whose weights are replaced in place.
        kept: prefixes of the names of weights that are not replaced.

    Returns:
        Which weights were taken and which were not.

    Raises:
        ValueError: if the file cannot be read, or nothing in it fits.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "theirs.pth"
        >>> torch.save({"model": {"module.0.weight": torch.ones(1, 2)}}, file)
        >>> network = nn.Sequential(nn.Linear(2, 1))
        >>> print(str(init_from(file, {"generator": network})).split(": ")[1].split("; ")[0])
        1 of 2 weights taken (module.* as generator.*)
        >>> network[0].weight
        Parameter containing:
        tensor([[1., 1.]], requires_grad=True)
    """
    path = Path(path)
    theirs = read_weights(path, "init_from")
    if any(name.startswith(_AVERAGED) for name in theirs):
        others = {name: value for name, value in theirs.items() if not name.startswith("generator")}
        averaged = {name: value for name, value in theirs.items() if name.startswith(_AVERAGED)}
        theirs = others | {
            name.replace(_AVERAGED, "generator.", 1): value for name, value in averaged.items()
        }
    every = {
        f"{part}.{name}": value
        for part, network in networks.items()
        for name, value in network.state_dict(keep_vars=True).items()
    }
    ours = {name: value for name, value in every.items() if not name.startswith(kept or ("\0",))}
    axes = {
        f"{part}.{prefix}{'.' if prefix else ''}{name}": axis
        for part, network in networks.items()
        for prefix, module in network.named_modules()
        for name, axis in getattr(module, "depth_axes", {}).items()
    }
    # Frozen weights tell the prefix too: without them chance agreements might.
    there, here = _beginnings(theirs, every, axes)
    report = Taken(path, len(ours), there, here)
    for name, weight in ours.items():
        given = theirs.get(there + name[len(here) :]) if name.startswith(here) else None
        if given is None:
            report.left.append(name)
        elif (fitted := _fitted(given, weight, axes.get(name))) is None:
            report.unlike.append(f"{name} {tuple(given.shape)} for {tuple(weight.shape)}")
        else:
            weight.copy_(fitted)
            report.taken.append(name)
            if given.shape != weight.shape:
                report.resized.append(f"{name} {tuple(given.shape)} to {tuple(weight.shape)}")
    matched = {here + name[len(there) :] for name in theirs if name.startswith(there)}
    report.frozen = [name for name in every if name not in ours and name in matched]
    used = {there + name[len(here) :] for name in (*report.taken, *report.frozen)}
    report.unused = [name for name in theirs if name not in used]
    if not report.taken:
        hint = f"; {len(report.frozen)} belong to frozen weights of the model: fine_tune takes them"
        raise ValueError(
            f"init_from: {path}: none of its {len(theirs)} weights ({_some(list(theirs))}) fits one of the "
            f"model's {len(ours)} ({_some(list(ours))}) by name and shape{hint if report.frozen else ''}"
        )
    return report


def start_from(paths: Iterable[str | Path], model: Any, kept: tuple[str, ...] = ()) -> list[SeenEyes]:
    """Give a model's generator, its average and its discriminators the weights of files, and say it.

    Returns:
        The eyes that each file's model was trained on, where it is a checkpoint of this library.
    """
    parts = {name: getattr(model, name, None) for name in ("generator", "discriminators")}
    networks = {name: part for name, part in parts.items() if part is not None}
    seen = []
    for path in paths:
        rank_zero_info(str(init_from(path, networks, kept)))
        about = read_saved(Path(path), "init_from").get(TASK_KEY) or {}
        of_task = about["task"]["seen"] if about.get("task") else None
        if found := about.get("seen") or of_task:
            seen.append(SeenEyes.from_dict(found))
    model.generator_ema.update(model.generator, decay=0.0)
    return seen


def _beginnings(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], axes: Mapping[str, int]
) -> tuple[str, str]:
    """The beginnings of names, there and here, by which most weights agree; the shortest of them."""
    by_end: dict[str, list[str]] = {}
    for name in ours:
        for beginning, end in _splits(name):
            by_end.setdefault(end, []).append(beginning)
    counts: Counter[tuple[str, str]] = Counter()
    for name, given in theirs.items():
        for there, end in _splits(name):
            for here in by_end.get(end, ()):
                if _fits(given, ours[here + end], axes.get(here + end)):
                    counts[there, here] += 1
    if not counts:
        return "", ""
    return max(counts, key=lambda pair: (counts[pair], -len(pair[0]) - len(pair[1])))


def _splits(name: str) -> list[tuple[str, str]]:
    words = name.split(".")
    return [(".".join(words[:n]) + "." * (n > 0), ".".join(words[n:])) for n in range(len(words))]


def _fits(given: Tensor, weight: Tensor, axis: int | None) -> bool:
    if given.shape == weight.shape:
        return True
    if axis is None or given.ndim != weight.ndim:
        return False
    return all(n == m for d, (n, m) in enumerate(zip(given.shape, weight.shape, strict=True)) if d != axis)


def _fitted(given: Tensor, weight: Tensor, axis: int | None) -> Tensor | None:
    """The weight as it is, or resized along its depth; None where it is of another shape."""
    if not _fits(given, weight, axis):
        return None
    if axis is None or given.shape == weight.shape:
        return given
    rows = given.float().movedim(axis, -1)
    resized = F.interpolate(rows.reshape(1, -1, rows.shape[-1]), weight.shape[axis], mode="linear")
    return resized.view(*rows.shape[:-1], -1).movedim(-1, axis)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
