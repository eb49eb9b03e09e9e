"""A clinic's table of B-scans: the ends of their lines in pixels of the photo, carried through the crop."""

import csv
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader, FundusOCTDataModule
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.table import import_table
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.geometry import LineScan, Placement, RadialScan, RasterScan
from fund2oct.networks.lift import sample_lines
from fund2oct.phantom import PhantomConfig, simulate_eye

COLUMNS, ROWS, X0, Y0, RADIUS = 420, 300, 205.0, 148.0, 130.0
Z, X = 40, 50
PX_MM = 0.05
# Whole pixels; the three lines cross each other at no A-scan that is looked at.
LINES = [((95, 120), (295, 120)), ((150, 60), (150, 260)), ((130, 70), (250, 230))]
LENGTH_MM = 200 * PX_MM
OPTIONS = ImportOptions(ScanOptions((math.nan, 0.012, LENGTH_MM / X), mask_borders=False), fundus_px=260)


def place_px(line, ascan):
    """Column and row of the photo under an A-scan, (0, 0) the centre of the first pixel."""
    (xa, ya), (xb, yb) = LINES[line]
    share = (ascan + 0.5) / X
    return xa + share * (xb - xa), ya + share * (yb - ya)


def photo_of_a_retina(bright=None):
    """A red disc on black, taller structures none; one bright pixel where wanted."""
    row, column = np.indices((ROWS, COLUMNS)) + 0.5
    inside = np.hypot(column - X0, row - Y0) < RADIUS
    red = 90 + 20 * np.sin(column / 40) * np.cos(row / 30)
    photo = (np.stack([red, 0.4 * red, 0.2 * red], -1) * inside[..., None]).astype(np.uint8)
    if bright is not None:
        at_column, at_row = bright
        photo[at_row, at_column] = 255
    return photo


@pytest.fixture(scope="module")
def bscans():
    config = PhantomConfig(fundus_px=32, n_depth=Z, n_ascans=X)
    return [simulate_eye(5, number, config).volume[:3] for number in range(3)]


@pytest.fixture
def clinic(tmp_path, bscans):
    """Three photos of other bright pixels, three pictures of B-scans each, and the rows of their table."""
    rows = [("eye", "photo", "bscan", "x0_px", "y0_px", "x1_px", "y1_px", "patient")]
    for number, (name, volume) in enumerate(zip("abc", bscans, strict=True)):
        column, row = place_px(number, 30)
        photo = photo_of_a_retina((round(column), round(row)))
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
        for place, (bscan, (start, end)) in enumerate(zip(volume, LINES, strict=True)):
            Image.fromarray(bscan).save(tmp_path / f"{name}{place}.png")
            rows.append((name, f"{name}.png", f"{name}{place}.png", *start, *end, f"p{name}"))
    return tmp_path, rows


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def read(path):
    with EyeReader(path) as reader:
        return [reader.read(key) for key in reader.keys]


def test_a_bright_pixel_of_the_photo_is_seen_by_the_ascan_over_it(clinic, bscans):
    folder, rows = clinic
    out = folder / "eyes.h5"
    report = import_table(write(folder / "t.csv", rows), out, OPTIONS, columns={"key": "eye"})
    assert report.imported == ["a", "b", "c"] and not report.skipped and not report.notes
    data = FundusOCTDataModule(str(out), batch_size=1, symmetries="none", split={"test": ["a", "b", "c"]})
    data.setup()
    for number, batch in enumerate(data.test_dataloader()):
        assert batch["key"] == ["abc"[number]]
        np.testing.assert_array_equal((batch["volume"][0, 0] * 255).round().byte(), bscans[number])
        seen = sample_lines(batch["fundus"][:, 1:2], batch["grid"])[0, 0]
        assert divmod(int(seen.argmax()), X) == (number, 30)
        # Against the position by hand: the square around the circle is 260 pixels wide, as wide as stored.
        pixel = (batch["grid"][0, number, 30].numpy() + 1) * 130 - 0.5
        by_hand = np.array(place_px(number, 30)) - (X0 - RADIUS, Y0 - RADIUS)
        np.testing.assert_allclose(pixel, by_hand, atol=0.7)


def test_lines_keep_their_length_and_tell_the_scale_of_the_photo(clinic):
    folder, rows = clinic
    out = folder / "eyes.h5"
    import_table(write(folder / "t.csv", rows), out, OPTIONS, columns={"key": "eye"})
    eye = read(out)[0]
    assert isinstance(eye.scan, LineScan) and eye.scan.length_mm == pytest.approx((10,) * 3, rel=1e-6)
    assert eye.placement.half_width_mm == pytest.approx(RADIUS * PX_MM, rel=0.01)
    assert eye.spacing_mm[2] == pytest.approx(0.2) and math.isnan(eye.spacing_mm[0])
    assert eye.history["lines_from"] == "px in a table"


def test_a_files_distance_of_ascans_tells_the_scale_where_nan_leaves_it(clinic, bscans):
    folder, _ = clinic
    sizes = {"PhysicalSizeX": LENGTH_MM / X, "PhysicalSizeXUnit": "mm"}
    tifffile.imwrite(
        folder / "a.ome.tif", bscans[0], photometric="minisblack", metadata={"axes": "ZYX", **sizes}
    )
    text = "; ".join(" ".join(map(str, (*start, *end))) for start, end in LINES)
    table = write(folder / "t.csv", [("photo", "volume", "lines_px"), ("a.png", "a.ome.tif", text)])
    found = []
    for x_mm in (LENGTH_MM / X, math.nan):
        options = ImportOptions(ScanOptions((math.nan, 0.012, x_mm), mask_borders=False), fundus_px=64)
        report = import_table(table, folder / f"{x_mm}.h5", options)
        assert not report.notes
        found += read(folder / f"{x_mm}.h5")
    assert found[1].placement == found[0].placement and found[1].scan == found[0].scan
    assert found[1].spacing_mm == pytest.approx(found[0].spacing_mm, nan_ok=True)


@pytest.mark.parametrize("spacing", [math.nan, 0.2])
def test_a_star_in_whole_pixels_is_a_star(clinic, spacing):
    folder, rows = clinic
    star = np.array(RadialScan(3, 200, start_deg=20).lines) + np.array([210, 150])
    for row, line in zip(range(1, 4), star.round().astype(int).reshape(3, 4), strict=True):
        rows[row] = (*rows[row][:3], *line, "pa")
    options = ImportOptions(ScanOptions((math.nan, 0.012, spacing)), 64, Placement(half_width_mm=6.5))
    report = import_table(write(folder / "t.csv", rows[:4]), folder / "e.h5", options, columns={"key": "eye"})
    [eye] = read(folder / "e.h5")
    assert isinstance(eye.scan, RadialScan) and len(eye.scan.symmetries()) == 12
    assert eye.scan.length_mm[0] == pytest.approx(10, rel=0.02)
    # (210, 150) is the centre of its pixel.
    np.testing.assert_allclose(eye.placement.shift, ((210.5 - X0) / RADIUS, (150.5 - Y0) / RADIUS), atol=0.01)
    assert bool(report.notes) == math.isnan(spacing)


def test_a_second_table_a_column_of_lines_and_slices_out_of_order_say_the_same(clinic):
    folder, rows = clinic
    first = import_table(write(folder / "t.csv", rows), folder / "1.h5", OPTIONS, columns={"key": "eye"})
    eyes = [("key", "photo", "volume", "patient")]
    eyes += [(n, f"{n}.png", f"{n}0.png | {n}1.png|{n}2.png", f"p{n}") for n in "abc"]
    table = write(folder / "eyes.csv", eyes)
    ends = [(row[1], place % 3, *row[3:7]) for place, row in enumerate(rows[1:])]
    lines = write(
        folder / "lines.csv", [("photo", "slice", "x0_px", "y0_px", "x1_px", "y1_px"), *reversed(ends)]
    )
    second = import_table(table, folder / "2.h5", OPTIONS, lines=lines)
    text = "; ".join(" ".join(map(str, (*start, *end))) for start, end in LINES)
    eyes = [(*eyes[0], "lines_px"), *((*row, text) for row in eyes[1:])]
    third = import_table(write(folder / "c.csv", eyes), folder / "3.h5", OPTIONS)
    assert first.imported == second.imported == third.imported
    for one, *others in zip(*(read(folder / f"{n}.h5") for n in (1, 2, 3)), strict=True):
        for other in others:
            assert other.scan == one.scan and other.placement == one.placement
            np.testing.assert_array_equal(other.volume, one.volume)


def test_a_key_in_the_first_row_of_an_eye_holds_for_all_rows_of_its_photo(clinic):
    folder, rows = clinic
    keys = ["e1", "", "", "", "e2", "", "", "", ""]
    merged = [rows[0], *((key, *row[1:]) for key, row in zip(keys, rows[1:], strict=True))]
    import_table(write(folder / "t.csv", merged), folder / "e.h5", OPTIONS, columns={"key": "eye"})
    eyes = read(folder / "e.h5")
    assert [(eye.key, eye.patient, len(eye.volume)) for eye in eyes] == [
        ("c", "pc", 3),  # named by its photo, for it has no key at all
        ("e1", "pa", 3),
        ("e2", "pb", 3),
    ]


def test_a_row_without_a_key_is_refused_where_its_photo_has_several(clinic):
    folder, rows = clinic
    keys = ["c.png", "", "", "e2", "e3", "", "", "", ""]
    merged = [rows[0], *((key, *row[1:]) for key, row in zip(keys, rows[1:], strict=True))]
    table = write(folder / "t.csv", merged)
    with pytest.raises(DataError, match=r"t.csv: row 7: key: expected one, .* have several keys, found none"):
        import_table(table, folder / "e.h5", OPTIONS, columns={"key": "eye"})
    merged[6] = ("e3", *merged[6][1:])
    report = import_table(write(table, merged), folder / "e.h5", OPTIONS, columns={"key": "eye"})
    assert report.imported == ["c.png", "e2", "e3", "c"], "a key is no photo's name"


def test_millimetres_lie_around_the_fovea(clinic):
    folder, _ = clinic
    head = ("photo", "bscan", "patient", "x0_mm", "y0_mm", "x1_mm", "y1_mm")
    ends = [(-3, -2, 3, -2), (-3, 0, 3, 0), (-3, 2, 3, 2)]
    table = write(folder / "t.csv", [head, *(("a.png", f"a{n}.png", "p", *ends[n]) for n in range(3))])
    import_table(
        table, folder / "e.h5", ImportOptions(ScanOptions((1, 0.012, math.nan)), 64, Placement((0.1, 0)))
    )
    [eye] = read(folder / "e.h5")
    assert eye.scan == RasterScan(3, 6.0, 4.0) and eye.placement == Placement((0.1, 0))
    assert eye.spacing_mm == pytest.approx((2, 0.012, 0.12))


def changed(rows, row, **cells):
    places = {name: place for place, name in enumerate(rows[0])}
    new = list(rows[row])
    for name, value in cells.items():
        new[places[name]] = value
    return [*rows[:row], new, *rows[row + 1 :]]


def test_a_line_that_leaves_the_photo_is_said(clinic):
    folder, rows = clinic
    report = import_table(
        write(folder / "t.csv", changed(rows, 2, y1_px="330")),
        folder / "e.h5",
        OPTIONS,
        columns={"key": "eye"},
    )
    notes = [note for key, note in report.notes if key == "a"]
    assert "the lines of slices 1 leave the photo of 420 x 300 pixels, as (150, 60) to (150, 330)" in notes[1]
    assert "slice 1 is 270 px long, their median is 200" in notes[0] and "outside the circle" in notes[2]


WRONG = {
    "no number": ({"x0_px": "left"}, "rows 2 to 4: row 3: x0_px: expected a number, found 'left'"),
    "nothing": ({"y1_px": ""}, "row 3: y1_px: expected a number, found ''"),
    "thousands": ({"x0_px": "1,034"}, r"row 3: x0_px: '1,034': decimal or thousands comma\? write"),
    "no picture": ({"bscan": ""}, "row 3: bscan: expected the name of a picture, found none"),
    "two patients": ({"patient": "px"}, "rows 2 and 3: patient: .* found 'pa' and 'px'"),
    "two photos": ({"photo": "b.png"}, "rows 2 and 3: photo: expected the same in all rows of an eye"),
    "a point": (
        {"x1_px": "150", "y1_px": "60"},
        r"expected two finite ends apart, .* \(150, 60\) for slice 1",
    ),
    "absent": ({"bscan": "no.png"}, "rows 2 to 4: .*no.png: no such file or folder"),
}


@pytest.mark.parametrize("cells, message", WRONG.values(), ids=WRONG)
def test_an_eye_whose_rows_make_no_sense_is_named_and_the_others_imported(cells, message, clinic):
    folder, rows = clinic
    report = import_table(
        write(folder / "t.csv", changed(rows, 2, **cells)), folder / "e.h5", OPTIONS, columns={"key": "eye"}
    )
    assert report.imported == ["b", "c"]
    assert [line for line in report.lines() if re.search(message, line)], report.lines()


def test_an_eye_whose_lines_are_empty_is_left_out_by_name(clinic):
    folder, rows = clinic
    head = ("key", "photo", "volume", "patient", "lines_px")
    text = "; ".join(" ".join(map(str, (*start, *end))) for start, end in LINES)
    a, b = (f"{n}0.png | {n}1.png | {n}2.png" for n in "ab")
    listed = [head, ("a", "a.png", a, "pa", text), ("b", "b.png", b, "pb", ""), ("c", "c.png", "", "pc", "")]
    report = import_table(write(folder / "listed.csv", listed), folder / "1.h5", OPTIONS)
    assert report.imported == ["a", "c"], "a photo alone needs no lines"
    [(name, reason)] = report.skipped
    assert name == "row 3: b.png" and reason.startswith("expected its lines, found empty cells in lines_px;")
    radial = replace(OPTIONS, scan=replace(OPTIONS.scan, radial=True))
    report = import_table(folder / "listed.csv", folder / "star.h5", radial)
    assert report.imported == ["a", "b", "c"], "an option tells where the slices of b lie"
    for row in (1, 2, 3):
        rows = changed(rows, row, x0_px="", y0_px="", x1_px="", y1_px="")
    table = write(folder / "t.csv", rows)
    report = import_table(table, folder / "2.h5", OPTIONS, columns={"key": "eye"})
    assert report.imported == ["b", "c"]
    [(name, reason)] = report.skipped
    assert name == "rows 2 to 4: a.png" and "found empty cells in x0_px, y0_px, x1_px, y1_px;" in reason


def test_a_comma_is_decimal_where_another_of_the_eye_must_be(clinic):
    folder, rows = clinic
    scans = []
    for mark in ",.":
        table = write(folder / "t.csv", changed(rows, 2, x0_px=f"150{mark}125", y0_px=f"60{mark}5"))
        import_table(table, folder / "e.h5", OPTIONS, overwrite=True, columns={"key": "eye"})
        scans.append(read(folder / "e.h5")[0].scan)
    assert scans[0] == scans[1]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: [(*row[:3], *row[4:]) for row in rows], "x0_px is missing"),
        (
            lambda rows: [
                [*row[:3], *(f"{9 * int(v)}" if v.isdigit() else v for v in map(str, row[3:7])), row[7]]
                for row in rows
            ],
            "on the photo of 420 x 300 pixels .* are they of another photo",
        ),
    ],
)
def test_lines_that_fit_no_photo_are_refused(change, message, clinic):
    folder, rows = clinic
    with pytest.raises(DataError, match=message):
        import_table(write(folder / "t.csv", change(rows)), folder / "e.h5", OPTIONS, columns={"key": "eye"})


def test_a_spacing_that_contradicts_the_lines_is_refused(clinic):
    folder, rows = clinic
    options = ImportOptions(ScanOptions((math.nan, 0.012, 2.0)), 64)
    with pytest.raises(DataError, match="make the circle of retina 130 mm wide, expected 2 to 40"):
        import_table(write(folder / "t.csv", rows), folder / "e.h5", options, columns={"key": "eye"})


def test_a_field_is_as_narrow_as_any_other_way_in_allows(clinic):
    folder, rows = clinic
    options = ImportOptions(ScanOptions((math.nan, 0.012, 0.04)), 64)
    import_table(write(folder / "t.csv", rows), folder / "e.h5", options, columns={"key": "eye"})
    assert read(folder / "e.h5")[0].placement.half_width_mm == pytest.approx(1.3, rel=0.02)


def test_the_command(clinic, capsys):
    folder, rows = clinic
    table, out = write(folder / "t.csv", rows), folder / "e.h5"
    status = main(
        ["import", "table", str(table), str(out), "--column", "key=eye", "--workers", "1", "--keep-borders",
         "--spacing-mm", "nan", "0.012", "0.2", "--fundus-px", "64"]
    )  # fmt: skip
    assert status == 0 and "3 eyes imported" in capsys.readouterr().out
