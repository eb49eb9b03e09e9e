"""``fund2oct submit``: a model's answer to the challenge's photos, as the zip that is uploaded."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fund2oct.data.formats.images import resize
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.eye import Array, DataError, Plain
from fund2oct.geometry import Placement
from fund2oct.models import VolumeModel, load_model
from fund2oct.models.checkpoint import find_model, import_class
from fund2oct.models.predicting.generate import draw_ready
from fund2oct.models.predicting.photo_reader import PhotoReader, ReadyPhoto
from fund2oct.outputs import check_files, whole_file
from fund2oct.progress import with_progress
from fund2oct.run.predicting.made_from import content_digest, model_digest, options_digest
from fund2oct.run.predicting.told import Tables, Told, read_told
from fund2oct.run.submission.layout import HEIGHT_PX, N_SLICES, WIDTH_PX, find_challenge_photos, slice_names

_QUALITY = 95
_DATE = (1980, 1, 1, 0, 0, 0)
"""The zip format's first day: a real one would make each upload another file."""


@dataclass(frozen=True)
class SubmissionReport:
    """What became of the photos of a submission.

    Args:
        n_photos: number of photos that had to be answered.
        n_kept: number of these that an earlier call, which was interrupted, had answered already.
        failed: a line for each photo that could not be answered; if there is any, no zip is written.

    Example:
        >>> report = SubmissionReport(n_photos=2, n_kept=0, failed=("7L.jpg: shows no retina",))
        >>> report.n_photos - len(report.failed)  # photos that are answered
        1
    """

    n_photos: int
    n_kept: int
    failed: tuple[str, ...]


def write_submission(
    checkpoint: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    placement: Placement | PhotoPlacement | None = None,
    seed: int = 0,
    model: str | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    metadata: Mapping[str, Plain] | None = None,
    mask_networks: Mapping[str, str] | None = None,
    table: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> SubmissionReport:
    """Translate the photos of the challenge's ``val`` and write the zip to upload.

    The same checkpoint, photos and seed give the same zip, byte for byte, on the same kind of device. A call
    that was stopped goes on where it was: finished photos wait in a hidden folder beside the zip. Where a
    photo cannot be used, the others are finished and kept, and no zip is written: it would be refused.

    Args:
        checkpoint: a model of six slices.
        folder: the photos, as :func:`fund2oct.run.submission.layout.find_challenge_photos` takes them.
        out: the zip.
        placement: where the scan lies on the photos; by default around the centre of the retina's circle.
        seed: decides the speckle and the poses; another seed draws others.
        model: import path of the model's class, where it is not of this package.
        device: where the model runs.
        overwrite: whether ``out`` may be replaced, if it is an earlier submission.
        metadata: what is known of all eyes, of a model that was trained with it.
        mask_networks: networks that draw the masks that the model was trained with, by name.
        table: what is known of each eye, files of masks among it, see
            :func:`fund2oct.run.predicting.predict.predict`.
        columns: the table's own names of our columns.

    Returns:
        How many photos were answered, and which could not be.

    Raises:
        DataError: if ``out`` exists and may not be replaced, or ends in no ``.zip``, or there are no photos.
        fund2oct.models.CheckpointError: if the checkpoint cannot be used.
        ValueError: if the model does not draw six slices, or columns are named of no table.

    Example:
        >>> from fund2oct.run.submission import check_submission
        >>> write_submission("model.ckpt", ".", "submission.zip")  # this folder holds photo.png
        SubmissionReport(n_photos=1, n_kept=0, failed=())
        >>> check_submission("submission.zip", ".")  # nothing is wrong with it
        []
    """
    out = Path(out)
    if out.suffix.lower() != ".zip":
        raise DataError(f"{out}: expected the name of a .zip file")
    tables = Tables(eyes=None if table is None else Path(table), columns=columns or {})
    photos = find_challenge_photos(folder)
    inputs = [checkpoint, *photos.values(), *tables.files]
    check_files([out], overwrite, inputs, kind="a zip archive", why_not=_why_no_submission)
    checkpoint = find_model(checkpoint)
    network = load_model(checkpoint, import_class(model) if model else None, device)
    if not network.draws_volumes or network.shape[0] != N_SLICES:
        found = f"{network.shape[0]} slices" if network.draws_volumes else "no volumes"
        raise ValueError(
            f"{checkpoint}: the challenge wants {N_SLICES} slices of each eye, this model draws {found}"
        )
    network.draw_masks(mask_networks or {})
    told, drawn_masks = tables.read([*photos.values()], network.undrawn_masks)
    reader = PhotoReader.of(network, placement, metadata, drawn_masks)
    parts = out.with_name(f".{out.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    networks = {name: content_digest(path) or path for name, path in (mask_networks or {}).items()}
    name_of = _fingerprints(checkpoint, [placement, seed, network.device.type, metadata, networks])
    kept, failed, done = 0, list[str](), dict[str, Path]()
    for stem, photo in with_progress(photos.items(), len(photos), "translating"):
        try:
            part = parts / f"{name_of(photo, told[photo])}.zip"
            if _is_whole(part, stem):
                kept += 1
            else:
                _write(part, {stem: _slices(network, read_told(reader, photo, told[photo]), seed)})
            done[stem] = part
        except (DataError, OSError) as error:
            line = " ".join(str(error).split())
            failed.append(line if str(photo) in line else f"{photo}: {line}")
    if not failed:
        _write(out, {stem: _read(part, stem) for stem, part in done.items()})
        shutil.rmtree(parts)
    return SubmissionReport(len(photos), kept, tuple(failed))


def _why_no_submission(path: Path) -> str:
    """Why a zip is no earlier submission; a zip of scans may be laid out like one, but has its own dates."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        entries = []
    names = {entry.filename for entry in entries}
    whole = {name for stem in {name.partition("/")[0] for name in names} for name in slice_names(stem)}
    ours = entries and names == whole and all(entry.date_time == _DATE for entry in entries)
    return "" if ours else "is a zip archive that fund2oct did not make"


def _slices(network: VolumeModel, ready: ReadyPhoto, seed: int) -> list[bytes]:
    volume = draw_ready(network, ready, seed).volume
    assert volume is not None
    return [_jpg(resize(bscan, HEIGHT_PX, WIDTH_PX)) for bscan in volume]


def _jpg(bscan: Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(bscan).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _write(path: Path, slices: dict[str, list[bytes]]) -> None:
    """Write a zip that appears complete or not at all; JPG does not get smaller by compression."""
    with whole_file(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for stem in sorted(slices):
            for name, content in zip(slice_names(stem), slices[stem], strict=True):
                entry = zipfile.ZipInfo(name, _DATE)
                # What Python notes of the system that it runs on would differ.
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                archive.writestr(entry, content)


def _read(part: Path, stem: str) -> list[bytes]:
    with zipfile.ZipFile(part) as archive:
        return [archive.read(name) for name in slice_names(stem)]


def _is_whole(part: Path, stem: str) -> bool:
    if not part.is_file():
        return False
    try:
        return len(_read(part, stem)) == N_SLICES
    # A part that was damaged is made again.
    except (zipfile.BadZipFile, KeyError, OSError):
        return False


def _fingerprints(checkpoint: Path, given: Sequence[object]) -> Callable[[Path, Told], str]:
    """Names of parts by all that decides their content, so that a part of another call is never taken."""
    model = model_digest(checkpoint)

    def name_of(photo: Path, told: Told) -> str:
        return options_digest(model, given, photo.stem, content_digest(photo), told.decides(), _QUALITY)[:24]

    return name_of
