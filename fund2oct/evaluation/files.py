"""How near generated volumes are to the real ones, from files alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from fund2oct.evaluation.answers import Answer, Given
from fund2oct.evaluation.compare import compare
from fund2oct.evaluation.distances import DEFAULT, Wanted, build_distances
from fund2oct.evaluation.floors import second_rendering
from fund2oct.evaluation.generated import write_generated
from fund2oct.evaluation.pairs import PairedEyes
from fund2oct.evaluation.protocol import find_protocol
from fund2oct.evaluation.report import write_report
from fund2oct.evaluation.sources import VolumeSource, open_source
from fund2oct.models import Batch, load_model
from fund2oct.models.checkpoint import import_class
from fund2oct.processes import processes_beside
from fund2oct.retina import align

_CHECKPOINTS = (".ckpt", ".pt", ".pth")


def evaluate_files(
    real: str | Path,
    fake: str | Path,
    out: str | Path,
    protocol: str | None = None,
    model: str | None = None,
    distances: Wanted = DEFAULT,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Compare generated volumes with the real ones of the same eyes, and write the report.

    Beside the generated set stand the floor, where the real file has second renderings, and the
    generated volumes given to *other eyes*: they must be worse, or the set is one face of one retina.

    Args:
        real: an HDF5 file of eyes, or a folder or zip of slices, see
            :func:`fund2oct.evaluation.sources.open_source`.
        fake: likewise, or a checkpoint, which then translates the photos of ``real``.
        out: folder of the report.
        protocol: a name of :data:`fund2oct.evaluation.protocol.PROTOCOLS`; None compares the files as
            they lie.
        model: import path of the checkpoint's class, where it is not of this package.
        distances: between the sets.
        seed: of the model's noise and of the distances' draws.
        device: where models and feature networks run.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        fund2oct.data.DataError: if a file cannot be used, or does not fit the other.
        ValueError: if the protocol or a distance is not known.
    """
    chosen = find_protocol(protocol)
    device = torch.device(device)
    real_source = open_source(real, adapt=chosen.adapt_real)
    first = real_source.read(real_source.keys[0])
    # Before hours of generating and checking: the weights may not be at hand.
    wanted = build_distances(distances, first.scan, len(real_source.keys), device, seed)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        fake_source = _open_fake(Path(fake), real_source, Path(folder), model, seed, device)
        eyes = PairedEyes(real_source, fake_source, chosen, device)
        answers = [_given(), _given_to_others(eyes)]
        if eyes.has_second:
            answers.insert(0, second_rendering())
        with processes_beside(len(eyes.keys)) as pool:
            found = compare(eyes, answers, wanted, pool)
        description = {
            "name": chosen.name,
            "statement": chosen.statement,
            "real": str(real),
            "fake": str(fake),
            "n_eyes": len(eyes.keys),
            "shape": list(eyes.shape),
            "seed": seed,
            "notes": eyes.notes,
        }
        return write_report(Path(out), description, eyes, answers, found, shown=[answers[-2].name])


def _open_fake(
    fake: Path, real: VolumeSource, folder: Path, model: str | None, seed: int, device: torch.device
) -> VolumeSource:
    if fake.suffix.lower() not in _CHECKPOINTS:
        return open_source(fake, n_slices=real.read(real.keys[0]).scan.n_slices)
    loaded = load_model(fake, import_class(model) if model else None, device)
    write_generated(loaded, real, folder / "generated.h5", seed)
    source = open_source(folder / "generated.h5")
    source.name = str(fake)
    return source


def _given() -> Answer:
    def give(batch: Batch) -> Given:
        volume = batch["fake"]
        return Given(volume, align(volume, batch["fake_pose_um"], batch["spacing_z_mm"]))

    return Answer("generated", give, as_set=True)


def _given_to_others(eyes: PairedEyes) -> Answer:
    def give(batch: Batch) -> Given:
        given = [eyes.answer(eyes.other(key)) for key in batch["key"]]
        volume, pose_um = (torch.stack(part) for part in zip(*given, strict=True))
        return Given(volume, align(volume, pose_um, batch["spacing_z_mm"]))

    # The same set in another order has the same distances: it is not measured as one.
    return Answer("generated, other eyes", give)
