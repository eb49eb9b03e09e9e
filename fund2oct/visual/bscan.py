"""What lies along a line of the scan: the B-scan at its true aspect, and the thickness under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from fund2oct.retina import SURFACES, retinal_boundaries
from fund2oct.visual.style import LIGHT, SHADE, SHADED, SMALL_PT, SURFACE_COLOURS, Theme, dress

Spacing = tuple[float, float]
"""Distance of rows and of A-scans ``(z, x)`` in millimetres."""

MAX_SLICES = 6
_NICE_UM = (50, 100, 200, 500, 1000, 2000, 5000)
_BAR_SHARE = 0.07
_APART_UM = 40.0
_SMOOTH_PX = 3
_ILM, _RPE = SURFACES.index("ILM"), SURFACES.index("RPE")


@dataclass(frozen=True, eq=False)
class ShownVolume:
    """A volume to draw, and what is known of its retina.

    Args:
        volume: intensities in [0, 1], shape ``(S, Z, X)``.
        surfaces_um: depth of each of :data:`fund2oct.retina.SURFACES` below the frame's top edge, NaN where
            unknown, shape ``(4, S, X)``; None draws none.
        interval_um: lower and upper end of an interval of the thickness, shape ``(2, S, X)``.
        note: small print below its name.

    Example:
        >>> from fund2oct.data import FundusOCTDataset
        >>> volume = FundusOCTDataset("eyes.h5")[0]["volume"][0]
        >>> shown = ShownVolume.searched(volume, spacing_mm=(0.06, 0.183))
        >>> shown.thickness_um.shape  # (S, X)
        torch.Size([6, 48])
    """

    volume: Tensor
    surfaces_um: Tensor | None = None
    interval_um: Tensor | None = None
    note: str = ""

    @classmethod
    def searched(
        cls,
        volume: Tensor,
        spacing_mm: Spacing,
        interval_um: Tensor | None = None,
        note: str = "",
        slices: Sequence[int] | None = None,
    ) -> ShownVolume:
        """Make one whose surfaces are searched in those slices that a panel shows; in others they are NaN.

        Args:
            volume: intensities in [0, 1], shape ``(S, Z, X)``; what is not a number is drawn black.
            spacing_mm: distance of rows and of A-scans.
            interval_um: lower and upper end of an interval of the thickness, shape ``(2, S, X)``.
            note: small print below its name.
            slices: numbers of the slices that :func:`fund2oct.visual.draw_panel` is told to show; None takes
                those that it shows if it is told none.
        """
        volume = volume.detach().float().cpu().nan_to_num(0, 1, 0).clamp(0, 1)
        shown = shown_slices(len(volume)) if slices is None else [*slices]
        found = retinal_boundaries(volume[shown].numpy(), (np.nan, *spacing_mm)).surfaces_um
        surfaces_um = torch.full((len(SURFACES), *volume[:, 0].shape), torch.nan)
        surfaces_um[:, shown] = torch.from_numpy(found)
        return cls(volume, surfaces_um, interval_um, note)

    @property
    def thickness_um(self) -> Tensor | None:
        """Thickness of the retina, NaN where unknown, shape ``(S, X)``."""
        return None if self.surfaces_um is None else self.surfaces_um[_RPE] - self.surfaces_um[_ILM]


def shown_slices(n_slices: int, at_most: int = MAX_SLICES) -> list[int]:
    """Numbers of the slices to draw, spread evenly over the scan.

    Example:
        >>> shown_slices(6), shown_slices(61)
        ([0, 1, 2, 3, 4, 5], [0, 12, 24, 36, 48, 60])
    """
    places = np.linspace(0, n_slices - 1, min(n_slices, at_most)).round().astype(int)
    return [int(place) for place in np.unique(places)]


def draw_bscan(
    axes: Axes,
    bscan: Tensor,
    spacing_mm: Spacing,
    surfaces_um: Tensor | None = None,
    frame: str | None = None,
) -> None:
    """Draw a B-scan in micrometres, equally long in both directions.

    The axes' x runs along the line and y down from the frame's top edge, both in micrometres.

    Args:
        axes: the axes to draw on.
        bscan: intensities in [0, 1], shape ``(Z, X)``.
        spacing_mm: distance of rows and of A-scans.
        surfaces_um: depths, shape ``(4, X)``; surfaces that lie on each other are drawn once.
        frame: colour of the frame.
    """
    _show(axes, bscan.detach().float().cpu().clamp(0, 1).numpy(), spacing_mm, frame, "gray", 0, 1)
    if surfaces_um is not None:
        _draw_surfaces(axes, surfaces_um.detach().float().cpu().numpy(), spacing_mm)


def draw_difference(
    axes: Axes, bscan: Tensor, other: Tensor, spacing_mm: Spacing, limit: float, theme: Theme = LIGHT,
    frame: str | None = None,
) -> None:  # fmt: skip
    """Draw by how much a B-scan is brighter than another, means over 3 x 3 pixels, as :func:`draw_bscan`.

    Single pixels of speckle differ between any two scans of one eye.

    Args:
        axes: the axes to draw on.
        bscan: intensities in [0, 1], shape ``(Z, X)``.
        other: what is subtracted, same shape.
        spacing_mm: distance of rows and of A-scans.
        limit: the difference at the ends of the colour scale.
        theme: its paper stands for no difference.
        frame: colour of the frame.
    """
    difference = (bscan - other).detach().float().cpu()
    smooth = F.avg_pool2d(
        difference[None, None], _SMOOTH_PX, 1, _SMOOTH_PX // 2, count_include_pad=False
    )  # fmt: skip
    _show(axes, smooth[0, 0].numpy(), spacing_mm, frame, theme.difference, -limit, limit)


def draw_scale_bar(axes: Axes) -> float:
    """Draw a white bar of a round length on a B-scan, lower right, and write its length beside it.

    Args:
        axes: the axes on which :func:`draw_bscan` drew.

    Returns:
        Its length in micrometres, in both directions.
    """
    (left, right), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    width = right - left
    wanted = _BAR_SHARE * width
    length = float(min(_NICE_UM, key=lambda nice: abs(nice - wanted)))
    thick = 0.01 * width
    corner = right - 0.02 * width - length, bottom - 0.02 * width - thick
    axes.add_patch(
        Rectangle(corner, length, thick, facecolor="white", edgecolor=SHADE, linewidth=0.5, gid="scale bar")
    )
    axes.annotate(
        f"{length:g} µm", (corner[0] + length, corner[1]), (0, 2), textcoords="offset points",
        color="white", fontsize=SMALL_PT, ha="right", va="bottom", bbox=SHADED,
    )  # fmt: skip
    return length


def draw_surface_key(axes: Axes, surfaces_um: Tensor, theme: Theme = LIGHT) -> None:
    """Say above a B-scan, at its right, which surface has which colour.

    Args:
        axes: the axes on which :func:`draw_bscan` drew.
        surfaces_um: those of all volumes and slices shown; surfaces that are nowhere drawn are left out.
        theme: its ink is used.
    """
    drawn = [
        name for name, depth_um in _apart(surfaces_um.numpy()).items() if np.isfinite(depth_um).any()
    ]  # fmt: skip
    handles = [Line2D([], [], color=SURFACE_COLOURS[name], linewidth=1.5, label=name) for name in drawn]
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), frameon=False,
        fontsize=SMALL_PT, labelcolor=theme.muted, handlelength=1.3, handletextpad=0.4, columnspacing=1.0,
        borderpad=0.1, borderaxespad=0.1,
    )  # fmt: skip


def draw_profile(
    axes: Axes,
    shown: Mapping[str, ShownVolume],
    number: int,
    spacing_mm: Spacing,
    colours: Mapping[str, str],
    theme: Theme = LIGHT,
) -> None:
    """Draw the thickness along a slice: a curve a volume, an interval as a band.

    Args:
        axes: the axes to draw on; x is the distance along the line in micrometres, as in :func:`draw_bscan`.
        shown: the volumes by name; those without surfaces are left out.
        number: number of the slice.
        spacing_mm: distance of rows and of A-scans.
        colours: colours of the curves by name.
        theme: colours of the axes.
    """
    dress(axes, theme)
    for name, volume in shown.items():
        x = _ascans_um(volume.volume.shape[-1], spacing_mm)
        if volume.interval_um is not None:
            low, high = volume.interval_um[:, number].detach().float().cpu().numpy()
            axes.fill_between(x, low, high, color=colours[name], alpha=0.22, linewidth=0)
        if (thickness_um := volume.thickness_um) is not None:
            axes.plot(x, thickness_um[number].cpu().numpy(), color=colours[name], linewidth=1.1, label=name)
    axes.set_xlim(0, 1000 * volume.volume.shape[-1] * spacing_mm[1])


def _show(axes, picture, spacing_mm: Spacing, frame: str | None, cmap, low: float, high: float) -> None:  # type: ignore[no-untyped-def]
    depth_um, length_um = (1000 * n * mm for n, mm in zip(picture.shape, spacing_mm, strict=True))
    axes.imshow(
        picture, cmap=cmap, vmin=low, vmax=high, extent=(0, length_um, depth_um, 0), aspect="equal",
        interpolation="hanning",
    )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=frame is not None, color=frame, linewidth=1.2)


def _draw_surfaces(axes: Axes, surfaces_um: np.ndarray, spacing_mm: Spacing) -> None:
    x = _ascans_um(surfaces_um.shape[-1], spacing_mm)
    for name, depth_um in _apart(surfaces_um).items():
        axes.plot(x, depth_um, color=SURFACE_COLOURS[name], linewidth=0.55)


def _apart(surfaces_um: np.ndarray) -> dict[str, np.ndarray]:
    """Depths by name; of those that follow the epithelium, where fluid, drusen or a detachment part them."""
    by_name = dict(zip(SURFACES, surfaces_um, strict=True))
    return {
        name: depth_um
        if name in ("ILM", "RPE")
        else np.where(np.abs(depth_um - by_name["RPE"]) > _APART_UM, depth_um, np.nan)
        for name, depth_um in by_name.items()
    }


def _ascans_um(n_ascans: int, spacing_mm: Spacing) -> np.ndarray:
    return (np.arange(n_ascans) + 0.5) * 1000 * spacing_mm[1]
