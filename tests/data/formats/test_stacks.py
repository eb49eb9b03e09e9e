import math
import pickle

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from fund2oct.data.formats.stacks import read_stack
from fund2oct.data.preparing.scans import ScanOptions, cut_scan, prepare_scan
from fund2oct.export import export_eye
from fund2oct.eye import DataError, Eye
from fund2oct.geometry import LineScan, RadialScan, RasterScan


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(1, 250, (5, 8, 9)).astype(np.uint8)


def test_every_kind_of_file_gives_the_same_volume(volume, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", volume, photometric="minisblack")
    np.save(tmp_path / "a.npy", volume.transpose(2, 0, 1))
    np.savez(tmp_path / "a.npz", other=np.zeros(3), volume=volume)
    (tmp_path / "eye").mkdir()
    for number, bscan in enumerate(volume):
        Image.fromarray(bscan).save(tmp_path / "eye" / f"slice {number + 8}.png")
    scan = RasterScan(5, width_mm=0.9, height_mm=0.8)
    eye = Eye(key="a", patient="a", laterality="", volume=volume, scan=scan, spacing_mm=(0.2, 0.01, 0.1))
    export_eye(eye, tmp_path, "a", "nifti")
    for name, axes in (
        ("a.tif", "szx"),
        ("a.npy", "xsz"),
        ("a.npz", "szx"),
        ("eye", "szx"),
        ("eye/*.png", "szx"),
    ):
        np.testing.assert_array_equal(read_stack(tmp_path / name, axes).volume, volume)
    nifti = read_stack(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(nifti.volume, volume)
    assert nifti.spacing_mm == pytest.approx((0.2, 0.01, 0.1))


def test_slices_of_a_deep_folder_have_one_white(tmp_path):
    for number, top in enumerate((200, 4000, 60000)):
        Image.fromarray(np.full((8, 9), top, np.uint16)).save(tmp_path / f"{number}.png")
    stack = read_stack(tmp_path)
    assert stack.volume.dtype == np.uint16 and stack.volume[:, 3, 4].tolist() == [200, 4000, 60000]
    prepared = prepare_scan(stack.volume, None, ScanOptions((0.2, 0.01, 0.1)))
    assert prepared.volume[:, 3, 4].tolist() == [1, 16, 233]
    assert (prepared.history["black_level"], prepared.history["white_level"]) == (0, 65535)
    assert "white was taken for 65535, for its largest number is 60000" in prepared.notes[0]
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "1.png")
    with pytest.raises(DataError, match=r"1.png: expected uint16 as in 0.png, found uint8"):
        read_stack(tmp_path)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_slices_in_deep_colours_have_one_white_too(ending, tmp_path):
    for number, top in enumerate((200, 4000, 60000)):
        deep = np.full((8, 9, 3), top, np.uint16)
        deep[0, 0] = (1000, 2000, 3000)
        if ending == "png":
            cv2.imwrite(str(tmp_path / f"{number}.png"), deep[..., ::-1])
        else:
            tifffile.imwrite(tmp_path / f"{number}.tif", deep, photometric="rgb")
    stack = read_stack(tmp_path)
    assert stack.levels is None and stack.volume[:, 3, 4].tolist() == [200, 4000, 60000]
    assert set(stack.volume[:, 0, 0].tolist()) == {299 + 2 * 587 + 3 * 114}


def test_levels_are_those_given_or_those_of_the_file_or_asked_for(volume):
    spacing = (0.2, 0.01, 0.1)
    shifted = volume.astype(np.float32) / 127.5 - 1
    with pytest.raises(DataError, match=r"found float32 from -0.99.* give --levels BLACK WHITE"):
        prepare_scan(shifted, spacing, ScanOptions())
    for options, stated in ((ScanOptions(levels=(-1, 1)), (0, 9)), (ScanOptions(), (-1.0, 1.0))):
        np.testing.assert_array_equal(prepare_scan(shifted, spacing, options, levels=stated).volume, volume)
    inverted = prepare_scan(255 - volume, spacing, ScanOptions(levels=(255, 0)))
    np.testing.assert_array_equal(inverted.volume, volume)
    with pytest.raises(DataError, match=r"uint16 from 0 to 3, of one brightness where 0 is black and 255"):
        prepare_scan((volume % 4).astype(np.uint16), spacing, ScanOptions())


@pytest.mark.parametrize("options", [{}, {"radial": True}])
def test_nan_leaves_a_length_as_the_file_says(volume, options):
    told = (0.12, 0.004, 0.0315)
    prepared = prepare_scan(volume, told, ScanOptions((math.nan, 0.005, math.nan), **options))
    expected = (math.nan if options else 0.12, 0.005, 0.0315)
    assert prepared.spacing_mm == pytest.approx(expected, nan_ok=True)
    with pytest.raises(DataError, match="expected positive millimetres"):
        prepare_scan(volume, (math.nan, *told[1:]), ScanOptions((math.nan, 0.005, math.nan)))


def test_nan_leaves_a_length_to_the_pattern_that_is_given(volume):
    options = ScanOptions((math.nan,) * 3, pattern=RadialScan(5, length_mm=0.9))
    prepared = prepare_scan(volume, (0.12, 0.004, 0.0315), options)
    assert prepared.spacing_mm == pytest.approx((math.nan, 0.004, 0.1), nan_ok=True)


def test_nan_is_black_and_counted(volume):
    values = volume / 255
    values[0, :4] = np.nan
    prepared = prepare_scan(values, (0.2, 0.01, 0.1), ScanOptions())
    assert not prepared.volume[0, :4].any() and (prepared.volume[1:] == volume[1:]).all()
    assert prepared.history["nan_blackened"] == 0.1
    assert "10.00% of the volume are NaN, and were made black" in prepared.notes


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        (
            (0.2, 1.0, 0.1),
            r"8 rows 1 mm apart are 8 mm, expected 0.0005 to 0.3 mm between them and",
        ),
        (
            (0.2, 3.9, 0.1),
            r"8 rows 3.9 mm apart .* \(is it in micrometres\?\); give --spacing-mm S Z X",
        ),
        ((0.2, 3.9e-6, 0.1), r"8 rows 3.9e-06 mm apart .* \(is it in metres\?\)"),
        ((0.2, 0.01, 11.7), r"9 A-scans 11.7 mm apart"),
        ((50.0, 0.01, 0.1), r"5 slices 50 mm apart are 250 mm"),
    ],
)
def test_lengths_of_no_retina_are_refused(volume, spacing, message):
    with pytest.raises(DataError, match=message):
        prepare_scan(volume, spacing, ScanOptions())


def test_axes_flips_and_numbers_that_are_missing(volume, tmp_path):
    np.save(tmp_path / "a.npy", volume[::-1, ::-1].transpose(1, 0, 2))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npy", "zsx", "sz").volume, volume)
    with pytest.raises(DataError, match="flip: expected letters of s, z and x, found 'y'"):
        read_stack(tmp_path / "a.npy", "zsx", "y")
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(volume.transpose(1, 0, 2)):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    np.testing.assert_array_equal(read_stack(tmp_path / "frames", "zsx").volume, volume)
    np.testing.assert_array_equal(read_stack(tmp_path / "frames", "zsx", "s").volume, volume[::-1])
    (tmp_path / "slices").mkdir()
    for number in (7, 8, 10):
        Image.fromarray(volume[0]).save(tmp_path / "slices" / f"slice_{number}.png")
    (tmp_path / "slices" / "._slice_9.png").write_bytes(b"of a Mac")
    assert read_stack(tmp_path / "slices" / "slice_*.png").notes == ("slices are numbered 7 to 10 without 9",)
    assert len(read_stack(tmp_path / "slices").volume) == 3


def pictures(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("L", (9, 8)).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            [f"{side}_{number}.png" for side in ("OD", "OS") for number in range(3)],
            "in: expected slices of one eye, found OD_0.png of a right and OS_0.png of a left one; put the",
        ),
        (["p12_0R.png", "p12_0L.png"], "found p12_0R.png of a right and p12_0L.png of a left one"),
        (["s_0.png", "s_0.jpg"], r"s_0.png: expected each slice once, found s_0.jpg too; keep one of them"),
        (["s_0.png", "S_0.JPG"], "expected each slice once"),
    ],
)
def test_pictures_of_two_eyes_and_slices_twice_are_refused(names, message, tmp_path):
    folder = pictures(tmp_path / "in", *names)
    for path in (folder, folder / "*", [folder / name for name in sorted(names)]):
        with pytest.raises(DataError, match=message if path == folder else "expected (slices of|each)"):
            read_stack(path)


@pytest.mark.parametrize(
    ("names", "is_noted"),
    [
        ("a_0 b_0", True),
        ("p12_0 p12_1 p13_0 p13_1", True),
        ("p7 p61 p62 p9000", True),
        ("1.2.840.7 1.2.840.99999999999999999 1.2.840.8", True),
        ("s_1_of_3 s_2_of_3 s_3_of_3", False),
        ("t093001_0 t093002_1 t093004_2", False),
        ("s_10 s_20 s_30", False),
        ("only", False),
    ],
)
def test_pictures_that_are_not_named_as_slices_of_one_volume_are_noted(names, is_noted, tmp_path):
    files = [f"{name}.png" for name in names.split()]
    folder = pictures(tmp_path / "in", *files)
    for path in (folder, folder / "*.png"):
        notes = read_stack(path).notes
        assert ("are not named as slices of one volume" in " ".join(notes)) is is_noted
        assert ("single B-scans are a row each of a table" in " ".join(notes)) is is_noted
    # Who lists the pictures knows what they are.
    assert read_stack([folder / name for name in files]).notes == ()


def _write(path, what):
    if isinstance(what, np.ndarray):
        np.save(path, what)
    elif isinstance(what, dict):
        np.savez(path, **what)
    elif what == "pickle":
        path.write_bytes(pickle.dumps([1]))
    else:
        path.write_text("no volume")


@pytest.mark.parametrize(
    ("name", "what", "message"),
    [
        ("absent.tif", None, "absent.tif: no such file or folder"),
        ("a.npy", "pickle", "a.npy: cannot be read as an array of numbers"),
        ("a.npz", "text", "a.npz: cannot be read as an array of numbers"),
        ("a.npz", {"scan": 1, "age": 2}, "named .volume., found scan, age; save the volume alone as .npy"),
        ("a.tif", "text", "a.tif: cannot be read as a volume"),
        ("a.nii", "text", "a.nii: cannot be read as a volume"),
        ("a.doc", "text", r"a.doc: expected .tif, .*or a folder of pictures"),
        ("a.npy", np.zeros((4, 5)), r"a.npy: expected numbers of three axes \(szx\), found float64 \(4, 5\)"),
        ("a.npy", np.zeros((0, 4, 5)), r"a.npy: .* found float64 \(0, 4, 5\)"),
        ("a.npy", np.array([[["x"]]]), "a.npy: expected numbers"),
        ("nothing/*.png", None, "expected files, found none"),
    ],
)
def test_what_is_no_volume_is_named(name, what, message, tmp_path):
    if what is not None:
        _write(tmp_path / name, what)
    with pytest.raises(DataError, match=message):
        read_stack(tmp_path / name)


def test_a_mistake_of_ours_is_not_told_as_damage(tmp_path, monkeypatch):
    def mistaken(*_):
        raise KeyError("ours")

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 6), np.uint8), photometric="miniswhite")
    monkeypatch.setattr("fund2oct.data.formats.tiff._inverted", mistaken)
    with pytest.raises(KeyError, match="ours"):
        read_stack(tmp_path / "a.tif")


def test_slices_of_other_sizes_and_empty_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"expected pictures .* found none"):
        read_stack(tmp_path)
    Image.new("L", (5, 4)).save(tmp_path / "1.png")
    Image.new("L", (6, 4)).save(tmp_path / "2.png")
    with pytest.raises(DataError, match=r"2.png: expected \(4, 5\) pixels as in 1.png, found \(4, 6\)"):
        read_stack(tmp_path)
    with pytest.raises(DataError, match="axes: expected an order of s, z and x"):
        read_stack(tmp_path, "szz")


def test_several_volumes_are_no_slices_of_one(volume, tmp_path):
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", volume, photometric="minisblack")
    message = r"a.tif: holds 5 pages, is a volume by itself; expected one B-scan in each file"
    for path in (tmp_path, tmp_path / "*.tif", [tmp_path / "a.tif", tmp_path / "b.tif"]):
        with pytest.raises(DataError, match=message):
            read_stack(path)
    for name, bscan in zip("ab", volume[:2], strict=True):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as tif:
            tif.write(bscan, photometric="minisblack")
            tif.write(bscan[::2, ::2], photometric="minisblack", subfiletype=1)
    # Smaller copies do not count.
    np.testing.assert_array_equal(read_stack(tmp_path).volume, volume[:2])


def test_a_star_cut_out_of_a_raster_finds_the_bright_voxel():
    # 11 slices 0.5 mm apart, A-scans 0.25 mm apart; the voxel lies 1 mm below and 1 mm right of the fovea.
    volume = np.zeros((11, 3, 21), np.uint8)
    volume[5 + 2, 1, 10 + 4] = 200
    cut = cut_scan(volume, (0.5, 0.01, 0.25), RadialScan(4, length_mm=4.0), n_ascans=17)
    slices, depths, ascans = np.nonzero(cut > 60)
    assert set(depths) == {1} and set(slices) == {3}  # 135 degrees clockwise from straight up
    x = RadialScan(4, length_mm=4.0).coordinates(17)[3, ascans, 0].numpy()
    assert np.abs(x - 1).max() < 0.2
    whole = RasterScan(11, width_mm=21 * 0.25, height_mm=5.0)
    noise = np.random.default_rng(1).integers(0, 255, (11, 3, 21)).astype(np.uint8)
    np.testing.assert_array_equal(cut_scan(noise, (0.5, 0.01, 0.25), whole), noise)


def test_a_star_longer_than_the_raster_is_refused():
    with pytest.raises(DataError, match=r"expected lines within the raster of .* give a shorter --star-mm"):
        cut_scan(np.zeros((5, 3, 9), np.uint8), (0.5, 0.01, 0.25), RadialScan(3, length_mm=8.0))


def test_slices_kept_lie_where_they_lay(volume):
    prepared = prepare_scan(volume, None, ScanOptions((0.3, 0.01, 0.1), n_slices=3, mask_borders=False))
    np.testing.assert_array_equal(prepared.volume, volume[[0, 2, 4]])
    raster = RasterScan(5, width_mm=0.9, height_mm=1.2)
    assert prepared.scan == LineScan(tuple(raster.lines[number] for number in (0, 2, 4)))
    assert prepared.spacing_mm == pytest.approx((0.6, 0.01, 0.1))
    assert prepared.history["slices"] == "0,2,4"
    star = prepare_scan(volume, (1.0, 0.01, 0.1), ScanOptions(radial=True, n_slices=2, mask_borders=False))
    assert math.isnan(star.spacing_mm[0]) and star.scan.length_mm == pytest.approx((0.9, 0.9))


def test_resizing_keeps_the_extent(volume):
    prepared = prepare_scan(volume, (0.3, 0.02, 0.1), ScanOptions(shape=(16, 10)))
    assert prepared.volume.shape == (5, 16, 10)
    assert prepared.spacing_mm == pytest.approx((0.3, 0.01, 0.09))
    assert prepared.scan.length_mm[0] == pytest.approx(0.9)


def test_white_that_reaches_the_frame_is_blackened_and_bright_tissue_is_not():
    volume = np.full((2, 40, 50), 60, np.uint8)
    volume[:, :, :1] = volume[:, :6] = 255
    volume[:, 20:23, :] = 255  # a layer that runs out of the frame
    prepared = prepare_scan(volume, (0.1, 0.01, 0.01), ScanOptions())
    assert not prepared.volume[:, :6].any() and not prepared.volume[:, :18, :1].any()
    assert (prepared.volume[:, 20:23, 8:-8] == 255).all() and (prepared.volume[:, 10:18, 5:] == 60).all()
    assert prepared.history["border_masked"] > 0.15
    kept = prepare_scan(volume, (0.1, 0.01, 0.01), ScanOptions(mask_borders=False))
    np.testing.assert_array_equal(kept.volume, volume)
    # However thick it is: a fill reaches the top or the bottom.
    thick = np.full((1, 40, 50), 60, np.uint8)
    thick[:, 15:27] = thick[:, 36:] = 255
    prepared = prepare_scan(thick, (0.1, 0.01, 0.01), ScanOptions(radial=True))
    assert (prepared.volume[:, 15:27] == 255).all() and not prepared.volume[:, 36:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ScanOptions(), "does not tell it; give --spacing-mm S Z X"),
        (ScanOptions((0.1, 0, 0.1)), "spacing_mm: expected positive millimetres"),
        (ScanOptions((0.1, 0.01, 0.1), n_slices=6), "expected at least 6 slices, found 5"),
    ],
)
def test_what_cannot_be_prepared_is_said(options, message, volume):
    with pytest.raises(DataError, match=message):
        prepare_scan(volume, None, options)
    with pytest.raises(DataError, match=r"at least 8 rows and A-scans, found 8 x 6; --axes says"):
        prepare_scan(volume[..., :6], None, options)


def test_options_that_contradict_are_refused():
    with pytest.raises(ValueError, match="star: is cut out of a whole raster"):
        ScanOptions(star=RadialScan(), n_slices=3)
    with pytest.raises(ValueError, match="expected positive sizes"):
        ScanOptions(n_slices=0)
    with pytest.raises(ValueError, match=r"shape: expected at least 8 rows and A-scans, found \(14, 6\)"):
        ScanOptions(shape=(14, 6))
