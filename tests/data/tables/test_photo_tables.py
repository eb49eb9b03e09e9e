"""Which row of a table is a photo's."""

import pytest

from fund2oct.data import DataError
from fund2oct.data.tables.eyes import COLUMNS
from fund2oct.data.tables.photos import known_of_photos, lines_of_photos
from fund2oct.data.tables.spreadsheet import read_table, renamed

READERS = {"lines": lines_of_photos, "known": known_of_photos}


def found_of(kind, folder, rows, photos):
    """The number that stands in the row of each photo."""
    text = "photo,x0_px,y0_px,x1_px,y1_px,age\n" + "".join(
        f"{row},{n},0,9,9,{n}\n" for n, row in enumerate(rows)
    )
    (folder / "t.csv").write_text(text, encoding="utf-8")
    table = renamed(read_table(folder / "t.csv"), {}, COLUMNS)
    found = READERS[kind](table).find([folder / photo for photo in photos])
    number = {"lines": lambda told: told.ends[0][0][0], "known": lambda told: told["age"]}[kind]
    return {photo: number(found[folder / photo]) for photo in photos if folder / photo in found}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("rows", "photos", "expected"),
    [
        (["a/x.png", "b/x.png"], ["b/x.png", "a/x.png"], {"a/x.png": 0, "b/x.png": 1}),
        (["A\\X.PNG", "./b/../b/x.png"], ["a/x.png", "b/x.png"], {"a/x.png": 0, "b/x.png": 1}),
        (["x.png", "y.png"], ["deep/y.png", "z.png"], {"deep/y.png": 1}),
        (["a/x.png", "y.png"], ["a/x.png", "c/x.png"], {"a/x.png": 0}),
        (["Mu\u0308ller.png"], ["a/M\xfcller.png"], {"a/M\xfcller.png": 0}),
        (["a/M\xfcller.png"], ["a/Mu\u0308ller.png"], {"a/Mu\u0308ller.png": 0}),
    ],
)
def test_a_photo_has_the_row_of_its_path_or_of_its_name_alone(kind, rows, photos, expected, tmp_path):
    assert found_of(kind, tmp_path, rows, photos) == expected


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("rows", "photos", "message"),
    [
        (["a/x.png", "b/x.png"], ["x.png"], r"t.csv: row 2, row 3: photo: expected paths from the folder"),
        (
            ["x.png"],
            ["a/x.png", "b/x.png"],
            r"row 2: .*several files are called x.png, found no path of .*a/x",
        ),
        (
            ["x.png", "X.png"],
            ["x.png"],
            r"row 3: photo: expected each photo once, found X.png, .*in row 2 too",
        ),
    ],
)
def test_a_name_of_several_files_needs_a_path(kind, rows, photos, message, tmp_path):
    with pytest.raises(DataError, match=message):
        found_of(kind, tmp_path, rows, photos)


def test_a_photo_whose_lines_cannot_be_used_has_the_reason_and_the_others_their_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("photo,x0_px,y0_px,x1_px,y1_px\na.png,left,0,9,9\nb.png,1,0,9,9\nc.png,,,,\n")
    table = renamed(read_table(path), {}, COLUMNS)
    a, b, c = photos = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    found = lines_of_photos(table).find(photos)
    assert found[b].ends == (((1, 0), (9, 9)),)
    assert isinstance(found[a], DataError)
    assert str(found[a]) == f"{path}: row 2: x0_px: expected a number, found 'left'"
    assert str(found[c]) == (
        f"{path}: row 4: expected its lines, found empty cells in x0_px, y0_px, x1_px, y1_px"
    )
    path.write_text("photo,age\na.png,3\n")
    with pytest.raises(DataError, match=r"t.csv: expected x0_px, y0_px, .* in mm, found photo, age"):
        lines_of_photos(renamed(read_table(path), {}, COLUMNS))
