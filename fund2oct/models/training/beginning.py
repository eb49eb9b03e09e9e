"""A training that begins where another one ended: what its file says, and whether the two go together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

from fund2oct.by_path import listed
from fund2oct.data.loading.split import PARTS, SeenEyes
from fund2oct.eye import some_of
from fund2oct.models.published.files import CONFIG, WEIGHTS, is_published, read_config
from fund2oct.models.task import TASK_KEY
from fund2oct.models.training.conditions import Conditions
from fund2oct.models.training.init_from import backbones, init_from
from fund2oct.networks.features.weight_files import read_saved

_GENERATOR, _READS_PHOTOS = "generator.", ".encoder."
"""Of the names of weights: an encoder of photos, or of what the lines of a scan see of them."""
_PHOTO_ENCODER = "generator.encoder."
_READ_BY = {"conditions": ".known.scale_and_shift.", "masks": ".known.masks."}
"""Parts of the names of weights that read what a model is told beside its photo."""
_SHOWN = 12


@dataclass(frozen=True)
class Beginning:
    """What a file says of the training that made its weights.

    Args:
        path: the file.
        seen: the eyes of that training and of those before it; None where the file does not say it.
        fundus_px: width of its photos in pixels; 0 where the file does not say it, or where no weight was
            taken that reads photos in this width, as those of an encoder do that resizes them.
        conditions: the scalars that weights were taken for, in the scales that these know.
    """

    path: Path
    seen: SeenEyes | None
    fundus_px: int
    conditions: Conditions = field(default_factory=Conditions)

    def warn_of_other_photos(self, fundus_px: int) -> None:
        """Warn where the training that begins has photos of another width, in pixels; 0 is none."""
        if self.fundus_px and fundus_px and self.fundus_px != fundus_px:
            rank_zero_warn(
                f"init_from: {self.path}: what it took learned from photos of {self.fundus_px} pixels, "
                f"those of this training have {fundus_px}: what it looks for has another size in them. "
                f"data.init_args.fundus_px={self.fundus_px} gives the same"
            )


def start_from(paths: Iterable[str | Path], model: Any, kept: tuple[str, ...] = ()) -> list[Beginning]:
    """Give a model's generator, its average and its discriminators the weights of files, and say it.

    Args:
        paths: see :func:`fund2oct.models.training.init_from.init_from`, or folders of published models.
            Beside the ``model.safetensors`` of such a one lies its ``config.json``, which is read too.
        model: whose networks are built.
        kept: prefixes of the names of weights that are not replaced.

    Returns:
        What each file says of its training.

    Raises:
        ValueError: if a file cannot be read, nothing sensible in it fits, its weights were trained upon
            other ones than the model's, or read the maps of another encoder.
    """
    parts = {name: getattr(model, name, None) for name in ("generator", "discriminators")}
    networks = {name: part for name, part in parts.items() if part is not None}
    names = {f"{part}.{name}" for part, network in networks.items() for name in network.state_dict()}
    found = []
    for path in (one / WEIGHTS if is_published(one) else one for one in map(Path, paths)):
        about, hyper_parameters = _told(path)
        report = init_from(path, networks, kept, _meant_otherwise(hyper_parameters, model))
        check_same_weights(hyper_parameters, model, names - set(report.taken), f"init_from: {path}")
        seen = seen_in(about)
        unknown = "" if seen else "; it does not say which eyes its weights have seen"
        rank_zero_info(f"{report}{unknown}")
        reads = [name for name in report.taken if name.startswith(_GENERATOR) and _READS_PHOTOS in name]
        if reads and about:
            _check_same_encoder(path, hyper_parameters, model, reads)
        if reads and _resizes(model):
            _warn_of_another_scale(path, hyper_parameters, model)
            reads = [name for name in reads if not name.startswith(_PHOTO_ENCODER)]
        task = about.get("task") or about
        told = any(_READ_BY["conditions"] in name for name in report.taken)
        conditions = Conditions.from_dict(task.get("conditions", {}) if told else {})
        found.append(Beginning(path, seen, int(task.get("fundus_px", 0)) if reads else 0, conditions))
    model.generator_ema.update(model.generator, decay=0.0)
    return found


def _resizes(model: Any) -> bool:
    """Whether the photo encoder brings photos to a width of its own, whatever that of the data."""
    return hasattr(getattr(model.generator, "encoder", None), "width_px")


def _check_same_encoder(path: Path, told: Mapping[str, Any], model: Any, reads: Sequence[str]) -> None:
    """Refuse weights that read the maps of another encoder than the model's.

    Of weights of others, whose digests are known, see :func:`check_same_weights`.
    """
    if "encoder" not in told or "encoder" not in model.hparams:
        return
    (there, _, of_others), (here, _, known) = (
        str(each["encoder"]).partition("@") for each in (told, model.hparams)
    )
    if bool(of_others) != bool(known) or (not known and there != here):
        raise ValueError(
            f"init_from: {path}: was trained with the encoder {there}, and this model has {here}, while "
            f"{len(reads)} of its weights read the maps of its own ({some_of(reads)}); give encoder the same"
        )


def _warn_of_another_scale(path: Path, told: Mapping[str, Any], model: Any) -> None:
    """Warn where the photo encoder resizes photos to another width than it did in the training of a file."""
    names = [str(each.get("encoder")).partition("@")[0] for each in (told, model.hparams)]
    if names[0] != names[1]:
        return
    encoder, here = model.generator.encoder, model.generator.encoder.width_px
    # Where neither sets a width, both have that of the weights. Where only this training sets one, that of
    # weights of others is not known.
    usual = here if model.hparams.get("encoder_px") is None else getattr(encoder, "usual_px", 0)
    there = told.get("encoder_px") or usual
    if there != here:
        width = f"{there} pixels" if there else "the width that belongs to its weights"
        setting = "model.init_args.encoder_px"
        advice = f"{setting}={there} gives the same" if there else f"leave {setting} out to have the same"
        rank_zero_warn(
            f"init_from: {path}: what it took learned from photos that the encoder resized to {width}, in "
            f"this training it resizes them to {here}: what it looks for has another size in them. {advice}"
        )


def seen_since(seen: SeenEyes, earlier: Sequence[SeenEyes]) -> SeenEyes:
    """The eyes of a training, with those that its weights had seen before.

    Args:
        seen: the eyes of the training.
        earlier: those of the trainings that it begins with. One of the very same eyes goes on.

    Returns:
        ``seen`` with the earlier ones in ``before``, each of them once.

    Raises:
        ValueError: if the training keeps eyes for the test that are among those.

    Example:
        >>> photos, pairs = SeenEyes.of_keys(["a", "b"]), SeenEyes.of_keys(["c"], test=["d"])
        >>> [one.parts["train"][0].key for one in seen_since(pairs, [photos]).before]
        ['a']
    """
    before = list(seen.before)
    for one in earlier:
        if one.parts != seen.parts:
            one.check_apart(seen)
        before += [each for each in (*one.before, replace(one, before=())) if each.parts != seen.parts]
    return replace(seen, before=tuple(one for number, one in enumerate(before) if one not in before[:number]))


def seen_in(about: Mapping[str, Any]) -> SeenEyes | None:
    """The eyes that a checkpoint's entry names: those of its task, or of a pre-training that has none."""
    stored = about["task"]["seen"] if about.get("task") else about.get("seen")
    return SeenEyes.from_dict(stored) if stored else None


def resumed(stored: SeenEyes | None, here: SeenEyes | None) -> SeenEyes | None:
    """The eyes of a training that goes on, or of a model that is loaded.

    Args:
        stored: those in the checkpoint, with those of the trainings before.
        here: those that the training is given now; None where a model is loaded for use.

    Returns:
        Those in the checkpoint, where it says them.

    Raises:
        ValueError: if the two have other parts: test eyes would become training eyes.
    """
    if stored and here and stored.parts != here.parts:
        moved = {name.key for part in PARTS for name in {*stored.parts[part]} ^ {*here.parts[part]}}
        raise ValueError(
            f"the checkpoint was trained on another split ({stored.path}, {stored.split}) than this "
            f"training's ({here.path}, {here.split}); not in the same part of both: "
            f"{some_of(sorted(moved)) or 'none, but their order is another'}; resume with the same data and "
            "split, or its test eyes become training eyes"
        )
    return stored or here


def check_same_weights(
    hyper_parameters: Mapping[str, Any], model: Any, missing: Iterable[str], what: str = "the checkpoint"
) -> None:
    """Refuse what was trained upon other weights of others than those that a model is built on.

    Args:
        hyper_parameters: of the model that the file holds; ``encoder`` has name and digest.
        model: the model that gets the file's weights.
        missing: names of the model's weights that do not come from the file.
        what: what messages call the file.

    Raises:
        ValueError: if such weights are missing in the file, and the model has others.
    """
    names = [str(each.get("encoder")) for each in (hyper_parameters, model.hparams)]
    there, here = (name.partition("@sha256:") for name in names)
    built_upon = backbones(dict(model.named_children()))
    if there[2] and here[2] and there[2] != here[2] and any(name.startswith(built_upon) for name in missing):
        raise ValueError(
            f"{what}: was trained upon the encoder {there[0]} with SHA-256 {there[2][:_SHOWN]}..., and this "
            f"model is built on {here[0]} with SHA-256 {here[2][:_SHOWN]}...; give encoder the same weights"
        )


def _meant_otherwise(hyper_parameters: Mapping[str, Any], model: Any) -> tuple[str, ...]:
    """Parts of the names of weights that read other conditions or masks in a file than in a model.

    A network knows them by their order alone. A file without hyper-parameters does not tell theirs.
    """
    return tuple(
        part
        for name, part in _READ_BY.items()
        if hyper_parameters and listed(hyper_parameters.get(name) or ()) != list(getattr(model, name))
    )


def _told(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What a file says of its training, and the hyper-parameters; both are empty for weights of others."""
    if path.suffix != ".safetensors":
        saved = read_saved(path, "init_from")
        about, arguments = (saved.get(name) for name in (TASK_KEY, "hyper_parameters"))
        return (about if isinstance(about, dict) else {}, arguments if isinstance(arguments, dict) else {})
    if path.name != WEIGHTS or not is_published(path.parent) or _is_of_others(path.parent / CONFIG):
        return {}, {}
    config = read_config(path.parent)
    return {"task": config["task"]}, config["hyper_parameters"]


def _is_of_others(config: Path) -> bool:
    """Whether a folder's configuration was written by another library, as those of the hub are."""
    try:
        found = json.loads(config.read_text("utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "fund2oct" not in found
