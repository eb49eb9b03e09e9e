"""Which lines of a second table are an eye's: capitals count where both spellings are there."""

import pytest

from fund2oct.data.tables.eyes import COLUMNS, read_eyes
from fund2oct.data.tables.lines import with_lines
from fund2oct.data.tables.spreadsheet import read_table, renamed


def joined(folder, by, names, lines):
    """Where the line of each eye begins, the labels of eyes that are refused with the reasons, and notes."""
    tables = {
        "eyes": "key,photo\n" + "".join(f"{name},{name}\n" for name in names),
        "lines": f"{by},x0_px,y0_px,x1_px,y1_px\n" + "".join(f"{o},{n},0,9,9\n" for n, o in enumerate(lines)),
    }
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    first, second = (renamed(read_table(folder / f"{name}.csv"), {}, COLUMNS) for name in tables)
    eyes, refused, notes = with_lines(read_eyes(first)[0], second)
    return {eye.key: eye.lines.ends[0][0][0] for eye in eyes}, dict(refused), notes


@pytest.mark.parametrize("by", ["key", "photo"])
@pytest.mark.parametrize(
    ("names", "lines", "expected"),
    [
        (["aB", "Ab"], ["aB", "Ab"], {"aB": 0, "Ab": 1}),
        (["aB", "Ab"], ["Ab", "aB"], {"aB": 1, "Ab": 0}),
        (["aB", "c"], ["C", "AB"], {"aB": 1, "c": 0}),
        (["aB", "Ab"], ["aB"], {"aB": 0}),
        (["aB", "ab"], ["aB", "AB"], {"aB": 0}),
        (["aB", "Ab", "c"], ["ab", "c"], {"c": 1}),
        (["ab", "c"], ["aB", "Ab", "c"], {"c": 2}),
    ],
)
def test_an_eye_has_its_own_lines_or_none(by, names, lines, expected, tmp_path):
    found, refused, notes = joined(tmp_path, by, names, lines)
    assert found == expected and len(refused) == len(names) - len(expected)
    assert notes == []


def test_what_two_eyes_may_share_is_named(tmp_path):
    _, refused, _ = joined(tmp_path, "key", ["aB", "Ab"], ["ab"])
    assert refused["row 2: aB"] == (
        "key: expected one eye called 'aB' in each table, in capital or small letters, found row 2, row 3, "
        f"and row 2 of {tmp_path / 'lines.csv'}; spell them apart"
    )
    _, refused, notes = joined(tmp_path, "key", ["aB", "Ab"], ["aB", "d"])
    assert refused == {
        "row 3: Ab": f"expected its lines in {tmp_path / 'lines.csv'}, found none for this key"
    }
    assert notes == [f"{tmp_path / 'lines.csv'}: gives lines of eyes that are not in the other table: d"]


@pytest.mark.parametrize("by", ["key", "photo"])
def test_a_cell_that_is_no_number_costs_its_eye_alone_and_is_named(by, tmp_path):
    text = f"{by},x0_px,y0_px,x1_px,y1_px\nAB,left,0,9,9\nc,1,0,9,9\n"
    (tmp_path / "eyes.csv").write_text("key,photo\naB,aB\nc,c\n")
    (tmp_path / "lines.csv").write_text(text)
    first, second = (renamed(read_table(tmp_path / f"{name}.csv"), {}, COLUMNS) for name in ("eyes", "lines"))
    eyes, refused, notes = with_lines(read_eyes(first)[0], second)
    assert [(eye.key, eye.lines.ends) for eye in eyes] == [("c", (((1, 0), (9, 9)),))] and notes == []
    where = f"{tmp_path / 'lines.csv'}: row 2: x0_px"
    assert refused == [("row 2: aB", f"{where}: expected a number, found 'left'")]
