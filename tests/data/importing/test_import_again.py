"""The same import once more: its table is whole again, and what was left out is named again."""

import csv
import os
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from plain_candidates import candidates, read
from vendor_files import write_vol

from fund2oct.cli import main
from fund2oct.data import DataError
from fund2oct.data.importing.engine import Candidate, import_eyes
from fund2oct.data.loading.split import patient_number
from fund2oct.data.store.patients import hashed_patient
from fund2oct.networks.noise import eye_seed

NO_UTF8 = os.fsdecode(b"eye\xff")


@pytest.mark.parametrize("lost", ["never written", "half written", "removed"])
def test_the_table_is_whole_again(lost, tmp_path, monkeypatch):
    out, table = tmp_path / "eyes.h5", tmp_path / "eyes.import.csv"
    wanted = [*candidates(3), Candidate("broken", partial(read, 7, fails="no retina"), "x")]
    import_eyes(wanted, tmp_path / "whole.h5")
    if lost == "never written":
        with monkeypatch.context() as full:
            full.setattr("fund2oct.outputs.os.replace", _no_room)
            with pytest.raises(OSError, match="No space left"):
                import_eyes(wanted, out)
    else:
        import_eyes(wanted, out)
        table.write_bytes(table.read_bytes()[:30])
        if lost == "removed":
            table.unlink()
    before = out.read_bytes()
    assert import_eyes(wanted, out).unchanged
    assert out.read_bytes() == before
    assert table.read_text() == (tmp_path / "whole.import.csv").read_text()
    assert sorted(os.listdir(tmp_path)) == ["eyes.h5", "eyes.import.csv", "whole.h5", "whole.import.csv"]


def _no_room(source, target):
    if str(target).endswith(".csv"):
        raise OSError(28, "No space left on device")
    os.rename(source, target)


def test_what_was_left_out_is_named_again(tmp_path):
    out = tmp_path / "eyes.h5"
    wanted = candidates(2)
    wanted[1:1] = [
        Candidate("broken", partial(read, 7, fails="no retina"), "x"),
        Candidate("again", partial(read, 9, key="eye0"), "x"),
    ]
    first = import_eyes(wanted, out)
    report = import_eyes(wanted, out)
    assert report.unchanged and report.skipped == first.skipped and report.notes == first.notes
    assert report.lines() == [
        "left out broken: no retina",
        "left out again: eye 'eye0': there is an eye of that key already; keys are unique in a file; "
        "the other is file 0",
        f"{out}: holds the other 2 eyes already; nothing to do",
    ]
    wanted[1] = Candidate("broken", partial(read, 7), "x")  # as where a permission was missing
    with pytest.raises(DataError, match=r"exists; .* \(broken was left out of it, and can be read now"):
        import_eyes(wanted, out)
    assert import_eyes(wanted, out, overwrite=True).imported == ["eye0", "eye7", "eye1"]


def test_the_command_ends_with_the_same_status_again(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (3, 40, 56), np.uint8))
    (tmp_path / "b.npy").write_text("no volume")
    spacing = ["--spacing-mm", "0.5", "0.004", "0.01", "--axes", "szx", "--workers", "1", "--no-patients"]
    for _ in range(2):
        assert main(["import", "volumes", str(tmp_path), str(tmp_path / "eyes.h5"), *spacing]) == 1
        assert f"left out {tmp_path}/b.npy" in capsys.readouterr().out


def test_a_name_that_is_not_utf8(tmp_path):
    out = tmp_path / "eyes.h5"
    wanted = [
        Candidate(f"{NO_UTF8}.jpg", partial(read, 0), "x"),
        Candidate(f"{NO_UTF8}.png", partial(read, 0, key=NO_UTF8), "x"),
    ]
    for _ in range(2):
        report = import_eyes(wanted, out)
        assert report.imported == ["eye0"]
        ((name, reason),) = report.skipped
        assert name == f"{NO_UTF8}.png" and "key: expected a name in UTF-8" in reason
    rows = list(csv.DictReader((tmp_path / "eyes.import.csv").open(encoding="utf-8")))
    assert [(row["name"], row["state"]) for row in rows] == [
        ("eye\\udcff.jpg", "imported"),
        ("eye\\udcff.png", "left out"),
    ]


def test_a_patient_whose_name_is_not_utf8_has_a_number(tmp_path):
    assert 0 <= patient_number(NO_UTF8) < 1
    assert hashed_patient(NO_UTF8, "salt") != hashed_patient("eye", "salt")
    assert eye_seed(NO_UTF8, 0) != eye_seed("eye", 0)


def test_a_name_that_is_not_utf8_is_shown(tmp_path, monkeypatch):
    (tmp_path / f"{NO_UTF8}.vol").write_text("no scan")
    write_vol(tmp_path / "a.vol")
    command = ["fund2oct", "import", "vendor", str(tmp_path), str(tmp_path / "eyes.h5"), "--workers", "1"]
    # As the shell calls it, with an output that takes UTF-8 alone.
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with (tmp_path / "said").open("w", encoding="utf-8") as out, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        assert main() == 1
    said = (tmp_path / "said").read_bytes()
    assert b"left out " in said and b"eye\\udcff.vol" in said
