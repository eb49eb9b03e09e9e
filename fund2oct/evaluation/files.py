"""How near generated volumes are to the real ones, from files alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fund2oct.by_path import listed
from fund2oct.evaluation.answers.answer import OTHER_EYES, Answer, Given
from fund2oct.evaluation.answers.floors import rescan
from fund2oct.evaluation.answers.training_eyes import with_rows
from fund2oct.evaluation.checkpoints import missing_note
from fund2oct.evaluation.compare import compare
from fund2oct.evaluation.distances import DEFAULT, Wanted, build_distances
from fund2oct.evaluation.generated import write_generated
from fund2oct.evaluation.held_out import UnseenEyes, unseen_eyes
from fund2oct.evaluation.own import Own
from fund2oct.evaluation.pairs import PairedEyes
from fund2oct.evaluation.protocol import find_protocol
from fund2oct.evaluation.report.folder import check_report_folder, write_report
from fund2oct.evaluation.sources import EyeFiles, PreparedEyes, VolumeSource, open_source
from fund2oct.eye import DataError
from fund2oct.models import Batch, VolumeModel, load_model
from fund2oct.models.checkpoint import CHECKPOINT_ENDINGS, import_class
from fund2oct.models.published import is_address, is_published
from fund2oct.processes import processes_beside
from fund2oct.retina import align, aligned_mask, unalign
from fund2oct.visual.style import known_figure_formats

_NOTHING = Own()
_GENERATED = "generated"


def evaluate_files(
    real: str | Path,
    fake: str | Path,
    out: str | Path,
    protocol: str | None = None,
    model: str | Sequence[str] = (),
    distances: Wanted = DEFAULT,
    seed: int = 0,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    own: Own = _NOTHING,
    figure_formats: str | Sequence[str] = (),
    mask_networks: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Compare generated volumes with the real ones of the same eyes, and write the report.

    The report has two more rows. The floor is there if the real file has rescans. The other row compares each
    real eye with the generated volume of *another* eye: if that is not worse, the generated volumes do not
    depend on the eye.

    Args:
        real: an HDF5 file of eyes, or a folder or zip of slices, see
            :func:`fund2oct.evaluation.sources.open_source`.
        fake: the generated volumes, likewise; or a checkpoint, which translates the photos of ``real``,
            except those of eyes that it was trained or validated on. Eyes without a photo are left out.
        out: folder of the report, see :func:`fund2oct.evaluation.evaluate`.
        protocol: a name of :data:`fund2oct.evaluation.PROTOCOLS`; None compares the files as they are.
        model: import paths of your own models' classes. The checkpoint takes the one that it names.
        distances: distances between the sets.
        seed: seed of the model's noise and of the draws of the distances.
        device: device on which models and feature networks run.
        overwrite: True to replace an earlier report in ``out``.
        own: measures and answers of your own.
        figure_formats: formats in which the figures are written too, see
            :data:`fund2oct.visual.FIGURE_FORMATS`.
        mask_networks: networks that draw the masks that the checkpoint was trained with, by name.

    Returns:
        The content of ``metrics.json``.

    Raises:
        fund2oct.data.DataError: if a file cannot be used, or does not fit the other, or fewer than two eyes
            are left that the checkpoint was not trained on.
        ValueError: if the protocol, a distance or a mask is not known.

    Example:
        >>> found = evaluate_files("real.h5", "generated.h5", "report")  # doctest: +SKIP
        >>> sorted(path.name for path in Path("report").glob("report.*"))  # doctest: +SKIP
        ['report.html', 'report.md']
    """
    chosen = find_protocol(protocol)
    figure_formats = known_figure_formats(figure_formats)  # before hours of measuring
    check_report_folder(Path(out), overwrite)
    device = torch.device(device)
    real_source = open_source(real, adapt=chosen.adapt_real)
    loaded, notes = None, list[str]()
    if Path(fake).suffix.lower() in CHECKPOINT_ENDINGS or is_published(fake) or is_address(fake):
        loaded = load_model(fake, [import_class(path) for path in listed(model)], device)
        if not loaded.draws_volumes:
            raise ValueError(
                f"{fake}: expected a model that draws volumes, found a {type(loaded).__name__}, which draws "
                f"none; judge its surfaces by fund2oct evaluate {fake} --data {real} --out {out}"
            )
        loaded.draw_masks(mask_networks or {})
        real_source, unseen = _unseen(real_source, loaded, str(fake))
        notes = [*unseen.notes, *filter(None, [missing_note(str(fake), loaded, {*unseen.masks})])]
    elif mask_networks:
        raise ValueError(f"mask {next(iter(mask_networks))}: {fake} holds volumes, which need no masks")
    first = real_source.read(real_source.keys[0])
    # Before hours of generating and checking: the weights may not be at hand.
    wanted = build_distances(distances, first.scan, len(real_source.keys), device, seed)
    answered = _volumes_of(fake, loaded, real_source, Path(out), seed)
    with torch.inference_mode(), answered as fake_source:
        with processes_beside(len(real_source.keys)) as pool:
            eyes = PairedEyes(real_source, fake_source, chosen, device, pool=pool)
            answers = [_given(), _given_to_others(eyes)]
            drawn = answers[0].name
            if eyes.has_rescan:
                answers.insert(0, rescan())
            answers += own.answers
            found = compare(eyes, answers, wanted, pool, own.measures)
        description = {
            "name": chosen.name,
            "statement": chosen.statement,
            "real": str(real),
            "fake": str(fake),
            "n_eyes": len(eyes.keys),
            "shape": list(eyes.shape),
            "seed": seed,
            "notes": [*notes, *eyes.notes, *own.notes()],
        }
        footer = loaded.task.provenance() if loaded and loaded.task else f"Generated volumes of {fake}."
        shown = {drawn: footer}
        return write_report(
            Path(out), description, eyes, answers, found, shown=shown, figure_formats=figure_formats
        )


def _unseen(real: VolumeSource, model: VolumeModel, name: str) -> tuple[VolumeSource, UnseenEyes]:
    """The real eyes that may judge a model, prepared for it, and how they were chosen."""
    if not isinstance(real, EyeFiles):
        raise DataError(f"{real.name}: holds no photos to translate; give --real a file of eyes (.h5)")
    found = unseen_eyes({name: model}, real.paths, real.name, keys=real.keys, least=2)
    return PreparedEyes(real, found.keys, found.preparation), found


@contextmanager
def _volumes_of(
    fake: str | Path, model: VolumeModel | None, real: VolumeSource, out: Path, seed: int
) -> Iterator[VolumeSource]:
    """The volumes of files, or those that a model draws, in a file that lies where the report will lie."""
    first = real.read(real.keys[0])
    if model is None:
        yield open_source(fake, n_slices=first.scan.n_slices)
        return
    # The system's own folder for what is temporary is often small, or in memory.
    place = out if out.is_dir() else out.absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    needed = len(real.keys) * first.volume.nbytes
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DataError(
            f"{place}: expected room for {needed / 2**20:.0f} MiB of generated volumes, which lie here while "
            f"they are measured, found {free / 2**20:.0f} MiB; make room, or write the report to another disk"
        )
    with tempfile.TemporaryDirectory(prefix=".generated-", dir=place) as folder:
        path = Path(folder) / "generated.h5"
        write_generated(model, real, path, seed)
        source = open_source(path)
        source.name = str(fake)
        yield source


def _given() -> Answer:
    def give(batch: Batch) -> Given:
        return _at_its_pose(batch["fake"], batch["fake_pose_um"], batch)

    return Answer(_GENERATED, give, as_set=True)


def _given_to_others(eyes: PairedEyes) -> Answer:
    def give(batch: Batch) -> Given:
        others = [eyes.other(key) for key in batch["key"]]
        volume, pose_um = (torch.stack(part) for part in zip(*map(eyes.answer, others), strict=True))
        here_mm = batch["spacing_z_mm"]
        there_mm = torch.tensor([eyes.spacing_z_mm(key) for key in others]).to(here_mm)
        same = torch.isclose(there_mm, here_mm, rtol=1e-4)
        if same.all():
            return _at_its_pose(volume, pose_um, batch)
        # Rows of another height: micrometres are compared, not rows. The height in the frame stays its own.
        aligned, mask = (
            with_rows(one, there_mm, here_mm)
            for one in (align(volume, pose_um, there_mm), aligned_mask(volume, pose_um, there_mm))
        )
        lying = torch.where(same.view(-1, 1, 1, 1, 1), volume, unalign(aligned, pose_um, here_mm))
        return Given(lying, aligned, pose_um=pose_um, mask=mask)

    # The same set in another order has the same distances: it is not measured as one.
    return Answer(_GENERATED + OTHER_EYES, give)


def _at_its_pose(volume: Tensor, pose_um: Tensor, batch: Batch) -> Given:
    """Volumes as they lie in their files, which are measured from their own poses."""
    where = pose_um, batch["spacing_z_mm"]
    return Given(volume, align(volume, *where), pose_um=pose_um, mask=aligned_mask(volume, *where))
