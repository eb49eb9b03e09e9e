"""A scanner's dark eye of 10 bits and its bright one of 12 get unlike whites: an import says so in a line."""

import math

import cv2
import numpy as np
import pytest

from fund2oct.data import EyeReader
from fund2oct.data.importing.assemble import ImportOptions, read_files
from fund2oct.data.importing.table import import_table
from fund2oct.data.importing.volumes import import_volumes
from fund2oct.data.preparing.photo import PhotoOptions
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.geometry import RadialScan
from fund2oct.models.predicting.photo_reader import PhotoReader
from fund2oct.phantom import PhantomConfig, simulate_eye

SPACING_MM = (0.3, 0.02, 0.1)


@pytest.fixture
def scans(tmp_path):
    """Numbers up to 900, 3000, 2500 (of more than eight bits) and 250 (bytes)."""
    folder = tmp_path / "scans"
    folder.mkdir()
    share = np.random.default_rng(0).random((2, 24, 40))
    share[0, 0, 0] = 1
    for name, largest in (("dark", 900), ("bright", 3000), ("other", 2500)):
        np.save(folder / f"{name}.npy", (share * largest).astype(np.uint16))
    np.save(folder / "bytes.npy", (share * 250).astype(np.uint8))
    return folder


def remarks(scans, out, **options):
    given = ImportOptions(ScanOptions(SPACING_MM, levels=options.pop("levels", None)), **options)
    return import_volumes(scans, out, given, overwrite=True, no_patients=True).remarks


def test_unlike_whites_of_volumes_are_one_line(scans):
    out = scans.parent / "eyes.h5"
    assert remarks(scans, out) == [
        "the white of each volume was guessed: 1023 for 1 eye ('dark'), 4095 for 2 eyes (such as 'bright'), "
        "so that the same tissue may be 4 times as bright in one as in another; if one scanner made them, "
        "import again with --overwrite --levels 0 4095, the white of the largest; if several did, with "
        "--overwrite --even-levels"
    ]
    with EyeReader(out) as reader:
        guessed = {key: reader.info(key).history.get("volume_white_guessed") for key in reader.keys}
    assert guessed == {"bright": 4095, "bytes": None, "dark": 1023, "other": 4095}


def test_what_the_line_advises_silences_it(scans):
    out = scans.parent / "eyes.h5"
    assert remarks(scans, out, levels=(0, 4095)) == []
    with EyeReader(out) as reader:
        assert reader.read("dark").volume.max() == round(900 / 4095 * 255)
        # Bytes keep their white, and say so; the corner counts as a white border.
        eye, notes = reader.read("bytes"), reader.notes("bytes")
        others = {key: reader.notes(key) for key in ("dark", "bright", "other")}
    np.testing.assert_array_equal(eye.volume[:, 8:], np.load(scans / "bytes.npy")[:, 8:])
    assert (eye.history["black_level"], eye.history["white_level"]) == (0, 255)
    said = "--levels 0 4095 was not applied to it: its numbers are bytes, which end at 255"
    assert said in notes and not any("--levels" in note for found in others.values() for note in found)
    assert remarks(scans, out, even_levels=True) == []
    (scans / "dark.npy").unlink()
    assert remarks(scans, out) == [], "alike"


def test_unlike_whites_of_photos_are_one_line(tmp_path):
    fundus = simulate_eye(5, 0, PhantomConfig(fundus_px=64, n_depth=32, n_ascans=48)).fundus
    for name, factor in (("a", 4), ("b", 16), ("c", 1)):
        deep = fundus[..., ::-1] if factor == 1 else fundus[..., ::-1].astype(np.uint16) * factor
        cv2.imwrite(str(tmp_path / f"{name}.png"), deep)
    (tmp_path / "eyes.csv").write_text("photo,patient\na.png,1\nb.png,2\nc.png,3\n")
    report = import_table(tmp_path / "eyes.csv", tmp_path / "eyes.h5", ImportOptions(fundus_px=48))
    assert ("a", "the photo's white was taken for 1023; save it with 8 bits a channel to choose another") in (
        report.notes
    )
    assert [key for key, note in report.notes if "white" in note] == ["a", "b"]
    (line,) = report.remarks
    assert "the white of each photo was guessed: 1023 for 1 eye ('a'), 4095 for 1 eye ('b'), so that" in line
    assert line.endswith(
        "save all photos with 8 bits a channel by one white, or even them out with --even-light"
    )


def test_a_prediction_says_which_white_was_guessed_as_an_import_does(tmp_path):
    fundus = simulate_eye(5, 0, PhantomConfig(fundus_px=64, n_depth=32, n_ascans=48)).fundus
    deep, plain = tmp_path / "deep.png", tmp_path / "plain.png"
    cv2.imwrite(str(deep), fundus[..., ::-1].astype(np.uint16) * 4)
    cv2.imwrite(str(plain), fundus[..., ::-1])
    reader = PhotoReader(PhotoOptions(48), 48, RadialScan(), (math.nan, 0.004, 0.1), (6, 32, 48))
    imported, predicted = read_files(deep, None, ImportOptions()), reader.read(deep)
    assert imported.history["photo_white_guessed"] == 1023 == predicted.eye.history["photo_white_guessed"]
    (note,) = imported.notes
    assert "the photo's white was taken for 1023" in note and f"{deep}: {note}" in predicted.notes
    told_by_its_type = reader.read(plain)
    assert "photo_white_guessed" not in told_by_its_type.eye.history
    assert not [note for note in told_by_its_type.notes if "white" in note]
