"""A lone name, of a photo, a format or a key, is one name, and not its letters."""

import numpy as np
import pytest
from PIL import Image

from fund2oct.data import EyeReader
from fund2oct.data.loading.index import EyeIndex
from fund2oct.evaluation import evaluate_checkpoints, evaluate_files
from fund2oct.evaluation.distances import Wanted
from fund2oct.evaluation.own import Own
from fund2oct.export import export_files
from fund2oct.models import SurfaceModel
from fund2oct.phantom import simulate_eye
from fund2oct.run.config import load_experiment
from fund2oct.run.predicting.photos import expand_photos
from fund2oct.run.predicting.predict import predict
from fund2oct.viewer import write_page
from fund2oct.visual.style import new_figure, save_figures


def test_a_lone_photo_is_one_photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save("eye.png")
    assert [path.name for path in expand_photos("eye.png", out="out")] == ["eye.png"]
    assert [path.name for path in expand_photos(tmp_path / "eye.png", out="out")] == ["eye.png"]


@pytest.mark.usefixtures("plain_pictures")
def test_predict_takes_one_photo_and_one_format(tiny_checkpoint, tmp_path):
    photo = tmp_path / "eye.png"
    Image.fromarray(simulate_eye(0, 0).fundus).save(photo)
    (done,) = predict(tiny_checkpoint, str(photo), tmp_path / "out", formats="tiff", figure_formats="svg")
    names = {file.name for file in done.files}
    assert names == {"eye.ome.tif", "eye.svg", "eye.thickness.svg", "eye.thickness.tif"}
    for wrong, message in (
        ({"formats": "nifty"}, "format 'nifty': expected one of csv, .*, nifti"),
        ({"formats": ["hdf5", "jpeg"]}, "format 'jpeg': expected one of"),
        ({"figure_formats": "jpeg"}, "figure format 'jpeg': expected one of png, svg, pdf"),
    ):
        with pytest.raises(ValueError, match=message):
            predict(tiny_checkpoint, photo, tmp_path / "refused", **wrong)
    assert not (tmp_path / "refused").exists()


def test_other_functions_take_one_of_a_kind_too(tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        key = reader.keys[0]
        assert EyeIndex.read(reader, key).keys == (key,)
        assert EyeIndex.read(reader).of_keys(key).keys == (key,)
    (written,), failed = export_files(tiny_eyes, tmp_path, "tiff", key)
    assert written.name.endswith(".ome.tif") and not failed
    assert write_page(str(tiny_eyes), tmp_path / "view.html", key).keys == (key,)
    (figure,) = save_figures(new_figure(1, 1), tmp_path / "figure", "svg")
    assert figure.name == "figure.svg"
    assert Wanted.parse("image").specs == ("image",) and Wanted.parse("none").specs == ()
    assert [name for name, _ in Own.load("numpy.add").measures] == ["add"]
    assert load_experiment("pix2vol", "trainer.max_epochs=1")["trainer"]["max_epochs"] == 1
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8, conditions="age_years", masks="drusen")
    assert (model.conditions, model.masks) == (("age_years",), ("drusen",))


def test_an_evaluation_refuses_a_figure_format_before_it_measures(tiny_checkpoint, tiny_eyes, tmp_path):
    message = "figure format 'jpeg': expected one of"
    with pytest.raises(ValueError, match=message):
        evaluate_checkpoints(tiny_checkpoint, tiny_eyes, tmp_path / "report", figure_formats="jpeg")
    with pytest.raises(ValueError, match=message):
        evaluate_files(tiny_eyes, tiny_eyes, tmp_path / "report", figure_formats="jpeg")
    assert not (tmp_path / "report").exists()
