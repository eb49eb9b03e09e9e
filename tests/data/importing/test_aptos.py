import csv
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fund2oct.data import DataError, EyeReader, FundusOCTDataset
from fund2oct.data.importing.aptos import bscan_of, import_aptos
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.preparing.light_and_levels import even_levels, even_light
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.geometry import Placement, RadialScan

SMALL = ImportOptions(ScanOptions(shape=(40, 56)), fundus_px=48)
LEVELS = (40, 70, 100, 130, 160, 190)


def save_photo(path: Path, seed: int = 0) -> None:
    rows, columns = np.indices((120, 180)) + 0.5
    inside = np.hypot(columns - 90, rows - 60) < 56
    light = 1 + 0.2 * np.sin(columns / (5 + seed)) * np.cos(rows / 4)
    colour = np.array([180, 90, 50]) * light[..., None]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(inside[..., None], colour, 2).clip(0, 255).astype(np.uint8)).save(path)


def bscan(level: int, rows: int = 496, columns: int = 768) -> np.ndarray:
    """A retina of one brightness that says which slice it is, above a brighter outer retina."""
    image = np.full((rows, columns), 8, np.uint8)
    image[rows // 2 : rows * 6 // 10] = level
    image[rows * 6 // 10 : rows * 62 // 100] = 230
    return image


def composite(level: int) -> np.ndarray:
    """A vendor's export: infrared localizer at the left, B-scan at the right, a caption below."""
    localizer = np.full((496, 496), 255, np.uint8)
    return np.pad(np.concatenate([localizer, bscan(level)], 1), ((0, 30), (0, 0)), constant_values=200)


def save_slices(folder: Path, make) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, level in enumerate(LEVELS):
        Image.fromarray(make(level)).save(folder / f"{folder.name}_{number}.jpg", quality=95)


def write_table(path: Path, rows: list[tuple[str, ...]], columns=("PID", "CF_path", "OCT_path")) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Two sound eyes: one of composite exports, one of bare B-scans."""
    train = tmp_path / "challenge" / "train"
    save_photo(train / "CF" / "000001-1L.jpg")
    save_photo(train / "CF" / "000002-2R.jpg", seed=1)
    save_slices(train / "OCT" / "000001-1L", composite)
    save_slices(train / "OCT" / "000002-2R", lambda level: bscan(level, 320, 448))
    write_table(
        train / "train.csv",
        [("000001", "000001-1L.jpg", "000001-1L"), ("000002", "000002-2R.jpg", "000002-2R")],
    )
    return tmp_path / "challenge"


def test_the_eyes_are_imported(challenge, tmp_path):
    report = import_aptos(challenge, tmp_path / "eyes.h5")
    assert report.imported == ["000001-1L", "000002-2R"]
    assert report.skipped == []
    assert report.lines()[-1] == f"{tmp_path / 'eyes.h5'}: 2 eyes imported, 0 left out"
    left, right = (EyeReader(tmp_path / "eyes.h5").read(key) for key in report.imported)
    assert (left.patient, left.laterality, right.patient, right.laterality) == (
        "000001",
        "OS",
        "000002",
        "OD",
    )
    assert left.shape == right.shape == (6, 320, 448)
    assert left.fundus_px == 448
    assert (left.scan, left.placement) == (RadialScan(6, 8.8), Placement())
    assert math.isnan(left.spacing_mm[0])
    assert left.spacing_mm[1:] == pytest.approx((1.92 / 320, 8.8 / 448))
    photo = challenge / "train/CF/000001-1L.jpg"
    assert left.sha256 == hashlib.sha256(photo.read_bytes()).hexdigest()
    assert left.source == "APTOS-2024"
    slices = [*(challenge / "train/OCT/000001-1L").iterdir()]
    for part, files, n_bytes in (("photo", [photo], 3 * 120 * 180), ("volume", slices, 6 * 526 * 1264)):
        ratio = n_bytes / sum(file.stat().st_size for file in files)
        assert left.history[f"{part}_jpeg_ratio"] == pytest.approx(ratio, abs=0.05)


def test_slices_keep_their_order_and_composites_lose_their_localizer(challenge, tmp_path):
    import_aptos(challenge, tmp_path / "eyes.h5", SMALL)
    for key in ("000001-1L", "000002-2R"):
        volume = EyeReader(tmp_path / "eyes.h5").read(key).volume
        assert volume.shape == (6, 40, 56)
        for number, level in enumerate(LEVELS):
            assert volume[number, 21:23].mean() == pytest.approx(level, abs=4)
            # Neither the white localizer nor the grey caption.
            assert volume[number, :18].max() < 30 and volume[number, 28:].max() < 30


def test_the_pose_lies_on_the_outer_retina(challenge, tmp_path):
    import_aptos(challenge, tmp_path / "eyes.h5")
    pose_um = EyeReader(tmp_path / "eyes.h5").read("000001-1L").pose_um
    # The bright band runs from 60 to 62 % of 1.92 mm; it is level, so there is no tilt or bow.
    assert pose_um[:, 0] == pytest.approx([1170] * 6, abs=40)
    assert np.abs(pose_um[:, 1:]).max() < 15


def test_the_file_feeds_training(challenge, tmp_path):
    import_aptos(challenge, tmp_path / "eyes.h5", SMALL)
    sample = FundusOCTDataset(tmp_path / "eyes.h5")[0]
    assert sample["fundus"].shape == (3, 48, 48)
    assert sample["volume"].shape == (1, 6, 40, 56)


@pytest.mark.parametrize(
    ("shape", "crop"),
    [
        ((496, 1264), (496, 768)),
        ((526, 1264), (496, 768)),
        ((496, 769), (496, 768)),
        ((496, 768), (496, 768)),
        ((320, 448), (320, 448)),
        ((100, 100), (100, 100)),
        ((300, 900), (300, 900)),
        ((600, 700), (600, 700)),
    ],
)
def test_composites_are_told_by_their_size(shape, crop):
    export = np.arange(shape[0] * shape[1]).reshape(shape)
    found = bscan_of(export)
    assert found.shape == crop
    assert found[0, -1] == export[0, -1]
    assert found[0, 0] == export[0, shape[1] - crop[1]]


def _missing_slices(train: Path) -> None:
    for number in (2, 5):
        (train / f"OCT/000001-1L/000001-1L_{number}.jpg").unlink()


def _truncated_slice(train: Path) -> None:
    path = train / "OCT/000001-1L/000001-1L_3.jpg"
    path.write_bytes(path.read_bytes()[:2000])


def _no_folder(train: Path) -> None:
    (train / "OCT/000001-1L").rename(train / "OCT/elsewhere")


def _seventh_slice(train: Path) -> None:
    Image.fromarray(bscan(50)).save(train / "OCT/000001-1L/000001-1L_6.jpg")


def _no_photo(train: Path) -> None:
    (train / "CF/000001-1L.jpg").unlink()


def _photo_is_text(train: Path) -> None:
    (train / "CF/000001-1L.jpg").write_bytes(b"<html>not found</html>")


def _photo_is_a_bscan(train: Path) -> None:
    Image.fromarray(bscan(90)).save(train / "CF/000001-1L.jpg")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_missing_slices, "OCT/000001-1L: expected 6 slices, missing 000001-1L_2.jpg, 000001-1L_5.jpg"),
        (_truncated_slice, "000001-1L_3.jpg: cannot be read as a picture, it is damaged or none"),
        (_no_folder, "OCT/000001-1L: no such folder of B-scans"),
        (
            _seventh_slice,
            "expected 6 slices, a line of the scan each, found 000001-1L_6.jpg as well",
        ),
        (_no_photo, "CF/000001-1L.jpg: no such file"),
        (_photo_is_text, "CF/000001-1L.jpg: is an HTML page"),
        (_photo_is_a_bscan, "CF/000001-1L.jpg: the picture shows no disc of retina"),
    ],
)
def test_an_eye_that_cannot_be_read_is_named_and_the_other_imported(challenge, tmp_path, damage, reason):
    damage(challenge / "train")
    report = import_aptos(challenge, tmp_path / "eyes.h5", SMALL)
    assert report.imported == ["000002-2R"]
    ((name, found),) = report.skipped
    assert name == "000001-1L.jpg"
    assert reason in found
    assert report.lines()[0] == f"left out 000001-1L.jpg: {found}"
    assert EyeReader(tmp_path / "eyes.h5").keys == ("000002-2R",)


@pytest.mark.parametrize(
    ("row", "name", "reason"),
    [
        (("000001", "000001-1L.jpg", "000001-1L"), "000001-1L.jpg", "there is an eye of that key already"),
        (("3", "000003-3R.jpg", "000003-3R"), "000003-3R.jpg", "CF/000003-3R.jpg: no such file"),
        (("", "000002-2R.jpg", "x"), "000002-2R.jpg", "expected a PID and a CF_path, found '' and"),
        (("3", "", ""), "row 3 of train.csv", "expected a PID and a CF_path, found '3' and ''"),
        (("3",), "row 3 of train.csv", "expected a PID and a CF_path, found '3' and ''"),
        (("3", "000003.jpg", "x"), "000003.jpg", "laterality: expected a name that ends in L or R"),
    ],
)
def test_odd_rows(challenge, tmp_path, row, name, reason):
    write_table(
        challenge / "train/train.csv",
        [("000001", "000001-1L.jpg", "000001-1L"), ("000002", "000002-2R.jpg", "000002-2R"), row],
    )
    report = import_aptos(challenge, tmp_path / "eyes.h5", SMALL)
    assert report.imported == ["000001-1L", "000002-2R"]
    ((found, why),) = report.skipped
    assert found == name
    assert reason in why


def test_the_validation_set_has_photos_alone(challenge, tmp_path):
    save_photo(challenge / "val" / "CF" / "000009-1R.jpg")
    write_table(challenge / "val" / "val.csv", [("000009", "000009-1R.jpg")], ("PID", "CF_path"))
    import_aptos(challenge / "val", tmp_path / "val.h5", SMALL)
    eye = EyeReader(tmp_path / "val.h5").read("000009-1R")
    assert eye.volume is None
    assert eye.fundus.shape == (48, 48, 3)


@pytest.mark.parametrize("columns", [("PID", "CF_path", "OCT_path "), (" pid", "cf_path", "Oct_path")])
def test_spaces_and_capitals_in_the_header_cost_no_volume(challenge, tmp_path, columns):
    rows = [("000001", "000001-1L.jpg", "000001-1L")]
    write_table(challenge / "train/train.csv", rows, columns)
    import_aptos(challenge, tmp_path / "eyes.h5", SMALL)
    eye = EyeReader(tmp_path / "eyes.h5").read("000001-1L")
    assert eye.patient == "000001" and eye.volume is not None
    write_table(challenge / "train/train.csv", rows, ("PID", "CF_path", "OCT"))
    with pytest.raises(DataError, match=r"train\.csv: .* found no OCT_path among PID, CF_path, OCT"):
        import_aptos(challenge, tmp_path / "none.h5", SMALL)


def test_train_itself_may_be_named(challenge, tmp_path):
    assert len(import_aptos(challenge / "train", tmp_path / "eyes.h5", SMALL).imported) == 2


def test_folders_that_cannot_be_imported(challenge, tmp_path):
    out, table = tmp_path / "eyes.h5", challenge / "train/train.csv"
    with pytest.raises(DataError, match=r"nowhere: no such folder; expected the challenge's"):
        import_aptos(tmp_path / "nowhere", out)
    with pytest.raises(
        DataError, match=r"OCT: expected train/train.csv, train.csv or val.csv in it, found none"
    ):
        import_aptos(challenge / "train/OCT", out)
    write_table(table, [("1", "a")], ("ID", "CF_path"))
    with pytest.raises(
        DataError, match=r"train.csv: expected the columns PID, .* found no PID and no OCT_path"
    ):
        import_aptos(challenge, out)
    write_table(table, [])
    with pytest.raises(DataError, match=r"train.csv: expected a row for each eye, found none"):
        import_aptos(challenge, out)
    table.write_bytes(b"PID,CF_path\n\xff\xfe\xff,\x00")
    with pytest.raises(DataError, match=r"train.csv: cannot be read as CSV"):
        import_aptos(challenge, out)
    write_table(table, [("1", "gone-1L.jpg", "gone"), ("2", "gone-2L.jpg", "gone")])
    with pytest.raises(
        DataError, match=r"not written, none of 2 eyes could be imported; the first, gone-1L.jpg: "
    ):
        import_aptos(challenge, out)
    assert not out.exists()
    with pytest.raises(ValueError, match="depth_mm: expected a positive height, found 0"):
        import_aptos(challenge, out, depth_mm=0)


def test_the_options_of_all_importers_are_its_own(challenge, tmp_path):
    import_aptos(challenge, tmp_path / "plain.h5", SMALL)
    options = ImportOptions(
        ScanOptions(shape=(40, 56), n_slices=3), 48, even_light=True, even_levels=True, salt="sugar"
    )
    import_aptos(challenge, tmp_path / "eyes.h5", options, scan=RadialScan(6, 8.8, start_deg=10))
    plain, eye = (EyeReader(tmp_path / name).read("000001-1L") for name in ("plain.h5", "eyes.h5"))
    np.testing.assert_array_equal(eye.fundus, even_light(plain.fundus))
    np.testing.assert_array_equal(eye.volume, even_levels(plain.volume[::2]))
    assert eye.scan.lines == RadialScan(6, 8.8, start_deg=10).lines[::2]
    assert eye.patient != plain.patient == "000001" and eye.laterality == "OS"
    assert {"light": "evened", "levels": "evened", "slices": "0,2,4"}.items() <= eye.history.items()


def test_the_white_of_deeper_files_leaves_bytes_as_they_are(challenge, tmp_path):
    import_aptos(challenge, tmp_path / "plain.h5", SMALL)
    options = ImportOptions(ScanOptions(shape=(40, 56), levels=(0, 4095)), fundus_px=48)
    report = import_aptos(challenge, tmp_path / "eyes.h5", options)
    plain, eye = (EyeReader(tmp_path / name).read("000001-1L") for name in ("plain.h5", "eyes.h5"))
    np.testing.assert_array_equal(eye.volume, plain.volume)
    assert sum("--levels 0 4095 was not applied" in note for _, note in report.notes) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing_mm": (1.0, 0.004, 0.01)}, "spacing_mm: expected none .*; depth_mm says their height"),
        ({"pattern": RadialScan(6, 6.0)}, "pattern: expected none .*; scan says where they lie"),
        ({"axes": "szx"}, "axes, flip: expected none"),
        ({"flip": "z"}, "axes, flip: expected none"),
    ],
)
def test_what_the_challenge_tells_is_no_option(challenge, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        import_aptos(challenge, tmp_path / "eyes.h5", ImportOptions(ScanOptions(**options)))


def test_real_eyes(real_data: Path, tmp_path):
    report = import_aptos(real_data / "aptos_mini", tmp_path / "eyes.h5")
    assert report.imported == ["011574-64L", "016035-63R"]
    assert report.skipped == []
    for key, laterality in (("011574-64L", "OS"), ("016035-63R", "OD")):
        eye = EyeReader(tmp_path / "eyes.h5").read(key)
        assert eye.laterality == laterality
        depth = 1000 * eye.spacing_mm[1] * eye.volume.shape[1]
        assert ((eye.pose_um[:, 0] > 0.2 * depth) & (eye.pose_um[:, 0] < 0.8 * depth)).all()
        assert eye.volume.mean() > 20
