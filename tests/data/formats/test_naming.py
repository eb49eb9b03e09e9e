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


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("p12_L_re", ("",)),  # a retake of the left eye, or right and left
        ("p12_L_re_2", ("OS", "")), ("re-export_12L", ("OS", "")), ("re_export_12", ("",)),
        ("p12_OS_re", ("OS",)), ("p12_R_re", ("OD",)), ("p12_RE_003", ("OD",)), ("LE_fundus", ("OS",)),
        ("R001", ("",)), ("L2_R7", ("",)), ("re7", ("",)), ("12L_3", ("OS",)),
        ("scan_le_2021-05-03", ("",)), ("Ga\xebl_12", ("",)), ("Gae\u0308l_12R", ("OD",)),
    ],
)  # fmt: skip
def test_an_everyday_word_or_a_counting_letter_tells_no_wrong_side(name, sides):
    assert laterality_of(name) in sides


@pytest.mark.parametrize("word", ["", "NA", "unknown", "-", "None", " n/a "])
def test_a_word_for_missing_tells_no_side(word):
    assert side_of(word) == ""


def test_slices_in_the_order_of_their_numbers():
    names = ["s_10.png", "s_2.png", "S_1.png", "a.png", "s_.png"]
    assert [path.name for path in sorted(map(Path, names), key=natural_order)] == [
        "a.png", "S_1.png", "s_2.png", "s_10.png", "s_.png",
    ]  # fmt: skip


def test_slices_of_several_folders_in_the_order_of_the_folders():
    names = ["e/10/oct.png", "e/2/oct_1.png", "e/2/oct.png", "e/1/oct_3.png", "a/oct_9.png", "e/02/oct.png"]
    wanted = ["a/oct_9.png", "e/1/oct_3.png", "e/02/oct.png", "e/2/oct.png", "e/2/oct_1.png", "e/10/oct.png"]
    for order in (names, names[::-1]):  # as a disk may list them
        assert [path.as_posix() for path in sorted(map(Path, order), key=natural_order)] == wanted
