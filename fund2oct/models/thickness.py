"""Maps of the retina's thickness on the photo, with an interval at each place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.eye import Array, DataError
from fund2oct.file_kinds import MADE_HERE
from fund2oct.geometry import Placement, ScanPattern
from fund2oct.geometry.etdrs import field_means_um
from fund2oct.models.predicting.generate import check_prepared, find_place
from fund2oct.networks.layered.surfaces import thickness_interval_um, thickness_um
from fund2oct.networks.registration import at_given_places

if TYPE_CHECKING:
    # Lightning takes seconds to import, and figures are drawn without it.
    from fund2oct.models import VolumeModel

INTERVAL = 0.8
"""Probability with which an interval holds the thickness."""
_PITCH_MM = 0.08


@runtime_checkable
class PredictsSurfaces(Protocol):
    """Form of a model that predicts surfaces. They are mapped, and stand in reports beside what it draws.

    It says nothing of what ``forward`` draws. If that takes ``draw_surfaces=True``, and then draws the
    surfaces from their distribution, as :class:`fund2oct.models.Pix2Vol` does, the class says so by
    ``draws_surfaces = True``, and ``predict --draw`` and the draws of intervals ask for it. A
    :class:`fund2oct.models.VolumeModel` has False.
    """

    def surfaces(self, fundus: Tensor, grid: Tensor, **known: Any) -> Any:
        """Return a distribution like :class:`~fund2oct.networks.layered.surfaces.SurfaceDistribution`.

        Among ``known`` may be ``whole``, positions of all A-scans of the scan, where ``grid`` holds others.
        """


@dataclass(frozen=True)
class ThicknessMap:
    """Map of the thickness from the inner limiting membrane to the pigment epithelium.

    Args:
        median_um: median thickness in micrometres, NaN outside the scanned circle, shape ``(N, N)``. Rows run
            down and columns to the right, as on the photo turned by the placement's rotation.
        low_um: lower end of the 80% interval in micrometres, same shape.
        high_um: upper end of the interval, same shape.
        grid: position of each value on the photo, -1 to 1 from one edge to the other, as (x, y), shape
            ``(N, N, 2)``.
        pitch_mm: distance of neighbouring values in millimetres.

    Example:
        >>> thick_um = np.full((60, 60), 280.0)
        >>> thickness = ThicknessMap(thick_um, thick_um - 20, thick_um + 20, np.zeros((60, 60, 2)), 0.1)
        >>> round(thickness.fields_um()["centre"])  # mean of the central ETDRS field
        280
    """

    median_um: Array
    low_um: Array
    high_um: Array
    grid: Array
    pitch_mm: float

    @property
    def points_mm(self) -> Array:
        """Position of each value relative to the scan's centre in millimetres, shape ``(N, N, 2)``."""
        n = len(self.median_um)
        line = (np.arange(n) + 0.5 - n / 2) * self.pitch_mm
        return np.stack(np.meshgrid(line, line), -1)

    @property
    def displayed_mm(self) -> Array:
        """The same to the right and down of the photo as displayed, on which the scan may be turned."""
        across, down = (self.grid[0, -1] - self.grid[0, 0]).tolist()
        placement = Placement(rotation_deg=math.degrees(math.atan2(down, across)))
        turned: Array = placement.turned(torch.from_numpy(self.points_mm)).numpy()
        return turned

    def fields_um(self) -> dict[str, float]:
        """Mean thickness of the nine ETDRS fields in micrometres, NaN where half of a field is unknown.

        The fields are named by their place on the photo, see :data:`fund2oct.geometry.etdrs.FIELDS`.
        """
        return field_means_um(self.median_um, self.displayed_mm, self.pitch_mm)


def predict_thickness(
    model: VolumeModel, fundus: Array, placement: Placement, scan: ScanPattern, **known: Any
) -> ThicknessMap | None:
    """Predict the thickness at every place of a photo within the reach of a scan.

    It is predicted at each place, not interpolated between the lines of the scan. The lines of the map are
    given to the model as further B-scans of this scan, with A-scans as far apart as its own, once along rows
    and once along columns, and the two results averaged.

    Args:
        model: a model that predicts surfaces, such as :class:`fund2oct.models.Pix2Vol`.
        fundus: photo, cropped and prepared as in the training, RGB, uint8, shape ``(H, H, 3)``.
        placement: where the scan lies on the photo; a model with ``registration`` corrects it.
        scan: lines of the scan; the map reaches as far as they do.
        known: what is known of the eye, see ``VolumeModel.known_of``.

    Returns:
        The map; None if the model predicts no surfaces.

    Raises:
        ValueError: if the photo is of another width.

    Example:
        >>> from fund2oct.geometry import RadialScan
        >>> from fund2oct.models import SurfaceModel
        >>> model = SurfaceModel(shape=(6, 32, 48), encoder="own", surface_width=8)  # untrained
        >>> photo, scan = np.zeros((64, 64, 3), np.uint8), RadialScan(length_mm=3.2)
        >>> predict_thickness(model, photo, Placement(), scan).median_um.shape  # 0.08 mm apart
        (40, 40)
    """
    if not isinstance(model, PredictsSurfaces):
        return None
    check_prepared(model, fundus)
    reach_mm = scan.reach_mm
    n = 2 * round(reach_mm / _PITCH_MM)
    n_ascans = round(n * _PITCH_MM * model.shape[2] / fmean(scan.length_mm))
    line, finer = (
        (torch.arange(many, device=model.device) + 0.5 - many / 2) * (n * _PITCH_MM / many)
        for many in (n, n_ascans)
    )
    rows = torch.stack(torch.meshgrid(finer, line, indexing="xy"), -1)
    photo = photo_tensor(fundus).to(model.device)
    placement = find_place(model, fundus, placement, scan)
    whole = placement.to_grid(scan.coordinates(model.shape[2], model.device))[None]
    with torch.inference_mode(), at_given_places(model):
        along = [
            model.surfaces(photo, placement.to_grid(each)[None], whole=whole, **known)
            for each in (rows, rows.flip(-1))
        ]
    read = [
        F.interpolate(
            torch.cat([thickness_interval_um(f, INTERVAL)[0], thickness_um(f)[0]]), n, mode="linear"
        )
        for f in along
    ]
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    grid = placement.to_grid(points)
    outside = (points.norm(dim=-1) > reach_mm) | (grid.norm(dim=-1) > 1)
    mean = ((read[0] + read[1].transpose(-1, -2)) / 2).masked_fill(outside, torch.nan)
    low, high, middle = mean.float().cpu().numpy()
    return ThicknessMap(middle, low, high, grid.cpu().numpy(), _PITCH_MM)


def predict_interval_um(model: VolumeModel, fundus: Tensor, grid: Tensor, **known: Any) -> Tensor | None:
    """Predict the interval of the thickness at each A-scan.

    Args:
        model: a model that predicts surfaces, such as :class:`fund2oct.models.Pix2Vol`.
        fundus: photo in [0, 1], prepared as in the training, shape ``(3, H, H)``.
        grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
            ``(S, X, 2)``.
        known: what is known of the eye, see ``VolumeModel.known_of``.

    Returns:
        Lower and upper end of the 80% interval in micrometres, shape ``(2, S, X)``, on the
        CPU; None if the model predicts no surfaces.

    Example:
        >>> from fund2oct.models import SurfaceModel
        >>> model = SurfaceModel(shape=(6, 32, 48), encoder="own", surface_width=8)  # untrained
        >>> predict_interval_um(model, torch.rand(3, 64, 64), torch.zeros(6, 48, 2)).shape
        torch.Size([2, 6, 48])
    """
    if not isinstance(model, PredictsSurfaces):
        return None
    with torch.inference_mode():
        found = model.surfaces(fundus[None].to(model.device), grid[None].to(model.device), **known)
    return thickness_interval_um(found, INTERVAL)[0].float().cpu()


def save_thickness(found: ThicknessMap, path: Path) -> None:
    """Write a map as a float32 TIFF with three pages: median, lower and upper end in micrometres.

    Args:
        found: the map.
        path: the file to write.

    Example:
        >>> thick_um = np.full((60, 60), 280.0)
        >>> found = ThicknessMap(thick_um, thick_um - 20, thick_um + 20, np.zeros((60, 60, 2)), 0.1)
        >>> save_thickness(found, Path("thickness.tif"))
        >>> float(load_thickness(Path("thickness.tif"), Placement()).high_um.max())
        300.0
    """
    import tifffile

    pages = np.stack([found.median_um, found.low_um, found.high_um]).astype(np.float32)
    description = "retinal thickness in micrometres: median, lower and upper end of its 80% interval"
    per_mm = 1 / found.pitch_mm
    tifffile.imwrite(
        path, pages, photometric="minisblack", description=description, resolution=(10 * per_mm, 10 * per_mm),
        resolutionunit="CENTIMETER", software=MADE_HERE,
    )  # fmt: skip


def load_thickness(path: Path, placement: Placement) -> ThicknessMap:
    """Read a map that :func:`save_thickness` wrote.

    Args:
        path: the TIFF.
        placement: where the scan lies on the photo; the file does not say it.

    Returns:
        The map.

    Raises:
        DataError: if the file is no such map.

    Example:
        >>> thick_um = np.full((60, 60), 280.0)
        >>> found = ThicknessMap(thick_um, thick_um - 20, thick_um + 20, np.zeros((60, 60, 2)), 0.1)
        >>> save_thickness(found, Path("thickness.tif"))
        >>> load_thickness(Path("thickness.tif"), Placement()).pitch_mm
        0.1
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            pages = file.asarray()
            many, over = file.pages[0].tags["XResolution"].value  # type: ignore[union-attr]
    except (OSError, KeyError, ValueError, TypeError, tifffile.TiffFileError) as error:
        raise DataError(f"{path}: expected a thickness map, cannot be read as one ({error})") from error
    if pages.ndim != 3 or pages.shape[0] != 3 or pages.shape[1] != pages.shape[2] or not many:
        raise DataError(f"{path}: expected a thickness map of three square pages, found {pages.shape}")
    median, low, high = pages.astype(np.float32)
    pitch_mm = 10 * over / many
    line = (torch.arange(len(median)) + 0.5 - len(median) / 2) * pitch_mm
    grid = placement.to_grid(torch.stack(torch.meshgrid(line, line, indexing="xy"), -1))
    return ThicknessMap(median, low, high, grid.numpy(), pitch_mm)
