"""Tables as spreadsheets, scripts and people write them."""

import re

import pytest

from fund2oct.cli import main
from fund2oct.data import DataError
from fund2oct.data.formats.naming import laterality_of
from fund2oct.data.tables.eyes import COLUMNS, read_eyes
from fund2oct.data.tables.files import find_file, find_volume
from fund2oct.data.tables.patients import repeated_keys, with_patients, without_side
from fund2oct.data.tables.spreadsheet import plain_values, read_table, renamed, renamed_tables


def table_of(folder, content, columns=None):
    path = folder / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return renamed(read_table(path), columns or {}, COLUMNS)


PLAIN = "photo,patient,diagnosis\na.png,p1,AMD\nb.png,p2,\n"
SAME = {
    "commas": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "byte order mark": PLAIN.encode("utf-8-sig"),
    "Excel's Unicode text": PLAIN.replace(",", "\t").encode("utf-16"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "UTF-16 without a mark, the other way round": PLAIN.encode("utf-16-be"),
    "sep=": "sep=;\n" + PLAIN.replace(",", ";"),
    "quoted sep=": '"sep=;"\r\n' + PLAIN.replace(",", ";").replace("\n", "\r\n"),
    "Windows": PLAIN.replace("\n", "\r\n"),
    "spaces": " photo , patient ,diagnosis\n a.png ,p1, AMD\nb.png, p2,\n",
    "capitals": PLAIN.replace("photo,patient", "Photo,PATIENT"),
    "empty last columns": PLAIN.replace("\n", ",,\n"),
    "empty last rows": PLAIN + "\n,,\n  \n",
    "an empty column between": PLAIN.replace(",p", ",,p"),
    "quotes": PLAIN.replace("AMD", '"AMD"'),
}


@pytest.mark.parametrize("content", SAME.values(), ids=SAME)
def test_one_table_in_many_spellings(content, tmp_path):
    table = table_of(tmp_path, content)
    assert [cells for _, cells in table.rows if cells.pop("", "") == ""] == [
        {"photo": "a.png", "patient": "p1", "diagnosis": "AMD"},
        {"photo": "b.png", "patient": "p2", "diagnosis": ""},
    ]


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path):
    table = table_of(tmp_path, 'photo,diagnosis\na.png,"two\nlines, and a comma"\n\nb.png,x\n')
    assert [number for number, _ in table.rows] == [2, 4]
    assert table.column("diagnosis") == ["two\nlines, and a comma", "x"]


def test_windows_letters_are_read_and_said(tmp_path):
    table = table_of(tmp_path, "photo,diagnosis\nMüller.png,ödem\n".encode("cp1252"))
    assert table.column("photo") == ["Müller.png"] and "Windows-1252" in table.notes[0]


def test_a_short_row_is_said(tmp_path):
    table = table_of(tmp_path, "photo,patient,diagnosis\na.png,p1\n")
    assert table.rows[0][1]["diagnosis"] == "" and "row 2: has fewer cells" in table.notes[0]


WRONG = {
    "a comma without quotes": (
        "photo,diagnosis,patient\na.png,AMD, wet,p1\nb.png,AMD,p2\n",
        r"t.csv: expected 3 cells .* found more in row 2: 'p1' has no column; put a cell .* ',' into quotes",
    ),
    "the same before empty columns": ("photo,diagnosis,\na.png,AMD, wet\n", "row 2: 'wet' has no column"),
    "a column twice": ("photo,age,photo\na,3,b\n", "found 'photo' as columns 1 and 3; rename or delete"),
    "twice but for capitals": ("photo,Photo\na,b\n", "expected one column for photo, found 'photo', 'Photo'"),
    "a workbook": (b"PK\3\4xl", "found a workbook; save it as 'CSV UTF-8'"),
    "zeros": (b"photo\n\0\0", "cannot be read as CSV in UTF-8, UTF-16 or Windows-1252"),
    "half of UTF-16": (b"\xff\xfea", "cannot be read as CSV in UTF-8"),
    "an open quote": ('photo\n"a.png\n', "cannot be read as CSV .* is a quote left open"),
    "nothing": ("\n \n", "expected a header that names the columns, found an empty file"),
    "no bytes": (b"", "expected a header that names the columns, found an empty file"),
}


@pytest.mark.parametrize("content, message", WRONG.values(), ids=WRONG)
def test_what_is_no_table_is_refused(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table_of(tmp_path, content)


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"photo": "a", "volume": "a"}, "expected each column of the table once, found photo=a, volume=a"),
        ({"patient": "a"}, "expected one column for patient, found 'a', 'patient'"),
        ({"photo": "c"}, "expected the columns c, found a, patient"),
        ({"image": "a"}, "column: expected one of photo, volume, .*found image"),
    ],
)
def test_columns_of_other_names_that_contradict(columns, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table_of(tmp_path, "a,patient\n1,2\n", columns)


@pytest.mark.parametrize(
    "given, message",
    [
        (["photo=a", "photo=b"], "--column: expected photo once, found photo=a and photo=b"),
        (["photo"], "--column: expected NAME=VALUE, found 'photo'"),
    ],
)
def test_the_option_column_that_contradicts(given, message, tmp_path, capsys):
    words = [word for pair in given for word in ("--column", pair)]
    assert main(["import", "table", str(tmp_path / "t.csv"), str(tmp_path / "o.h5"), *words]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_column_of_another_name_may_be_in_one_of_two_tables(tmp_path):
    for name, text in (("eyes", "CF,age\na,3\n"), ("lines", "CF,start\na,4\n")):
        (tmp_path / name).write_text(text)
    tables = [read_table(tmp_path / name) for name in ("eyes", "lines")]
    eyes, lines = renamed_tables(tables, {"photo": "CF", "x0_px": "start"}, COLUMNS)
    assert (eyes.columns, lines.columns) == (("photo", "age"), ("photo", "x0_px"))
    with pytest.raises(DataError, match="eyes: expected the columns none, found CF, age"):
        renamed_tables(tables, {"photo": "none"}, COLUMNS)


VALUES = {
    "numbers": (["3", "-1.25", "", "nan"], [3, -1.25, None, None]),
    "numbers with words for none": (["3", "NA", "n/a", "-"], [3, None, None, None]),
    "leading zeros": (["007", "12"], ["007", "12"]),
    "an exponent is a name": (["12E4", "7"], ["12E4", "7"]),
    "a word among numbers": (["3", "high"], ["3", "high"]),
    "more digits than a number holds": (["12345678901234567890"], ["12345678901234567890"]),
    "decimal commas": (["1,5", "-0,25", "3"], [1.5, -0.25, 3]),
    "none that could be thousands": (["0,125"], [0.125]),
    "commas of either kind": (["1,250", "2,500"], ["1,250", "2,500"]),
    "dates": (["2024-01-05", "05.01.2024"], ["2024-01-05", "05.01.2024"]),
    "words for none in text": (["NA", "none", "unknown", "wet", "<NA>"], [None, "none", None, "wet", None]),
}


@pytest.mark.parametrize("cells, expected", VALUES.values(), ids=VALUES)
def test_a_column_is_numbers_or_text_as_a_whole(cells, expected, tmp_path):
    table = table_of(tmp_path, "photo;m\n" + "".join(f"a{n};{cell}\n" for n, cell in enumerate(cells)))
    values, note = plain_values(table, "m")
    assert values == expected and [type(v) for v in values] == [type(v) for v in expected]
    assert ("decimal comma" in note) == ("1,250" in cells)


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["23.1", "24", "22.5", "high", "23.8"], "'high' in row 5 is no number, though most cells are"),
        (["23.1", "24,0"], "has decimals behind points and behind commas"),
        (["a1", "24", "b2"], ""),
    ],
)
def test_a_column_that_is_nearly_all_numbers_is_remarked(cells, note, tmp_path):
    table = table_of(tmp_path, "photo;m\n" + "".join(f"a{n};{cell}\n" for n, cell in enumerate(cells)))
    values, said = plain_values(table, "m")
    assert values == cells and (note in said if note else said == "")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "Fotos").mkdir()
    for name in ("Fotos/eye_01L.PNG", "Fotos/M\u00fcller.png", "a.png", "b1.png", "B1.png", "[x].png"):
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    "cell, found",
    [
        ("a.png", "a.png"),
        ("Fotos\\eye_01L.PNG", "Fotos/eye_01L.PNG"),
        ("fotos/EYE_01l.png", "Fotos/eye_01L.PNG"),
        ("Fotos/Mu\u0308ller.png", "Fotos/M\u00fcller.png"),
        ("./Fotos/../A.PNG", "./Fotos/../a.png"),
        ("b1.png", "b1.png"),
        ("[x].png", "[x].png"),
        ("Fotos\\*.PNG", "Fotos/*.PNG"),
    ],
)
def test_a_file_is_found_under_the_name_that_a_table_gives_it(cell, found, files):
    path, note = find_file(files, cell)
    assert path == files / found
    assert bool(note) == (path.name != cell.replace("\\", "/").split("/")[-1])
    absolute, _ = find_file(files / "Fotos", str(files / "a.png"))
    assert absolute == files / "a.png"


@pytest.mark.parametrize(
    "cell, message",
    [
        ("C:\\clinic\\a.png", "is a path of another machine; give paths relative"),
        ("none.png", "none.png: no such file or folder"),
        ("b1.PNG", "no such file, but B1.png and b1.png; which is meant"),
        ("a.png/b.png", "no such file"),
    ],
)
def test_a_file_that_is_not_there_is_named(cell, message, files):
    with pytest.raises(DataError, match=message):
        find_file(files, cell)


def test_a_volume_may_be_a_list_of_pictures(files):
    assert find_volume(files, "b1.png | a.png")[0] == (files / "b1.png", files / "a.png")


def eyes_of(folder, content, no_patients=False):
    table = table_of(folder, content)
    eyes, _, _ = read_eyes(table)
    return with_patients(eyes, table, no_patients)


@pytest.mark.parametrize(
    "volume, name",
    [
        ("p12_OD.nii.gz", "p12_OD"),
        ("scans\\p12_OD.OME.tif", "p12_OD"),
        ("scans/p12.OD", "p12.OD"),
        ("1.2.840.2", "1.2.840.2"),
        ("eye7_OD/*.png", "eye7_OD"),
        ("eye7_OD/", "eye7_OD"),
        ("all/eye7_OD_*.png", "eye7_OD"),
        ("eye7_OD_1.png | eye7_OD_2.png", "eye7_OD_1"),
        ("*.png", "*"),
    ],
)
def test_a_volume_is_called_by_its_file_or_folder(volume, name, tmp_path):
    [eye], _ = eyes_of(tmp_path, f"volume;age\n{volume};7\n")
    assert eye.name == name and laterality_of(eye.name) == ("OD" if "OD" in volume else "")


def test_two_eyes_of_a_patient_stay_together_without_a_column(tmp_path):
    eyes, notes = eyes_of(tmp_path, "photo\np1_OD.png\np1_OS.png\np2_OD.png\n")
    assert [eye.patient for eye in eyes] == ["p1", "p1", "p2"]
    assert "2 patients were taken from the names of 3 eyes, as 'p1' of p1_OD and p1_OS" in notes[0]
    eyes, notes = eyes_of(tmp_path, "photo\np1_OD.png\np1_OS.png\n", no_patients=True)
    assert [eye.patient for eye in eyes] == ["p1_OD", "p1_OS"] and not notes
    eyes, _ = eyes_of(tmp_path, "photo\np1_OD.png\n")
    assert [eye.patient for eye in eyes] == ["p1"], "as in another file that has both eyes"


@pytest.mark.parametrize(
    "rows", ["01L.png\n02R.png\n", "p1_OD.png\np1_OS.png\nx.png\n", "p1_OD.png\np1_OS.png\np1-OD.png\n"]
)
def test_names_that_do_not_tell_the_patients_need_a_word(rows, tmp_path):
    with pytest.raises(DataError, match=r"expected a column patient, found photo: .* or say --no-patients"):
        eyes_of(tmp_path, "photo\n" + rows)


@pytest.mark.parametrize(
    "one, other",
    [
        ("0012_20210304", "0012_20220310"),
        ("04.03.2021 p12", "10-03-2022 p12"),
        ("p12_2021-03", "p12_2022-03"),
        ("p12_v1", "p12_visit2"),
        ("p12", "p12v2"),
        ("p12_1-2-2014", "p12_3-5-2015"),
        ("p12_2014-1-2", "p12_2015-11-3"),
        ("p12_2021-3", "p12_2022-3"),
        ("p12", "P12"),
        ("M\u00fcller", "Mu\u0308ller"),
    ],
)
def test_visits_of_one_patient_are_not_taken_for_two(one, other, tmp_path):
    message = re.escape(f"{one}_OD and {other}_OD may be of one patient, at two visits or spelt twice")
    with pytest.raises(DataError, match=f"expected a column patient, found photo: {message}"):
        eyes_of(tmp_path, f"photo\n{one}_OD.png\n{one}_OS.png\n{other}_OD.png\n")


def test_patients_of_a_column_are_numbers_without_a_point_and_spelt_alike(tmp_path):
    rows = "a.png;71.0\nb.png;71\nc.png;P7\nd.png;p7\ne.png;7.5\n"
    eyes, notes = eyes_of(tmp_path, "photo;patient\n" + rows)
    assert [eye.patient for eye in eyes] == ["71", "71", "P7", "p7", "7.5"]
    assert "'P7' and 'p7' count as different patients; if they are one, spell them alike" in notes[-1]


@pytest.mark.parametrize("one, other", [("20210304", "20220310"), ("p2001", "p2002"), ("nav1", "nav2")])
def test_names_of_numbers_alone_are_no_visits(one, other, tmp_path):
    eyes, _ = eyes_of(tmp_path, f"photo\n{one}_OD.png\n{one}_OS.png\n{other}_OD.png\n")
    assert [eye.patient for eye in eyes] == [one, one, other]


def test_an_empty_cell_of_a_patient_is_said(tmp_path):
    eyes, notes = eyes_of(tmp_path, "photo,patient\na.png,007\nb.png,\n")
    assert [eye.patient for eye in eyes] == ["007", "b"] and "row 3: names no patient" in notes[0]


@pytest.mark.parametrize("word", ["", "NA", "n/a", "<NA>", "#N/A", "NaN", "null", "None", "unknown", "-"])
def test_words_for_missing_are_no_names(word, tmp_path):
    columns = "photo,volume,key,patient,laterality,diagnosis"
    rows = [f"a{n}.png,{word},{word},{word},{word},{'' if word == 'None' else word}" for n in range(2)]
    eyes, notes = eyes_of(tmp_path, "\n".join([columns, *rows]))
    assert [(eye.name, eye.patient, eye.volume, eye.laterality, eye.diagnosis) for eye in eyes] == [
        ("a0", "a0", "", "", ""),
        ("a1", "a1", "", "", ""),
    ]
    assert "row 2, row 3: names no patient" in notes[0]


def test_none_is_an_answer_in_a_free_text(tmp_path):
    eyes, _ = eyes_of(tmp_path, "photo,patient,diagnosis,drug\na.png,1,none,none\nb.png,2,AMD,NA\n")
    assert [(eye.diagnosis, eye.metadata) for eye in eyes] == [("none", {"drug": "none"}), ("AMD", {})]


def test_a_side_is_taken_off_the_end_alone():
    assert without_side("IMG_L_002") == "" and without_side("scan 7 right") == "scan 7"
    assert laterality_of("IMG_L_002") == "OS"


def test_one_name_of_two_files_says_what_to_do(tmp_path):
    eyes, _ = eyes_of(tmp_path, "photo,patient\np1/img.jpg,1\np2\\img.jpg,2\n")
    [(label, reason)] = repeated_keys(eyes)
    assert label == "row 3: p2\\img.jpg"
    assert "key 'img' is that of row 2 already" in reason and "a column key" in reason and "bscan" in reason


def test_what_is_kept_as_metadata_is_said(tmp_path):
    _, _, notes = read_eyes(table_of(tmp_path, "photo,patient,Name,age\na.png,1,Doe,70\n"))
    assert notes == [f"{tmp_path / 't.csv'}: kept as metadata, as they are: Name, age"]
