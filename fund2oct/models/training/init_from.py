"""Begin a training with weights from a file: a checkpoint of this library, or what others published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.eye import some_of
from fund2oct.networks.features.weight_files import read_weights
from fund2oct.networks.foundation.backbone import Backbone

_AVERAGED = "generator_ema.module."
_LEAST_SHARE, _LEAST_PART = 0.5, 8
"""Share of the weights, of the file or of the model, or number of weights of a whole part of the model, below
which an agreement can be chance: two norms of one width agree by ``weight`` and ``bias``."""


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
        otherwise: names of those that read other conditions or masks in the file.
        frozen: names of the model's frozen weights that the file has too, with the same values.
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
    otherwise: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.taken)} of {self.n_weights} weights taken"]
        if self.there != self.here:
            parts[0] += f" ({self.there or 'all'}* as {self.here or 'all'}*)"
        if self.resized:
            parts.append(f"{len(self.resized)} resized to this depth ({some_of(self.resized)})")
        if self.unlike:
            parts.append(f"{len(self.unlike)} left as they were, of another shape ({some_of(self.unlike)})")
        if self.left:
            parts.append(f"{len(self.left)} left as they were, not in the file ({some_of(self.left)})")
        if self.otherwise:
            told = f"conditions or masks other than those of the file ({some_of(self.otherwise)})"
            parts.append(f"{len(self.otherwise)} left as they were, of {told}")
        if self.frozen:
            parts.append(f"{len(self.frozen)} frozen, and the same in the file ({some_of(self.frozen)})")
        if self.unused:
            parts.append(f"{len(self.unused)} of the file not used ({some_of(self.unused)})")
        return f"init_from {self.path}: {'; '.join(parts)}"


@torch.no_grad()
def init_from(
    path: str | Path,
    networks: Mapping[str, nn.Module],
    kept: tuple[str, ...] = (),
    otherwise: tuple[str, ...] = (),
) -> Taken:
    """Replace the weights of networks by those of a file, where names and shapes agree.

    The names in the file can have another prefix, such as ``backbone.`` for ``generator.encoder.``. The
    prefix with which most weights agree is found. From a checkpoint of this library the averaged generator is
    taken.

    What is frozen here comes from elsewhere and is not replaced; the file may have it too, if with the same
    values. All that the file has of a network of others is taken, or nothing is: a network whose first blocks
    are of one training and whose last are of another is none.

    If a weight differs only in the length of a depth axis, it is resized. A module declares such weights and
    their axis in ``depth_axes``, for example ``{"weight": 2}``.

    Args:
        path: a ``.safetensors`` file, or a file of ``torch.save`` with tensors by name, which can lie in a
            dictionary, as Lightning, timm and MAE write it. Only tensors and plain values are read.
        networks: networks by name, whose weights are replaced in place.
        kept: prefixes of the names of weights that are frozen and not replaced.
        otherwise: parts of the names of weights that have another meaning in the file and are not replaced.

    Returns:
        Which weights were taken and which were not.

    Raises:
        ValueError: if the file cannot be read; if nothing in it fits, or so little that it may be chance; or
            if it has weights of a network of others that this model would leave out. Nothing is replaced
            then.

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
    there, here = _beginnings(theirs, every, axes, tuple(networks))
    report = Taken(path, len(ours), there, here)
    found: dict[str, Tensor] = {}
    matched = {here + name[len(there) :]: value for name, value in theirs.items() if name.startswith(there)}
    for name, weight in ours.items():
        given = matched.get(name)
        if given is None:
            report.left.append(name)
        elif any(part in name for part in otherwise):
            report.otherwise.append(name)
        elif (fitted := _fitted(given, weight, axes.get(name))) is None:
            report.unlike.append(f"{name} {tuple(given.shape)} for {tuple(weight.shape)}")
        else:
            found[name] = fitted
            report.taken.append(name)
            if given.shape != weight.shape:
                report.resized.append(f"{name} {tuple(given.shape)} to {tuple(weight.shape)}")
    report.frozen = [name for name in every if name not in ours and name in matched]
    used = {there + name[len(here) :] for name in (*report.taken, *report.frozen)}
    report.unused = [name for name in theirs if name not in used]
    _check_sensible(report, len(theirs), list(every))
    _check_whole(report, matched, every, backbones(networks))
    for name, fitted in found.items():
        ours[name].copy_(fitted)
    return report


def backbones(networks: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """Beginnings of the names of the weights that belong to networks of others.

    Args:
        networks: networks by name, which may hold such ones.
    """
    return tuple(
        f"{part}.{name}{'.' if name else ''}"
        for part, network in networks.items()
        for name, module in network.named_modules()
        if isinstance(module, Backbone)
    )


def _check_sensible(report: Taken, n_theirs: int, every: list[str]) -> None:
    """Refuse a file of which nothing fits, or what may agree by chance: a norm here and a norm there."""
    used = [*report.taken, *report.frozen]
    theirs = f"its {n_theirs} weights ({some_of(report.unused)})"
    model = f"the model's {len(every)} ({some_of(every)})"
    if not used:
        raise ValueError(f"init_from: {report.path}: none of {theirs} fits one of {model} by name and shape")
    of_part = Counter(part for name in every for part in _parts(name))
    used_of_part = Counter(part for name in used for part in _parts(name))
    whole = any(of_part[part] == number >= _LEAST_PART for part, number in used_of_part.items())
    in_full = report.there == report.here  # names that agree in full are no chance
    if not (whole or in_full) and len(used) < _LEAST_SHARE * min(n_theirs, len(every)):
        raise ValueError(
            f"init_from: {report.path}: only {len(used)} ({some_of(used)}) of {theirs} fit one of {model} by "
            "name and shape, which may be chance; expected half of either, or a whole part of the model: "
            "give weights of the same network"
        )


def _check_whole(
    report: Taken, matched: Mapping[str, Tensor], every: Mapping[str, Tensor], of_others: tuple[str, ...]
) -> None:
    """Refuse to leave out some of the weights that the file has of a network of others."""
    changed = [name for name in report.frozen if not _same(matched[name], every[name])]
    # Where the file has names of its own, what has no place here is a head or a decoder.
    no_place = [name for name in matched if name not in every] if report.there == report.here else []
    unlike = [name.partition(" ")[0] for name in report.unlike]
    left_out = changed + [name for name in (*no_place, *unlike) if name.startswith(of_others)]
    if not left_out:
        if not report.taken:
            raise ValueError(
                f"init_from: {report.path}: all of its weights that fit are frozen here, and the same: there "
                "is nothing to begin with"
            )
        return
    lora = [matched[name] for name in left_out if ".lora_A." in name]
    if lora:
        advice = f"set lora_rank={len(lora[0])} as there, and no fine_tune"
    elif any(name in every and matched[name].shape != every[name].shape for name in left_out):
        advice = "give encoder the weights that it had there"
    else:
        advice = "set fine_tune=true without lora_rank, and encoder_learning_rate=0 to keep them as they are"
    raise ValueError(
        f"init_from: {report.path}: its training changed weights of a network that others have trained, and "
        f"{len(left_out)} of these would be left out here ({some_of(left_out)}), while the rest relies on "
        f"them; {advice}"
    )


def _same(given: Tensor, weight: Tensor) -> bool:
    """Whether two weights are the same, at the precision of the file."""
    return given.shape == weight.shape and torch.equal(given, weight.detach().cpu().to(given.dtype))


def _parts(name: str) -> list[str]:
    """Names of the modules that hold a weight."""
    words = name.split(".")
    return [".".join(words[:n]) for n in range(1, len(words))]


def _beginnings(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], axes: Mapping[str, int], parts: tuple[str, ...]
) -> tuple[str, str]:
    """The beginnings of names, there and here, by which most weights agree; the shortest of them.

    Where the file names a part of a model, such as ``generator``, its weights are of that part here too: the
    encoder of a photo is no discriminator, though both may be networks of one family.
    """
    by_end: dict[str, list[str]] = {}
    for name in ours:
        for beginning, end in _splits(name):
            by_end.setdefault(end, []).append(beginning)
    counts: Counter[tuple[str, str]] = Counter()
    for name, given in theirs.items():
        part = name.partition(".")[0]
        for there, end in _splits(name):
            for here in by_end.get(end, ()):
                of_another = part in parts and (here + end).partition(".")[0] != part
                if not of_another and _fits(given, ours[here + end], axes.get(here + end)):
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
