"""The panel is full whatever it holds, and shows each thing where it says."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from fund2oct.data import Eye
from fund2oct.geometry import CircularScan, Placement, RadialScan, RasterScan
from fund2oct.models.thickness import ThicknessMap
from fund2oct.models.uncertainty.draws import Intervals
from fund2oct.visual import DARK, ShownVolume, draw_panel
from fund2oct.visual.layout import Content, arrange
from fund2oct.visual.style import LINE_COLOURS
from fund2oct.visual.thickness import draw_intervals

SPACING_MM = (0.02, 0.1)
N_DEPTH, N_ASCANS = 30, 40


def shown(n_slices, interval=False):
    surfaces = torch.full((4, n_slices, N_ASCANS), 300.0)
    surfaces[0] = 100
    volume = torch.rand(n_slices, N_DEPTH, N_ASCANS)
    return ShownVolume(volume, surfaces, surfaces[:2] if interval else None)


def thickness_map():
    line = np.linspace(-0.7, 0.7, 20)
    values = np.full((20, 20), 300.0)
    return ThicknessMap(values, values - 20, values + 20, np.stack(np.meshgrid(line, line), -1), 0.3)


@pytest.fixture(scope="module")
def fundus():
    return torch.rand(3, 36, 36)


@pytest.fixture(scope="module")
def star(fundus):
    volumes = {"real": shown(6), "generated": shown(6, interval=True)}
    grid = Placement().to_grid(RadialScan().coordinates(N_ASCANS))
    return draw_panel(
        volumes, SPACING_MM, fundus, grid, minus=("generated", "real"), thickness=thickness_map(),
        title="an eye", footer="what it is " * 30,
    )  # fmt: skip


def test_a_few_slices_are_shown_larger(fundus):
    grid = Placement().to_grid(RadialScan().coordinates(N_ASCANS))
    whole, few = (
        draw_panel({"real": shown(6)}, SPACING_MM, fundus, grid, slices=slices) for slices in (None, [1, 4])
    )
    n_pictures = 2
    assert (len(whole.axes), len(few.axes)) == (n_pictures + 2 * 6, n_pictures + 2 * 2)
    widths = [max(axes.get_position().width for axes in each.axes[n_pictures:]) for each in (whole, few)]
    assert widths[1] > 1.5 * widths[0]
    texts = {text.get_text() for text in few.findobj(Text)}
    assert {"1", "4", "2 of 6 slices"} < texts and "0" not in {text.get_text() for text in few.axes[0].texts}
    with pytest.raises(ValueError, match=r"slices: expected numbers from 0 to 5, found .6."):
        draw_panel({"real": shown(6)}, SPACING_MM, slices=[6])


def test_no_axes_are_empty_or_overlap_and_the_paper_is_used(star):
    boxes = [axes.get_position() for axes in star.axes]
    assert all(axes.images or axes.lines or axes.collections for axes in star.axes)
    for number, one in enumerate(boxes):
        assert one.x0 >= 0 and one.x1 <= 1 and one.y0 >= 0 and one.y1 <= 1
        for other in boxes[number + 1 :]:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            down = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert across < 1e-6 or down < 1e-6
    # Lines, photo and map; real, generated, difference and profile of six slices; two colour bars.
    assert len(boxes) == 3 + 4 * 6 + 2
    assert sum(box.width * box.height for box in boxes) > 0.5
    assert min(box.x0 for box in boxes) < 0.02 and max(box.x1 for box in boxes) > 0.98
    renderer = FigureCanvasAgg(star).get_renderer()
    frame = star.bbox
    for text in star.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1


def test_lines_and_slices_share_numbers_and_colours(star):
    lines = star.axes[0]
    assert [text.get_text() for text in lines.texts] == list("012345")
    discs = [text.get_bbox_patch().get_facecolor() for text in lines.texts]
    numbered = [axes for axes in star.axes[3:] if axes.texts and axes.texts[0].get_text() in "012345"]
    assert [axes.texts[0].get_bbox_patch().get_facecolor() for axes in numbered] == discs
    assert [line.get_color() for line in lines.lines] == list(LINE_COLOURS)
    assert not star.axes[1].lines and not star.axes[1].texts  # the photo without the lines


def test_a_slice_is_the_one_of_its_number(fundus):
    volume = shown(61)
    grid = Placement().to_grid(RasterScan(61).coordinates(N_ASCANS))
    figure = draw_panel({"real": volume}, SPACING_MM, fundus, grid, theme=DARK)
    pictures = [axes.images[0].get_array() for axes in figure.axes[2:] if axes.images]
    for number, picture in zip((0, 12, 24, 36, 48, 60), pictures, strict=True):
        np.testing.assert_allclose(picture, volume.volume[number])
    assert "6 of 61 slices" in [text.get_text() for text in figure.texts]
    assert len(figure.axes[0].lines) == 61


def test_the_number_of_a_circle_stands_where_it_ends(fundus):
    ring = CircularScan((2.0,), start_deg=-90)  # begins and ends on the left
    volume = ShownVolume(torch.rand(1, N_DEPTH, N_ASCANS))
    grid = Placement().to_grid(ring.coordinates(N_ASCANS))
    figure = draw_panel({"real": volume}, SPACING_MM, fundus, grid)
    x, y = figure.axes[0].texts[0].get_position()
    assert 0 < x < 18 - 18 * 2 / 6.5 + 1 and abs(y - 17.5) < 3


def test_slices_of_several_lengths_are_each_as_long_as_their_lines(fundus):
    grid = Placement().to_grid(CircularScan((1.0, 2.0)).coordinates(N_ASCANS))
    figure = draw_panel({"real": shown(2)}, SPACING_MM, fundus, grid)
    figure.draw_without_rendering()
    short, long, *profiles = figure.axes[2:]
    # 40 A-scans 0.1 mm apart in the mean are 4 mm.
    for axes, profile, length_um in zip((short, long), profiles, (8000 / 3, 16_000 / 3), strict=True):
        assert tuple(axes.images[0].get_extent()[:2]) == pytest.approx((0, length_um), rel=1e-4)
        assert profile.get_xlim()[1] == pytest.approx(length_um, rel=1e-4)
        assert axes.get_position().width == pytest.approx(profile.get_position().width), "A-scan below A-scan"
        assert [patch.get_gid() for patch in axes.patches] == ["scale bar"]


def test_a_single_slice_without_photo_or_surfaces():
    volume = ShownVolume(torch.rand(1, N_DEPTH, N_ASCANS))
    figure = draw_panel({"real": volume}, SPACING_MM)
    assert len(figure.axes) == 1
    box = figure.axes[0].get_position()
    assert box.width * box.height > 0.65


def test_a_diverged_volume_is_drawn_as_it_is():
    broken = ShownVolume.searched(torch.full((2, N_DEPTH, N_ASCANS), torch.nan), SPACING_MM)
    figure = draw_panel({"real": shown(2), "generated": broken}, SPACING_MM, minus=("generated", "real"))
    assert (figure.axes[1].images[0].get_array() == 0).all()
    assert not broken.thickness_um.isfinite().any()


def test_intervals_have_one_grey_scale_for_all_eyes_and_numbered_slices():
    eye = Eye(
        key="a", patient="a", laterality="OD", fundus=np.zeros((36, 36, 3), np.uint8),
        scan=RasterScan(9, 4.0, 4.0), spacing_mm=(0.5, *SPACING_MM),
    )  # fmt: skip
    mean = torch.full((9, N_DEPTH, N_ASCANS), 0.4)
    depths_um = torch.tensor([300.0, 280.0, 320.0]).view(3, 1, 1, 1).expand(-1, -1, 9, N_ASCANS)
    means, widths = [], []
    for wide in (0.1, 0.2):
        figure = draw_intervals(eye, Intervals(mean, mean - wide / 2, mean + wide / 2, ("ILM",), depths_um))
        means, widths = figure.axes[-12:-6], figure.axes[-6:]
        assert all(np.allclose(axes.images[0].get_array(), wide / 0.5, atol=1e-6) for axes in widths)
    assert "white is 0.5 of the grey scale" in widths[0].get_title(loc="left")
    assert [axes.get_title(loc="right") for axes in means] == [f"slice {n}" for n in (0, 2, 3, 5, 6, 8)]


def test_volumes_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="expected volumes of one shape"):
        draw_panel({"real": shown(6), "generated": shown(5)}, SPACING_MM)


@pytest.mark.parametrize("n_pictures", (0, 1, 2, 3))
@pytest.mark.parametrize("n_slices", (1, 2, 3, 5, 6))
@pytest.mark.parametrize("n_rows", (1, 3, 5))
@pytest.mark.parametrize("aspect", (0.2, 0.4, 0.8))
def test_every_arrangement_is_full_and_nothing_runs_off(n_pictures, n_slices, n_rows, aspect):
    layout = arrange(Content(n_pictures, n_pictures == 3, n_slices, n_rows, True, aspect))
    width, height = layout.size
    boxes = [layout.slice(place, row) for place in range(n_slices) for row in range(n_rows)]
    boxes += [layout.profile(place) for place in range(n_slices)]
    boxes += [box for box, _ in layout.pictures()]
    assert all(x >= 0 and y >= 0 and w > 0.3 and h > 0.1 for x, y, w, h in boxes)
    right = max(x + w for x, _, w, _ in boxes)
    assert right == pytest.approx(width - 0.14)
    assert layout.slice(0, 0)[3] == pytest.approx(aspect * layout.slice(0, 0)[2])
    if n_pictures:
        lowest = min(y - (0.4 if bar else 0) for (_, y, _, _), bar in layout.pictures())
        assert lowest == pytest.approx(layout.top - layout.body)
    assert 0.25 < width / height < 6
