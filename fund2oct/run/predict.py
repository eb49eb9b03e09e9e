"""Volumes for photos of any size and shape."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.progress import track

from fund2oct.data import Eye
from fund2oct.data.formats.images import read_rgb
from fund2oct.data.formats.naming import laterality_of
from fund2oct.data.preparing.landmarks import PhotoPlacement
from fund2oct.data.preparing.lines import locate_lines
from fund2oct.data.preparing.photo import prepare_photo, resize_photo
from fund2oct.data.tables.eyes import COLUMNS, GivenLines, lines_of_photos
from fund2oct.data.tables.spreadsheet import read_table, renamed
from fund2oct.export import save_eye
from fund2oct.eye import DataError
from fund2oct.geometry import Placement
from fund2oct.models import VolumeModel, load_model
from fund2oct.models.checkpoint import import_class
from fund2oct.models.generate import generate
from fund2oct.models.thickness import predict_interval_um, predict_thickness, save_thickness
from fund2oct.visual import LIGHT, ShownVolume, Theme, draw_panel, draw_thickness, save_figures

# Of the A-scans; the challenge's lines may just reach the edge.
_OUTSIDE = 0.1
_FOOTER = "Predicted from the photo alone: a guess with its uncertainty, no measurement and no diagnosis."


def predict(
    checkpoint: str | Path,
    photos: Sequence[str | Path],
    out: str | Path,
    formats: Sequence[str] = ("hdf5",),
    seed: int = 0,
    model: str | None = None,
    placement: Placement | PhotoPlacement | None = None,
    draw: bool = False,
    figure_formats: Sequence[str] = ("png",),
    theme: Theme = LIGHT,
    lines: str | Path | None = None,
) -> list[str]:
    """Generate a volume for each photo, with a panel and, where the model predicts it, a thickness map.

    A photo that cannot be used is passed over; the others are still done. The speckle and the pose
    of a photo depend on ``seed`` and on the file's name without its ending, which is the eye's key, not on
    the other photos.

    Args:
        checkpoint: a trained model.
        photos: picture files.
        out: folder of the results, made if need be: for ``NAME.jpg`` the volume ``NAME.h5``, its panel
            ``NAME.png``, the thickness map ``NAME.thickness.png`` and its numbers in micrometres,
            ``NAME.thickness.tif``: median, lower and upper end of the 80% interval.
        formats: of the volumes, see :func:`fund2oct.export.save_eye`.
        seed: of the speckle and of the poses.
        model: import path of the model's class, where it is not of this package.
        placement: where the scan lies on the photos; by default around the centre of the retina's
            circle, as on a macula-centred photo of 45 to 50 degrees. It may be estimated from each photo.
        draw: whether the surfaces are drawn from their distribution; the median ones are the best
            single answer.
        figure_formats: of the panel and the map, see :data:`fund2oct.visual.FIGURE_FORMATS`.
        theme: colours of their paper and ink.
        lines: a table that tells for each photo where its B-scans lie, a row each, as
            ``fund2oct import table`` reads it; by default they lie as in the training.

    Returns:
        A line for each photo that was passed over, which says why.

    Raises:
        fund2oct.models.CheckpointError: if the checkpoint cannot be used.
    """
    network = load_model(checkpoint, import_class(model) if model else None)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    taken: set[str] = set()
    given = lines_of_photos(renamed(read_table(Path(lines)), {}, COLUMNS)) if lines else None
    for photo in track([Path(photo) for photo in photos], "translating"):
        try:
            own = _lines_of(photo, given, lines)
            eye = translate(network, photo, placement or Placement(), seed, draw, own)
        except DataError as error:
            line = " ".join(str(error).split())
            failed.append(line if str(photo) in line else f"{photo}: {line}")
            continue
        name = _free_name(photo.stem, taken)
        if eye.volume is not None:
            for format in formats:
                save_eye(eye, folder, name, format)
        figures = _draw(
            network, eye, folder / name, f"{type(network).__name__}, {Path(checkpoint).name}.", theme
        )
        for ending, figure in figures.items():
            save_figures(figure, folder / f"{name}{ending}", figure_formats)
    return failed


def translate(
    model: VolumeModel,
    photo: Path,
    placement: Placement | PhotoPlacement,
    seed: int = 0,
    draw: bool = False,
    lines: GivenLines | None = None,
) -> Eye:
    """Generate the volume of one photo.

    Args:
        model: from :func:`fund2oct.models.load_model`.
        photo: a picture file.
        placement: where the scan lies on the square around the circle of retina, or that it is to be
            estimated; the eye's ``history`` tells what was found.
        seed: of the speckle and of the pose.
        draw: whether the surfaces are drawn too, see :func:`generate`.
        lines: where the B-scans lie, as many as the model has slices; None takes those of the training.

    Returns:
        The photo, cropped and prepared as those of the training, and the generated volume, at a pose
        sampled from the training set's; a model that draws no volumes leaves it out.

    Raises:
        DataError: if the file is absent, damaged or no fundus photograph.
    """
    if model.task is None:
        raise ValueError("model: knows nothing of its data; load it with fund2oct.models.load_model")
    task = model.task
    options = task.preparation.photo_options(placement, task.fundus_px)
    laterality = laterality_of(photo.stem)
    picture = read_rgb(photo)
    prepared = prepare_photo(picture, options, laterality)
    fundus, placed = resize_photo(prepared.fundus, task.fundus_px), prepared.placement
    notes = list(prepared.notes)
    scan, spacing_mm = task.scan, task.spacing_mm
    if lines is not None:
        if len(lines.ends) != model.shape[0]:
            raise DataError(
                f"expected {model.shape[0]} lines, as the model has slices, found {len(lines.ends)}"
            )
        # Lines in pixels are taken to be as long as those of the training.
        located = locate_lines(
            lines, spacing_mm, model.shape[2], prepared.circle, picture.shape[:2], placement.half_width_mm
        )
        scan, spacing_mm, placed = located.scan, located.spacing_mm, located.placement or placed
        notes += located.notes
    grid = placed.to_grid(scan.coordinates(model.shape[2]))
    outside = float((grid.norm(dim=-1) > 1).float().mean())
    if outside > _OUTSIDE:
        notes.append(
            f"{outside:.0%} of the scan lies outside the circle of retina, where the volume is made up"
        )
    for note in notes:
        warnings.warn(f"{photo}: {note}", stacklevel=2)
    drawn: dict[str, Any] = {}
    if model.draws_volumes:
        volume, pose_um = generate(model, fundus, scan, placed, photo.stem, seed, draw)
        drawn = {"scan": scan, "spacing_mm": spacing_mm, "volume": volume, "pose_um": pose_um}
    return Eye(
        key=photo.stem,
        patient=photo.stem,
        laterality=laterality,
        fundus=fundus,
        placement=placed,
        source=f"generated from {photo.name}",
        history=prepared.history,
        sha256=hashlib.sha256(photo.read_bytes()).hexdigest(),
        **drawn,
    )


def _lines_of(
    photo: Path, given: Mapping[str, GivenLines] | None, table: str | Path | None
) -> GivenLines | None:
    if given is None:
        return None
    if photo.name.casefold() not in given:
        raise DataError(f"{photo}: expected its lines in {table}, found none for a photo of that name")
    return given[photo.name.casefold()]


def _draw(model: VolumeModel, eye: Eye, path: Path, name: str, theme: Theme) -> dict[str, Figure]:
    """The panel and the thickness map, by the ending of their files' names; writes the map's numbers."""
    assert eye.fundus is not None and model.task is not None
    footer = f"{name} {model.task.provenance()} {_FOOTER}"
    scan = eye.scan or model.task.scan
    found = predict_thickness(model, eye.fundus, eye.placement, scan)
    figures = {}
    if found is not None:
        save_thickness(found, path.with_name(f"{path.name}.thickness.tif"))
        figures[".thickness"] = draw_thickness(eye.fundus, found, eye.key, footer, theme)
    if eye.volume is not None:
        fundus = torch.from_numpy(eye.fundus.copy()).permute(2, 0, 1) / 255
        grid = eye.placement.to_grid(scan.coordinates(eye.volume.shape[-1]))
        interval_um = predict_interval_um(model, fundus, grid)
        spacing_mm = eye.spacing_mm[1:]
        shown = ShownVolume.searched(torch.from_numpy(eye.volume) / 255, spacing_mm, interval_um)
        figures[""] = draw_panel(
            {"generated": shown}, spacing_mm, fundus, grid,
            thickness=found, title=eye.key, footer=footer, theme=theme,
        )  # fmt: skip
    return figures


def _free_name(stem: str, taken: set[str]) -> str:
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name
