"""What is written: figures, films, curves and the page of a report."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.visual import FIGURE_FORMATS, ShownVolume, draw_panel, save_figures
from fund2oct.visual.curves import draw_curves, read_curves
from fund2oct.visual.film import write_film
from fund2oct.visual.page import picture, write_page
from fund2oct.visual.style import figure_bytes, new_figure, save_figure


@pytest.fixture(scope="module")
def figure():
    return draw_panel({"real": ShownVolume(torch.rand(1, 12, 20))}, (0.02, 0.05), title="eye 7")


def test_text_stays_text_and_the_same_figure_is_the_same_file(figure, tmp_path):
    png, svg, pdf = save_figures(figure, tmp_path / "new" / "panel", FIGURE_FORMATS)
    with Image.open(png) as opened:
        assert opened.size == tuple((150 * figure.get_size_inches()).astype(int))
    text = svg.read_text()
    assert ">eye 7</text>" in text and "µm</text>" in text
    assert pdf.read_bytes().startswith(b"%PDF")
    assert svg.read_bytes() == figure_bytes(figure, "svg")
    with pytest.raises(ValueError, match=r"panel\.jpg: expected a picture file of png, svg, pdf"):
        save_figure(figure, tmp_path / "panel.jpg")


def test_dollar_signs_in_names_are_no_math(tmp_path):
    name = "a$b_$c"
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([0, 1], label=name)
    axes.set_yticks([0, 1], [name, "real"])
    axes.legend()
    figure.suptitle(name)
    assert save_figure(figure, tmp_path / "a.svg").read_text().count(f">{name}</text>") == 3
    axes.set_xscale("log")  # whose own labels are math
    axes.set_xlim(1, 100)
    assert ">$" not in save_figure(figure, tmp_path / "b.svg").read_text()


def test_a_film_shows_its_frames_in_their_order(tmp_path):
    frames = []
    for grey in (0, 120, 250):
        frames.append(tmp_path / f"{grey}.png")
        Image.fromarray(np.full((30, 40, 3), grey, np.uint8)).save(frames[-1])
    with Image.open(write_film(frames, tmp_path / "film.gif", width_px=80)) as film:
        assert film.n_frames == 3 and film.size == (80, 60) and film.info["loop"] == 0
        shown = []
        for number in range(3):
            film.seek(number)
            shown.append(int(np.asarray(film.convert("L")).mean()))
    assert shown == pytest.approx([0, 120, 250], abs=3)
    with pytest.raises(ValueError, match="expected at least one picture"):
        write_film([], tmp_path / "none.gif")


def test_a_film_of_many_frames_shows_some_of_all(tmp_path):
    frames = []
    for number in range(120):  # a bright line moves to the right
        frames.append(tmp_path / f"{number}.png")
        picture = np.zeros((6, 120, 3), np.uint8)
        picture[:, number] = 255
        Image.fromarray(picture).save(frames[-1])
    with Image.open(write_film(frames, tmp_path / "film.gif", width_px=120)) as film:
        assert film.n_frames == 50
        shown = []
        for number in (0, 24, 49):
            film.seek(number)
            shown.append(int(np.asarray(film.convert("L"))[3].argmax()))
    assert shown == [0, 58, 119]


def test_curves_hold_what_was_logged(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/generator/l1,val/ssim\n0,9,2.5,\n0,19,nan,\n1,29,1.5,0.25\n")
    curves = read_curves(path)
    assert {name: [list(part) for part in curve] for name, curve in curves.items()} == {
        "train/generator/l1": [[9, 29], [2.5, 1.5]],
        "val/ssim": [[29], [0.25]],
    }
    figure = draw_curves(curves)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ssim", "l1"]
    assert all(len(axes.lines[0].get_xdata()) for axes in figure.axes)
    with warnings.catch_warnings(action="error"):  # a training of one step has no width
        draw_curves({"val/ssim": (np.zeros(1), np.ones(1))})
    with pytest.raises(ValueError, match="expected at least one value"):
        draw_curves({})


def test_curves_of_a_training_that_was_started_again_are_one(tmp_path):
    files = [tmp_path / name for name in ("metrics-1.csv", "metrics-2.csv", "metrics.csv")]
    files[0].write_text("epoch,step,train/l1,val/ssim\n0,0,5,\n0,10,4,0.1\n1,20,3,0.2\n1,30")  # killed here
    files[1].write_text("epoch,step,train/l1\n")  # ended at once
    files[2].write_text("epoch,step,train/l1,val/psnr\n1,20,2,\n2,30,1,9\n")
    assert {name: [list(part) for part in curve] for name, curve in read_curves(*files).items()} == {
        "train/l1": [[0, 10, 20, 30], [5, 4, 2, 1]],
        "val/ssim": [[10], [0.1]],
        "val/psnr": [[30], [9]],
    }
    assert read_curves() == {}


def test_a_long_curve_is_drawn_by_some_of_its_points():
    steps = np.arange(300_000.0)
    curves = {"val/ssim": (steps, 2 * steps), "val/psnr": (steps[:50], 2 * steps[:50])}
    figure = draw_curves(curves)
    for axes, n_points in zip(figure.axes, (50, 2000), strict=True):
        faint, bold = (line.get_xydata() for line in axes.lines[:2])
        assert len(faint) == len(bold) == n_points
        np.testing.assert_array_equal(faint[:, 1], 2 * faint[:, 0])
        assert faint[0, 0] == 0 and faint[-1, 0] == (49 if n_points == 50 else 299_999)
        middle = slice(n_points // 4, 3 * n_points // 4)
        np.testing.assert_allclose(bold[middle, 1], faint[middle, 1], rtol=0.02)


def test_the_page_holds_its_pictures_and_obeys_no_names(tmp_path):
    hostile = "<script>alert(1)</script> [x](javascript:alert(1)) | a_b"
    text = (
        f"# Report of {hostile}\n\n| a | b ↑ |\n|---|---:|\n| 1 | 2 |\n\n{picture('the eye.png', hostile)}\n"
    )
    path = write_page(tmp_path / "page.html", text, {"the eye.png": b"\x89PNG"})
    page = path.read_text()
    assert '<div class="scroll" tabindex="0"><table>' in page and "b\u00a0↑" in page
    assert 'src="data:image/png;base64,iVBORw=="' in page
    assert "<script" not in page and 'href="javascript' not in page
    assert (
        "<figcaption>&lt;script&gt;alert(1)&lt;/script&gt; [x](javascript:alert(1)) | a_b</figcaption>"
        in page
    )
    assert "prefers-color-scheme: dark" in page and "http" not in page
    with pytest.raises(ValueError, match=r"expected the picture 'eye\.png', found none"):
        write_page(tmp_path / "page.html", picture("eye.png", ""), {})
