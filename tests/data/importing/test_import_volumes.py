"""Volumes without photos: whose eyes they are, and where their slices lie."""

import numpy as np
import pytest
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.volumes import import_volumes
from fund2oct.data.preparing.scans import ScanOptions

SPACING_MM = (0.3, 0.02, 0.1)


def volumes(folder, *names):
    folder.mkdir()
    for number, name in enumerate(names):
        values = np.random.default_rng(number).integers(0, 250, (3, 24, 40), np.uint8)
        np.save(folder / f"{name}.npy", values)
    return folder


def patients(path):
    with EyeReader(path) as reader:
        return {key: reader.info(key).patient for key in reader.keys}


@pytest.mark.parametrize("en_face", [False, True])
def test_two_eyes_of_a_patient_are_of_one(en_face, tmp_path):
    source = volumes(tmp_path / "in", "p12_OD", "p12_OS", "p13_OD")
    options = ImportOptions(ScanOptions(SPACING_MM), fundus_px=48, en_face=en_face)
    report = import_volumes(source, tmp_path / "eyes.h5", options)
    assert patients(tmp_path / "eyes.h5") == {"p12_OD": "p12", "p12_OS": "p12", "p13_OD": "p13"}
    assert report.remarks == [
        f"{source}: 2 patients were taken from the names of 3 eyes, as 'p12' of p12_OD and p12_OS; "
        "--no-patients takes each eye for one"
    ]
    alone = import_volumes(source, tmp_path / "alone.h5", options, no_patients=True)
    assert patients(tmp_path / "alone.h5") == {key: key for key in alone.imported} and not alone.remarks
    with pytest.raises(DataError, match=r"exists; .* made from something else"):
        import_volumes(source, tmp_path / "eyes.h5", options, no_patients=True)


@pytest.mark.parametrize(
    "names",
    [
        ("p12_OD", "p12_OS", "p12_OD_2021"),
        ("p12_2021_OD", "p12_2021_OS", "p12_2022_OD"),
        ("p12_OD", "p13_OD"),
        ("a", "b"),
    ],
)
def test_names_that_do_not_tell_the_patients_are_refused(names, tmp_path, capsys):
    command = ["import", "volumes", str(volumes(tmp_path / "in", *names)), str(tmp_path / "eyes.h5")]
    command += ["--workers", "1", "--spacing-mm", *map(str, SPACING_MM)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert (
        f"in: expected names that tell the patients, such as p12_OD and p12_OS, found {names[0]}, " in error
    )
    assert "must not be both trained and tested on" in error and "say --no-patients" in error
    assert main([*command, "--no-patients"]) == 0 and len(patients(tmp_path / "eyes.h5")) == len(names)


def test_folders_beside_the_slices_of_one_volume_are_named(tmp_path):
    source = tmp_path / "in"
    (source / "another").mkdir(parents=True)
    (source / "@eaDir" / "slice_0.png").mkdir(parents=True)  # thumbnails, as some file servers put them
    for number in range(3):
        bscan = np.random.default_rng(number).integers(0, 250, (24, 40), np.uint8)
        Image.fromarray(bscan).save(source / f"slice_{number}.png")
    report = import_volumes(source, tmp_path / "eyes.h5", ImportOptions(ScanOptions(SPACING_MM)))
    assert report.imported == ["in"] and report.passed_over == ["@eaDir", "another"]


@pytest.mark.parametrize("name, patient", [("cube", "cube"), ("p12_OD", "p12"), ("OD", "OD")])
def test_a_volume_by_itself_is_a_patient(name, patient, tmp_path):
    file = volumes(tmp_path / "in", name) / f"{name}.npy"
    import_volumes(file, tmp_path / "eyes.h5", ImportOptions(ScanOptions(SPACING_MM)))
    assert patients(tmp_path / "eyes.h5") == {name: patient}
    import_volumes(file, tmp_path / "alone.h5", ImportOptions(ScanOptions(SPACING_MM)), no_patients=True)
    assert patients(tmp_path / "alone.h5") == {name: name}


def test_a_folder_that_cannot_be_read_is_left_out_and_named(tmp_path, close_folder):
    source = volumes(tmp_path / "in", "p12_OD", "p12_OS")
    (source / "lost+found").mkdir()
    close_folder("lost+found")
    options = ImportOptions(ScanOptions(SPACING_MM))
    report = import_volumes(source, tmp_path / "eyes.h5", options)
    assert report.imported == ["p12_OD", "p12_OS"]
    assert report.passed_over == []
    assert report.skipped == [("lost+found", "cannot be read: Permission denied")]
    table = (tmp_path / "eyes.import.csv").read_text()
    assert table.splitlines()[-1] == "lost+found,,left out,cannot be read: Permission denied"
    for name in ("p12_OD", "p12_OS"):
        (source / f"{name}.npy").unlink()
    with pytest.raises(DataError, match=r"found none; passed over lost\+found \(cannot be read"):
        import_volumes(source, tmp_path / "none.h5", options)


def slices(folder, n_slices=3):
    folder.mkdir(parents=True)
    for number in range(n_slices):
        bscan = np.random.default_rng(number).integers(0, 250, (24, 40), np.uint8)
        Image.fromarray(bscan).save(folder / f"{number}_image.png")
    return folder


def test_a_photo_beside_the_folder_of_its_slices_is_no_volume(tmp_path):
    """As some data sets lay them: 0001/0001.png is the photo of 0001/0001/0_image.png and its like."""
    source, out = tmp_path / "in", tmp_path / "eyes.h5"
    of_eye = slices(source / "0001" / "0001")
    photo = np.random.default_rng(7).integers(0, 250, (24, 40, 3), np.uint8)
    Image.fromarray(photo).save(source / "0001" / "0001.png")
    (slices(source / "0002") / "notes.txt").write_text("left eye")
    options = ImportOptions(ScanOptions(SPACING_MM))
    report = import_volumes(source, out, options, no_patients=True)
    assert report.imported == ["0002"] and report.passed_over == ["0002/notes.txt"]
    ((name, reason),) = report.skipped
    assert name == str(source / "0001")
    said = "expected slices, found pictures (0001.png) beside folders of pictures (0001), as where a photo"
    assert reason.startswith(f"{source / '0001'}: {said}") and "import table" in reason
    with pytest.raises(DataError, match=r"0001: expected slices, found pictures \(0001\.png\) beside"):
        import_volumes(source / "0001", tmp_path / "one.h5", options)
    assert import_volumes(of_eye, tmp_path / "slices.h5", options).imported == ["0001"]
    with EyeReader(tmp_path / "slices.h5") as reader:
        assert reader.read("0001").volume.shape == (3, 24, 40)
