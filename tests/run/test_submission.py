"""The challenge's upload: what is written, how it goes on, and what it would be refused for."""

import io
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fund2oct.cli import main
from fund2oct.eye import DataError
from fund2oct.geometry import Placement
from fund2oct.models import load_model
from fund2oct.models.training.conditions import Conditions
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.run.submission import check_submission, write_submission, writing

STEMS = FIRST, _ = ("011574-64L", "016035-63R")
NAMES = [f"{stem}/{stem}_{number}.jpg" for stem in STEMS for number in range(6)]


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    """The challenge's folder with two photos to answer, and one that no row names."""
    folder = tmp_path_factory.mktemp("challenge")
    (folder / "val" / "CF").mkdir(parents=True)
    for number, stem in enumerate((*STEMS, "unnamed-1R")):
        eye = simulate_eye(0, number, PhantomConfig(fundus_px=120, n_depth=32, n_ascans=48))
        Image.fromarray(eye.fundus).save(folder / "val" / "CF" / f"{stem}.jpg", quality=95)
    rows = "".join(f"{stem[:6]},{stem}.jpg\n" for stem in STEMS)
    (folder / "val" / "val.csv").write_text(f"PID,CF_path\n{rows}")
    return folder


@pytest.fixture(scope="module")
def submission(tiny_checkpoint, challenge, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "submission.zip"
    report = write_submission(tiny_checkpoint, challenge, path)
    assert (report.n_photos, report.n_kept, report.failed) == (2, 0, ())
    return path


def test_a_submission_is_laid_out_as_the_challenge_wants_it(submission, challenge, tiny_checkpoint):
    with zipfile.ZipFile(submission) as archive:
        assert archive.namelist() == NAMES
        slices = [Image.open(io.BytesIO(archive.read(name))) for name in NAMES]
        assert all((each.format, each.mode, each.size) == ("JPEG", "L", (448, 320)) for each in slices)
    assert check_submission(submission, challenge) == []
    assert [path.name for path in submission.parent.iterdir()] == ["submission.zip"]
    # Slice 4 of the second photo is that of the model, resized, as upright as it was drawn.
    eye = load_model(tiny_checkpoint).predict(challenge / f"val/CF/{STEMS[1]}.jpg")
    expected = np.asarray(Image.fromarray(eye.volume[4]).resize((448, 320), Image.Resampling.BICUBIC), float)
    assert np.abs(np.asarray(slices[10], float) - expected).mean() < 3


def test_a_model_that_knows_more_than_the_photo_is_told(
    tiny_checkpoint, challenge, tmp_path, monkeypatch, capsys
):
    told = []

    def slices(network, ready, seed):
        told.append((ready.eye.laterality, ready.eye.metadata.get("age_years")))
        raise DataError("not now")

    monkeypatch.setattr(writing, "_slices", slices)
    knowing = Conditions.of(["age_years"], [{"age_years": 40}, {"age_years": 70}])
    load = writing.load_model

    def load_knowing(*args):
        model = load(*args)
        model.task = replace(model.task, conditions=knowing)
        return model

    monkeypatch.setattr(writing, "load_model", load_knowing)
    command = ["submit", str(tiny_checkpoint), str(challenge), "--out", str(tmp_path / "s.zip")]
    assert main([*command, "--set", "age_years=63"]) == 1
    assert told == [("OS", 63), ("OD", 63)]
    table = tmp_path / "eyes.csv"
    table.write_text(f"CF_path,age_years,laterality\n{FIRST}.jpg,45,right\n")
    assert main([*command, "--set", "age_years=63", "--table", str(table), "--column", "photo=CF_path"]) == 1
    assert told[2:] == [("OD", 45)]
    assert f"expected what is known of it in {table}, found no row for this photo" in capsys.readouterr().err
    table.write_text(table.read_text() + f"{STEMS[1]}.jpg,,\n")
    assert main([*command, "--set", "age_years=63", "--table", str(table), "--column", "photo=CF_path"]) == 1
    assert told[3:] == [("OD", 45), ("OD", 63)]
    assert main([*command, "--mask", "disc=torch.nn.Identity"]) == 1  # this model takes no masks
    assert main([*command, "--column", "photo=CF_path"]) == 1
    assert "expected a table whose columns it names" in capsys.readouterr().err
    assert main(["submit", "--check", "s.zip", str(challenge), "--table", str(table)]) == 1
    assert "expected no --table with --check" in capsys.readouterr().err
    assert len(told) == 5


def test_the_same_call_writes_the_same_bytes(submission, tiny_checkpoint, challenge, tmp_path):
    write_submission(tiny_checkpoint, challenge / "val", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == submission.read_bytes()
    write_submission(tiny_checkpoint, challenge, tmp_path / "other.zip", seed=1)
    assert (tmp_path / "other.zip").read_bytes() != submission.read_bytes()


def test_a_call_that_was_stopped_goes_on(submission, tiny_checkpoint, challenge, tmp_path, monkeypatch):
    out = tmp_path / "submission.zip"
    done = []
    translate = writing._slices

    def stopped_at_the_second(model, ready, seed):
        if done:
            raise KeyboardInterrupt
        done.append(ready.eye.key)
        return translate(model, ready, seed)

    monkeypatch.setattr(writing, "_slices", stopped_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        write_submission(tiny_checkpoint, challenge, out)
    assert not out.exists()
    monkeypatch.setattr(writing, "_slices", lambda *a: done.append(a[1].eye.key) or translate(*a))
    report = write_submission(tiny_checkpoint, challenge, out)
    assert done == list(STEMS) and report.n_kept == 1
    assert out.read_bytes() == submission.read_bytes()


def test_a_damaged_part_and_those_of_other_calls_are_made_again(
    submission, tiny_checkpoint, challenge, tmp_path, monkeypatch
):
    out = tmp_path / "submission.zip"
    table = tmp_path / "eyes.csv"
    table.write_text("photo,laterality\n" + "".join(f"{stem}.jpg,right\n" for stem in STEMS))
    short = tmp_path / "short.csv"
    short.write_text(f"photo\n{STEMS[1]}.jpg\n")
    parts = tmp_path / ".submission.zip.parts"
    translate = writing._slices

    def stopped_after_the_first(**given):
        """The part that such a call leaves."""
        there, calls = {*parts.glob("*")}, []
        monkeypatch.setattr(
            writing, "_slices", lambda *a: calls.append(a) or (translate(*a) if calls[1:] == [] else 1 / 0)
        )
        with pytest.raises(ZeroDivisionError):
            write_submission(tiny_checkpoint, challenge, out, **given)
        monkeypatch.setattr(writing, "_slices", translate)
        (part,) = {*parts.glob("*")} - there
        return part

    for other in ({"seed": 1}, {"table": table}, {"placement": Placement(half_width_mm=4.0)}):
        assert stopped_after_the_first(**other).is_file()
    part = stopped_after_the_first()
    report = write_submission(
        tiny_checkpoint, challenge, out, table=short
    )  # not the part that was told nothing
    assert report.n_kept == 0 and len(report.failed) == 1 and STEMS[0] in report.failed[0]
    part.write_bytes(submission.read_bytes()[:5000])
    report = write_submission(tiny_checkpoint, challenge, out)
    # The second photo's part stays: the short table says no more of it than no table.
    assert report.n_kept == 1 and out.read_bytes() == submission.read_bytes()


def test_the_model_runs_on_the_device_that_is_named(
    submission, tiny_checkpoint, challenge, tmp_path, capsys, monkeypatch
):
    given = []
    load = writing.load_model
    monkeypatch.setattr(writing, "load_model", lambda *args: given.append(args[2]) or load(*args))
    submit = ["submit", str(tiny_checkpoint), str(challenge), "--out", str(tmp_path / "a.zip"), "--device"]
    assert main([*submit, "cpu:0"]) == 0
    assert given == ["cpu:0"] and (tmp_path / "a.zip").read_bytes() == submission.read_bytes()
    assert "device 'cuda:77': cannot be used" not in capsys.readouterr().err
    assert main([*submit, "cuda:77", "--overwrite"]) == 1
    assert "device 'cuda:77': cannot be used" in capsys.readouterr().err


def test_a_photo_that_cannot_be_used_is_named_and_no_zip_is_written(
    tiny_checkpoint, challenge, tmp_path, capsys
):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "bad-1L.jpg").write_text("no picture")
    good = challenge / f"val/CF/{STEMS[0]}.jpg"
    (photos / good.name).write_bytes(good.read_bytes())
    out = tmp_path / "submission.zip"
    submit = ["submit", str(tiny_checkpoint), str(photos), "--out", str(out)]
    assert main(submit) == 1
    printed = capsys.readouterr()
    assert "bad-1L.jpg" in printed.err and "not written" in printed.err and "1 of 2 photos" in printed.out
    assert not out.exists()
    (photos / "bad-1L.jpg").unlink()
    assert main(submit) == 0
    assert "1 of 1 photos translated, 1 of them by an earlier call" in capsys.readouterr().out
    assert main(submit) == 1
    assert (
        "exists; choose another name, or allow it to be overwritten (--overwrite)" in capsys.readouterr().err
    )
    assert main(["submit", "--check", str(out), str(photos)]) == 0
    assert capsys.readouterr().out == "0 problems\n"


def jpg(size=(448, 320), mode="L", format="JPEG", level=None):
    picture = Image.fromarray(np.arange(size[0] * size[1], dtype=np.uint8).reshape(size[::-1]))
    if level is not None:
        picture = Image.new("L", size, level)
    file = io.BytesIO()
    picture.convert(mode).save(file, format)
    return file.getvalue()


def test_no_other_zip_is_replaced(submission, tiny_checkpoint, challenge, tmp_path, capsys):
    scans = tmp_path / "dataset.zip"
    with zipfile.ZipFile(scans, "w") as archive:
        for name in NAMES:  # laid out like a submission, with the dates of today
            archive.writestr(name, jpg())
    before = scans.read_bytes()
    submit = ["submit", str(tiny_checkpoint), str(challenge), "--out", str(scans), "--overwrite"]
    assert main(submit) == 1
    message = f"{scans}: is a zip archive that fund2oct did not make; choose another place"
    assert message in capsys.readouterr().err and scans.read_bytes() == before
    scans.write_bytes(submission.read_bytes())
    assert main([*submit, "--seed", "1"]) == 0
    assert scans.read_bytes() != submission.read_bytes() and check_submission(scans, challenge) == []


BROKEN = {
    "a photo is missing": ({name: None for name in NAMES[6:]}, f"photos without slices: {STEMS[1]}"),
    "a slice is missing": ({NAMES[2]: None}, f"missing slices: {NAMES[2]}"),
    "a photo too many": ({"x/x_0.jpg": jpg()}, "folders of no photo: x/x_0.jpg"),
    "a slice too many": (
        {f"{FIRST}/{FIRST}_6.jpg": jpg()},
        r"slices beyond the six, _0 to _5: .*_6",
    ),
    "another name": ({f"{FIRST}/slice0.jpg": jpg()}, r"slices not named as PHOTO/PHOTO_0.jpg: .*slice0"),
    "another ending": ({f"{FIRST}/{FIRST}_0.png": jpg()}, r"slices that do not end in .jpg: .*_0.png"),
    "at the top": ({f"{FIRST}_0.jpg": jpg()}, "files outside a photo's folder"),
    "a folder within": (
        {f"val/{NAMES[0]}": jpg()},
        "folders within folders",
    ),
    "macOS": (
        {f"__MACOSX/{FIRST}/._{FIRST}_0.jpg": b"x"},
        "files of the system",
    ),
    "a hidden file": ({".DS_Store": b"x"}, "files of the system"),
    "a name that leaves": ({"../../x.jpg": jpg()}, "names that leave the folder"),
    "a backslash": ({NAMES[0].replace("/", "\\"): jpg()}, "or have backslashes"),
    "another size": (
        {NAMES[3]: jpg((320, 448))},
        r"_3.jpg: expected 448 x 320 .*, found 320 x 448",
    ),
    "colour": ({NAMES[3]: jpg(mode="RGB")}, r"_3.jpg: expected grey \(mode L\), found mode RGB"),
    "another format": ({NAMES[3]: jpg(format="PNG")}, "_3.jpg: expected a JPEG, found a PNG of that name"),
    "damage": ({NAMES[3]: jpg()[:2000]}, "_3.jpg: cannot be read as a picture"),
    "no picture": ({NAMES[3]: b"text"}, "_3.jpg: cannot be read as a picture"),
    "one level": ({NAMES[3]: jpg(level=7)}, "_3.jpg: holds one grey level, no picture"),
    "a bomb": ({NAMES[3]: b"0" * (6 << 20)}, "_3.jpg: expected a JPG of some kilobytes, found 6 MB"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_check_names_what_is_wrong_and_nothing_else(case, challenge, tmp_path):
    changes, message = BROKEN[case]
    content = dict.fromkeys(NAMES, jpg()) | changes
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            if value is not None:
                archive.writestr(name, value)
    (found,) = check_submission(tmp_path / "a.zip", challenge)
    assert re.search(message, found)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_check_sees_a_name_that_is_there_twice(challenge, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in [*NAMES, NAMES[0]]:
            archive.writestr(name, jpg())
    assert check_submission(tmp_path / "a.zip", challenge) == [f"{NAMES[0]}: is there 2 times"]


def test_what_is_no_zip_no_folder_and_no_photos_is_said(challenge, tiny_checkpoint, tmp_path, capsys):
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    with pytest.raises(DataError, match="cannot be read as a zip"):
        check_submission(text, challenge)
    with pytest.raises(DataError, match="no such folder"):
        check_submission(text, tmp_path / "absent")
    with pytest.raises(DataError, match="expected photos"):
        write_submission(tiny_checkpoint, tmp_path, tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"expected the name of a \.zip file"):
        write_submission(tiny_checkpoint, challenge, tmp_path / "a.tar")
    for name in ("a-1L.jpg", "a-1L.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    with pytest.raises(DataError, match=r"a-1L.png: a-1L.jpg has the same name"):
        write_submission(tiny_checkpoint, tmp_path, tmp_path / "a.zip")
    assert main(["submit", str(tiny_checkpoint), str(challenge)]) == 1
    assert "expected --out ZIP to write one, or --check" in capsys.readouterr().err


def test_a_table_that_names_other_folders_is_refused(tiny_checkpoint, challenge, tmp_path):
    (tmp_path / "CF").mkdir()
    (tmp_path / "val.csv").write_text("PID,CF_path\n1,../../etc/passwd\n")
    with pytest.raises(DataError, match="expected a column CF_path with the name of a file in CF"):
        write_submission(tiny_checkpoint, tmp_path, tmp_path / "a.zip")


def test_the_real_eyes_make_a_sound_submission(real_data, tiny_checkpoint, tmp_path):
    folder = Path(real_data) / "aptos_mini" / "train"
    write_submission(tiny_checkpoint, folder, tmp_path / "a.zip")
    assert check_submission(tmp_path / "a.zip", folder) == []
