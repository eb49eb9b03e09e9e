"""Volumes for photos of any size and shape."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.export.formats import known_formats
from fund2oct.export.replacing import why_no_result
from fund2oct.eye import DataError, Plain
from fund2oct.file_kinds import why_not_a_file
from fund2oct.geometry import Placement
from fund2oct.models import load_model
from fund2oct.models.checkpoint import find_model, import_class
from fund2oct.models.predicting.generate import draw_ready
from fund2oct.models.predicting.photo_reader import PhotoReader, ReadyPhoto
from fund2oct.models.uncertainty.draws import check_has_intervals
from fund2oct.networks.registration import at_given_places
from fund2oct.outputs import OutputError, check_files, check_no_file
from fund2oct.processes import Here, process_pool
from fund2oct.progress import with_progress
from fund2oct.run.predicting.made_from import content_digest, difference, model_digest, options_digest
from fund2oct.run.predicting.photos import expand_photos, name_eyes
from fund2oct.run.predicting.results import Results
from fund2oct.run.predicting.told import Tables, Told, read_told
from fund2oct.visual import LIGHT, Theme
from fund2oct.visual.style import known_figure_formats

_FOOTER = "Predicted from the photo alone: a guess with its uncertainty, no measurement and no diagnosis."
_WORTH_A_PROCESS = 16


@dataclass(frozen=True)
class PredictedPhoto:
    """What became of a photo that was to be translated.

    Args:
        photo: the photo's file.
        key: name of the eye, with which the names of its files begin.
        files: the results; none where the photo was passed over.
        problem: why it was passed over; empty where it was not.
        skipped: whether the results of an earlier call were there already, and were kept.

    Example:
        >>> PredictedPhoto(Path("left.jpg"), "left", (), "left.jpg: no such file").problem
        'left.jpg: no such file'
    """

    photo: Path
    key: str
    files: tuple[Path, ...]
    problem: str = ""
    skipped: bool = False


def predict(
    checkpoint: str | Path | None,
    photos: str | Path | Sequence[str | Path],
    out: str | Path,
    formats: str | Sequence[str] = ("hdf5",),
    seed: int = 0,
    model: str | None = None,
    placement: Placement | PhotoPlacement | None = None,
    draw: bool = False,
    intervals: bool = False,
    lines: str | Path | None = None,
    table: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    metadata: Mapping[str, Plain] | None = None,
    mask_networks: Mapping[str, str] | None = None,
    overwrite: bool = False,
    skip_done: bool = False,
    as_told: bool = False,
    workers: int = 0,
    device: str = "cpu",
    figure_formats: str | Sequence[str] = ("png",),
    theme: Theme = LIGHT,
) -> list[PredictedPhoto]:
    """Generate a volume for each photo, with a panel and, where the model predicts it, a thickness map.

    A photo that cannot be used is passed over; the others are still done. The files of a photo are there
    all or not at all; if it fails, those of an earlier call stay as they were. The speckle and the pose of a
    photo depend on ``seed`` and on the file's name without its ending, not on the other photos.

    Args:
        checkpoint: a trained model, as :func:`fund2oct.models.load_model` takes it; None for the model that
            comes with the package.
        photos: one or several picture files, folders of them, or patterns, see
            :func:`fund2oct.run.predicting.photos.expand_photos`.
        out: folder of the results, made if need be: for ``NAME.jpg`` the volume ``NAME.h5``, its panel
            ``NAME.png``, the thickness map ``NAME.thickness.png`` and its numbers in micrometres,
            ``NAME.thickness.tif``: median, lower and upper end of the 80% interval. Photos of one name are
            told apart as :func:`fund2oct.run.predicting.photos.name_eyes` says.
        formats: how volumes are written, keys of :data:`fund2oct.export.FORMATS`.
        seed: decides the speckle and the poses; another seed draws others.
        model: import path of the model's class, where it is not of this package.
        placement: where the scan lies on the photos; by default around the centre of the retina's
            circle, as on a macula-centred photo of 45 to 50 degrees. It may be estimated from each photo.
        draw: whether the surfaces are drawn from their distribution; the median ones are the best
            single answer.
        intervals: whether mean and 80% interval of each voxel and each surface are written too, as
            ``NAME.intervals.npz`` and a picture, see
            :func:`fund2oct.models.uncertainty.draws.predict_intervals`. Only a model that draws volumes with
            noise has them.
        lines: a table that tells for each photo where its B-scans lie, a row each, as
            ``fund2oct import table`` reads it; by default they lie as in the training. Of lines in pixels
            ``placement`` may tell the scale alone.
        table: what is known of each eye, a row each with its ``photo``, as ``fund2oct import table`` reads
            it, files of masks among them; of it is taken what the model was trained with.
        columns: the tables' own names of our columns, as ``fund2oct import table`` has them.
        metadata: what is known of all eyes, by name, where the table says nothing.
        mask_networks: networks that draw the masks that the model was trained with, by name.
        overwrite: whether the results of an earlier prediction may be replaced. Those that this model
            does not make, as the volume where it draws none, are removed. Photos, scans and whatever else
            fund2oct did not make stay.
        skip_done: whether photos whose results are there already are passed over. Results of another photo,
            model or option are none of these: they are refused by name, or with ``overwrite`` made anew.
        as_told: whether scans stay where ``placement`` or ``lines`` lays them; else a model that was trained
            with ``registration`` corrects their places, and says how far in the eyes' history.
        workers: processes that prepare photos while the model draws; none is started for fewer than 16
            photos.
        device: where the model runs, as in ``"cuda:1"``.
        figure_formats: how panel and map are written, see :data:`fund2oct.visual.FIGURE_FORMATS`.
        theme: colours of the pictures' paper and ink.

    Returns:
        What became of each photo.

    Raises:
        fund2oct.models.CheckpointError: if the checkpoint cannot be used.
        fund2oct.data.DataError: if a folder or pattern has no photos.
        fund2oct.outputs.OutputError: if ``out`` is a file, a result would be written over something else, or
            those that ``skip_done`` finds were made from something else.
        ValueError: if a format is unknown, intervals are asked of a model that has none to draw, or columns
            are named of no table.

    Example:
        >>> (done,) = predict("model.ckpt", ["photo.png"], "predictions", figure_formats=[])  # no pictures
        >>> [file.name for file in done.files]
        ['photo.h5', 'photo.thickness.tif']
    """
    formats, figure_formats = known_formats(formats), known_figure_formats(figure_formats)
    check_no_file(out)
    tables = Tables(lines, table, columns or {})
    checkpoint = find_model(checkpoint)
    found = expand_photos(photos, out)
    network = load_model(checkpoint, import_class(model) if model else None, device)
    network.draw_masks(mask_networks or {})
    assert network.task is not None
    if intervals:
        check_has_intervals(network)
    if draw and not network.draws_surfaces:
        raise ValueError(
            "draw: expected a model that draws surfaces from their distribution, as pix2vol does, found a "
            f"{type(network).__name__}, which does not; leave --draw out"
        )
    if not network.draws_volumes and [*formats] != ["hdf5"]:
        raise ValueError(
            f"format: {', '.join(formats)}: hold volumes, and a {type(network).__name__} draws none; leave "
            "--format out: its thickness is in NAME.thickness.tif and NAME.thickness.png"
        )
    footer = f"{type(network).__name__}, {Path(checkpoint).name}. {network.task.provenance()} {_FOOTER}"
    wanted = seed if intervals else None
    results = Results(Path(out), formats, figure_formats, theme, footer, overwrite, wanted)
    told, drawn_masks = tables.read(found, network.undrawn_masks)
    networks = {mask: content_digest(path) or path for mask, path in (mask_networks or {}).items()}
    by, shared = (
        model_digest(Path(checkpoint)),
        (seed, model, placement, draw, metadata, networks, theme, as_told),
    )

    def made_from(photo: Path) -> dict[str, str]:
        options = options_digest(photo.stem, told[photo].decides(), *shared)
        return {"photo": content_digest(photo), "model": by, "options": options}

    todo, done, others = list[tuple[Path, str]](), dict[Path, PredictedPhoto](), list[str]()
    for photo, name in zip(found, name_eyes(found, results.names), strict=True):
        files = results.made_by(network, name)
        if skip_done and all((results.folder / file).exists() for file in files):
            try:
                other = difference(results.folder, name, made_from(photo), files)
            except OSError as error:  # of the photo, or of a mask of it
                file = Path(error.filename or photo)
                why = why_not_a_file(file) or f"cannot be read ({error.strerror or error})"
                of = f"{photo}: " if file == photo else f"{photo}: {file}: "
                done[photo] = PredictedPhoto(photo, name, (), of + why)
                continue
            if not other:
                there = tuple(results.folder / file for file in files)
                done[photo] = PredictedPhoto(photo, name, there, skipped=True)
                continue
            others.append(f"{results.folder / name}: its results were {other} than {photo} now")
        todo.append((photo, name))
    if others and not overwrite:
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        raise OutputError(
            f"{others[0]}{more}; choose another folder, or make them anew: --skip-done --overwrite"
        )
    written = {results.folder / file: name for _, name in todo for file in results.names(name)}
    check_files(
        [path for path in written if not path.is_dir()],  # what may lie in a folder is known to export_eye
        overwrite,
        [checkpoint, *found, *tables.files],
        why_not=lambda path: why_no_result(path, written[path], generated=True),
    )
    results.folder.mkdir(parents=True, exist_ok=True)
    reader = PhotoReader.of(network, placement, metadata, drawn_masks)
    read = partial(read_told, reader)
    n_ahead = 2 * workers if len(todo) >= _WORTH_A_PROCESS else 0
    with process_pool(workers) if n_ahead else nullcontext(Here()) as pool:
        for photo, name, ready in with_progress(
            _ahead(pool, read, told, todo, n_ahead), len(todo), "translating"
        ):
            try:
                with at_given_places(network) if as_told else nullcontext():
                    eye = draw_ready(network, ready.result(), seed, draw)
                done[photo] = PredictedPhoto(photo, name, results.write(network, eye, name, made_from(photo)))
            except DataError as error:
                line = " ".join(str(error).split())
                problem = line if str(photo) in line else f"{photo}: {line}"
                done[photo] = PredictedPhoto(photo, name, (), problem)
    return [done[photo] for photo in found]


def _ahead(
    pool: Executor,
    read: Callable[..., ReadyPhoto],
    told: Mapping[Path, Told],
    photos: Sequence[tuple[Path, str]],
    n_ahead: int,
) -> Iterator[tuple[Path, str, Future[ReadyPhoto]]]:
    """The photos in their order, read with what tables tell of each; so many more are read meanwhile."""
    waiting: deque[tuple[Path, str, Future[ReadyPhoto]]] = deque()
    for photo, name in photos:
        waiting.append((photo, name, pool.submit(read, photo, told[photo])))
        if len(waiting) > n_ahead:
            yield waiting.popleft()
    yield from waiting
