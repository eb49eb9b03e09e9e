"""The thickness map: where its values lie, its fields, and what predict writes of it."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from tiny_models import quick_trainer
from torch.nn.functional import grid_sample

import fund2oct
from fund2oct.data import FundusOCTDataModule
from fund2oct.geometry import Placement, RadialScan
from fund2oct.models import SurfaceModel, load_model
from fund2oct.models.thickness import ThicknessMap, predict_thickness
from fund2oct.networks.layered.surfaces import SurfaceDistribution, thickness_um
from fund2oct.phantom import simulate_eye
from fund2oct.run.predicting.predict import predict
from fund2oct.visual import DARK, draw_thickness
from fund2oct.visual.style import new_figure

PACKAGED = Path(fund2oct.__file__).parent / "weights" / "pix2vol"


class Bump:
    """Predicts 250 um, and 100 more right of the fovea on the photo; sure to 10 um."""

    device = torch.device("cpu")
    shape = 6, 32, 300

    def surfaces(self, fundus, grid, whole):
        n, s, x = grid.shape[:3]
        increments = torch.zeros(n, 4, s, x)
        increments[:, 3] = 250 + 100 * (grid[..., 0] > 0.1)
        loadings = torch.zeros(n, 4, 1, s, x)
        loadings[:, 3] = 10.0
        return SurfaceDistribution(increments, loadings)


@pytest.fixture
def found():
    photo = np.zeros((64, 64, 3), np.uint8)
    return predict_thickness(Bump(), photo, Placement((0.1, 0.0)), RadialScan(length_mm=6.0))


def test_each_value_lies_where_the_grid_says(found):
    right = found.grid[..., 0] > 0.1
    known = np.isfinite(found.median_um)
    np.testing.assert_allclose(found.median_um[known], np.where(right, 350, 250)[known])
    np.testing.assert_allclose((found.high_um - found.low_um)[known], 2 * 12.8155, rtol=1e-4)
    radius = np.hypot(*np.moveaxis(found.points_mm, -1, 0))
    assert (known == (radius <= 3.0)).all()


def test_the_map_is_what_the_model_predicts_along_the_scan():
    """On an eye with a membrane, whose map beside other lines than the scan's was 7 um too thick."""
    model, scan, eye = load_model(PACKAGED), RadialScan(), simulate_eye(7, 100)
    found = predict_thickness(model, eye.fundus, eye.placement, scan)
    points = scan.coordinates(model.shape[2])
    reach = len(found.median_um) * found.pitch_mm / 2
    read = grid_sample(
        torch.from_numpy(found.median_um)[None, None], points[None] / reach, align_corners=False
    )
    photo = torch.from_numpy(eye.fundus).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        along, _ = thickness_um(model.surfaces(photo, eye.placement.to_grid(points)[None]))
    off = (read[0, 0] - along[0])[read[0, 0].isfinite()]
    assert abs(off.mean()) < 0.5 and off.abs().mean() < 1.5


def test_a_map_has_ascans_as_far_apart_as_the_scan():
    asked = []

    class Wide(Bump):
        shape = 6, 32, 600

        def surfaces(self, fundus, grid, whole):
            asked.append((grid, whole))
            return super().surfaces(fundus, grid, whole)

    scan = RadialScan(length_mm=6.0)
    found = predict_thickness(Wide(), np.zeros((64, 64, 3), np.uint8), Placement(), scan)
    for grid, whole in asked:
        torch.testing.assert_close(whole[0], Placement().to_grid(scan.coordinates(600)))
        steps = (grid.diff(dim=2).norm(dim=-1), whole[:, :1].diff(dim=2).norm(dim=-1))
        assert float(steps[0].mean()) == pytest.approx(float(steps[1].mean()), rel=0.02)
    assert found.pitch_mm == pytest.approx(0.08) and found.median_um.shape == (76, 76)


def test_the_nine_fields(found):
    fields = found.fields_um()
    assert len(fields) == 9
    assert fields["inner right"] == pytest.approx(350) and fields["outer left"] == pytest.approx(250)
    assert fields["inner up"] == pytest.approx(300, abs=2) and fields["centre"] == pytest.approx(300, abs=2)


def test_the_fields_of_a_turned_scan_are_upright_on_the_photo():
    photo = np.zeros((64, 64, 3), np.uint8)
    found = predict_thickness(Bump(), photo, Placement((0.1, 0.0), 90.0), RadialScan(length_mm=6.0))
    fields = found.fields_um()
    assert fields["inner right"] == pytest.approx(350) and fields["outer left"] == pytest.approx(250)
    assert fields["inner up"] == pytest.approx(300, abs=2)
    texts = draw_thickness(photo, found).axes[1].texts
    thick = [text.get_position() for text in texts if text.get_text() == "350"]
    # Right of the fovea, which lies at column 34.7 and row 31.5.
    assert len(thick) == 2 and all(x > 36 and y == pytest.approx(31.5, abs=0.01) for x, y in thick)


def test_a_field_that_the_map_does_not_reach_has_no_mean():
    n = 20
    half = np.full((n, n), 300.0)
    small = ThicknessMap(half, half, half, np.zeros((n, n, 2)), 0.1)
    fields = small.fields_um()
    assert fields["centre"] == 300 and np.isnan(fields["outer down"])


@pytest.mark.parametrize(("reach_mm", "told"), [(2.0, False), (2.12, False), (2.7, True)])
def test_a_field_of_which_less_than_half_is_known_has_no_mean(reach_mm, told):
    """A circle of 2.37 mm around the fovea holds half of the area between 1.5 and 3 mm."""
    n = 2 * round(reach_mm / 0.08)
    thick = np.full((n, n), 300.0)
    found = ThicknessMap(thick, thick, thick, np.zeros((n, n, 2)), 0.08)
    thick[np.hypot(*np.moveaxis(found.points_mm, -1, 0)) > reach_mm] = np.nan
    fields = found.fields_um()
    assert fields["inner up"] == 300
    assert np.isfinite(fields["outer up"]) == told


def test_the_figure_names_what_it_shows(found):
    figure = draw_thickness(np.zeros((64, 64, 3), np.uint8), found, "an eye", "no diagnosis")
    texts = [text.get_text() for text in figure.texts]
    captions = ["photo", "thickness of the retina, median", "width of its 80% interval"]
    assert texts == [*captions, "an eye", "no diagnosis"]
    assert [text.get_text() for text in figure.axes[1].texts].count("350") == 2
    assert all(axes.images or axes.collections for axes in figure.axes)


def test_the_colours_of_the_map_are_those_of_its_bar(found):
    axes = draw_thickness(np.full((64, 64, 3), 90, np.uint8), found).axes[1]
    photo, drawn = axes.images
    assert drawn.get_alpha() is None and drawn.get_cmap().name == "viridis"
    assert np.ptp(photo.get_array(), axis=-1).max() < 1e-6  # grey
    middle = drawn.get_array()[len(found.median_um) // 2]
    np.testing.assert_allclose(middle, found.median_um[len(found.median_um) // 2])


def problems(done):
    return [one.problem for one in done if one.problem]


def write_photo(path):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    photo = (np.hypot(x, y) < 0.95)[..., None] * np.array([180, 90, 40]) + rng.integers(0, 8, (200, 200, 3))
    Image.fromarray(photo.astype(np.uint8)).save(path)


def test_predict_writes_map_and_numbers(tiny_checkpoint, tmp_path, monkeypatch):
    write_photo(tmp_path / "eye.png")
    plain = predict(tiny_checkpoint, [tmp_path / "eye.png"], tmp_path / "out", figure_formats=[])
    assert problems(plain) == []
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {"eye.h5", "eye.thickness.tif"}
    pages = tifffile.imread(tmp_path / "out/eye.thickness.tif")
    known = np.isfinite(pages[0])
    assert pages.shape[0] == 3 and pages.dtype == np.float32 and known.any()
    assert (pages[1][known] <= pages[0][known]).all() and (pages[0][known] <= pages[2][known]).all()
    median = (tmp_path / "out/eye.h5").read_bytes()
    map_of = "fund2oct.run.predicting.results.draw_thickness"  # of the two pictures the panel is looked at
    monkeypatch.setattr(map_of, lambda *_, **__: new_figure(1, 1))
    drawn = {"draw": True, "figure_formats": ("svg",), "theme": DARK}
    assert problems(predict(tiny_checkpoint, [tmp_path / "eye.png"], tmp_path / "drawn", **drawn)) == []
    assert {path.name for path in (tmp_path / "drawn").glob("[!.]*")} == {
        "eye.h5", "eye.svg", "eye.thickness.svg", "eye.thickness.tif",
    }  # fmt: skip
    panel = (tmp_path / "drawn/eye.svg").read_text()
    assert "trained on simulated eyes; a demonstration of the machinery" in panel and DARK.paper in panel
    assert (tmp_path / "drawn/eye.h5").read_bytes() != median


def test_a_model_of_the_surfaces_alone_gives_the_map_and_no_volume(tiny_eyes, tmp_path):
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=16)
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    trainer.save_checkpoint(tmp_path / "surfaces.ckpt")
    write_photo(tmp_path / "eye.png")
    assert problems(predict(tmp_path / "surfaces.ckpt", [tmp_path / "eye.png"], tmp_path / "out")) == []
    made = {path.name for path in (tmp_path / "out").glob("[!.]*")}
    assert made == {"eye.thickness.png", "eye.thickness.tif"}
