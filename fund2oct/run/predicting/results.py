"""What is written for a photo: volume, panel and thickness map, all of them or none."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from matplotlib.figure import Figure

from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.export import FORMATS, export_eye
from fund2oct.export.replacing import check_room, put
from fund2oct.eye import ON_DISC, Eye
from fund2oct.models import VolumeModel
from fund2oct.models.thickness import (
    PredictsSurfaces,
    ThicknessMap,
    predict_interval_um,
    predict_thickness,
    save_thickness,
)
from fund2oct.models.uncertainty.draws import predict_intervals
from fund2oct.models.uncertainty.familiar import UNLIKE
from fund2oct.networks.registration import at_given_places
from fund2oct.run.predicting.made_from import forget, left_of_others, remember
from fund2oct.visual import ShownVolume, Theme, draw_panel, draw_thickness, save_figures
from fund2oct.visual.thickness import draw_intervals

_OVER_DISC = "The optic disc lies under the scan: what is drawn there means nothing."
_UNLIKE = "The photo is unlike those of the training: the quality of what is drawn is unknown."
_PANEL, _MAP, _NUMBERS, _INTERVALS = "", ".thickness", ".thickness.tif", ".intervals"


@dataclass(frozen=True)
class Results:
    """Where the results of each photo go, and in which form.

    Args:
        folder: where all results go.
        formats: how volumes are written, keys of :data:`fund2oct.export.FORMATS`.
        figure_formats: how panel and map are written, see :data:`fund2oct.visual.FIGURE_FORMATS`.
        theme: colours of their paper and ink.
        footer: what stands under each picture.
        overwrite: whether the results of an earlier prediction may be replaced.
        intervals_seed: seed of the draws from which mean and intervals are found; None leaves these out.
    """

    folder: Path
    formats: Sequence[str]
    figure_formats: Sequence[str]
    theme: Theme
    footer: str
    overwrite: bool
    intervals_seed: int | None = None

    def names(self, name: str) -> list[str]:
        """The files, or folders, that may be written for an eye of a name."""
        return [*self._of_volume(name), *self._of_surfaces(name)]

    def made_by(self, model: VolumeModel, name: str) -> list[str]:
        """Those of them that a model writes."""
        of_volume = self._of_volume(name) if model.draws_volumes else []
        return [*of_volume, *(self._of_surfaces(name) if isinstance(model, PredictsSurfaces) else [])]

    def write(
        self, model: VolumeModel, eye: Eye, name: str, made_from: Mapping[str, str]
    ) -> tuple[Path, ...]:
        """Write the results of a photo, whose scan lies where the model put it, and what they were made from.

        The eye has the name of the photo's file as its key, and is called ``name`` in all that is written.

        All are made before the first is put in its place. With ``overwrite`` those of an earlier call go,
        even where this model, or this call, makes none.

        Returns:
            The files, and folders, that were written.

        Raises:
            DataError: if something else lies where one belongs. All of an earlier call is left then.
        """
        with tempfile.TemporaryDirectory(prefix=".predict-", dir=self.folder) as folder:
            scratch = Path(folder)
            with at_given_places(model):
                self._make(model, eye, name, scratch)
            made = [file for file in self.names(name) if (scratch / file).exists()]
            placed = made
            if self.overwrite:
                placed = [*dict.fromkeys([*self.names(name), *left_of_others(self.folder, name, made_from)])]
            for file in placed:
                check_room(scratch / file, self.folder / file, name, True, self.overwrite)
            forget(self.folder, name, made_from)
            for file in placed:
                put(scratch / file, self.folder / file)
        remember(self.folder, name, made_from, made)
        return tuple(self.folder / file for file in made)

    def _of_volume(self, name: str) -> list[str]:
        files = [file for format in self.formats for file in FORMATS[format].names(name)]
        files += self._figures(name, _PANEL)
        if self.intervals_seed is not None:
            files += [*self._figures(name, _INTERVALS), f"{name}{_INTERVALS}.npz"]
        return files

    def _of_surfaces(self, name: str) -> list[str]:
        return [*self._figures(name, _MAP), f"{name}{_NUMBERS}"]

    def _figures(self, name: str, part: str) -> list[str]:
        return [f"{name}{part}.{format}" for format in self.figure_formats]

    def _make(self, model: VolumeModel, eye: Eye, name: str, folder: Path) -> None:
        # Drawn by the name of its file, and now called so that it differs from its namesakes.
        drawn_as, eye = eye.key, replace(eye, key=name, patient=name)
        assert eye.fundus is not None and model.task is not None
        scan, known = eye.scan or model.task.scan, model.known_of(eye)
        thickness = predict_thickness(model, eye.fundus, eye.placement, scan, **known)
        if self.figure_formats:  # to draw takes longer than to predict
            for part, figure in self._draw(model, eye, thickness).items():
                save_figures(figure, folder / f"{name}{part}", self.figure_formats)
        if thickness is not None:
            save_thickness(thickness, folder / f"{name}{_NUMBERS}")
        if eye.volume is not None:
            if self.intervals_seed is not None:
                self._make_intervals(model, eye, drawn_as, folder / f"{name}{_INTERVALS}")
            for format in self.formats:
                export_eye(eye, folder, name, format, thickness=thickness)

    def footer_of(self, eye: Eye) -> str:
        """What stands under the pictures of an eye: first of all what is wrong with its photo."""
        told = [_OVER_DISC] if eye.history.get("placement") == ON_DISC else []
        if float(eye.history.get("photo_distance") or 0) >= UNLIKE:
            told.append(_UNLIKE)
        return " ".join([*told, self.footer])

    def _make_intervals(self, model: VolumeModel, eye: Eye, drawn_as: str, stem: Path) -> None:
        assert self.intervals_seed is not None
        found = predict_intervals(model, replace(eye, key=drawn_as), self.intervals_seed)
        if self.figure_formats:
            figure = draw_intervals(eye, found, eye.key, self.footer_of(eye), self.theme)
            save_figures(figure, stem, self.figure_formats)
        found.save(Path(f"{stem}.npz"))

    def _draw(self, model: VolumeModel, eye: Eye, thickness: ThicknessMap | None) -> dict[str, Figure]:
        assert eye.fundus is not None
        figures = {}
        footer = self.footer_of(eye)
        if thickness is not None:
            figures[_MAP] = draw_thickness(eye.fundus, thickness, eye.key, footer, self.theme)
        if eye.volume is not None:
            assert eye.scan is not None
            fundus = photo_tensor(eye.fundus)[0]
            grid = eye.placement.to_grid(eye.scan.coordinates(eye.volume.shape[-1]))
            interval_um = predict_interval_um(model, fundus, grid, **model.known_of(eye))
            spacing_mm = eye.spacing_mm[1:]
            shown = ShownVolume.searched(torch.from_numpy(eye.volume) / 255, spacing_mm, interval_um)
            figures[_PANEL] = draw_panel(
                {"generated": shown}, spacing_mm, fundus, grid,
                thickness=thickness, title=eye.key, footer=footer, theme=self.theme,
            )  # fmt: skip
        return figures
