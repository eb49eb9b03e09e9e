"""A B-scan on paper: where its voxels lie, how long its bar is, what is drawn over it."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from fund2oct.retina import SURFACES
from fund2oct.visual import LIGHT, ShownVolume, draw_panel
from fund2oct.visual.bscan import (
    draw_bscan,
    draw_difference,
    draw_profile,
    draw_scale_bar,
    draw_surface_key,
    shown_slices,
)
from fund2oct.visual.style import SURFACE_COLOURS, new_figure

SPACING_MM = (0.01, 0.03)


@pytest.fixture
def axes():
    return new_figure(4, 3).add_axes((0.1, 0.1, 0.8, 0.8))


def pixels_of(axes):
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def data_of(axes, column, row, height):
    """Axes coordinates of a pixel of the drawn figure."""
    return axes.transData.inverted().transform((column + 0.5, height - row - 0.5))


def test_a_bright_voxel_lies_at_its_depth_and_ascan(axes):
    bscan = torch.zeros(20, 31)
    bscan[5, 7] = 1
    draw_bscan(axes, bscan, SPACING_MM)
    axes.figure.set_facecolor("black")
    pixels = pixels_of(axes).sum(-1)
    rows, columns = np.nonzero(pixels > 0.9 * pixels.max())
    x_um, y_um = data_of(axes, columns.mean(), rows.mean(), len(pixels))
    assert x_um == pytest.approx(7.5 * 30, abs=5) and y_um == pytest.approx(5.5 * 10, abs=3)


def test_a_micrometre_is_as_long_in_both_directions_and_the_bar_is_as_long_as_it_says(axes):
    draw_bscan(axes, torch.rand(20, 31), SPACING_MM)
    length_um = draw_scale_bar(axes)
    axes.figure.draw_without_rendering()
    origin, right, down = axes.transData.transform([(0, 0), (100, 0), (0, 100)])
    assert right[0] - origin[0] == pytest.approx(origin[1] - down[1])
    bar = next(patch for patch in axes.patches if patch.get_gid() == "scale bar")
    px_per_um = (right[0] - origin[0]) / 100
    assert bar.get_window_extent().width == pytest.approx(length_um * px_per_um)
    assert axes.texts[0].get_text() == f"{length_um:g} µm" == "50 µm"
    box, frame = bar.get_window_extent(), axes.get_window_extent()
    assert frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0


def test_the_difference_says_which_is_brighter(axes):
    first, second = torch.zeros(12, 14), torch.zeros(12, 14)
    first[2:5, 2:5], second[8:11, 8:11] = 1, 1
    draw_difference(axes, first, second, SPACING_MM, 0.4)
    shown = axes.images[0].get_array()
    assert shown[3, 3] == pytest.approx(1) and shown[9, 9] == pytest.approx(-1) and shown[0, 13] == 0
    assert to_hex(axes.images[0].cmap(0.5)) == LIGHT.paper


def test_surfaces_that_lie_on_each_other_are_drawn_once(axes):
    rpe = torch.full((31,), 120.0)
    lifted = torch.where(torch.arange(31) < 10, rpe, rpe + 60)
    surfaces = torch.stack([rpe - 80, rpe, rpe, lifted])
    draw_bscan(axes, torch.rand(20, 31), SPACING_MM, surfaces)
    drawn = {line.get_color(): line.get_ydata() for line in axes.lines}
    assert np.isnan(drawn[SURFACE_COLOURS["OS"]]).all()
    assert np.isfinite(drawn[SURFACE_COLOURS["BM"]]).tolist() == [False] * 10 + [True] * 21
    np.testing.assert_allclose(axes.lines[0].get_xdata()[:2], [15, 45])
    draw_surface_key(axes, surfaces[:, None])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ILM", "RPE", "BM"]


def test_the_profile_has_a_curve_a_volume_and_a_band(axes):
    surfaces = torch.zeros(4, 2, 31)
    surfaces[SURFACES.index("RPE"), 1] = 250
    interval = torch.stack([torch.full((2, 31), 200.0), torch.full((2, 31), 300.0)])
    shown = {
        "real": ShownVolume(torch.zeros(2, 20, 31), surfaces),
        "generated": ShownVolume(torch.zeros(2, 20, 31), surfaces - 0, interval),
    }
    draw_profile(axes, shown, 1, SPACING_MM, {"real": "black", "generated": "blue"})
    assert len(axes.lines) == 2 and set(axes.lines[0].get_ydata()) == {250}
    box = axes.collections[0].get_datalim(axes.transData)
    assert (box.y0, box.y1) == (200, 300)
    assert axes.get_xlim() == (0, 930)


def test_the_search_leaves_out_the_slices_that_are_not_shown():
    numbers = shown_slices(9)
    assert numbers == [0, 2, 3, 5, 6, 8]
    volume = torch.zeros(9, 40, 50)
    volume[:, 15:25], volume[:, 25:28] = 0.4, 0.9
    found = ShownVolume.searched(volume + 0.02 * torch.rand_like(volume), (0.01, 0.05)).thickness_um
    assert found.isfinite().any(-1).nonzero().flatten().tolist() == numbers
    assert found[0].nanmedian() == pytest.approx(100, abs=15)


def test_the_search_looks_in_the_slices_that_are_named():
    volume = torch.zeros(61, 40, 50)
    volume[:, 15:25], volume[:, 25:28] = 0.4, 0.9
    shown = ShownVolume.searched(volume + 0.02 * torch.rand_like(volume), (0.01, 0.05), slices=[30])
    assert shown.thickness_um.isfinite().any(-1).nonzero().flatten().tolist() == [30]
    figure = draw_panel({"real": shown}, (0.01, 0.05), slices=[30])
    bscan, profile = figure.axes
    assert len(bscan.lines) == len(SURFACES) and np.isfinite(profile.lines[0].get_ydata()).any()
