"""Imports: the same whatever interrupts them, never half a file, and one line for what goes wrong."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import h5py
import numpy as np
import pytest
from mutations import same
from plain_candidates import candidates, read

from fund2oct.cli import main
from fund2oct.data import DataError, Eye, EyeReader, EyeWriter
from fund2oct.data.importing import engine
from fund2oct.data.importing.engine import Candidate, fingerprint_of, import_eyes
from fund2oct.data.importing.parts import locked
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.data.importing.surfaces import add_surfaces
from fund2oct.data.store.check import check_file
from fund2oct.phantom import PhantomConfig
from fund2oct.retina import find_retina

FORK = multiprocessing.get_context("fork")
"""Starts a process without importing everything anew."""


@pytest.fixture
def forked_pool(monkeypatch):
    """Processes of a pool that import nothing anew, which takes longer than all that they do here."""
    monkeypatch.setattr(engine, "process_pool", partial(ProcessPoolExecutor, mp_context=FORK))


def stop() -> tuple[Eye, list[str]]:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("forked_pool")
@pytest.mark.parametrize("workers", [1, 2])
def test_the_report_and_the_file_follow_the_order_of_the_candidates(tmp_path, workers):
    wanted = candidates(4)
    wanted[1:1] = [
        Candidate("broken", partial(read, 7, fails="no retina"), "x"),
        Candidate("locked", partial(read, 7, fails="locked"), "x"),
        Candidate("again", partial(read, 9, key="eye0"), "x"),
    ]
    report = import_eyes(wanted, tmp_path / "eyes.h5", workers=workers)
    assert report.imported == ["eye0", "eye1", "eye2", "eye3"]
    assert report.lines() == [
        "left out broken: no retina",
        "left out locked: cannot be read (locked)",
        "left out again: eye 'eye0': there is an eye of that key already; keys are unique in a file; "
        "the other is file 0",
        "note on eye1: odd, but usable",
        "note on eye3: odd, but usable",
        f"{tmp_path}/eyes.h5: 4 eyes imported, 3 left out",
    ]
    assert (tmp_path / "eyes.import.csv").read_text().splitlines() == [
        "name,key,state,remark",
        "file 0,eye0,imported,",
        'file 1,eye1,imported,"odd, but usable"',
        "file 2,eye2,imported,",
        'file 3,eye3,imported,"odd, but usable"',
        "broken,,left out,no retina",
        "locked,,left out,cannot be read (locked)",
        "again,,left out,eye 'eye0': there is an eye of that key already; keys are unique in a file; "
        "the other is file 0",
    ]
    with EyeReader(tmp_path / "eyes.h5") as reader:
        assert all(same(reader.read(f"eye{number}"), read(number)[0]) for number in range(4))
        assert reader.notes("eye1") == ["odd, but usable"]
    assert sorted(os.listdir(tmp_path)) == ["eyes.h5", "eyes.import.csv"]


def test_one_eye_is_read_without_a_process_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "process_pool", lambda _: pytest.fail("a process was started"))
    assert import_eyes(candidates(1), tmp_path / "eyes.h5", workers=7).imported == ["eye0"]


@pytest.mark.usefixtures("forked_pool")
def test_a_process_that_was_killed_is_said(tmp_path):
    wanted = [*candidates(1), Candidate("killed", partial(os._exit, 9), "x")]
    with pytest.raises(DataError, match=r"eyes.h5: not written, one of 2 processes was killed, perhaps"):
        import_eyes(wanted, tmp_path / "eyes.h5", workers=7)
    assert not (tmp_path / "eyes.h5").exists()


def test_the_same_again_does_nothing_and_another_is_refused(tmp_path):
    out, log = tmp_path / "eyes.h5", tmp_path / "log"
    import_eyes(candidates(log=log), out)
    before = out.read_bytes()
    report = import_eyes(candidates(log=log), out)
    assert report.unchanged and report.lines() == [f"{out}: holds these 6 eyes already; nothing to do"]
    for others in (candidates(5), candidates(fingerprint="newer"), candidates(fingerprint="")):
        with pytest.raises(DataError, match=r"eyes.h5: exists; choose another.*made from something else"):
            import_eyes(others, out)
    assert out.read_bytes() == before
    assert len(log.read_text().split()) == 6
    assert not list(tmp_path.glob(".*"))


def test_overwriting_makes_only_what_is_new(tmp_path):
    out, log = tmp_path / "eyes.h5", tmp_path / "log"
    import_eyes(candidates(4), out)
    with h5py.File(out, "r+") as file:
        file["eyes/eye2/fundus"][0, 0, 0] ^= 1  # damaged, and so to be made again
    report = import_eyes(candidates(6, log), out, overwrite=True)
    assert log.read_text().split() == ["2", "4", "5"]
    assert report.reused == 3 and "6 eyes imported, 3 of them by an earlier run" in report.lines()[-1]
    assert check_file(out) == []


def test_sound_parts_are_kept_and_damaged_ones_made_again(tmp_path):
    out, log, parts = tmp_path / "eyes.h5", tmp_path / "log", tmp_path / ".eyes.h5.parts"
    with pytest.raises(KeyboardInterrupt):
        import_eyes([*candidates(5), Candidate("stopped", stop, "x")], out)
    assert sorted(os.listdir(tmp_path)) == [".eyes.h5.parts"]
    kept = sorted(parts.glob("*.h5"))
    assert len(kept) == 5
    kept[0].write_bytes(kept[0].read_bytes()[:-9])
    kept[1].write_bytes(b"")
    (parts / ".half.h5.123.part").write_bytes(b"half")
    (tmp_path / ".eyes.h5.part").write_bytes(b"half")
    report = import_eyes(candidates(5, log), out)
    assert len(log.read_text().split()) == 2 and report.reused == 3
    import_eyes(candidates(5), tmp_path / "whole.h5")
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert not list(tmp_path.glob(".*"))


def _hold(path, held, done):
    with locked(path):
        held.set()
        done.wait(60)


def test_two_imports_of_one_file(tmp_path):
    out = tmp_path / "eyes.h5"
    held, done = FORK.Event(), FORK.Event()
    other = FORK.Process(target=_hold, args=(out, held, done))
    other.start()
    assert held.wait(60)
    with pytest.raises(DataError, match=r"eyes.h5: is being made by another process; wait for it to end"):
        import_eyes(candidates(), out)
    other.kill()  # a lock ends with its process
    other.join()
    assert len(import_eyes(candidates(), out).imported) == 6


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="workers: expected at least 1, found 0"):
        import_eyes(candidates(), tmp_path / "eyes.h5", workers=0)
    none = [Candidate("broken", partial(read, 7, fails="no retina"), "x")]
    with pytest.raises(DataError, match="none of 1 eyes could be imported; the first, broken: no retina"):
        import_eyes(none, tmp_path / "eyes.h5")
    with pytest.raises(DataError, match="none of 0 eyes could be imported"):
        import_eyes([], tmp_path / "eyes.h5")
    assert os.listdir(tmp_path) == []


def test_a_fingerprint_follows_the_files_and_the_settings(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    before = fingerprint_of([tmp_path / "a.jpg", tmp_path], 448, "RadialScan")
    assert fingerprint_of([tmp_path / "a.jpg", tmp_path], 448, "RadialScan") == before
    assert fingerprint_of([tmp_path / "a.jpg", tmp_path], 449, "RadialScan") != before
    (tmp_path / "b.jpg").write_bytes(b"new")
    assert fingerprint_of([tmp_path / "a.jpg", tmp_path], 448, "RadialScan") != before
    (tmp_path / "b.jpg").unlink()
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    assert fingerprint_of([tmp_path / "a.jpg", tmp_path], 448, "RadialScan") != before


def _killed(path, config, workers, n_eyes, later_s):
    """Simulate until a signal ends the process without warning, a moment after so many eyes are done."""
    told = engine.with_progress

    def watched(items, *rest):
        for number, item in enumerate(told(items, *rest), start=1):
            yield item
            if number == n_eyes:
                threading.Timer(later_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
            elif number == n_eyes + 4:
                os.kill(os.getpid(), signal.SIGKILL)

    engine.with_progress = watched
    simulate_file(path, 12, config=config, workers=workers)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_is_the_same_as_left_alone(tmp_path, workers):
    killed, whole = tmp_path / "killed.h5", tmp_path / "whole.h5"
    config = PhantomConfig(fundus_px=32, n_depth=24, n_ascans=28)
    simulate_file(whole, 12, config=config)
    process = FORK.Process(target=_killed, args=(killed, config, workers, 4, 0.01))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not killed.exists()
    report = simulate_file(killed, 12, config=config)
    assert report.reused >= 4
    assert killed.read_bytes() == whole.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["killed.h5", "whole.h5"]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte; mounting one is for the superuser."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.usefixtures("forked_pool")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_leaves_the_old_file(small_disk, workers):
    out = small_disk / "eyes.h5"
    import_eyes(candidates(3), out)
    before = out.read_bytes()
    with pytest.raises(DataError) as error:
        import_eyes(candidates(100), out, overwrite=True, workers=workers)
    message = str(error.value)
    assert message.startswith(f"{out}: is as it was, the disk is full after ") and "of 100 eyes" in message
    assert "MiB more are needed; make room and run it again" in message and "\n" not in message
    assert out.read_bytes() == before
    with pytest.raises(DataError, match="was not written, the disk is full"):
        import_eyes(candidates(100), small_disk / "other.h5")
    assert not (small_disk / "other.h5").exists()


def test_a_full_disk_when_the_parts_are_put_together(small_disk, monkeypatch):
    out = small_disk / "eyes.h5"
    free = type("Usage", (), {"free": 2**40})
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)  # as where a quota is in force
    with pytest.raises(DataError, match=r"eyes.h5: was not written, the disk is full after 40 of 40 eyes"):
        import_eyes(candidates(40), out)
    assert os.listdir(small_disk) == [".eyes.h5.parts"]
    shutil.move(small_disk / ".eyes.h5.parts", small_disk.parent)
    report = import_eyes(candidates(40), small_disk.parent / "eyes.h5")  # with room, it goes on
    assert report.reused == 40


def test_a_full_disk_and_a_plain_writer(small_disk):
    with EyeWriter(small_disk / "eyes.h5") as writer:
        writer.add(read(0)[0])
    before = (small_disk / "eyes.h5").read_bytes()
    with (
        pytest.raises(DataError, match=r"eyes.h5: not written, the disk is full; make room"),
        EyeWriter(small_disk / "eyes.h5", overwrite=True) as writer,
    ):
        for number in range(200):
            writer.add(read(number)[0])
    assert os.listdir(small_disk) == ["eyes.h5"]
    assert (small_disk / "eyes.h5").read_bytes() == before


def test_surfaces_are_found_where_a_file_lacks_them(tmp_path, make_eye, make_file, capsys):
    old = make_file(2, "old.h5", surfaces_um=None, surface_confidence=None)
    report = add_surfaces(old, tmp_path / "new.h5")
    note = "pose and surfaces searched in the volume"
    assert [key for key, text in report.notes if text == note] == ["eye00", "eye01"]
    with EyeReader(tmp_path / "new.h5") as reader:
        for number in (0, 1):
            found, eye = reader.read(f"eye{number:02d}"), make_eye(number)
            surfaces, pose = find_retina(eye.volume, eye.spacing_mm)
            np.testing.assert_array_equal(found.surfaces_um, surfaces.surfaces_um)
            np.testing.assert_array_equal(found.surface_confidence, surfaces.confidence)
            np.testing.assert_array_equal(found.pose_um, pose.pose_um)
            np.testing.assert_array_equal(found.volume, eye.volume)
    assert main(["surfaces", str(old), str(tmp_path / "again.h5"), "--workers", "1"]) == 0
    assert f"note on eye01: {note}" in capsys.readouterr().out


def test_joining_files_keeps_every_eye(tmp_path, make_eye, make_file, capsys):
    first = make_file(2, "a.h5")
    with EyeWriter(tmp_path / "b.h5") as writer:
        writer.add(make_eye(5))
    out = tmp_path / "new.h5"
    report = add_surfaces([first, tmp_path / "b.h5"], out, compression="gzip")
    assert report.imported == ["eye00", "eye01", "eye05"]
    with EyeReader(out) as reader:
        assert all(same(reader.read(f"eye{number:02d}"), make_eye(number)) for number in (0, 1, 5))
    with h5py.File(first, "r+") as file:
        file["eyes/eye01/volume"][2, 0, 0] ^= 1
    assert main(["surfaces", str(first), str(tmp_path / "rest.h5"), "--workers", "1"]) == 1
    assert "left out eye01: " in capsys.readouterr().err
    assert EyeReader(tmp_path / "rest.h5").keys == ("eye00",)
