"""``predict --intervals``: its files are there, and hold what they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from fund2oct.data import EyeReader
from fund2oct.eye import ON_DISC, Eye
from fund2oct.models import SurfaceModel, load_model
from fund2oct.models.uncertainty.familiar import UNLIKE
from fund2oct.outputs import OutputError
from fund2oct.phantom import simulate_eye
from fund2oct.run.predicting.predict import predict
from fund2oct.run.predicting.results import Results
from fund2oct.visual.style import LIGHT, new_figure


def test_intervals_are_written_beside_the_volume(tiny_checkpoint, tmp_path, monkeypatch):
    ImageOps.expand(Image.fromarray(simulate_eye(0, 0).fundus), (24, 8)).save(tmp_path / "eye.png")
    given = {"checkpoint": tiny_checkpoint, "photos": [tmp_path / "eye.png"], "out": tmp_path / "out"}
    with monkeypatch.context() as patch:  # what is not written is not drawn either
        patch.setattr("fund2oct.run.predicting.results.draw_panel", lambda *_, **__: pytest.fail("drawn"))
        (without,) = predict(**given, figure_formats=[])
    assert not any("intervals" in file.name for file in without.files)
    for other in ("draw_panel", "draw_thickness"):  # the picture of the intervals is looked at
        monkeypatch.setattr(f"fund2oct.run.predicting.results.{other}", lambda *_, **__: new_figure(1, 1))
    (done,) = predict(**given, intervals=True, skip_done=True, overwrite=True)
    assert not done.skipped and not done.problem
    names = {file.name for file in done.files}
    assert {"eye.h5", "eye.intervals.npz", "eye.intervals.png"} < names
    assert Image.open(tmp_path / "out/eye.intervals.png").size[0] > 1000
    eye = EyeReader(tmp_path / "out/eye.h5").read("eye")
    with np.load(tmp_path / "out/eye.intervals.npz") as found:
        assert found["mean"].shape == found["low"].shape == eye.volume.shape
        # One more draw lies between the others 8 times of 10; of rounded bytes a little more often.
        held = (found["low"] <= eye.volume) & (eye.volume <= found["high"])
        assert 0.6 < held.mean() < 0.99
        assert list(found["names"]) == ["ILM", "OS", "RPE", "BM"]
        assert found["surfaces_um"].shape == (3, 4, 6, 48)
    (again,) = predict(**given, intervals=True, skip_done=True)
    assert again.skipped
    with pytest.raises(OutputError, match="exist"):  # what is asked for is not all there
        predict(**given, formats=("nifti", "hdf5"), intervals=True, skip_done=True)


def test_intervals_depend_on_no_other_photo(tiny_checkpoint, tmp_path):
    photos = [tmp_path / name / "OD.png" for name in ("anna", "ben")]
    for number, photo in enumerate(photos):
        photo.parent.mkdir()
        Image.fromarray(simulate_eye(0, number).fundus).save(photo)
    given = {"checkpoint": tiny_checkpoint, "intervals": True, "figure_formats": []}
    predict(photos=photos[:1], out=tmp_path / "alone", **given)
    predict(photos=photos, out=tmp_path / "both", **given)
    files = (tmp_path / "alone/OD.intervals.npz", tmp_path / "both/anna-OD.intervals.npz")
    with np.load(files[0]) as alone, np.load(files[1]) as beside_another:
        for name in alone.files:
            np.testing.assert_array_equal(alone[name], beside_another[name])


def test_intervals_of_a_model_without_volumes_are_refused(tiny_checkpoint, tmp_path, monkeypatch):
    Image.fromarray(simulate_eye(0, 0).fundus).save(tmp_path / "eye.png")
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)
    model.task = load_model(tiny_checkpoint).task
    monkeypatch.setattr("fund2oct.run.predicting.predict.load_model", lambda *_: model.eval())
    given = {"checkpoint": tiny_checkpoint, "photos": [tmp_path / "eye.png"], "out": tmp_path / "out"}
    with pytest.raises(
        ValueError, match=r"found a SurfaceModel, which draws none; .*; leave --intervals out"
    ):
        predict(**given, intervals=True)
    with pytest.raises(ValueError, match=r"draw: .* found a SurfaceModel, .*; leave --draw out"):
        predict(**given, draw=True)
    assert not (tmp_path / "out").exists()


def test_a_picture_says_what_is_wrong_with_its_photo():
    results = Results(Path("out"), ("hdf5",), ("png",), LIGHT, "A model.", overwrite=False)
    eye = Eye(key="a", patient="a", laterality="", fundus=np.zeros((8, 8, 3), np.uint8))
    assert results.footer_of(eye) == "A model."
    told = replace(eye, history={"placement": ON_DISC, "photo_distance": UNLIKE})
    assert results.footer_of(told).startswith("The optic disc lies under the scan")
    assert results.footer_of(told).endswith("quality of what is drawn is unknown. A model.")
