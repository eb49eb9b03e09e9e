"""``fund2oct publish``: from a run to a folder that is handed on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fund2oct import __version__
from fund2oct.eye import Array
from fund2oct.geometry import Placement
from fund2oct.models import VolumeModel, load_model
from fund2oct.models.checkpoint import import_class
from fund2oct.models.predicting.generate import generate
from fund2oct.models.published import CARD, CONFIG, WEIGHTS, read_config, write_published
from fund2oct.models.thickness import predict_thickness
from fund2oct.networks.features.efficientnet import EfficientNetLite
from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.outputs import OutputError, check_folder
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.run.publishing.card import model_card
from fund2oct.run.publishing.record import RunRecord

_PICTURE = "eye.webp"
_LIKE_THE_PNG: dict[str, Any] = {"quality": 95, "method": 6, "use_sharp_yuv": True}
"""Looks the same at a quarter of the size."""
_MOST_GREY = 0.5
_MOST_UM = 1.0
_ALMOST_ALL = 0.999


@dataclass(frozen=True)
class Published:
    """What was published.

    Args:
        folder: where it lies.
        n_bytes: size of all its files together.
        check: in a sentence, how what was read back compares with the checkpoint.

    Example:
        >>> published = Published(Path("my-model"), 2_014_875, "Read back, they change nothing.")
        >>> f"{published.folder}: {published.n_bytes / 2**20:.1f} MiB"
        'my-model: 1.9 MiB'
    """

    folder: Path
    n_bytes: int
    check: str


def publish(
    run: str | Path,
    folder: str | Path,
    half: bool = False,
    with_encoder: bool = False,
    licence: str = "",
    model: str | None = None,
    overwrite: bool = False,
) -> Published:
    """Write a trained model as a folder that others can use: tensors, configuration, card, picture.

    The averaged generator alone is written: no discriminator, no optimiser, no name of an eye or a patient.
    A test eye is pictured only where all eyes were simulated.
    What was written is read back and compared with the checkpoint on a simulated eye.

    Args:
        run: the folder of a run, whose newest checkpoint is taken, or a checkpoint.
        folder: the folder to make.
        half: whether numbers are written as float16, half as large.
        with_encoder: whether a frozen photo encoder that comes from a package is written too, so that the
            folder is all that use needs.
        licence: licence of the weights, as the hub calls it, such as ``"apache-2.0"``; empty leaves it open.
        model: import path of the model's class, where it is not of this package.
        overwrite: whether an earlier publication in ``folder`` may be replaced. It stays where the new one is
            refused.

    Returns:
        Where it lies, how large it is, and how it compares with the checkpoint.

    Raises:
        ValueError: if there is no run, its files are damaged, or float16 would change what the model draws.
        fund2oct.models.CheckpointError: if the checkpoint cannot be used.
        fund2oct.outputs.OutputError: if the folder holds something else, such as a model of others.

    Example:
        >>> published = publish("model.ckpt", "my-model", half=True, licence="apache-2.0")
        >>> sorted(path.name for path in published.folder.iterdir())
        ['README.md', 'config.json', 'model.safetensors']
    """
    record = RunRecord.read(Path(run))
    folder = Path(folder)
    if record.checkpoint.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"{folder}: holds the run that is to be published; choose another folder")
    _check_room(folder, overwrite)
    own = import_class(model) if model else None
    network = load_model(record.checkpoint, own)
    assert network.task is not None
    network.task = network.task.for_publishing()
    packages, parts = _not_learned(network)
    about = record.about | {
        "fund2oct": __version__,
        "provenance": network.task.provenance(),
        "licence": licence,
        "with_encoder": with_encoder,
        "numbers": "float16" if half else "float32",
        "packages": packages,
        "parts": parts,
        "n_weights": sum(weight.numel() for weight in network.generator_ema.parameters()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    # An earlier publication stays until the new one was read back.
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=folder) as scratch:
        made = Path(scratch)
        write_published(network, made, about, half, with_encoder)
        check = about["check"] = _compare(network, load_model(made, own), folder)
        picture = None
        # Photo and scan of a patient are not ours to publish.
        # A report that was made later may show other eyes than those of the training, and these may be real.
        if record.picture is not None and not record.judged_on and not network.task.real:
            picture = _PICTURE
            Image.open(record.picture).convert("RGB").save(made / picture, "WEBP", **_LIKE_THE_PNG)
        (made / CARD).write_text(model_card(folder.resolve().name, network, record, about, picture), "utf-8")
        _put(made, folder)
    return Published(folder, sum(path.stat().st_size for path in folder.iterdir()), check)


def _check_room(folder: Path, overwrite: bool) -> None:
    check_folder(folder, CONFIG, overwrite)
    if not (folder / CONFIG).is_file():
        return
    try:  # many a model of others has a file of that name
        read_config(folder)
    except ValueError as error:
        raise OutputError(f"{error}; choose another folder") from None


def _put(made: Path, folder: Path) -> None:
    """Move what was made to where an earlier publication may lie; other files there stay."""
    # First away and last in its place: a folder without it is known to be unfinished.
    names = CARD, _PICTURE, WEIGHTS, CONFIG
    for name in reversed(names):
        (folder / name).unlink(missing_ok=True)
    for name in names:
        if (made / name).is_file():
            (made / name).replace(folder / name)


def _not_learned(network: VolumeModel) -> tuple[list[str], list[str]]:
    """What was there before the training, and is needed for use beside what is written.

    Returns:
        Names of the networks whose weights come with the extra ``pretrained``; and the parts of the model
        whose weights come from elsewhere.
    """
    left, packages = network.rebuilt_names(), set[str]()
    for name, part in network.named_modules(remove_duplicate=False):
        # Such a part is built of the weights of its package, or of its file, also where it was trained since.
        if isinstance(part, EfficientNetLite):
            packages.add(part.name)
            left = {weight for weight in left if not weight.startswith(f"{name}.")}
        elif isinstance(part, Backbone):
            left.add(f"{name}.")
    parts = {weight.replace("generator_ema.module.", "generator.", 1) for weight in left}
    return sorted(packages), sorted({".".join(weight.split(".")[:2]) for weight in parts})


def _compare(network: VolumeModel, again: VolumeModel, folder: Path) -> str:
    """Say how what was read back differs; refuse a difference that can be seen."""
    assert network.task is not None
    task = network.task
    config = PhantomConfig(fundus_px=task.fundus_px, n_depth=32, n_ascans=48)
    fundus = simulate_eye(0, 0, config).fundus
    assert fundus is not None
    found = []
    if network.draws_volumes:
        before, after = (_volume(one, fundus) for one in (network, again))
        change = np.abs(before - after)
        # Where an edge moves by a share of a pixel, a single voxel changes much and nothing is to be seen.
        most = np.quantile(change, _ALMOST_ALL)
        found.append(f"{_ALMOST_ALL:.1%} of the voxels by at most {most:.0f} of 255 grey levels")
        if change.mean() > _MOST_GREY:
            raise ValueError(f"{folder}: float16 changes {found[0]}; publish without --half")
    maps = [predict_thickness(one, fundus, Placement(), task.scan) for one in (network, again)]
    if maps[0] is not None and maps[1] is not None:
        change_um = np.abs(maps[0].median_um - maps[1].median_um)
        mean_um = float(np.nanmean(change_um))
        found.append(f"the thickness by at most {np.nanmax(change_um):.2f} µm (mean {mean_um:.2f})")
        if mean_um > _MOST_UM:
            raise ValueError(f"{folder}: float16 changes {found[-1]}; publish without --half")
    return f"Read back, they change {' and '.join(found)} in a simulated eye." if found else ""


def _volume(network: VolumeModel, fundus: Array) -> Array:
    assert network.task is not None
    volume, _ = generate(network, fundus, network.task.scan, Placement(), "check")
    return volume.astype(np.float32)
