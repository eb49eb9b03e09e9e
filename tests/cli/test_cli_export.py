"""``fund2oct export``, and the formats that ``predict`` shares with it."""

import configparser
import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fund2oct.cli import main
from fund2oct.cli.options import FORMATS as NAMES
from fund2oct.data import EyeReader
from fund2oct.export import FORMATS
from fund2oct.phantom import PhantomConfig, simulate_eye

ROOT = Path(__file__).parents[2]


def test_one_table_of_formats_is_at_the_command_line_and_in_the_docs():
    assert tuple(sorted(FORMATS)) == NAMES
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert {each.extra for each in FORMATS.values() if each.extra} <= set(setup["options.extras_require"])
    page = (ROOT / "docs/howto/export.md").read_text("utf-8").splitlines()
    rows = [line for line in page if line.startswith("| `") and "`--format`" not in line]
    documented = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    extra_of = {name.strip("`"): extra.strip("`") for name, _, _, extra in documented}
    ending_of = {name.strip("`"): ending for name, ending, _, _ in documented}
    assert extra_of == {name: each.extra for name, each in FORMATS.items()}
    for name, each in FORMATS.items():
        assert each.ending.strip("/") in ending_of[name]


def test_eyes_are_exported_by_key_in_several_formats(tiny_eyes, tmp_path, capsys):
    with EyeReader(tiny_eyes) as reader:
        first, second = reader.keys[:2]
        volume = reader.read(second).volume
    out = tmp_path / "out"
    export = ["export", str(tiny_eyes), "--out", str(out)]
    formats = ["--format", "tiff", "--format", "csv"]
    assert main([*export, *formats, "--eye", second, "--eye", first]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert sorted(printed) == sorted(str(path) for path in out.iterdir()) and len(printed) == 4
    with Image.open(out / f"{second}.ome.tif") as stack:
        stack.seek(5)
        assert np.array_equal(np.asarray(stack), volume[5])

    assert main([*export, "--format", "tiff", "--eye", second]) == 1
    assert "exists; choose another folder, or replace it with --overwrite" in capsys.readouterr().err
    assert main([*export, "--format", "tiff", "--eye", second, "--overwrite"]) == 0
    capsys.readouterr()
    assert main([*export, "--format", "png", "--eye", "nobody"]) == 1
    assert f"expected the key of one of its eyes ({first}, {second}, " in capsys.readouterr().err
    assert main(["export", str(tmp_path / "absent.h5"), "--format", "png", "--out", str(out)]) == 1
    with pytest.raises(SystemExit):
        main([*export, "--format", "nii"])
    assert "invalid choice: 'nii'" in capsys.readouterr().err


def test_what_was_written_before_a_format_fails_is_told(make_file, tmp_path, capsys):
    pytest.importorskip("pydicom")
    out = tmp_path / "out"
    export = ["export", str(make_file(2, laterality="")), "--out", str(out)]
    export += [word for name in ("tiff", "dicom", "hdf5") for word in ("--format", name)]
    written = [out / f"eye0{number}{ending}" for number in (0, 1) for ending in (".ome.tif", ".h5")]
    assert main(export) == 1
    told = capsys.readouterr()
    assert sorted(told.out.splitlines()) == sorted(map(str, written)) and {*out.iterdir()} == {*written}
    refused = [line for line in told.err.splitlines() if line.startswith("fund2oct: ")]
    reason = "DICOM needs the side of the eye, which is not known; name the photo so that it tells"
    assert [line.partition(", as in")[0] for line in refused] == [
        f"fund2oct: eye 'eye0{number}', dicom: {reason}" for number in (0, 1)
    ]
    assert main(export) == 1
    again = capsys.readouterr().err
    assert again.count(", dicom: DICOM needs the side") == 2 and again.count(": exists; choose another") == 4


def test_results_are_refused_where_a_file_is_before_anything_is_loaded(
    tiny_eyes, tiny_checkpoint, tmp_path, monkeypatch, capsys
):
    out, photo = tmp_path / "eye.nii.gz", tmp_path / "photo.png"
    out.write_text("mine")
    Image.new("RGB", (8, 8)).save(photo)
    loading = "fund2oct.run.predicting.predict.load_model"
    monkeypatch.setattr(loading, lambda *_: pytest.fail("a model was loaded"))
    for words in (
        ["export", str(tiny_eyes), "--format", "tiff"],
        ["predict", str(tiny_checkpoint), str(photo)],
    ):
        assert main([*words, "--out", str(out)]) == 1
        assert f"{out}: is a file, expected the name of a folder to make" in capsys.readouterr().err
    assert out.read_text() == "mine"


@pytest.mark.usefixtures("plain_pictures")
def test_predict_writes_the_same_formats(tiny_checkpoint, tmp_path, capsys):
    eye = simulate_eye(0, 5, PhantomConfig(fundus_px=100, n_depth=32, n_ascans=48))
    Image.fromarray(eye.fundus).save(tmp_path / "Smith_OD.png")
    out = tmp_path / "out"
    formats = [word for name in ("csv", "gif", "png") for word in ("--format", name)]
    predict = ["predict", str(tiny_checkpoint), str(tmp_path / "Smith_OD.png"), "--out", str(out)]
    assert main([*predict, *formats]) == 0
    assert len(list((out / "Smith_OD").iterdir())) == 6
    with (out / "Smith_OD.etdrs.csv").open(newline="") as file:
        rows = {row["field"]: row for row in csv.DictReader(file)}
    centre = rows["centre"]
    assert float(centre["low_um"]) < float(centre["thickness_um"]) < float(centre["high_um"])
    assert centre["known_from"] == "photo" and rows["inner right"]["name"] == "inner nasal"
    with Image.open(out / "Smith_OD.gif") as film:
        assert film.n_frames == 10
