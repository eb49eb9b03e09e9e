"""A report takes the place of an earlier one, and of nothing else."""

import pytest

from fund2oct.evaluation.report.folder import _put, check_report_folder
from fund2oct.outputs import OutputError
from fund2oct.visual.page import picture
from fund2oct.visual.style import new_figure, save_figure


def make(folder, word, *pictures):
    """What a report holds, with pictures in two formats."""
    folder.mkdir()
    (folder / "metrics.json").write_text(word)
    (folder / "report.md").write_text("\n".join(picture(f"{name}.png", word) for name in pictures))
    for name in pictures:
        for ending in ("png", "svg"):
            save_figure(new_figure(1, 1), folder / f"{name}.{ending}")
    return folder


def test_of_an_earlier_report_nothing_is_left_and_what_is_no_part_of_it_stays(tmp_path):
    out = make(tmp_path / "out", "first", "scatter", "median-model 0.1")
    (out / "notes.txt").write_text("mine")
    (out / "scatter.pdf").write_text("mine, of the same name")
    save_figure(new_figure(1, 1), out / "panel.png")  # of fund2oct, and of no report
    _put(make(tmp_path / "made", "second", "scatter"), out)
    names = {"metrics.json", "report.md", "scatter.png", "scatter.svg"}
    assert {file.name for file in out.iterdir()} == names | {"notes.txt", "scatter.pdf", "panel.png"}
    assert (out / "metrics.json").read_text() == "second"
    assert (out / "report.md").read_text() == picture("scatter.png", "second")


def test_a_first_report_is_moved(tmp_path):
    (tmp_path / "out").mkdir()
    _put(make(tmp_path / "made", "first", "scatter"), tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "metrics.json", "report.md", "scatter.png", "scatter.svg",
    }  # fmt: skip


def test_what_a_killed_report_left_is_no_hindrance_and_what_others_left_is_kept(tmp_path):
    (tmp_path / ".report-abcd1234").mkdir()
    (tmp_path / ".report-abcd1234" / "metrics.json").touch()
    check_report_folder(tmp_path, overwrite=False)
    assert not [*tmp_path.iterdir()]
    for name in (".report-drafts", ".report-efgh5678"):
        (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match="holds other files already"):
        check_report_folder(tmp_path, overwrite=True)
    assert len([*tmp_path.iterdir()]) == 2
