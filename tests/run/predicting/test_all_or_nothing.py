"""The results of a photo are of one model and of one call, and a call that fails changes none of them."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fund2oct.models import SurfaceModel, load_model
from fund2oct.phantom import simulate_eye
from fund2oct.run.predicting.predict import predict

pytestmark = pytest.mark.usefixtures("plain_pictures")


@pytest.fixture
def given(tmp_path):
    """A photo, and where its results go."""
    Image.fromarray(simulate_eye(0, 0).fundus).save(tmp_path / "eye_OD.png")
    return {"photos": tmp_path / "eye_OD.png", "out": tmp_path / "out"}


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def shown(folder):
    return {path.name for path in folder.glob("[!.]*")}


def names(done):
    return [file.name for file in done.files]


def test_what_another_model_made_goes_and_is_not_reported(given, tiny_checkpoint, monkeypatch):
    (volume,) = predict(tiny_checkpoint, **given)
    assert names(volume)[:2] == ["eye_OD.h5", "eye_OD.png"]
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)
    model.task = load_model(tiny_checkpoint).task
    monkeypatch.setattr("fund2oct.run.predicting.predict.load_model", lambda *_: model.eval())
    (done,) = predict(tiny_checkpoint, **given, overwrite=True)
    assert names(done) == ["eye_OD.thickness.png", "eye_OD.thickness.tif"]
    assert shown(given["out"]) == set(names(done))
    (given["out"] / "eye_OD.h5").write_bytes(b"of somebody")
    (again,) = predict(tiny_checkpoint, **given, skip_done=True)
    assert again.skipped and again.files == done.files


def test_what_other_options_made_goes(given, tiny_checkpoint):
    given |= {"figure_formats": []}
    (first,) = predict(tiny_checkpoint, **given, formats=("hdf5", "png"), intervals=True)
    assert "eye_OD.intervals.npz" in names(first)
    # Another format of the very same volume: what is there stays.
    (more,) = predict(tiny_checkpoint, **given, formats="tiff", overwrite=True)
    assert shown(given["out"]) == {*names(first), *names(more)} != set(names(first))
    (done,) = predict(tiny_checkpoint, **given, seed=1, overwrite=True)
    assert shown(given["out"]) == set(names(done)) == {"eye_OD.h5", "eye_OD.thickness.tif"}


def test_what_somebody_put_in_the_place_of_a_result_is_never_removed(given, tiny_checkpoint):
    given |= {"figure_formats": []}
    predict(tiny_checkpoint, **given, formats=("hdf5", "tiff"))
    (given["out"] / "eye_OD.ome.tif").write_bytes(b"of somebody")
    before = contents(given["out"])
    (done,) = predict(tiny_checkpoint, **given, seed=1, overwrite=True)
    assert "eye_OD.ome.tif" in done.problem and not done.files
    assert contents(given["out"]) == before


def test_a_folder_of_more_slices_leaves_all_as_it_was(given, tiny_checkpoint):
    given |= {"formats": ("hdf5", "png")}
    predict(tiny_checkpoint, **given)
    slices = given["out"] / "eye_OD"
    shutil.copy(slices / "eye_OD_005.png", slices / "eye_OD_006.png")
    before = contents(given["out"])
    (done,) = predict(tiny_checkpoint, **given, seed=1, overwrite=True)
    assert "eye_OD: holds 1 files that this export does not replace" in done.problem and not done.files
    assert contents(given["out"]) == before
    (slices / "eye_OD_006.png").unlink()
    (done,) = predict(tiny_checkpoint, **given, seed=1, overwrite=True)
    after = contents(given["out"])
    assert not done.problem and after.keys() == before.keys() - {"eye_OD/eye_OD_006.png"}
    assert after["eye_OD.h5"] != before["eye_OD.h5"]


def test_the_photo_beside_a_dicom_file_is_a_result_too(given, tiny_checkpoint):
    pytest.importorskip("pydicom")
    given |= {"formats": "dicom", "figure_formats": []}
    (done,) = predict(tiny_checkpoint, **given)
    assert names(done) == ["eye_OD.dcm", "eye_OD.photo.dcm", "eye_OD.thickness.tif"]
    assert predict(tiny_checkpoint, **given, skip_done=True)[0].files == done.files
    done.files[1].unlink()
    (again,) = predict(tiny_checkpoint, **given, skip_done=True, overwrite=True)
    assert not again.skipped and done.files[1].is_file()


def test_a_photo_whose_name_is_not_utf8_is_named_and_the_others_are_done(given, tiny_checkpoint, tmp_path):
    other = tmp_path / os.fsdecode(b"eye\xff.png")
    shutil.copy(given["photos"], other)
    good, bad = predict(tiny_checkpoint, **given | {"photos": [given["photos"], other], "formats": "tiff"})
    assert good.files and not good.problem
    assert not bad.files and bad.problem.startswith(f"{other}: expected the name of a file in UTF-8, found")


def test_a_photo_that_cannot_be_opened_is_named_and_the_others_are_done(
    given, tiny_checkpoint, tmp_path, monkeypatch
):
    def opened(path, *mode):
        if Path(path).name == "closed_OS.png":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open(path, *mode)

    shutil.copy(given["photos"], tmp_path / "closed_OS.png")
    monkeypatch.setattr("fund2oct.file_kinds.open", opened, raising=False)
    bad, good = predict(tiny_checkpoint, tmp_path, given["out"], figure_formats=[])
    assert "closed_OS.png: cannot be opened, permission is denied" in bad.problem and not bad.files
    assert names(good) == ["eye_OD.h5", "eye_OD.thickness.tif"]
