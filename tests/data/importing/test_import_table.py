import csv
import glob
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader
from fund2oct.data.formats.stacks import read_stack
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.table import import_table
from fund2oct.data.importing.volumes import import_volumes
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.data.store.check import check_file
from fund2oct.phantom import PhantomConfig, simulate_eye

SPACING = ("--spacing-mm", "0.3", "0.012", "0.12")
OPTIONS = ImportOptions(ScanOptions((0.3, 0.012, 0.12)), fundus_px=48)


@pytest.fixture
def folder(tmp_path):
    """Photos and volumes of three eyes, and a table of them."""
    for number, name in enumerate(("01L", "02R", "03L")):
        eye = simulate_eye(5, number, PhantomConfig(fundus_px=64, n_depth=40, n_ascans=56))
        Image.fromarray(eye.fundus).save(tmp_path / f"photo_{name}.png")
        tifffile.imwrite(tmp_path / f"volume_{name}.tif", eye.volume, photometric="minisblack")
        (tmp_path / f"slices_{name}").mkdir()
        for slice_number, bscan in enumerate(eye.volume):
            Image.fromarray(bscan).save(tmp_path / f"slices_{name}" / f"b{slice_number}.png")
    return tmp_path


def write(path, *rows, delimiter=","):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def test_pairs_and_single_sides(folder):
    table = write(
        folder / "eyes.csv",
        ("image", "volume", "patient", "laterality", "diagnosis", "age_years", "refraction_d"),
        ("photo_01L.png", "volume_01L.tif", "p1", "", "AMD", "71", "-1.25"),
        ("photo_02R.png", "", "p2", "right", "", "", ""),
        ("", "slices_03L", "p3", "OS", "", "60", "high"),
        ("photo_03L.png", "slices_03L/b*.png", "p3", "L", "", "nan", ""),
    )  # fmt: skip
    out = folder / "eyes.h5"
    report = import_table(table, out, OPTIONS, columns={"photo": "image"})
    assert not report.skipped and sorted(report.imported) == [
        "photo_01L",
        "photo_02R",
        "photo_03L",
        "slices_03L",
    ]
    with EyeReader(out) as reader:
        pair, photo, both, scan = (reader.read(key) for key in reader.keys)
    assert (pair.patient, pair.laterality, pair.diagnosis) == ("p1", "OS", "AMD")
    assert pair.metadata == {"age_years": 71, "refraction_d": "-1.25"}  # one cell of the column is a word
    np.testing.assert_array_equal(pair.volume, tifffile.imread(folder / "volume_01L.tif"))
    assert pair.fundus.shape == (48, 48, 3) and pair.pose_um is not None
    assert photo.laterality == "OD" and photo.volume is None and photo.metadata == {}
    assert (
        scan.fundus is None
        and scan.laterality == "OS"
        and scan.metadata == {"age_years": 60, "refraction_d": "high"}
    )
    np.testing.assert_array_equal(both.volume, scan.volume)
    assert both.metadata == {} and {"circle_radius", "stored_shape"} <= set(both.history)
    assert check_file(out) == []


@pytest.mark.parametrize(("key", "side"), [("7", "OS"), ("7_OD", "OD")])
def test_the_name_of_the_photo_tells_the_side_where_the_key_does_not(key, side, folder):
    rows = ("photo", "key", "patient", "laterality"), ("photo_01L.png", key, "p1", "NA")
    import_table(write(folder / "eyes.csv", *rows), folder / "eyes.h5", OPTIONS)
    with EyeReader(folder / "eyes.h5") as reader:
        assert reader.read(key).laterality == side


@pytest.mark.parametrize(
    ("key", "side", "said"),
    [
        ("", "R", ["its name says OS, and it is taken for OD as was told"]),
        ("7_OD", "L", ["its name says OD, and it is taken for OS as was told"]),
        ("7_OD", "", ["its name says OS, and it is taken for OD as its key says"]),
        ("7", "L", []),
    ],
)
def test_a_side_that_the_name_contradicts_is_said(key, side, said, folder):
    rows = ("photo", "key", "patient", "laterality"), ("photo_01L.png", key, "p1", side)
    report = import_table(write(folder / "eyes.csv", *rows), folder / "eyes.h5", OPTIONS)
    assert [note for _, note in report.notes if "its name says" in note] == said


@pytest.mark.parametrize(
    ("photo", "volume", "key", "side", "taken", "said"),
    [
        ("a_OD.png", "volume_01L.tif", "", "", "OD", "taken for OD as the name of its photo"),
        ("a_OD.png", "slices_01L", "7", "", "OD", "says OS, and it is taken for OD as the name of its photo"),
        ("a_OD.png", "slices_01L/b0.png | slices_01L/b1.png", "", "R", "OD", "for OD as was told"),
        ("a_OD.png", "slices_01L/b*.png", "", "OD", "OD", "says OS, and it is taken for OD as was told"),
        ("a_OD.png", "volume_02R.tif", "7", "", "OD", ""),
        ("a.png", "slices_01L", "7", "", "OS", ""),
        ("a.png", "slices_01L/b0.png | slices_01L/b1.png", "", "", "OS", ""),
    ],
)
def test_the_name_of_the_volume_tells_a_side_too(photo, volume, key, side, taken, said, folder):
    (folder / "photo_02R.png").rename(folder / photo)
    rows = ("photo", "volume", "key", "patient", "laterality"), (photo, volume, key, "p1", side)
    report = import_table(write(folder / "eyes.csv", *rows), folder / "eyes.h5", OPTIONS)
    notes = [note for _, note in report.notes if "the name of its volume" in note]
    assert len(notes) == bool(said) and all(said in note for note in notes)
    with EyeReader(folder / "eyes.h5") as reader:
        assert reader.read(reader.keys[0]).laterality == taken


def test_the_same_again_does_nothing_and_a_change_is_seen(folder):
    table = write(folder / "eyes.tsv", ("photo", "patient"), ("photo_01L.png", "p1"), delimiter="\t")
    out = folder / "eyes.h5"
    import_table(table, out, OPTIONS)
    before = out.stat()
    assert import_table(table, out, OPTIONS).unchanged and out.stat().st_mtime_ns == before.st_mtime_ns
    (folder / "photo_02R.png").replace(folder / "photo_01L.png")
    with pytest.raises(DataError, match=r"eyes\.h5: exists"):
        import_table(table, out, OPTIONS)
    assert import_table(table, out, OPTIONS, overwrite=True).imported == ["photo_01L"]
    # An eye is the same in whatever row it stands.
    rows = ("photo_02R.png", "p2"), ("photo_01L.png", "p1")
    (folder / "photo_03L.png").replace(folder / "photo_02R.png")
    write(table, ("photo", "patient"), *rows, delimiter="\t")
    report = import_table(table, out, OPTIONS, overwrite=True)
    assert (report.imported, report.reused) == (["photo_02R", "photo_01L"], 1)


def test_names_of_patients_are_hashed_with_a_salt(folder):
    table = write(
        folder / "eyes.csv", ("photo", "patient"), ("photo_01L.png", "Doe"), ("photo_02R.png", "Doe")
    )
    patients = []
    for salt in ("a", "b"):
        out = folder / f"{salt}.h5"
        import_table(table, out, ImportOptions(OPTIONS.scan, 48, salt=salt))
        with EyeReader(out) as reader:
            patients.append({reader.info(key).patient for key in reader.keys})
        assert b"Doe" not in out.read_bytes()
    assert len(patients[0]) == len(patients[1]) == 1 and patients[0] != patients[1]


ROWS = {
    "photo absent": (("none.png", "", ""), "none.png: no such file"),
    "volume absent": (("", "none.tif", ""), "none.tif: no such file or folder"),
    "name too long": (("x" * 300 + ".png", "", ""), r"x\.png: (cannot be read .*too long|no such)"),
    "nothing named": (("", "", "OD"), "expected a photo, a volume or both, found neither"),
    "odd side": (("photo_01L.png", "", "upper"), "laterality: expected OD, OS, .* found 'upper'"),
    "photo damaged": (("text.png", "", ""), "text.png: cannot be read as a picture"),
    "volume damaged": (("", "text.tif", ""), "text.tif: cannot be read as a volume"),
    "volumes as slices": (
        ("", "volume_01L.tif | volume_02R.tif", ""),
        "expected slices of one eye, found volume_02R.tif of a right and volume_01L.tif of a left one",
    ),
    "pattern of nothing": (("", "x*.png", ""), "expected files, found none"),
    "key again": (
        ("photo_02R.png", "", ""),
        "key 'photo_02R' is that of row 2 already; it is the name of the file",
    ),
}


@pytest.mark.parametrize("row, message", ROWS.values(), ids=ROWS)
def test_a_row_that_cannot_be_read_is_named_and_the_others_imported(row, message, folder):
    (folder / "text.png").write_text("none")
    (folder / "text.tif").write_text("none")
    table = write(folder / "eyes.csv", ("photo", "volume", "laterality"), ("photo_02R.png", "", ""), row)
    report = import_table(table, folder / "eyes.h5", OPTIONS, no_patients=True)
    assert report.imported == ["photo_02R"]
    [(name, reason)] = report.skipped
    assert name.startswith("row 3: ")
    assert re.search(message, reason), reason


@pytest.mark.parametrize("volume", ["0001", "0001/*.png", "0001/oct.png | 0001/CFP.PNG"])
def test_a_volume_that_holds_the_photo_of_its_row_is_refused(volume, folder):
    """A folder one level too high, or one in which photo and B-scan lie side by side."""
    (folder / "0001").mkdir()
    (folder / "photo_01L.png").rename(folder / "0001" / "cfp.png")
    (folder / "slices_01L" / "b0.png").rename(folder / "0001" / "oct.png")
    head, sound = ("photo", "volume", "patient"), ("photo_02R.png", "slices_02R", "p2")
    table = write(folder / "eyes.csv", head, sound, ("0001/cfp.png", volume, "p1"))
    report = import_table(table, folder / "eyes.h5", OPTIONS)
    assert report.imported == ["photo_02R"]
    [(name, reason)] = report.skipped
    assert name == "row 3: 0001/cfp.png"
    assert reason.startswith("volume: expected B-scans, found the photo of this row among them, cfp.png;")
    write(table, head, sound, ("0001/cfp.png", "0001/oct.png", "p1"))
    report = import_table(table, folder / "eyes.h5", OPTIONS, overwrite=True)
    assert report.imported == ["photo_02R", "cfp"] and not report.skipped


def test_a_link_that_leads_nowhere_costs_its_row_alone(folder):
    (folder / "oct").mkdir()
    (folder / "oct" / "photo_01L.png").symlink_to(folder / "nowhere")
    rows = ("photo_01L.png", "oct/photo_01L.png", "p1"), ("photo_02R.png", "slices_02R", "p2")
    table = write(folder / "eyes.csv", ("photo", "volume", "patient"), *rows)
    report = import_table(table, folder / "eyes.h5", OPTIONS)
    assert report.imported == ["photo_02R"]
    assert [name for name, _ in report.skipped] == ["row 2: photo_01L.png"]


def test_a_photo_beside_the_folder_of_its_slices_is_no_volume_of_a_table(folder):
    (folder / "in").mkdir()
    (folder / "slices_01L").rename(folder / "in" / "0001")
    (folder / "photo_01L.png").rename(folder / "in" / "0001.png")
    rows = ("in", "p1"), ("in/0001", "p1"), ("slices_02R", "p2")
    table = write(folder / "eyes.csv", ("volume", "patient"), *rows)
    report = import_table(table, folder / "eyes.h5", OPTIONS)
    assert report.imported == ["0001", "slices_02R"]
    [(name, reason)] = report.skipped
    assert name == "row 2: in" and "found pictures (0001.png) beside folders of pictures (0001)" in reason


def test_a_folder_of_slices_that_cannot_be_read_costs_its_eye_alone(folder, close_folder):
    close_folder("slices_01L")
    rows = ("photo_01L.png", "slices_01L", "p1"), ("photo_02R.png", "slices_02R", "p2")
    table = write(folder / "eyes.csv", ("photo", "volume", "patient"), *rows)
    report = import_table(table, folder / "eyes.h5", OPTIONS)
    assert report.imported == ["photo_02R"]
    [(_, reason)] = report.skipped
    assert re.search(r"slices_01L: cannot be read \(.*Permission denied", reason), reason


TABLES = {
    "no columns": (b"name,age\nx,3\n", "expected a column photo, volume or bscan, found name, age"),
    "no rows": (b"photo\n", "expected a row for each eye, found none"),
    "none readable": (
        b"photo\na.png\n",
        "1 of 1 eyes cannot be imported: row 2: a.png: .*a.png: no such file",
    ),
    "no patient": (
        b"photo\na.png\nb.png\n",
        "expected a column patient, found photo: .* say --no-patients",
    ),
}


@pytest.mark.parametrize("content, message", TABLES.values(), ids=TABLES)
def test_a_table_that_cannot_be_used_gives_one_line(content, message, tmp_path, capsys):
    (tmp_path / "t.csv").write_bytes(content)
    patients = ["--no-patients"] * ("patient" not in message)
    table, out = str(tmp_path / "t.csv"), str(tmp_path / "o.h5")
    status = main(["import", "table", table, out, "--workers", "1", *patients])
    error = capsys.readouterr().err
    assert status == 1 and error.count("\n") == 1 and re.search(message, error), error
    assert not (tmp_path / "o.h5").exists()


def test_a_folder_with_brackets_is_no_pattern(folder):
    below = folder / "d [1]"
    below.mkdir()
    for name in ("volume_01L.tif", "slices_02R", "slices_03L"):
        (folder / name).rename(below / name)
    table = write(
        below / "eyes.csv",
        ("volume", "key", "patient"),
        ("volume_01L.tif", "file", "p1"),
        ("slices_0[2]R/b*.png", "pattern", "p2"),
        ("slices_03l", "folder", "p3"),  # called slices_03L
        ("slices_02R/x*.png", "absent", "p4"),
    )
    report = import_table(table, folder / "eyes.h5", OPTIONS)
    assert report.imported == ["file", "pattern", "folder"]
    assert report.skipped == [
        ("row 5: slices_02R/x*.png", f"{below}/slices_02R/x*.png: expected files, found none")
    ]
    with EyeReader(folder / "eyes.h5") as reader:
        assert {len(reader.read(key).volume) for key in reader.keys} == {6}
    assert len(read_stack(below / "volume_01L.tif").volume) == 6


def test_a_pattern_over_folders_has_its_slices_in_the_order_of_the_folders(folder, monkeypatch):
    volume = tifffile.imread(folder / "volume_01L.tif")
    for number, bscan in enumerate(volume, 5):
        below = folder / "e1" / f"part{number}"
        below.mkdir(parents=True)
        Image.fromarray(bscan).save(below / "oct.png")
    found = glob.glob
    # A disk lists them in any order.
    monkeypatch.setattr("glob.glob", lambda *args, **options: sorted(found(*args, **options), reverse=True))
    table = write(folder / "eyes.csv", ("volume", "key", "patient"), ("e1/*/oct.png", "e1", "p1"))
    import_table(table, folder / "eyes.h5", OPTIONS)
    with EyeReader(folder / "eyes.h5") as reader:
        np.testing.assert_array_equal(reader.read("e1").volume, volume)


def test_bscans_of_one_key_in_several_folders_are_noted(folder):
    """As where the key of a table is the patient: two visits became one volume."""
    (folder / "slices_01L").rename(folder / "visit1")
    (folder / "slices_03L").rename(folder / "visit2")
    names = ("7", "visit1"), ("7", "visit2"), ("8", "slices_02R")
    rows = [(key, f"{name}/b{n}.png", key) for key, name in names for n in range(6)]
    table = write(folder / "eyes.csv", ("key", "bscan", "patient"), *rows)
    report = import_table(table, folder / "eyes.h5", OPTIONS)
    assert report.imported == ["7", "8"]
    said = "its 12 pictures lie in 2 folders; if these are visits of the eye, give each visit a key of its "
    assert [(key, note) for key, note in report.notes if "folders" in note] == [("7", f"{said}own")]


def test_volumes_of_a_folder(folder, capsys):
    out = folder / "volumes.h5"
    (folder / "broken.tif").write_text("none")
    source = folder / "in"
    source.mkdir()
    for name in ("volume_01L.tif", "slices_02R", "broken.tif"):
        (folder / name).rename(source / name)
    (folder / "volume_03L.tif").rename(source / "volume_03L.ome.tif")
    status = main(["import", "volumes", str(source), str(out), "--no-patients", "--workers", "1", *SPACING])
    text = capsys.readouterr().out
    assert status == 1 and "left out" in text and "broken.tif: cannot be read as a volume" in text
    with EyeReader(out) as reader:
        assert reader.keys == ("slices_02R", "volume_01L", "volume_03L")
        assert [reader.info(key).laterality for key in reader.keys] == ["OD", "OS", "OS"]
    assert (folder / "volumes.import.csv").read_text().count("\n") == 5


def test_real_volumes(real_data: Path, tmp_path):
    options = ImportOptions(ScanOptions((0.12, 0.01, 0.03)))
    report = import_volumes(real_data / "macular_hole", tmp_path / "hole.h5", options)
    assert report.imported == ["mh"]
    options = ImportOptions(ScanOptions((0.123, 0.00387, 0.0113), n_slices=6))
    report = import_volumes(real_data / "duke_dme", tmp_path / "duke.h5", options)
    with EyeReader(tmp_path / "duke.h5") as reader:
        eye = reader.read("duke_dme")
    assert eye.volume.shape == (6, 496, 768) and eye.history["slices"] == "0,12,24,36,48,60"
    assert (eye.volume == 255).mean() < 0.001 and eye.history["border_masked"] > 0.02
