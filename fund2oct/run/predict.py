"""Volumes for photos of any size and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.progress import track

from fund2oct.data import Eye
from fund2oct.data.preparing.landmarks import PhotoPlacement
from fund2oct.data.tables.eyes import COLUMNS, GivenLines, lines_of_photos
from fund2oct.data.tables.spreadsheet import read_table, renamed
from fund2oct.export import FORMATS, export_eye
from fund2oct.eye import DataError
from fund2oct.geometry import Placement
from fund2oct.models import VolumeModel, load_model
from fund2oct.models.checkpoint import find_model, import_class
from fund2oct.models.thickness import ThicknessMap, predict_interval_um, predict_thickness, save_thickness
from fund2oct.outputs import check_files
from fund2oct.visual import LIGHT, ShownVolume, Theme, draw_panel, draw_thickness, save_figures

_PICTURES, _NUMBERS = ("", ".thickness"), ".thickness.tif"
_FOOTER = "Predicted from the photo alone: a guess with its uncertainty, no measurement and no diagnosis."


def predict(
    checkpoint: str | Path | None,
    photos: Sequence[str | Path],
    out: str | Path,
    formats: Sequence[str] = ("hdf5",),
    seed: int = 0,
    model: str | None = None,
    placement: Placement | PhotoPlacement | None = None,
    draw: bool = False,
    lines: str | Path | None = None,
    overwrite: bool = False,
    figure_formats: Sequence[str] = ("png",),
    theme: Theme = LIGHT,
) -> list[str]:
    """Generate a volume for each photo, with a panel and, where the model predicts it, a thickness map.

    A photo that cannot be used is passed over; the others are still done. The speckle and the pose
    of a photo depend on ``seed`` and on the file's name without its ending, which is the eye's key, not on
    the other photos.

    Args:
        checkpoint: a trained model, as :func:`fund2oct.load_model` takes it; None for the model that comes
            with the package.
        photos: picture files.
        out: folder of the results, made if need be: for ``NAME.jpg`` the volume ``NAME.h5``, its panel
            ``NAME.png``, the thickness map ``NAME.thickness.png`` and its numbers in micrometres,
            ``NAME.thickness.tif``: median, lower and upper end of the 80% interval.
        formats: of the volumes, keys of :data:`fund2oct.export.FORMATS`.
        seed: of the speckle and of the poses.
        model: import path of the model's class, where it is not of this package.
        placement: where the scan lies on the photos; by default around the centre of the retina's
            circle, as on a macula-centred photo of 45 to 50 degrees. It may be estimated from each photo.
        draw: whether the surfaces are drawn from their distribution; the median ones are the best
            single answer.
        lines: a table that tells for each photo where its B-scans lie, a row each, as
            ``fund2oct import table`` reads it; by default they lie as in the training.
        overwrite: whether the results of an earlier prediction may be replaced; a photo never is.
        figure_formats: of the panel and the map, see :data:`fund2oct.visual.FIGURE_FORMATS`.
        theme: colours of their paper and ink.

    Returns:
        A line for each photo that was passed over, which says why.

    Raises:
        fund2oct.models.CheckpointError: if the checkpoint cannot be used.
        fund2oct.outputs.OutputError: if a result would be written over something else.
    """
    checkpoint = find_model(checkpoint)
    network = load_model(checkpoint, import_class(model) if model else None)
    folder = Path(out)
    endings = [FORMATS[one].ending for one in formats] + [_NUMBERS]
    endings += [f"{part}.{ending}" for part in _PICTURES for ending in figure_formats]
    names = _free_names([Path(photo).stem for photo in photos], endings)
    written = [folder / f"{name}{ending}" for name in names for ending in endings]
    # A folder of an earlier export is looked at by export_eye, which knows what may lie in it.
    files = [path for path in written if not path.is_dir()]
    check_files(files, overwrite, [checkpoint, *photos])
    folder.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    assert network.task is not None
    footer = f"{type(network).__name__}, {Path(checkpoint).name}. {network.task.provenance()} {_FOOTER}"
    given = lines_of_photos(renamed(read_table(Path(lines)), {}, COLUMNS)) if lines else None
    for photo, name in track([*zip(map(Path, photos), names, strict=True)], "translating"):
        try:
            own = _lines_of(photo, given, lines)
            eye = network.predict(photo, placement, seed, draw, own)
            assert eye.fundus is not None
            thickness = predict_thickness(network, eye.fundus, eye.placement, eye.scan or network.task.scan)
            _save(eye, thickness, folder / name, formats, overwrite)
            for ending, figure in _draw(network, eye, thickness, footer, theme).items():
                save_figures(figure, folder / f"{name}{ending}", figure_formats)
        except DataError as error:
            line = " ".join(str(error).split())
            failed.append(line if str(photo) in line else f"{photo}: {line}")
    return failed


def _lines_of(
    photo: Path, given: Mapping[str, GivenLines] | None, table: str | Path | None
) -> GivenLines | None:
    if given is None:
        return None
    if photo.name.casefold() not in given:
        raise DataError(f"{photo}: expected its lines in {table}, found none for a photo of that name")
    return given[photo.name.casefold()]


def _save(
    eye: Eye, thickness: ThicknessMap | None, path: Path, formats: Sequence[str], overwrite: bool
) -> None:
    """Write the volume in each format, and the numbers of the thickness map."""
    if eye.volume is not None:
        for format in formats:
            export_eye(eye, path.parent, path.name, format, overwrite, thickness)
    if thickness is not None:
        save_thickness(thickness, path.with_name(f"{path.name}{_NUMBERS}"))


def _draw(
    model: VolumeModel, eye: Eye, thickness: ThicknessMap | None, footer: str, theme: Theme
) -> dict[str, Figure]:
    """The panel and the thickness map, by the ending of their files' names."""
    assert eye.fundus is not None and model.task is not None
    figures = {}
    if thickness is not None:
        figures[".thickness"] = draw_thickness(eye.fundus, thickness, eye.key, footer, theme)
    if eye.volume is not None:
        assert eye.scan is not None
        fundus = torch.from_numpy(eye.fundus.copy()).permute(2, 0, 1) / 255
        grid = eye.placement.to_grid(eye.scan.coordinates(eye.volume.shape[-1]))
        interval_um = predict_interval_um(model, fundus, grid)
        spacing_mm = eye.spacing_mm[1:]
        shown = ShownVolume.searched(torch.from_numpy(eye.volume) / 255, spacing_mm, interval_um)
        figures[""] = draw_panel(
            {"generated": shown}, spacing_mm, fundus, grid,
            thickness=thickness, title=eye.key, footer=footer, theme=theme,
        )  # fmt: skip
    return figures


def _free_names(stems: Sequence[str], endings: Sequence[str]) -> list[str]:
    """A name for each photo, numbered where one of its files would be another photo's too."""
    names: list[str] = []
    taken: set[str] = set()
    for stem in stems:
        name, number = stem, 2
        while taken & (files := {f"{name}{ending}".casefold() for ending in endings}):
            name, number = f"{stem}-{number}", number + 1
        taken |= files
        names.append(name)
    return names
