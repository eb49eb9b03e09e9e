"""Volumes for photos of any size and shape."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.progress import track

from fund2oct.data import Eye
from fund2oct.data.formats.images import read_rgb
from fund2oct.data.formats.naming import laterality_of
from fund2oct.data.preparing.circle import crop_retina, find_retina
from fund2oct.data.preparing.landmarks import PhotoPlacement, place_on
from fund2oct.export import save_eye
from fund2oct.eye import DataError, Plain
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
    for photo in track([Path(photo) for photo in photos], "translating"):
        try:
            eye = translate(network, photo, placement or Placement(), seed, draw)
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
) -> Eye:
    """Generate the volume of one photo.

    Args:
        model: from :func:`fund2oct.models.load_model`.
        photo: a picture file.
        placement: where the scan lies on the square around the circle of retina, or that it is to be
            estimated; the eye's ``history`` tells what was found.
        seed: of the speckle and of the pose.
        draw: whether the surfaces are drawn too, see :func:`generate`.

    Returns:
        The photo, cropped and prepared as those of the training, and the generated volume, at a pose
        sampled from the training set's; a model that draws no volumes leaves it out.

    Raises:
        DataError: if the file is absent, damaged or no fundus photograph.
    """
    if model.task is None:
        raise ValueError("model: knows nothing of its data; load it with fund2oct.models.load_model")
    task = model.task
    picture = read_rgb(photo)
    fundus = crop_retina(picture, find_retina(picture), task.fundus_px)
    history: dict[str, Plain] = {}
    notes: list[str] = []
    placed = place_on(fundus, laterality_of(photo.stem), placement, history, notes)
    fundus, history = task.preparation.photo(fundus, history)
    grid = placed.to_grid(task.scan.coordinates(model.shape[2]))
    outside = float((grid.norm(dim=-1) > 1).float().mean())
    if outside > _OUTSIDE:
        notes.append(
            f"{outside:.0%} of the scan lies outside the circle of retina, where the volume is made up"
        )
    for note in notes:
        warnings.warn(f"{photo}: {note}", stacklevel=2)
    drawn: dict[str, Any] = {}
    if model.draws_volumes:
        volume, pose_um = generate(model, fundus, task.scan, placed, photo.stem, seed, draw)
        drawn = {"scan": task.scan, "spacing_mm": task.spacing_mm, "volume": volume, "pose_um": pose_um}
    return Eye(
        key=photo.stem,
        patient=photo.stem,
        laterality="",
        fundus=fundus,
        placement=placed,
        source=f"generated from {photo.name}",
        history=history,
        sha256=hashlib.sha256(photo.read_bytes()).hexdigest(),
        **drawn,
    )


def _draw(model: VolumeModel, eye: Eye, path: Path, name: str, theme: Theme) -> dict[str, Figure]:
    """The panel and the thickness map, by the ending of their files' names; writes the map's numbers."""
    assert eye.fundus is not None and model.task is not None
    footer = f"{name} {model.task.provenance()} {_FOOTER}"
    found = predict_thickness(model, eye.fundus, eye.placement, model.task.scan)
    figures = {}
    if found is not None:
        save_thickness(found, path.with_name(f"{path.name}.thickness.tif"))
        figures[".thickness"] = draw_thickness(eye.fundus, found, eye.key, footer, theme)
    if eye.volume is not None:
        fundus = torch.from_numpy(eye.fundus.copy()).permute(2, 0, 1) / 255
        grid = eye.placement.to_grid(model.task.scan.coordinates(eye.volume.shape[-1]))
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
