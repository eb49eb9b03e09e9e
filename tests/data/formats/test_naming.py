from pathlib import Path

import pytest

from fund2oct.data.formats.naming import laterality_of, natural_order, side_of


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("011574-64L", "OS"), ("016035-63R", "OD"), ("Image_01L", "OS"), ("scan_OD_3", "OD"), ("os7", "OS"),
        ("Left", "OS"), ("right eye", "OD"), ("patient12 re", "OD"), ("L", "OS"), ("eye7", ""),
        ("Laura_3", ""), ("OD_and_OS", ""), ("clinic", ""), ("", ""),
    ],
)  # fmt: skip
def test_the_side_that_a_name_tells(name, side):
    assert laterality_of(name) == side


@pytest.mark.parametrize("word", ["", "NA", "unknown", "-", "None", " n/a "])
def test_a_word_for_missing_tells_no_side(word):
    assert side_of(word) == ""


def test_slices_in_the_order_of_their_numbers():
    names = ["s_10.png", "s_2.png", "S_1.png", "a.png", "s_.png"]
    assert [path.name for path in sorted(map(Path, names), key=natural_order)] == [
        "a.png", "S_1.png", "s_2.png", "s_10.png", "s_.png",
    ]  # fmt: skip
