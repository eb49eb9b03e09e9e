"""``--skip-done`` passes over what this very call would make, and nothing else."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.data import EyeReader
from fund2oct.outputs import OutputError
from fund2oct.phantom import simulate_eye
from fund2oct.run.predicting.made_from import RECORDS
from fund2oct.run.predicting.predict import predict

ELSE = r"its results were made from {} than .*OD\.png now; choose another folder, or .*--overwrite"


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patients")
    for number, name in enumerate(("anna", "ben")):
        (folder / name).mkdir()
        Image.fromarray(simulate_eye(0, number).fundus).save(folder / name / "OD.png")
    return folder


def volume_in(out):
    with EyeReader(out / "OD.h5") as reader:
        return reader.read("OD").volume


def test_the_results_of_another_patient_are_not_taken(patients, tiny_checkpoint, tmp_path):
    out = tmp_path / "out"
    given = {"checkpoint": tiny_checkpoint, "out": out, "figure_formats": [], "skip_done": True}
    (anna,) = predict(photos=patients / "anna", **given)
    assert not anna.skipped
    before = volume_in(out)
    assert predict(photos=patients / "anna", **given)[0].skipped
    with pytest.raises(OutputError, match=ELSE.format("another photo")):
        predict(photos=patients / "ben", **given)
    assert np.array_equal(volume_in(out), before)
    assert not predict(photos=patients / "ben", **given, overwrite=True)[0].skipped
    assert not np.array_equal(volume_in(out), before)
    assert predict(photos=patients / "ben", **given, overwrite=True)[0].skipped
    record = json.loads((out / RECORDS / "OD.json").read_text())
    assert record["files"] == ["OD.h5", "OD.thickness.tif"]


def test_results_of_another_model_or_option_are_not_taken(patients, tiny_checkpoint, tmp_path):
    given = {"photos": patients / "anna", "out": tmp_path / "out", "figure_formats": [], "skip_done": True}
    predict(tiny_checkpoint, **given)
    for option in ({"seed": 1}, {"draw": True}, {"metadata": {"note": 1}}):
        with pytest.raises(OutputError, match=ELSE.format("other options")):
            predict(tiny_checkpoint, **given, **option)
    saved = torch.load(tiny_checkpoint, weights_only=True)
    torch.save(saved | {"epoch": 99}, tmp_path / "later.ckpt")
    with pytest.raises(OutputError, match=ELSE.format("another model")):
        predict(tmp_path / "later.ckpt", **given)
    (tmp_path / "out" / RECORDS / "OD.json").write_text("damaged")
    with pytest.raises(OutputError, match=ELSE.format("something else, nobody knows what,")):
        predict(tiny_checkpoint, **given)


def test_a_file_that_an_earlier_model_left_is_not_taken(patients, tiny_checkpoint, tmp_path):
    given = {"photos": patients / "anna", "out": tmp_path / "out", "figure_formats": [], "skip_done": True}
    predict(tiny_checkpoint, **given, formats=["hdf5", "tiff"])
    left = tmp_path / "out" / "OD.ome.tif"
    earlier = left.read_bytes()
    predict(tiny_checkpoint, **given, seed=1, overwrite=True)  # makes none
    assert not left.exists()
    left.write_bytes(earlier)  # somebody puts it there again
    with pytest.raises(OutputError, match="nobody knows what"):
        predict(tiny_checkpoint, **given, seed=1, formats="tiff")
