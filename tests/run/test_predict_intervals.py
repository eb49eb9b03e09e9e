"""``predict --intervals``: its files are there, and hold what they say."""

import numpy as np
from PIL import Image, ImageOps

from fund2oct.data import EyeReader
from fund2oct.phantom import simulate_eye
from fund2oct.run.predict import predict


def test_intervals_are_written_beside_the_volume(tiny_checkpoint, tmp_path):
    ImageOps.expand(Image.fromarray(simulate_eye(0, 0).fundus), (24, 8)).save(tmp_path / "eye.png")
    given = {"checkpoint": tiny_checkpoint, "photos": [tmp_path / "eye.png"], "out": tmp_path / "out"}
    (without,) = predict(**given, figure_formats=[])
    assert not any("intervals" in file.name for file in without.files)
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
